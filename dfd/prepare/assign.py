"""Split assignment: families of related pictures, and the split that each family belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfd.shards.duplicates import Leaks, find_leaks, hashes, joining, near_pairs
from dfd.shards.rejects import Reject
from dfd.shards.splits import MovedFamily, assign_splits, draw_val, families, splits_from, with_both_classes


@dataclass(frozen=True)
class Assigned:
    """The rows of a source with their `family` and `split`, and how these came about.

    Args:
        leaks: related pictures in different official splits.
        splits_from: where each split's pictures come from: `dfd.shards.splits.splits_from`.
        hashed_families: how many families could go to val out of "train", and to any split by their "hash".
        moved_families: those that left the split of their hash, so that another split has both classes.
    """

    table: pa.Table
    leaks: Leaks
    splits_from: dict[str, str]
    hashed_families: dict[str, int]
    moved_families: list[MovedFamily]

    def facts(self) -> dict[str, Any]:
        """How the splits came about, for index.json."""
        return {
            "splits_from": self.splits_from,
            "dealt": self.hashed_families,
            "lent": [one._asdict() for one in self.moved_families],
        }


def assign(table: pa.Table) -> Assigned:
    """Families and splits of a whole source.

    Official splits are kept, save that a source with training pictures and none for validation gives a tenth
    of its training families to val. An official test split is never taken from. Where the hash leaves a split
    without a class, a family comes to it from another (`with_both_classes`).

    Args:
        table: with label, groups, sha256, phash, path and split (null where the source does not say).
    """
    near = near_pairs(hashes(table))
    joined = joining(near, len(table)).tolist()
    family = families(table["groups"].to_pylist(), table["sha256"].to_pylist(), joined)
    official = table["split"].to_pylist()
    split = assign_splits(family, official)
    leaks = find_leaks(_with_split(table, split), near)
    origin = splits_from(official)
    stated = {name for name, said in zip(family, official, strict=True) if said is not None}
    trained = {name for name, home in zip(family, split, strict=True) if home == "train"}
    hashed_families = {"train": len(trained), "hash": len(set(family) - stated)}
    if origin["val"] == "train":
        split = draw_val(family, split)
    split, moved_families = with_both_classes(family, table["label"].to_pylist(), split, official)
    table = _with_split(table, split).append_column("family", pa.array(family, pa.string()))
    return Assigned(table, leaks, origin, hashed_families, moved_families)


def _with_split(table: pa.Table, split: Sequence[str]) -> pa.Table:
    return table.set_column(table.schema.get_field_index("split"), "split", pa.array(split, pa.string()))


def without_contradictions(table: pa.Table) -> tuple[pa.Table, list[Reject]]:
    """Drops equal bytes under both labels: one of the two is wrong, and nobody knows which."""
    labels = table.group_by("sha256").aggregate([("label", "min"), ("label", "max")])
    contradictory = labels.filter(pc.not_equal(labels["label_min"], labels["label_max"]))["sha256"]
    both = pc.is_in(table["sha256"], contradictory.combine_chunks())
    paths = table.filter(both)["path"].to_pylist()
    rejects = [Reject(path, "the same bytes are listed as real and as fake") for path in paths]
    return table.filter(pc.invert(both)), rejects
