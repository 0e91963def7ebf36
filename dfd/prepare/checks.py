"""Checks that refuse a source: too many rejected files, a missing class, leaks between official splits."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from dfd.shards.duplicates import Leaks, counted
from dfd.shards.format import count_classes
from dfd.shards.rejects import REJECTED, Reject

MAX_REJECTED = 0.05


@dataclass(frozen=True)
class Rejected:
    """What of a source is not in its shards, and why: the lines of rejected.csv.

    Args:
        pictures: files that cannot be used, or of faces that were cut out of files, those faces.
        files: where faces are cut, the files that were rejected whole. One of them counts as much as one that
            gave many faces.
        left_out: where faces are cut, what is no fault of the source, such as frames without a face.
        num_files: where faces are cut, all files of the source; otherwise 0.
    """

    pictures: list[Reject]
    files: list[Reject] = field(default_factory=list)
    left_out: list[Reject] = field(default_factory=list)
    num_files: int = 0

    def __len__(self) -> int:
        return len(self.files) + len(self.pictures)

    def and_pictures(self, more: Iterable[Reject]) -> "Rejected":
        return replace(self, pictures=[*self.pictures, *more])

    def lines(self) -> list[Reject]:
        return [*self.files, *self.pictures, *self.left_out]


def check_usable(source: Path, table: pa.Table, rejected: Rejected) -> None:
    """Raises ValueError where more than MAX_REJECTED of a source is rejected, which says that something else
    is wrong, or a class has no pictures.

    Args:
        source: what the error names.
        table: the pictures that can be used, with `label`.
    """
    _check_share(source, rejected.files, rejected.num_files - len(rejected.files), "files")
    _check_share(source, rejected.pictures, len(table), "faces" if rejected.num_files else "files")
    count = count_classes(table)
    if not all(count.values()):
        lines = rejected.lines()
        why = f" ({commonest(line.reason for line in lines)})" if lines else ""
        raise ValueError(
            f"{source}: {count['real']} real and {count['fake']} fake pictures, {len(lines)} rejected or "
            f"left out{why}. A detector needs both classes; check the names of the folders or the label "
            "column."
        )


def _check_share(source: Path, rejects: Sequence[Reject], num_good: int, unit: str) -> None:
    total = len(rejects) + num_good
    share = len(rejects) / max(total, 1)
    if share > MAX_REJECTED:
        raise ValueError(
            f"{source}: {len(rejects)} of {total} {unit} were rejected ({share:.1%}; {MAX_REJECTED:.0%} may "
            f"be). Most often: {commonest(reject.reason for reject in rejects)}. {REJECTED} in the output "
            "folder names them all: mend them, or take them out of the source."
        )


def check_leaks(source: Path, leaks: Leaks, allow_leaks: bool) -> None:
    """Raises ValueError where related pictures are in different official splits, unless that is allowed."""
    if leaks.pairs and not allow_leaks:
        raise ValueError(
            f"{source}: related pictures are in different official splits: {counted(leaks.counts)}. A "
            f"detector would be tested on what it has seen.\n{leaks.examples()}\n"
            "Mend the splits, or keep them with --allow-leaks, which reports will say."
        )


def commonest(reasons: Iterable[str]) -> str:
    """The three reasons that come most often, with their numbers."""
    counts = Counter(reason[:100] for reason in reasons).most_common(3)
    return "; ".join(f"{count} x {reason}" for reason, count in counts)
