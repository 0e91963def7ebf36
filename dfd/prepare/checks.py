"""Checks that refuse a source: too many rejected files, a missing class, leaks between official splits."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

import pyarrow as pa

from dfd.shards.duplicates import Leaks, counted
from dfd.shards.format import count_classes
from dfd.shards.rejects import REJECTED, Reject
from dfd.terminal import printable

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


def check_usable(
    source: Path,
    table: pa.Table,
    rejected: Rejected,
    *,
    max_rejected: float,
    stated: Iterable[str] = (),
    why: Callable[[Sequence[Reject]], str] = lambda rejects: "",
) -> None:
    """Raises ValueError where so much of a source is rejected that something else is wrong, or a class that
    it states has no pictures left. A source of one class is fine.

    Args:
        source: what the error names.
        table: the pictures that can be used, with `label`.
        max_rejected: the share that may be rejected.
        stated: names of the classes that the source states, as far as it is known.
        why: what else is known of rejected files, as a sentence.
    """
    count = count_classes(table)
    lost = [name for name in stated if not count[name]]
    # advised only where it would lead on
    may_go_on = any(count.values()) and not lost
    unit = "faces" if rejected.num_files else "files"
    for rejects, num_good, of in (
        (rejected.files, rejected.num_files - len(rejected.files), "files"),
        (rejected.pictures, len(table), unit),
    ):
        share = len(rejects) / max(len(rejects) + num_good, 1)
        if share > max_rejected:
            option = f", or go on without them: --max-rejected {_rounded_up(share)}" if may_go_on else ""
            raise ValueError(
                f"{source}: {len(rejects)} of {len(rejects) + num_good} {of} were rejected ({share:.1%}; "
                f"{max_rejected:.0%} may be).\nMost often: {commonest(rejects)}.{why(rejects)}\n{REJECTED} "
                f"in the output folder names them all: mend them, or take them out of the source{option}."
            )
    lines = rejected.lines()
    reasons = f" ({commonest(lines)})" if lines else ""
    if not any(count.values()):
        raise ValueError(f"{source}: no picture is left, {len(lines)} were rejected or left out{reasons}.")
    if lost:
        raise ValueError(
            f"{source}: {count['real']} real and {count['fake']} fake pictures, {len(lines)} rejected or "
            f"left out{reasons}: of the {lost[0]} ones none is left. Mend them, or take them out of the "
            "source if it is to be of one class."
        )


def check_max_rejected(max_rejected: float) -> None:
    """Raises ValueError where it is no share."""
    if not 0 <= max_rejected < 1:
        raise ValueError(f"--max-rejected {max_rejected:g}: a share from 0 to below 1, such as 0.2.")


def _rounded_up(share: float) -> str:
    """A share in hundredths that allows it, below 1."""
    return f"{min(ceil(share * 100), 99.9) / 100:g}"


def check_leaks(source: Path, leaks: Leaks, allow_leaks: bool) -> None:
    """Raises ValueError where related pictures are in different official splits, unless that is allowed."""
    if leaks.pairs and not allow_leaks:
        raise ValueError(
            f"{source}: related pictures are in different official splits: {counted(leaks.counts)}. A "
            f"detector would be tested on what it has seen.\n{leaks.examples()}\n"
            "Mend the splits, or keep them with --allow-leaks, which reports will say."
        )


def commonest(rejects: Iterable[Reject]) -> str:
    """The three reasons that come most often, with their numbers and the first path of each."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for reject in rejects:
        reason = reject.reason if len(reject.reason) <= 160 else f"{reject.reason[:157]}..."
        counts[reason] += 1
        first.setdefault(reason, reject.path)
    return "; ".join(
        f"{count} x {reason} ({'first ' * (count > 1)}{printable(first[reason], keep='')})"
        for reason, count in counts.most_common(3)
    )
