"""Brace patterns: FOLDER/train-{000000..000123}.tar names some shards of a root instead of all.

The table is still the folder's samples.parquet and index.json; only the lines of the named shards count.
"""

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from braceexpand import braceexpand

from dfd.shards.fetch import is_remote
from dfd.shards.format import totals

_MAX_SHARDS = 1_000_000
_FORM = "A pattern is FOLDER/train-{000000..000123}.tar or FOLDER/{train,val}-{000000..000123}.tar."


class Root(NamedTuple):
    """What somebody named as a root."""

    folder: str  # or URL
    shards: list[str] | None = None  # file names; None means all shards of the folder


def parse_root(root: str | Path) -> Root:
    """The folder or URL of a root, and the shards that it names where it is a pattern or a single .tar.

    Raises:
        ValueError: a pattern that cannot be read, or that names shards of several folders.
    """
    text = str(root)
    if ("{" not in text and not text.endswith(".tar")) or (not is_remote(text) and Path(text).is_dir()):
        return Root(text)
    paths = _expand(text)
    if other := [path for path in paths if not path.endswith(".tar")]:
        raise ValueError(f"{text}: {other[0]} is no .tar and no folder. {_FORM}")
    folders = list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
    if len(folders) > 1:
        raise ValueError(
            f"{text} names shards of {len(folders)} folders, first {folders[0]} and {folders[1]}. A root is "
            "one folder with its table: name one pattern a folder."
        )
    names = list(dict.fromkeys(path.rpartition("/")[2] for path in paths))
    return Root(folders[0] or ("/" if text.startswith("/") else "."), names)


def pick_shards(root: str | Path, index: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What index.json lists of the shards that a root names.

    Raises:
        ValueError: one of them is not listed.
    """
    folder, names = parse_root(root)
    known = {shard["name"]: shard for shard in index["shards"]}
    if names is None:
        return list(known.values())
    if missing := [name for name in names if name not in known]:
        held = f"{min(known)} to {max(known)}" if known else "none"
        raise ValueError(
            f"{root}: {missing[0]} is not there ({len(missing)} of {len(names)} shards are missing). "
            f"{folder} holds {len(known)} shards, {held}. Correct the pattern."
        )
    return [known[name] for name in names]


def pick_rows(table: pa.Table, names: list[str]) -> pa.Table:
    """The lines of a samples.parquet that lie in these shards."""
    table = table.filter(pc.is_in(table["shard"], value_set=pa.array(names, pa.string())))
    # the filter keeps the names of the other shards in the column's dictionary
    column, field = table.column_names.index("shard"), table.schema.field("shard")
    return table.set_column(column, field, table["shard"].cast(pa.string()).cast(field.type))


def index_of_part(index: Mapping[str, Any], shards: list[dict[str, Any]], table: pa.Table) -> dict[str, Any]:
    """index.json as if these were all shards of the folder; `table` holds their lines."""
    return {**index, **totals(table), "shards": shards}


def _expand(text: str) -> list[str]:
    for first, last in re.findall(r"\{(-?\d+)\.\.(-?\d+)", text):
        if abs(int(last) - int(first)) >= _MAX_SHARDS:
            raise ValueError(f"{text}: {{{first}..{last}}} is more than a million shards. {_FORM}")
    # with braces in braces a short text can stand for more names than the memory holds
    if re.search(r"\{[^}]*\{", text):
        raise ValueError(f"{text}: braces within braces. {_FORM}")
    try:
        paths = list(islice(braceexpand(text, escape=False), _MAX_SHARDS + 1))
    except ValueError as error:
        raise ValueError(f"{text}: its braces do not match. {_FORM}") from error
    if len(paths) > _MAX_SHARDS:
        raise ValueError(f"{text} names more than a million shards. {_FORM}")
    return paths
