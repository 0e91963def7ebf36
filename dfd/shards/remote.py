"""Remote roots (https://, s3://, gs://): their table of contents, and their shards as files for the cache."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from dfd.shards.cache import Cache
from dfd.shards.fetch import LIBRARIES, FetchError, Remote, is_remote, scheme_of, version
from dfd.shards.format import INDEX, SAMPLES_FILE, SCHEMA
from dfd.shards.pattern import index_of_part, parse_root, pick_rows, pick_shards
from dfd.shards.table import load_table, read_index
from dfd.shards.validate import check_index, check_lines, check_size

_INDEX_BYTES = 256_000_000  # a million shards' worth
_TRIES = 3
# columns that no loader uses
UNREAD = {"mask_offset", "mask_length", "groups", "width", "height", "format", "phash"}
READ = [name for name in SCHEMA.names if name not in UNREAD]


def open_root(root: str, cache: Cache) -> tuple[dict[str, Any], pa.Table]:
    """index.json and the table (columns as in SCHEMA, without UNREAD) of finished shards, in a folder or at a
    URL; of a pattern, of the shards that it names.

    A remote index is downloaded each time, its table once by one process of the machine: its name in the
    cache is made of the index's bytes and of what the server says of the table (ETag, time of change,
    length), so a changed one is another file.

    Raises:
        ValueError: what is wrong with a folder, as `load_table`.
        FetchError: remote ones are not there or cannot be fetched, do not belong together, or change while
            they are read.
    """
    if not is_remote(root):
        return read_index(Path(root)), load_table(Path(root), READ)
    picked, (root, names) = root, parse_root(root.rstrip("/"))
    scheme_of(root)
    for _ in range(_TRIES):
        said = cache.read(f"{root}/{INDEX}", _INDEX_BYTES)
        try:
            index = json.loads(said)
            check_index(index)
        except (ValueError, RecursionError) as error:
            raise FetchError(
                f"{root}/{INDEX} is no index of shards ({error}). Upload the folder again."
            ) from error
        table = _table(root, said, index, cache)
        if table is None:  # replaced meanwhile
            continue
        if len(table) != index.get("images"):
            raise FetchError(
                f"{root}: {SAMPLES_FILE} ({len(table)} images) and {INDEX} ({index.get('images')} images) do "
                "not belong together. Upload both once more."
            )
        if names is None:
            return index, table
        table = pick_rows(table, names)
        return index_of_part(index, pick_shards(picked, index), table), table
    raise FetchError(
        f"{root} changed {_TRIES} times while its table was read. Run again when its upload is finished."
    )


def _table(root: str, said: bytes, index: dict[str, Any], cache: Cache) -> pa.Table | None:
    """None where it changes while it is read."""
    url = f"{root}/{SAMPLES_FILE}"
    size, token = version(url, cache.timeout, cache.patience)
    if size is None:
        raise FetchError(f"{url}: the server does not say how long it is. Serve the folder by one that does.")
    name = hashlib.sha256(b"\n".join([url.encode(), token.encode(), said])).hexdigest()
    remote = Remote(url, f"{name}.parquet", size)
    handle = cache.open(remote)
    try:
        check_size(cache.place(remote), index)
        table = pq.read_table(cache.place(remote), columns=_columns(cache.place(remote), url))
        check_lines(table, index, SCHEMA)
        if version(url, cache.timeout, cache.patience) == (size, token):
            return table
    except (pa.ArrowException, OSError) as error:
        cache.drop(remote)
        raise FetchError(f"{url} cannot be read ({error}). Upload the folder again.") from error
    except FetchError:
        raise
    except ValueError as error:
        raise FetchError(f"{url} is not as dfd writes it: {error}. Upload the folder again.") from error
    finally:
        os.close(handle)
    cache.drop(remote)
    return None


def _columns(path: Path, url: str) -> list[str]:
    known = pq.read_schema(path).names
    if missing := [name for name in SCHEMA.names if name not in known]:
        raise FetchError(
            f"{url} lacks the columns {', '.join(missing)}. Make it again and upload the folder."
        )
    return READ


def shards_of(root: str, index: dict[str, Any], names: Sequence[str]) -> list[Path | Remote]:
    """Where the shards of these names lie: files, or what the index says of those at a URL."""
    root = parse_root(root.rstrip("/")).folder
    if not is_remote(root):
        return [Path(root) / name for name in names]
    known = {shard["name"]: shard for shard in index["shards"]}
    web = LIBRARIES[scheme_of(root)] == "aiohttp"
    shards = []
    for name in names:
        size, digest = known[name]["bytes"], known[name]["sha256"]
        shards.append(Remote(f"{root}/{quote(name) if web else name}", f"{digest}.tar", size, digest))
    return shards


def bytes_at_once(shards: Sequence[Path | Remote], rows: int, window: int | None, in_flight: int) -> int:
    """What a loader may hold of remote shards at once: the window that is read and the one that is fetched;
    more where a window has fewer rows than the loader's processes work on. Without a window all of them.

    Args:
        rows: of all these shards.
        in_flight: rows, in their order, between the first that a process may still hold and the last that one
            has begun.
    """
    sizes = sorted((shard.bytes for shard in shards if isinstance(shard, Remote)), reverse=True)
    if window is None:
        return sum(sizes)
    return sum(sizes[: window * (2 + in_flight * len(shards) // (rows * window))])


def check_limit(cache: Cache, needed: Mapping[str, int], window: int | None) -> None:
    """Raises where the cache does not hold what the loaders of these splits read at once: split -> bytes."""
    if (total := sum(needed.values())) <= cache.limit:
        return
    parts = ", ".join(f"{split} {size / 1e9:.3g} GB" for split, size in needed.items())
    shuffled = (
        "all shards, which are shuffled together" if window is None else f"two windows of {window} shards"
    )
    raise ValueError(
        f"data.cache.gb={cache.gb:g} does not hold what is read at once of remote shards: {parts}"
        f"{f' ({shuffled})' if 'train' in needed else ''}. Set data.cache.gb={1.05 * total / 1e9:.3g} or more"
        f"{', or a smaller data.window.' if 'train' in needed else '.'}"
    )
