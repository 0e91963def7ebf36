"""140K real and fake faces: real photographs of FFHQ, fakes by StyleGAN, both at 256 px.

    real_vs_fake/real-vs-fake/{train,valid,test}/{real,fake}/*.jpg
    {train,valid,test}.csv        ,original_path,id,label,label_str,path

The folder may be given at any of its levels. A table is read where it lies in one of these folders. What it
says in `label_str` (in `label` 1 is real) and by its own name has to agree with the file's folder; a file
that no table lists is taken as its folder says.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from dfd.prepare.readers import class_folders
from dfd.prepare.readers.lines import missing_columns, read_lines
from dfd.prepare.readers.row import Row, label_of, split_of
from dfd.prepare.readers.walk import level_of
from dfd.shards.rejects import Reject

_WAY = "real_vs_fake/real-vs-fake"
_SPLITS = ("train", "valid", "test")
_NEEDED = ("path", "label_str")


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    return str(root / _WAY / "train" / "real") if _level(root) is None else ""


def rows(root: Path) -> Iterator[Row | Reject]:
    """FFHQ against StyleGAN, in the official splits; last what only the tables list."""
    level = _level(root) or ""
    told: dict[str, list[tuple[str, str]]] = {}  # by path below the level: which table says which label
    for table in _tables(root, level):
        yield from _read(table, told)
    found = class_folders.rows(root / level)
    for item in class_folders.with_names(found, source="140k", fake_method="stylegan"):
        lines = told.pop(item.path, [])
        wrong = _contradictions(item, lines) if isinstance(item, Row) else []
        path = posixpath.join(level, item.path)
        yield Reject(path, wrong[0]) if wrong else replace(item, path=path)
    for path, lines in sorted(told.items()):
        yield Reject(posixpath.join(level, path), f"{lines[0][0]} lists it, and the folders do not hold it")


def _level(root: Path) -> str | None:
    return level_of(root, _WAY, [f"{split}/real" for split in _SPLITS])


def _tables(root: Path, level: str) -> Iterator[Path]:
    """Those in any folder from `root` down to the level."""
    for folder in (root / level, *(root / above for above in Path(level).parents)):
        yield from (folder / f"{split}.csv" for split in _SPLITS if (folder / f"{split}.csv").is_file())


def _read(table: Path, told: dict[str, list[tuple[str, str]]]) -> Iterator[Reject]:
    """Adds what a table says to `told`; yields what cannot be used of it."""
    if missing := missing_columns(table, _NEEDED):
        yield Reject(
            table.name, f"has no column {' and '.join(missing)}: it was not compared with the folders"
        )
        return
    for at, line in read_lines(table, _NEEDED):
        if isinstance(line, str):
            yield Reject(at, line)
        else:
            told.setdefault(posixpath.normpath(line["path"]), []).append(
                (table.name, line["label_str"].strip().lower())
            )


def _contradictions(row: Row, told: Iterable[tuple[str, str]]) -> list[str]:
    return [
        f"{table} says {label}, its folder {posixpath.dirname(row.path)}"
        for table, label in told
        if (label_of(label), split_of(table.removesuffix(".csv"))) != (row.label, row.split)
    ]
