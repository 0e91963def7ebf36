"""Schema validation of index.json and samples.parquet: they may name files of their own folder only.

Shards come from strangers too. A table that could name any file would make dfd read files that their owner
does not mean to show, and one that claims more lines than its tars can hold would fill the memory. So each
fact that is read of them is checked first.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.batch import LABELS
from dfd.media.files import MAX_BYTES
from dfd.shards.duplicates import HASH_BITS
from dfd.shards.format import EXTENSIONS, SCHEMA, recorded_margin
from dfd.shards.splits import SPLITS

# no path, no URL, no pattern of names, nothing that a shell obeys in double quotes
_NAME = re.compile(r"""(?!\.)[^/\\:*?"<>|{};$`]{1,200}\.tar""")
_SAMPLE = 1024  # bytes that a sample takes of a tar at the least: a header and a block
_LINE = 1 << 16  # bytes that a line of the table takes at the most, on average
MAX_TEXT = 16_384  # bytes of one cell: a path has 4096 at most
_CELLS = 1000  # groups of a line, on average
_GROUPS = 1000  # row groups: pyarrow puts a million lines into one
# a text that repeats is stored once and read once a line: of tables of so many lines at most, the texts that
# are stored are looked at first; of larger ones that costs more than it saves
_LOOKED_AT_FIRST = 20_000
COLUMN = "cues"  # of samples.parquet, and what index.json calls their names; both may be missing
_MAX_CUES = 1000
LANDMARKS = "landmarks"  # what index.json says of them; it may be missing
LANDMARK_FILE = re.compile(r"landmarks-[0-9a-f]{16}\.npy")
NUM_LANDMARKS = 468  # of a face, as the mesh has them
_TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]


def is_shard_name(name: str) -> bool:
    """Whether a table may hold a shard of this name: a .tar of the folder itself. "train (1).tar" is one."""
    return name.isprintable() and _NAME.fullmatch(name) is not None


def check_index(index: Any) -> None:
    """Raises ValueError for an index.json that dfd does not write; says what of it."""
    if not isinstance(index, Mapping) or not isinstance(index.get("shards"), list):
        raise ValueError("it lists no shards")
    for shard in index["shards"]:
        facts = shard if isinstance(shard, Mapping) else {}
        name, size, digest = (facts.get(each) for each in ("name", "bytes", "sha256"))
        if not isinstance(name, str) or not is_shard_name(name):
            raise ValueError(f"a shard called {name!r:.80}: a shard is a .tar of this folder")
        if not _is_count(size) or not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"{name} without its size and sha256")
    names = [shard["name"] for shard in index["shards"]]
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    margin = recorded_margin(index)
    if margin is not None and (type(margin) not in (int, float) or not 0 < margin < math.inf):
        raise ValueError(f"faces cut at a margin of {margin!r:.80}")
    for name, fits in _FACTS.items():
        if name in index and not fits(index[name]):
            raise ValueError(f"{name} is {index[name]!r:.80}")
    for name, fits in _MADE_BY.items():
        if name in index.get("made_by", {}) and not fits(index["made_by"][name]):
            raise ValueError(f"made_by.{name} is {index['made_by'][name]!r:.80}")
    if lacking := [
        name for name in ("images", "classes", "splits", "families", "made_by") if name not in index
    ]:
        raise ValueError(f"it does not say {', '.join(lacking)}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_of_classes(value: Any) -> bool:
    return _is_counts(value) and value.keys() == set(LABELS)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_moved(value: Any) -> bool:
    names = {"family", "split", "label", "home"}
    return isinstance(value, list) and all(
        isinstance(each, dict) and each.keys() >= names and all(map(_is_text, each.values()))
        for each in value
    )


def _are_cues(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_count(value.get("version")):
        return False
    names = value.get("names")
    return (
        isinstance(names, list)
        and 0 < len(names) <= _MAX_CUES
        and all(isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100 for name in names)
        and len(set(names)) == len(names)
    )


def _are_landmarks(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("file"), str)
        and LANDMARK_FILE.fullmatch(value["file"]) is not None
        and all(_is_count(value.get(name)) for name in ("bytes", "missing"))
        and all(
            isinstance(value.get(name), str) and re.fullmatch(r"[0-9a-f]{64}", value[name])
            for name in ("sha256", "mesh")
        )
    )


# what is read of index.json, and of what it says made the shards, by its name: whether a value may be one
_FACTS: dict[str, Callable[[Any], bool]] = {
    "dfd": _is_text,
    "made": _is_text,
    "made_by": lambda value: isinstance(value, dict),
    "images": _is_count,
    "rejected": _is_count,
    "families": _is_count,
    "classes": _is_of_classes,
    "splits": lambda value: (
        isinstance(value, dict) and value.keys() == set(SPLITS) and all(map(_is_of_classes, value.values()))
    ),
    COLUMN: _are_cues,
    LANDMARKS: _are_landmarks,
    "leaks": lambda value: isinstance(value, dict) and _is_counts(value.get("counts", {})),
}
_NEEDED = ("images", "classes", "splits", "families", "made_by")
_MADE_BY: dict[str, Callable[[Any], bool]] = {
    "command": _is_text,
    "reader": _is_text,
    "source": _is_text,
    "splits_from": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "dealt": _is_counts,
    "labels": _is_counts,
    "lent": _is_moved,
    "cut": lambda value: (
        isinstance(value, dict)
        and _is_count(value.get("left_out", 0))
        and (value.get("frames") is None or _is_count(value["frames"]))
        and _is_text(value.get("face_detector", ""))
    ),
}


def check_file(path: Path, index: Mapping[str, Any]) -> None:
    """Raises ValueError, before samples.parquet is read, if it lacks a column, or claims more than the shards
    can hold, or something else than index.json.
    """
    facts, known = pq.read_metadata(path), pq.read_schema(path).names
    if missing := [name for name in SCHEMA.names if name not in known]:
        raise ValueError(f"it lacks the columns {', '.join(missing)}")
    if twice := [name for name in SCHEMA.names if known.count(name) > 1]:
        raise ValueError(f"it has the column {twice[0]} twice")
    _check_cues(path, index)
    held = sum(shard["bytes"] for shard in index["shards"])
    if facts.num_rows * _SAMPLE > held:
        raise ValueError(
            f"{facts.num_rows} lines, and shards of {held} bytes hold no more than {held // _SAMPLE} samples"
        )
    if facts.num_rows != index["images"]:
        raise ValueError(
            f"it has {facts.num_rows} lines, and index.json says {index['images']} images: they do not "
            "belong together"
        )
    if facts.num_row_groups > _GROUPS:
        raise ValueError(f"{facts.num_row_groups} row groups, more than the {_GROUPS} that are read")
    _check_groups([facts.row_group(number) for number in range(facts.num_row_groups)], facts.num_rows)
    if facts.num_rows <= _LOOKED_AT_FIRST:
        _check_stored_texts(path)


def _check_cues(path: Path, index: Mapping[str, Any]) -> None:
    """The column is there if index.json names what is in it; without names nobody reads it."""
    if COLUMN not in index:
        return
    schema, num = pq.read_schema(path), len(index[COLUMN]["names"])
    if schema.names.count(COLUMN) != 1:
        raise ValueError(f"it lacks the column {COLUMN}, whose names index.json has")
    if (found := schema.field(COLUMN).type) != pa.list_(pa.float32(), num):
        raise ValueError(f"the column {COLUMN} is {found!s:.100}, and index.json names {num} numbers")


def _check_groups(groups: Sequence[pq.RowGroupMetaData], num_rows: int) -> None:
    """What is read is what each group says of its columns, whatever the file says at its end."""
    rows = [group.num_rows for group in groups]
    if sum(rows) != num_rows or min(rows, default=0) < 0:
        raise ValueError(f"its row groups have {sum(rows)} lines, and its end says {num_rows}")
    for group in groups:
        for column in map(group.column, range(group.num_columns)):
            # of a list, its cells; of all other columns, one a line
            most = group.num_rows * (_CELLS if "." in column.path_in_schema else 1)
            if column.num_values > most:
                raise ValueError(f"{column.num_values} cells of {column.path_in_schema:.80} in {most} lines")
    size = sum(group.total_byte_size for group in groups)
    if size > num_rows * _LINE + (1 << 24):
        raise ValueError(f"{num_rows} lines that take {size} bytes")


def _check_stored_texts(path: Path) -> None:
    table = pq.read_table(path, columns=_TEXTS, read_dictionary=_TEXTS, partitioning=None)
    for name in _TEXTS:
        if pa.types.is_dictionary(table.schema.field(name).type):
            for chunk in table[name].chunks:
                _check_length(name, chunk.dictionary)


def _check_length(name: str, texts: pa.Array | pa.ChunkedArray) -> None:
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > MAX_TEXT:
        raise ValueError(f"a {name} of {longest} bytes, more than the {MAX_TEXT} that are read")


def check_lines(table: pa.Table, index: Mapping[str, Any]) -> None:
    """Raises ValueError with the first line that points outside its shard or has no clear meaning; of the
    columns that were read.
    """
    read = [field for field in SCHEMA if field.name in table.column_names]
    for field in read:
        if (found := table.schema.field(field.name).type) != field.type:
            raise ValueError(f"the column {field.name} is {found!s:.100}, not {field.type}")
    if empty := [field.name for field in read if table[field.name].null_count]:
        raise ValueError(f"the column {empty[0]} has empty cells")
    size = {shard["name"]: shard["bytes"] for shard in index["shards"]}
    shards = table["shard"].unify_dictionaries().combine_chunks()
    names = shards.dictionary.to_pylist() if len(table) else []
    if strange := [name for name in names if name not in size]:
        raise ValueError(f"a shard {strange[0]!r:.80} that index.json does not list")
    place = np.asarray(shards.indices) if names else np.zeros(0, np.int64)
    end = np.array([size[name] for name in names], np.int64)[place] if names else np.zeros(0, np.int64)
    outside = _outside(table, "offset", "length", end)
    if "mask_offset" in table.column_names:
        outside |= (np.asarray(table["mask_offset"]) >= 0) & _outside(
            table, "mask_offset", "mask_length", end
        )
    _refuse(table, outside, "its bytes do not lie in its shard")
    _refuse(table, _overlapping(table, place), "its bytes are another line's too")
    label = np.asarray(table["label"])
    _refuse(table, (label != 0) & (label != 1), "its label is neither 0 nor 1")
    _refuse(table, ~_is_in(table["split"], SPLITS), "its split is unknown")
    if "sha256" in table.column_names:
        digest = table["sha256"]
        none = (np.asarray(pc.binary_length(digest)) != 64) | ~np.asarray(pc.string_is_ascii(digest))
        _refuse(table, none, "its sha256 is none")
    if "width" in table.column_names:
        small = (np.asarray(table["width"]) < 1) | (np.asarray(table["height"]) < 1)
        _refuse(table, small, "it has no pixels")
    if "format" in table.column_names:
        _refuse(table, ~_is_in(table["format"], tuple(EXTENSIONS)), "its format is unknown")
    if "phash" in table.column_names:
        wrong = np.asarray(pc.binary_length(table["phash"])) != HASH_BITS // 8
        _refuse(table, wrong, f"its phash has not {HASH_BITS // 8} bytes")
    check_words(table)


def _is_in(column: pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    words = column.unify_dictionaries().combine_chunks()
    if not len(words):
        return np.zeros(0, bool)
    return np.array([word in known for word in words.dictionary.to_pylist()], bool)[np.asarray(words.indices)]


def _overlapping(table: pa.Table, place: np.ndarray) -> np.ndarray:
    """Lines (M,) whose picture begins before the one that lies before it in their shard ends."""
    offset, length = np.asarray(table["offset"]), np.asarray(table["length"])
    order = np.arange(len(offset))
    # dfd writes its lines in the order of their bytes
    if ((np.diff(place) == 0) & (np.diff(offset) < 0)).any() or (np.diff(place) < 0).any():
        order = np.lexsort((offset, place))
        place, offset, length = place[order], offset[order], length[order]
    found = np.zeros(len(order), bool)
    found[order[1:]] = (place[1:] == place[:-1]) & (offset[:-1] + length[:-1] > offset[1:])
    return found


def check_words(table: pa.Table) -> None:
    """Raises ValueError for a source or a method with control characters, which a terminal would obey, and
    for a text of more than MAX_TEXT bytes.
    """
    for name in ("source", "method"):
        words = pc.unique(table[name].unify_dictionaries()).to_pylist() if name in table.column_names else []
        if bad := [word for word in words if word and not word.isprintable()]:
            raise ValueError(
                f"a {name} {bad[0]!r:.100} with letters that cannot be printed. Name it otherwise"
            )
        _check_length(name, pa.array(words, pa.string()))
    for name in [name for name in _TEXTS if name in table.column_names]:
        _check_length(name, table[name])
    if "groups" in table.column_names:
        groups = pc.list_flatten(table["groups"])
        if groups.null_count:
            raise ValueError("the column groups has empty cells")
        _check_length("group", groups)


def _outside(table: pa.Table, offset: str, length: str, end: np.ndarray) -> np.ndarray:
    at, count = np.asarray(table[offset]), np.asarray(table[length])
    # without a sum, which could pass the largest number
    return (at < 0) | (count < 1) | (count > MAX_BYTES) | (at > end) | (count > end - at)


def _refuse(table: pa.Table, bad: np.ndarray, why: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        name = f"{table['key'][first].as_py()!r:.100}" if "key" in table.column_names else f"number {first}"
        raise ValueError(f"{bad.sum()} lines are wrong, first {name}: {why}")
