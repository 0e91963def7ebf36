"""CSV and JSON Lines: the lines of a table by column, each with its number; none is lost without an error.

A CSV's cells are separated by commas, semicolons or tabs, whichever its first line has most of. The text is
UTF-8, or UTF-16 with its mark at the beginning, as spreadsheets write it.
"""

import codecs
import csv
import json
import logging
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from dfd.media.file_kinds import file_kind
from dfd.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from dfd.prepare.readers.row import meant

_log = logging.getLogger(__name__)
JSON_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (".csv", ".tsv", *JSON_SUFFIXES)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MAX_LINE = 1 << 20  # characters of JSON, or of a CSV's first line
_ALSO_CALLED = {  # what other people's tables call these columns
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("target", "class", "y", "is_fake"),
}
_NO_OBJECT = "not an object with path and label"


def missing_columns(path: Path, needed: Sequence[str]) -> list[str]:
    """Those of `needed`, lower-case, that a file lacks: all of them where it cannot be read."""
    try:
        columns = _columns(path)
    except ValueError:
        return list(needed)
    return [name for name in needed if name not in columns]


def why_unusable(path: Path, needed: Sequence[str]) -> str:
    """What keeps a file from being read as a table with these columns, as words to follow its name; "" for
    nothing.
    """
    if (kind := file_kind(path)) and kind.way:
        return f"is {kind.name}: {kind.way.replace('FILE', shlex.quote(str(path)))}"
    try:
        columns = _columns(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path} ")
    if _is_array(path):
        lines = "[print(json.dumps(each)) for each in json.load(open(sys.argv[1]))]"
        return (
            "is one JSON array; needed is an object a line: "
            f'python -c "import json, sys; {lines}" {shlex.quote(str(path))} > NEW.jsonl'
        )
    missing = [name for name in needed if name not in columns]
    if not missing:
        return ""
    others = [name for name in columns if name not in needed]
    near = {name: _meant_for(name, others) for name in missing}
    hints = [f"Is {column} meant for {name}? " for name, column in near.items() if column]
    way = _header_way(path, columns, near) if missing else ""
    return (
        f"lacks the column {' and '.join(missing)}; it has "
        f"{', '.join(filter(None, columns)) or 'none that can be read'}. {''.join(hints)}It needs the "
        f"columns {', '.join(needed[:-1])} and {needed[-1]}: {way or 'rename those that stand for them'}."
    )


def _header_way(path: Path, columns: Sequence[str], near: Mapping[str, str]) -> str:
    """A command that gives a CSV the columns that it lacks; "" where it is not known.

    Args:
        near: the column that stands for each one that is missing, "" for none.
    """
    if _is_json(path):
        return ""
    file = shlex.quote(str(path))
    if len(columns) == 1 and _names_file(columns[0].rpartition(" ")[0]):
        cells = r"sed 's/ \([^ ]*\)$/,\1/'"
        return f"its cells are separated by blanks. By commas: (echo path,label; {cells} {file}) > NEW.csv"
    if len(columns) == 1 and {"path", "label"} <= set(columns[0].split("|")):
        return f"its cells are separated by |. By commas: tr '|' , < {file} > NEW.csv"
    if any(map(_names_file, columns)):
        return f"its first line lists a file. Put them above it: (echo path,label; cat {file}) > NEW.csv"
    if "is_real" in columns and list(near) == ["label"]:
        return f"sed '1s/is_real/label/' {file} > NEW.csv, and then --real 1 --fake 0"
    # they go into a command that people copy
    if all(column and re.fullmatch(r"\w+", column) for column in near.values()):
        renaming = ";".join(f"1s/{column}/{name}/i" for name, column in near.items())
        return f"rename those that stand for them: sed '{renaming}' {file} > NEW.csv"
    return ""


def _names_file(cell: str) -> bool:
    return os.path.splitext(cell)[1] in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _is_array(path: Path) -> bool:
    if not _is_json(path):
        return False
    with _opened(path) as file:
        text = file.read(4096).lstrip()
    # a line that is an array of its own is a bad line
    return text.startswith("[") and (text.rstrip() == "[" or "{" in text.partition("]")[0])


def _meant_for(name: str, columns: Sequence[str]) -> str:
    """Which column may be the one of that name, misspelt or under another name; "" for none."""
    called = (column for column in columns if column in _ALSO_CALLED.get(name, ()))
    return meant(name, columns) or next(called, "")


def read_lines(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Where each line is ("list.csv:7"), and its values by lower-case column, or what is wrong with it.

    Raises:
        ValueError: a column of `needed` is missing, one comes twice, a cell goes over several lines, or the
            text is not UTF-8.
    """
    if why := why_unusable(path, needed):
        raise ValueError(f"{path} {why}")
    try:
        with _opened(path) as file:
            yield from ((f"{path.name}:{number}", line) for number, line in _lines(file, path))
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error


def _opened(path: Path) -> TextIO:
    return open(path, encoding=_encoding(path), newline="")


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _not_utf8(path: Path) -> ValueError:
    data = path.read_bytes()
    encoding = _encoding(path)
    try:
        data.decode(encoding)
    except (
        UnicodeDecodeError
    ) as error:  # of the whole: a reading file counts bytes from the block that it reads
        if encoding == "utf-16":
            return ValueError(f"{path} is no whole UTF-16 ({error.reason}). Save it as UTF-8.")
        line = data.count(b"\n", 0, error.start) + 1
        return ValueError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}, line {line}). Save it as UTF-8; of "
            f"Windows it is often CP1252: iconv -f CP1252 -t UTF-8 {shlex.quote(str(path))} > NEW.csv"
        )
    return ValueError(f"{path} changed while it was read. Run the same command again.")


def _columns(path: Path) -> list[str]:
    """Of a JSON Lines file, those of its first object.

    Raises:
        ValueError: the text is not UTF-8, or a CSV's first line goes over several.
    """
    try:
        with _opened(path) as file:
            if _is_json(path):
                objects = (line for _, line in islice(_objects(file), 100) if not isinstance(line, str))
                return list(next(objects, {}))
            cells = next(_records(file, path, _delimiter(file)), (1, []))[1]
            return [_column(name) for name in cells] if isinstance(cells, list) else []
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error


def _is_json(path: Path) -> bool:
    return path.suffix.lower() in (*JSON_SUFFIXES, ".json")


def _column(name: Any) -> str:
    return str(name).strip().lower()


def _lines(file: TextIO, path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Line numbers with columns by name, or with what is wrong."""
    if _is_json(path):
        yield from _objects(file)
        return
    delimiter = _delimiter(file)
    if delimiter != ",":
        _log.info("%s: its columns are separated by %s", path, _DELIMITERS[delimiter])
    records = _records(file, path, delimiter)
    columns = [_column(name) for name in next(records)[1]]
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise ValueError(
            f"{path}: the column {twice[0]} comes twice, and which one counts is not known. Rename one of "
            "them."
        )
    for number, cells in records:
        if isinstance(cells, str):
            yield number, cells
        elif len(cells) != len(columns):
            yield number, f"{len(cells)} cells for {len(columns)} columns"
        else:
            yield number, dict(zip(columns, cells, strict=True))


def _delimiter(file: TextIO) -> str:
    """The one that the first line has most of; commas where there are as many of them. The file is back at
    its start.
    """
    first = file.readline(_MAX_LINE)
    file.seek(0)
    return max(_DELIMITERS, key=first.count)


def _records(file: TextIO, path: Path, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The cells of each line that is not empty, or what is wrong with it."""
    reader, number = csv.reader(file, delimiter=delimiter), 0
    while True:
        cells: list[str] | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = str(error)
        first, number = number + 1, reader.line_num
        if number > first:  # two stray quotes make one cell of all that is between them
            raise ValueError(
                f"{path}: a quote opened in line {first} closes in line {number}, and all between them would "
                "be one cell. Remove the stray quote: a cell may hold no line break."
            )
        if cells:
            yield number, cells


def _objects(file: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """The JSON object of each line that is not blank, or what is wrong with it."""
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        if len(text) > _MAX_LINE:
            yield number, f"longer than {_MAX_LINE} characters"
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield (
            number,
            {_column(name): value for name, value in line.items()} if isinstance(line, dict) else _NO_OBJECT,
        )
