"""`dfd combine`: 140K and ciplab's set in one tree of class folders, by hard links where there are any.

    OUT/combined-real-vs-fake/{train,valid,test}/{real,fake}/{140k,ciplab}__<name>

140K keeps its official splits; ciplab's families go where their hash sends them, as in `dfd prepare`. The
tree grows in OUT/.combining and gets its name once it is whole, so an interrupted run leaves nothing that
could be taken for it, and the next one goes on. A hard link is the source's own file: do not edit pictures in
the tree.
"""

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfd.batch import LABELS
from dfd.durable import TEMPORARY, atomic_write, make_folder, meant_name, sync
from dfd.media.files import is_hidden, is_litter
from dfd.outputs import lies_within
from dfd.prepare.inspect import inspect_file
from dfd.prepare.readers import ciplab as ciplab_reader
from dfd.prepare.readers import faces_140k as faces_140k_reader
from dfd.prepare.readers.combined import SPLITS, WAY
from dfd.prepare.readers.row import Row
from dfd.progress import progress
from dfd.shards.duplicates import joining, near_pairs
from dfd.shards.rejects import Reject
from dfd.shards.splits import families, hashed_split

TREE = Path(WAY).name
_GROWING = ".combining"


@dataclass(frozen=True)
class Combined:
    """What the tree holds; `str` of it is the command's answer."""

    tree: Path
    counts: Mapping[tuple[str, str, str], int]  # pictures by set, split (as the tree names it) and class
    copied: int  # files that could not be linked
    left_out: tuple[Reject, ...]
    already: bool  # it was whole before; nothing was done

    def __str__(self) -> str:
        total = sum(self.counts.values())
        by_set = ", ".join(
            f"{sum(n for (mark, *_), n in self.counts.items() if mark == of)} of {of}"
            for of in ("140k", "ciplab")
        )
        splits = "; ".join(
            f"{split} {self._count(split, 'real')} real + {self._count(split, 'fake')} fake"
            for split in SPLITS.values()
        )
        lines = [f"{self.tree}: {total} pictures ({splits}), {by_set}"]
        if self.already:
            lines.append("It was there before: left as it is.")
        if self.copied:
            lines.append(
                f"{self.copied} files are copies: this file system has no hard links to where they are."
            )
        if self.left_out:
            first = self.left_out[0]
            lines.append(
                f"{len(self.left_out)} files of the sources were left out, first {first.path}: "
                f"{first.reason}."
            )
        return "\n".join([*lines, f"Now: dfd prepare {self.tree.parent} --out SHARDS"])

    def _count(self, split: str, label: str) -> int:
        return sum(self.counts.get((mark, split, label), 0) for mark in ("140k", "ciplab"))


def combine(faces_140k: Path, ciplab: Path, out: Path) -> Combined:
    """Makes the tree in `out`, goes on where an interrupted run stopped, and leaves a whole one alone.

    Raises:
        ValueError: a source has another layout, or `out` holds anything else or lies inside a source.
        OSError: unwritable folder or full disk, in words.
    """
    sources = {"140k": Path(faces_140k), "ciplab": Path(ciplab)}
    out = Path(out)
    _check(sources, out)
    left_out: list[Reject] = []
    wanted = _wanted(sources, left_out)
    counts = Counter((target.name.partition("__")[0], *target.parts[:2]) for target in wanted)
    tree, growing = out / TREE, out / _GROWING
    if tree.is_dir():
        if found := _difference(tree, wanted):
            raise ValueError(
                f"{tree} is not what these two sets make: {found}. Choose another --out, or take it away."
            )
        return Combined(tree, counts, 0, tuple(left_out), already=True)
    make_folder(growing)
    for leaving in growing.rglob(f"*{TEMPORARY}*"):
        if meant_name(leaving.name):
            leaving.unlink()
    if strange := sorted(_files(growing) - wanted.keys()):
        raise ValueError(
            f"{growing / strange[0]} is of neither of these two sets. Take {growing} away and start again."
        )
    copied = 0
    with progress(len(wanted), "linking") as advance:
        for target, file in wanted.items():
            copied += _place(file, growing / target)
            advance(1)
    for folder in (*growing.glob("*/*"), *growing.iterdir(), growing):
        sync(folder)
    growing.rename(tree)
    sync(out)
    return Combined(tree, counts, copied, tuple(left_out), already=False)


def _check(sources: Mapping[str, Path], out: Path) -> None:
    for mark, reader in (("140k", faces_140k_reader), ("ciplab", ciplab_reader)):
        source = sources[mark]
        if lacking := reader.mismatch(source):
            raise ValueError(f"{source} is not laid out as {mark}'s set: {lacking} is missing.")
        if lies_within(out, source) or lies_within(source, out):
            raise ValueError(
                f"{out} and {source} lie inside one another. Choose an --out beside the sources."
            )
    strange = (
        sorted(
            path.name
            for path in out.iterdir()
            if path.name not in (TREE, _GROWING) and not is_litter(path.name)
        )
        if out.is_dir()
        else []
    )
    if strange:
        raise ValueError(f"{out} holds something else ({strange[0]}). Choose another --out.")


def _wanted(sources: Mapping[str, Path], left_out: list[Reject]) -> dict[Path, Path]:
    """The file of a source for each path in the tree; adds what cannot be used to `left_out`."""
    wanted: dict[Path, Path] = {}
    for mark, rows in (("140k", _with_splits), ("ciplab", _dealt)):
        root = sources[mark].resolve()
        for item in rows(root):
            if isinstance(item, Reject):
                left_out.append(item)
                continue
            file = root / item.path
            target = Path(SPLITS[item.split], LABELS[item.label], f"{mark}__{file.name}")
            if target in wanted:
                raise ValueError(
                    f"{file} and {wanted[target]} have one name, {target} in the tree. Rename one of them."
                )
            wanted[target] = file.resolve()
    return wanted


def _with_splits(root: Path) -> Iterator[Row | Reject]:
    """140K's rows as they are."""
    for item in faces_140k_reader.rows(root):
        file = (root / item.path).resolve()
        if isinstance(item, Row) and item.split is None:
            yield Reject(item.path, "in no folder of a split")
        elif isinstance(item, Row) and not file.is_relative_to(root):
            yield Reject(item.path, "a link that leads out of the source folder")
        else:
            yield item


def _dealt(root: Path) -> Iterator[Row | Reject]:
    """ciplab's rows with the split that `dfd prepare` gives each: a family's, by its hash."""
    rows, looks = [], []
    for item in ciplab_reader.rows(root):
        look = inspect_file(str(root), item.path, None) if isinstance(item, Row) else None
        if look is None or look.reason:
            yield Reject(item.path, look.reason) if look else item
        else:
            rows.append(item)
            looks.append(look)
    if not rows:
        return
    near = near_pairs(np.frombuffer(b"".join(look.phash for look in looks), np.uint8).reshape(len(looks), -1))
    family = families(
        [row.groups for row in rows], [look.sha256 for look in looks], joining(near, len(rows)).tolist()
    )
    for row, name in zip(rows, family, strict=True):
        yield replace(row, split=hashed_split(name))


def _place(file: Path, target: Path) -> bool:
    """Links a file, unless it is there; where that cannot be, copies it and returns True."""
    if target.exists() and _is_same(file, target):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
        return False
    # another file system, one without hard links, files of another owner; or no space, as copying will say
    except OSError:
        with atomic_write(target) as temporary:
            shutil.copyfile(file, temporary)
        return True


def _is_same(file: Path, target: Path) -> bool:
    return file.samefile(target) or filecmp.cmp(file, target, shallow=False)


def _files(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if not path.is_dir() and not is_hidden(path.name) and not is_litter(path.name)
    }


def _difference(tree: Path, wanted: Mapping[Path, Path]) -> str:
    """What a whole tree lacks, has besides or has otherwise; "" where it is as wanted."""
    present = _files(tree)
    if lacking := sorted(wanted.keys() - present):
        return f"{len(lacking)} files are missing (first {lacking[0]})"
    if more := sorted(present - wanted.keys()):
        return f"{len(more)} files are of neither (first {more[0]})"
    changed = sorted(target for target, file in wanted.items() if not _is_same(file, tree / target))
    return f"{len(changed)} files have changed (first {changed[0]})" if changed else ""
