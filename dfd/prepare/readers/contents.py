"""Contents of a folder in words: what a source of no known layout holds, and the shortest way on."""

import codecs
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dfd.media.file_kinds import HEAD_BYTES, PARQUET, PICTURE, TAR, VIDEO, FileKind, file_kind
from dfd.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_litter
from dfd.prepare.readers.class_names import like_a_class, which_is_which
from dfd.prepare.readers.row import split_of
from dfd.terminal import printable

_MAX_FOLDERS = 2000  # that are listed; an unrelated tree is not searched to its end
_MAX_DEPTH = 6
_MAX_NAMED = 6  # folders and files in the sentence
_MAX_OPENED = 8  # files whose kind is looked at


def refuse_other_files(path: Path) -> None:
    """Raises ValueError for a file that is no table; says what it is and the shortest way on."""
    kind = file_kind(path)
    if kind is None and path.is_file() and (why := _no_text(path)):
        raise ValueError(f"{path} {why}")
    if kind is None:
        return
    way = kind.way
    if kind is PICTURE:
        way = "name the folder that holds the real and the fake ones"
    if kind is VIDEO:
        way = "name the folder that holds the real and the fake ones, with --frames 16"
    if kind is TAR:
        way = (
            f"a shard in the layout of WebDataset is for dfd index {shlex.quote(str(path.parent))}; of loose "
            f"files, {way}, then dfd prepare FOLDER"
        )
    if kind is PARQUET:
        way = parquet_export(path)
    named = way.replace("FILE", shlex.quote(str(path)))
    raise ValueError(f"{path} is {kind.name}. dfd prepare reads folders and tables: {named}.")


def _no_text(path: Path) -> str:
    """Why a file cannot be a table in any encoding, as words to follow its name; "" where it may be one."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    # one such letter is a slip in a line
    num_odd = sum(byte < 32 and byte not in b"\t\r\n" for byte in head)
    if num_odd * 10 <= len(head) or head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "" if head else "is empty. Name the folder of the pictures, or the table that lists them."
    if not any(head[1::2]) or not any(head[::2]):
        kind = "UTF-16LE" if not any(head[1::2]) else "UTF-16BE"
        return (
            f"is UTF-16 without its mark. Save it as UTF-8: iconv -f {kind} -t UTF-8 "
            f"{shlex.quote(str(path))} > NEW.csv"
        )
    return (
        "is neither a folder nor a table, nor a file that dfd knows. Name the folder of the pictures, or a "
        "CSV or JSON Lines file that lists them."
    )


def parquet_export(path: Path) -> str:
    """What a parquet file of Hugging Face holds, and the command that writes its pictures as files."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        return f"it cannot be read ({error})"
    columns = ", ".join(schema.names)
    meant = _label_names(schema)
    picture = next((field.name for field in schema if pa.types.is_struct(field.type)), "")
    label = next((name for name in ("label", "labels", "class", "target") if name in schema.names), "")
    # they go into a command that people copy
    plain = all(re.fullmatch(r"[\w./+-]+", text) for text in (picture, label, str(path.parent)))
    if not plain:
        return f"its columns are {columns}; export the pictures into folders real and fake"
    told = f" (the file says: {meant})" if meant else ""
    return f"""its columns are {columns}. Write its pictures, and those beside it, into folders:
python -c "
import pathlib as p, pyarrow.parquet as q
for g in p.Path('{path.parent}').glob('*.parquet'):
  for n, b in enumerate(q.ParquetFile(g).iter_batches(256)):
    for i, r in enumerate(b.to_pylist()):
      f = p.Path('FOLDER', g.stem.split('-')[0], str(r['{label}']), f'{{g.stem}}-{{n}}-{{i}}')
      f.parent.mkdir(parents=True, exist_ok=True); f.write_bytes(r['{picture}']['bytes'])"
Then dfd prepare FOLDER --out OUT, with --real NAME --fake NAME for what the folders are called{told}"""


def _label_names(schema: pa.Schema) -> str:
    """What Hugging Face's notes in the file call the numbers of its labels: "0 is fake, 1 is real"; or ""."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = next(each["names"] for each in features.values() if each.get("_type") == "ClassLabel")
        return printable(", ".join(f"{number} is {name}" for number, name in enumerate(names[:6])), keep="")
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration, RecursionError):
        return ""


@dataclass
class Contents:
    """What lies below a folder, as far as it was looked at."""

    # by path below the folder, "" for itself
    pictures: Counter[str] = field(default_factory=Counter)
    videos: Counter[str] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)  # paths of other files

    @classmethod
    def of(cls, root: Path) -> "Contents":
        """Lists the folder; nothing is opened, links are not followed."""
        found = cls()
        level = [""]
        listed = 0
        for _ in range(_MAX_DEPTH):
            below = []
            for folder in level:
                if (listed := listed + 1) > _MAX_FOLDERS:
                    return found
                below += found._look(root, folder)
            level = below
        return found

    def _look(self, root: Path, folder: str) -> list[str]:
        below = []
        try:
            with os.scandir(root / folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return []
        for entry in inside:
            path = f"{folder}/{entry.name}".lstrip("/")
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith(".") or is_litter(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not is_litter(f"{path}/"):
                    below.append(path)
            elif suffix in IMAGE_SUFFIXES:
                self.pictures[folder] += 1
            elif suffix in VIDEO_SUFFIXES:
                self.videos[folder] += 1
            else:
                self.others.append(path)
        return below

    def __str__(self) -> str:
        named = [
            f"{folder or 'itself'} ({_counted(self.pictures[folder], 'picture')}"
            f"{', ' * bool(self.pictures[folder] and self.videos[folder])}"
            f"{_counted(self.videos[folder], 'video')})"
            for folder in sorted(self.pictures | self.videos)
        ]
        more = len(named) - _MAX_NAMED
        shown = [*named[:_MAX_NAMED], f"{more} more folders"] if more > 0 else named
        files = self.others[:3] + ["and so on"] * (len(self.others) > 3)
        return ", ".join([*shown, *files]) or "no files"

    def class_names(self) -> list[str]:
        """Names of the folders that may be the classes; [] where that is not clear."""
        paths = [
            [name for name in folder.split("/") if split_of(name) is None]
            for folder in self.pictures | self.videos
            if folder
        ]
        depth = max(map(len, paths), default=0)
        levels = [sorted({path[at] for path in paths if len(path) > at}) for at in range(depth)]
        several = [names for names in levels if len(names) > 1]
        alike = [names for names in several if any(map(like_a_class, names))]
        single = [names for names in levels if any(map(like_a_class, names))]
        return next(iter([*alike, *several, *single]), [])

    def ways_on(self, root: Path) -> list[str]:
        """What to do next, a sentence each."""
        names = which_is_which(self.class_names(), f"dfd prepare {shlex.quote(str(root))} --out OUT")
        return [*([f"{names}."] if names else []), *self._unpack(root)][:3]

    def packed(self, root: Path) -> list[str]:
        """What to do where all pictures are inside other files; [] where that is not so."""
        return [] if self.pictures or self.videos else self._unpack(root)

    def _unpack(self, root: Path) -> list[str]:
        ways = []
        for path, kind in self._kinds(root):
            way = parquet_export(root / path) if kind is PARQUET else kind.way
            suffix = os.path.splitext(path)[1]
            more = sum(other.endswith(suffix) for other in self.others) - 1 if suffix else 0
            others = f" (and {more} more of its suffix)" if more else ""
            ways.append(
                f"{path}{others} is {kind.name}: {way.replace('FILE', shlex.quote(str(root / path)))}."
            )
        return ways

    def _kinds(self, root: Path) -> list[tuple[str, FileKind]]:
        """One file of each kind that holds pictures in another form."""
        seen: dict[FileKind, str] = {}
        for path in _by_suffix(self.others)[:_MAX_OPENED]:
            kind = file_kind(root / path)
            if kind is not None and kind.way:
                seen.setdefault(kind, path)
        return [(path, kind) for kind, path in seen.items()]


def _by_suffix(paths: Sequence[str]) -> list[str]:
    """One path of each suffix."""
    first: dict[str, str] = {}
    for path in paths:
        first.setdefault(os.path.splitext(path)[1].lower(), path)
    return list(first.values())


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}" if count else ""
