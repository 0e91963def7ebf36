"""What only the whole table of a source can settle: contradictions, families, splits."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dfd.data.readers.row import Reject
from dfd.data.report import check_classes, check_rejects, write_rejects
from dfd.data.splits import assign_splits, crossing_families, families


def settle(source: Path, out: Path, table: pa.Table, rejects: Sequence[Reject], allow_leaks: bool) -> tuple[pa.Table, int, int]:
    """The rows that stay, with their family and their split; how many were rejected; how many families cross splits.

    Args:
        source: what errors speak of.
        out: where rejected.csv goes, in any case.
        table: with label, groups, sha256, path and split (null where the source does not say).

    Raises:
        ValueError: too much was rejected, a class is missing, or families cross official splits (unless allow_leaks).
    """
    table, torn = _without_contradictions(table)
    rejects = [*rejects, *torn]
    write_rejects(out, rejects)
    check_rejects(source, rejects, len(table))
    check_classes(source, table, len(rejects))
    family = families(table["groups"].to_pylist(), table["sha256"].to_pylist())
    split = assign_splits(family, table["split"].to_pylist())
    crossing = crossing_families(family, split)
    if crossing and not allow_leaks:
        name, splits = min(crossing.items())
        paths = [path for path, mine in zip(table["path"].to_pylist(), family, strict=True) if mine == name][:3]
        raise ValueError(
            f"{source}: {len(crossing)} families of pictures (of one person or video, or of the same bytes) are in several "
            f"official splits, first {name[:40]} in {' and '.join(sorted(splits))} ({', '.join(paths)}). A detector "
            "would be tested on what it has seen. Mend the splits, or keep them with --allow-leaks."
        )
    table = table.set_column(table.schema.get_field_index("split"), "split", pa.array(split, pa.string()))
    return table.append_column("family", pa.array(family, pa.string())), len(rejects), len(crossing)


def _without_contradictions(table: pa.Table) -> tuple[pa.Table, list[Reject]]:
    """Drops equal bytes under both labels: one of the two is wrong, and nobody knows which."""
    labels = table.group_by("sha256").aggregate([("label", "min"), ("label", "max")])
    torn = labels.filter(pc.not_equal(labels["label_min"], labels["label_max"]))["sha256"]
    both = pc.is_in(table["sha256"], torn.combine_chunks())
    paths = table.filter(both)["path"].to_pylist()
    return table.filter(pc.invert(both)), [Reject(path, "the same bytes are listed as real and as fake") for path in paths]
