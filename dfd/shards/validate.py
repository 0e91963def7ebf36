"""Schema validation of index.json and samples.parquet: they may name files of their own folder only.

Shards come from strangers too. A table that could name any file would make dfd read files that their owner
does not mean to show, and one that claims more lines than its tars can hold would fill the memory.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.media.files import MAX_BYTES
from dfd.shards.format import recorded_margin
from dfd.shards.splits import SPLITS

# no path, no URL, no pattern of names, nothing that a shell obeys in double quotes
_NAME = re.compile(r"""(?!\.)[^/\\:*?"<>|{};$`]{1,200}\.tar""")
_SAMPLE = 1024  # bytes that a sample takes of a tar at the least: a header and a block
_LINE = 1 << 16  # bytes that a line of the table takes at the most, on average


def is_shard_name(name: str) -> bool:
    """Whether a table may hold a shard of this name: a .tar of the folder itself. "train (1).tar" is one."""
    return name.isprintable() and _NAME.fullmatch(name) is not None


def check_index(index: Any) -> None:
    """Raises ValueError for an index.json that dfd does not write."""
    if not isinstance(index, Mapping) or not isinstance(index.get("shards"), list):
        raise ValueError("it lists no shards")
    for shard in index["shards"]:
        facts = shard if isinstance(shard, Mapping) else {}
        name, size, digest = (facts.get(each) for each in ("name", "bytes", "sha256"))
        if not isinstance(name, str) or not is_shard_name(name):
            raise ValueError(f"a shard called {name!r:.80}: a shard is a .tar of this folder")
        if (
            not isinstance(size, int)
            or size < 0
            or not isinstance(digest, str)
            or not re.fullmatch(r"[0-9a-f]{64}", digest)
        ):
            raise ValueError(f"{name} without its size and sha256")
    names = [shard["name"] for shard in index["shards"]]
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    margin = recorded_margin(index)
    if margin is not None and (type(margin) not in (int, float) or not 0 < margin < math.inf):
        raise ValueError(f"faces cut at a margin of {margin!r:.80}")


def check_size(path: Path, index: Mapping[str, Any]) -> None:
    """Raises ValueError, before samples.parquet is read, if it claims more than the shards can hold."""
    facts = pq.read_metadata(path)
    held = sum(shard["bytes"] for shard in index["shards"])
    if facts.num_rows * _SAMPLE > held:
        raise ValueError(
            f"{facts.num_rows} lines, and shards of {held} bytes hold no more than {held // _SAMPLE} samples"
        )
    size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
    if size > facts.num_rows * _LINE + (1 << 24):
        raise ValueError(f"{facts.num_rows} lines that take {size} bytes")


def check_lines(table: pa.Table, index: Mapping[str, Any], schema: pa.Schema) -> None:
    """Raises ValueError with the first line that points outside its shard or has no clear meaning; of the
    columns that were read.
    """
    for field in schema:
        if field.name in table.column_names and table.schema.field(field.name).type != field.type:
            raise ValueError(
                f"the column {field.name} is {table.schema.field(field.name).type}, not {field.type}"
            )
    wanted = (
        "key",
        "path",
        "shard",
        "offset",
        "length",
        "mask_offset",
        "mask_length",
        "label",
        "split",
        "family",
        "sha256",
    )
    if empty := [name for name in wanted if name in table.column_names and table[name].null_count]:
        raise ValueError(f"the column {empty[0]} has empty cells")
    size = {shard["name"]: shard["bytes"] for shard in index["shards"]}
    shards = table["shard"].unify_dictionaries().combine_chunks()
    names = shards.dictionary.to_pylist() if len(table) else []
    if strange := [name for name in names if name not in size]:
        raise ValueError(f"a shard {strange[0]!r:.80} that index.json does not list")
    end = (
        np.array([size[name] for name in names], np.int64)[np.asarray(shards.indices)]
        if names
        else np.zeros(0, np.int64)
    )
    outside = _outside(table, "offset", "length", end)
    if "mask_offset" in table.column_names:
        outside |= (np.asarray(table["mask_offset"]) >= 0) & _outside(
            table, "mask_offset", "mask_length", end
        )
    _refuse(table, outside, "its bytes do not lie in its shard")
    label = np.asarray(table["label"])
    _refuse(table, (label != 0) & (label != 1), "its label is neither 0 nor 1")
    splits = table["split"].unify_dictionaries().combine_chunks()
    unknown = np.array([name not in SPLITS for name in splits.dictionary.to_pylist()], bool)
    _refuse(table, unknown[np.asarray(splits.indices)], "its split is unknown")
    check_words(table)


def check_words(table: pa.Table) -> None:
    """Raises ValueError for a source or a method with control characters, which a terminal would obey."""
    for name in ("source", "method"):
        words = pc.unique(table[name].unify_dictionaries()).to_pylist() if name in table.column_names else []
        if bad := [word for word in words if word and not word.isprintable()]:
            raise ValueError(
                f"a {name} {bad[0]!r:.100} with letters that cannot be printed. Name it otherwise"
            )


def _outside(table: pa.Table, offset: str, length: str, end: np.ndarray) -> np.ndarray:
    at, count = np.asarray(table[offset]), np.asarray(table[length])
    # without a sum, which could pass the largest number
    return (at < 0) | (count < 1) | (count > MAX_BYTES) | (at > end) | (count > end - at)


def _refuse(table: pa.Table, bad: np.ndarray, why: str) -> None:
    if bad.any():
        key = table["key"][int(bad.argmax())].as_py()
        raise ValueError(f"{bad.sum()} lines are wrong, first {key!r:.100}: {why}")
