"""What only the whole table of a source can settle: contradictions, families, splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfd.prepare.report import check_classes, check_rejects
from dfd.shards.duplicates import Leaks, counted, find_leaks, hashes, near_pairs
from dfd.shards.rejects import Reject, write_rejects
from dfd.shards.splits import MovedFamily, assign_splits, draw_val, families, splits_from, with_both_classes


@dataclass(frozen=True)
class Assigned:
    """The rows that stay, with their family and their split, and what else was found."""

    table: pa.Table
    num_rejected: int
    num_left_out: int
    leaks: Leaks  # between official splits, with allow_leaks
    splits_from: dict[str, str]  # where each split's pictures come from
    hashed_families: dict[
        str, int
    ]  # families that could go to val out of "train", and to any split by their "hash"
    moved_families: list[
        MovedFamily
    ]  # families that left the split of their hash, so that another has both classes

    def facts(self) -> dict[str, Any]:
        """How the splits came about, for index.json."""
        return {
            "splits_from": self.splits_from,
            "dealt": self.hashed_families,
            "lent": [one._asdict() for one in self.moved_families],
        }


def assign(
    source: Path,
    out: Path,
    table: pa.Table,
    rejects: Sequence[Reject],
    allow_leaks: bool,
    left_out: Sequence[Reject] = (),
    lost: Sequence[Reject] = (),
    num_files: int = 0,
) -> Assigned:
    """Families and splits of a whole source.

    Official splits are kept, save that a source with training pictures and none for validation gives a tenth
    of its training families to val. An official test split is never taken from. Where the hash leaves a split
    without a class, a family comes to it from another (`with_both_classes`).

    Args:
        source: what errors speak of.
        out: where rejected.csv goes, in any case.
        left_out: what is listed with the rejected but is no fault of the source, such as frames without a
            face.
        lost: where rows were cut out of larger files, those files that were rejected whole. One counts as
            much as one that gave many rows.
        num_files: how many files the rows were cut out of, or would have been.
        table: with label, groups, sha256, phash, path and split (null where the source does not say).

    Raises:
        ValueError: too much was rejected, a class is missing, or related pictures are in different official
            splits (unless allow_leaks).
    """
    table, torn = without_contradictions(table)
    rejects = [*rejects, *torn]
    write_rejects(out, [*lost, *rejects, *left_out])
    check_rejects(source, lost, num_files - len(lost))
    check_rejects(source, rejects, len(table), "faces" if num_files else "files")
    check_classes(source, table, [*lost, *rejects, *left_out])
    near = near_pairs(hashes(table))
    family = families(table["groups"].to_pylist(), table["sha256"].to_pylist(), near.tolist())
    official = table["split"].to_pylist()
    split = assign_splits(family, official)
    leaks = find_leaks(_with_split(table, split), near)
    if leaks.pairs and not allow_leaks:
        raise ValueError(
            f"{source}: related pictures are in different official splits: {counted(leaks.counts)}. A "
            "detector "
            f"would be tested on what it has seen.\n{leaks.examples()}\n"
            "Mend the splits, or keep them with --allow-leaks, which reports will say."
        )
    origin = splits_from(official)
    stated = {name for name, told in zip(family, official, strict=True) if told is not None}
    trained = {name for name, home in zip(family, split, strict=True) if home == "train"}
    hashed_families = {"train": len(trained), "hash": len(set(family) - stated)}
    if origin["val"] == "train":
        split = draw_val(family, split)
    split, moved_families = with_both_classes(family, table["label"].to_pylist(), split, official)
    table = _with_split(table, split).append_column("family", pa.array(family, pa.string()))
    return Assigned(
        table, len(lost) + len(rejects), len(left_out), leaks, origin, hashed_families, moved_families
    )


def _with_split(table: pa.Table, split: Sequence[str]) -> pa.Table:
    return table.set_column(table.schema.get_field_index("split"), "split", pa.array(split, pa.string()))


def without_contradictions(table: pa.Table) -> tuple[pa.Table, list[Reject]]:
    """Drops equal bytes under both labels: one of the two is wrong, and nobody knows which."""
    labels = table.group_by("sha256").aggregate([("label", "min"), ("label", "max")])
    torn = labels.filter(pc.not_equal(labels["label_min"], labels["label_max"]))["sha256"]
    both = pc.is_in(table["sha256"], torn.combine_chunks())
    paths = table.filter(both)["path"].to_pylist()
    return table.filter(pc.invert(both)), [
        Reject(path, "the same bytes are listed as real and as fake") for path in paths
    ]
