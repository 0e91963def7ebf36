"""A CSV or JSON Lines file that lists pictures: path and label, and what else is known of each.

    path,label,groups,split,source,method,mask
    faces/a.png,real,id07,train,ffhq,,
    faces/b.png,fake,id07;id12,train,ffhq,swap,masks/b.png

`path` and `mask` are relative to the file's folder. `label` is real, fake, 0 (real) or 1 (fake). `group` or `groups` are
identities, several separated by ";" (in JSON Lines a list will do); `split` is train, val or test in the
usual spellings. A `path` may be a video's, of which faces are cut; `original` then names the video that a forged one was made
of, whose face boxes it is cut by. Other columns are passed over.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dfd.data.readers.row import LABEL_WORDS, SPLIT_WORDS, VIDEO_SUFFIXES, Reject, Row

SUFFIXES = (".csv", ".jsonl", ".ndjson")
_NEEDED = ("path", "label")
_WANTED = "A table needs path and label (real, fake, 0 or 1), in UTF-8."
_MAX_LINE = 1 << 20  # bytes of JSON a line


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    try:
        return "" if _tables(root) else f"{root / 'samples.csv'} or .jsonl with the columns path and label"
    except ValueError as error:
        return str(error)


def rows(root: Path) -> Iterator[Row | Reject]:
    """The lines of the one table in `root`, or of `root` itself where it is such a file.

    Raises:
        ValueError: no table, several, a missing column, or text that is not UTF-8.
    """
    tables = _tables(root)
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "none"
        raise ValueError(
            f"{root} needs one CSV or JSON Lines file with the columns path and label; found: {found}. Name the file itself."
        )
    return (_row(line, at) for at, line in read_lines(tables[0], _NEEDED))


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files = (
        sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()) if root.is_dir() else []
    )
    return [path for path in files if not missing_columns(path, _NEEDED)]


def missing_columns(path: Path, needed: Sequence[str]) -> list[str]:
    """Those of `needed`, lower-case, that a file lacks: all of them where it cannot be read."""
    columns = _columns(path)
    return [name for name in needed if name not in columns]


def _columns(path: Path) -> list[str]:
    """Of a JSON Lines file, those of its first line."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                return [_column(name) for name in next(csv.reader(file), [])]
            first = json.loads(file.readline(_MAX_LINE) or "{}")
            return [_column(name) for name in first] if isinstance(first, dict) else []
    except (UnicodeDecodeError, csv.Error, ValueError):
        return []


def _column(name: Any) -> str:
    return str(name).strip().lower()


def read_lines(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Where each line is ("list.csv:7"), and its values by lower-case column, or what is wrong with it.

    Raises:
        ValueError: a column of `needed` is missing, or the text is not UTF-8.
    """
    if missing := missing_columns(path, needed):
        raise ValueError(
            f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(_columns(path)) or 'none that can be read'}. "
            f"{_WANTED if needed == _NEEDED else 'It has to be UTF-8.'}"
        )
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from ((f"{path.name}:{number}", line) for number, line in _lines(file, path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8.") from error


def _lines(file: Any, path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Line numbers with columns by name, or with what is wrong."""
    if path.suffix.lower() == ".csv":
        reader = csv.reader(file)
        columns = [_column(name) for name in next(reader)]
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, str(error)
                continue
            if cells:
                fits = len(cells) == len(columns)
                yield (
                    reader.line_num,
                    dict(zip(columns, cells, strict=True)) if fits else f"{len(cells)} cells for {len(columns)} columns",
                )
    else:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text) if len(text) <= _MAX_LINE else f"longer than {_MAX_LINE} characters"
            except (ValueError, RecursionError) as error:
                line = f"not JSON: {error}"
            yield number, {_column(name): value for name, value in line.items()} if isinstance(line, dict) else str(line)


def _row(line: Mapping[str, Any] | str, at: str) -> Row | Reject:
    if isinstance(line, str):
        return Reject(at, line)
    path = _text(line.get("path"))
    if not path:
        return Reject(at, "no path")
    label = LABEL_WORDS.get(_text(line.get("label")).lower())
    if label is None:
        return Reject(path, f"label {line.get('label')!r} is none of real, fake, 0 (real), 1 (fake)")
    in_words = _text(line.get("label_str")).lower()  # 140K's tables have one: there 1 is real
    if in_words and LABEL_WORDS.get(in_words) != label:
        return Reject(path, f"label {line.get('label')!r} and label_str {in_words!r} contradict each other: 1 is fake here")
    split = _text(line.get("split")).lower()
    if split and split not in SPLIT_WORDS:
        meant = get_close_matches(split, SPLIT_WORDS, n=1)
        hint = f"; {meant[0]} may be meant" if meant else ""
        return Reject(path, f"split {line.get('split')!r} is none of train, val, test{hint}")
    groups = line.get("groups") or line.get("group") or ()
    listed = groups if isinstance(groups, list) else _text(groups).split(";")
    return Row(
        path=path,
        label=label,
        groups=tuple(sorted({_text(group) for group in listed} - {""})),
        split=SPLIT_WORDS.get(split),
        source=_text(line.get("source")),
        method=_text(line.get("method")),
        mask=_text(line.get("mask")) or None,
        original=_original(line, path),
    )


def _original(line: Mapping[str, Any], path: str) -> str | None:
    """Only of a video: tables of pictures have such columns with a meaning of their own."""
    return _text(line.get("original")) or None if path.lower().endswith(tuple(VIDEO_SUFFIXES)) else None


def _text(value: Any) -> str:
    """JSON's numbers as they would stand in a CSV; nothing for null."""
    if value is None or isinstance(value, (bool, dict, list, tuple)):
        return ""
    return str(value).strip()
