"""Rejected files: rejected.csv, its lines and their reasons."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd.durable import atomic_write
from dfd.outputs import table_heads


@dataclass(frozen=True, slots=True)
class Reject:
    """Something of a source that is no usable row: listed in rejected.csv, never guessed."""

    path: str
    reason: str


REJECTED = "rejected.csv"
_COLUMNS = ("path", "reason")


def as_listed(path: str) -> str:
    """A path as rejected.csv has it: a name that is no UTF-8 is escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def is_own_list(path: Path) -> bool:
    """Whether a file of this name is such a list, by its header line, or empty."""
    heads = table_heads(_COLUMNS)
    with path.open("rb") as file:
        head = file.read(max(map(len, heads)))
    return not head or head.startswith(heads)


def write_rejects(out: Path, rejects: Sequence[Reject]) -> None:
    with (
        atomic_write(out / REJECTED) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(sorted((as_listed(reject.path), as_listed(reject.reason)) for reject in rejects))


def read_rejects(out: Path) -> dict[str, str]:
    """Reasons by path; none where there is no list."""
    if not (out / REJECTED).is_file():
        return {}
    with open(out / REJECTED, encoding="utf-8", newline="") as file:
        return {line["path"]: line["reason"] for line in csv.DictReader(file)}
