"""Remote roots (https://, s3://, gs://): their table of contents, and their shards as files for the cache."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from dfd.shards.cache import Cache
from dfd.shards.fetch import LIBRARIES, FetchError, Remote, is_remote, scheme_of, version
from dfd.shards.format import INDEX, SAMPLES_FILE
from dfd.shards.pattern import index_of_part, parse_root, pick_shards
from dfd.shards.sample_file import READ, SampleFile
from dfd.shards.table import open_table, told
from dfd.shards.validate import check_index

_INDEX_BYTES = 256_000_000  # a million shards' worth
_TRIES = 3


def open_root(root: str, cache: Cache) -> tuple[dict[str, Any], pa.Table]:
    """index.json and the table (columns READ) of finished shards, in a folder or at a URL; of a pattern, of
    the shards that it names.

    Raises:
        ValueError: as `open_samples`.
    """
    file = open_samples(root, cache)
    with faults(root):
        table = file.read(READ)
    if file.names is None:
        return file.index, table
    return index_of_part(file.index, pick_shards(root.rstrip("/"), file.index), table), table


def open_samples(root: str, cache: Cache) -> SampleFile:
    """The table of finished shards, in a folder or at a URL, with their index.json; neither is wholly read.

    A remote index is downloaded each time, its table once by one process of the machine: its name in the
    cache is made of the index's bytes and of what the server says of the table (ETag, time of change,
    length), so a changed one is another file.

    Raises:
        ValueError: what is wrong with a folder, as `load_table`.
        FetchError: remote ones are not there or cannot be fetched, do not belong together, or change while
            they are fetched.
    """
    if not is_remote(root):
        return open_table(Path(root))
    root, names = parse_root(root.rstrip("/"))
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
        file = _samples(root, said, index, names, cache)
        if file is None:  # replaced meanwhile
            continue
        return file
    raise FetchError(
        f"{root} changed {_TRIES} times while its table was read. Run again when its upload is finished."
    )


def _samples(
    root: str, said: bytes, index: dict[str, Any], names: list[str] | None, cache: Cache
) -> SampleFile | None:
    """None where it changes while it is fetched."""
    url = f"{root}/{SAMPLES_FILE}"
    size, token = version(url, cache.timeout, cache.patience)
    if size is None:
        raise FetchError(f"{url}: the server does not say how long it is. Serve the folder by one that does.")
    name = hashlib.sha256(b"\n".join([url.encode(), token.encode(), said])).hexdigest()
    remote = Remote(url, f"{name}.parquet", size)
    handle = cache.open(remote)
    try:
        with faults(root):
            try:
                # open, so that it can be read when the cache has removed it
                file = SampleFile(cache.place(remote), index, names)
            except (pa.ArrowException, OSError):
                cache.drop(remote)
                raise
        if version(url, cache.timeout, cache.patience) == (size, token):
            return file
    finally:
        os.close(handle)
    cache.drop(remote)
    return None


@contextmanager
def faults(root: str) -> Iterator[None]:
    """What is wrong with the table of a root, with its name and what to do."""
    if not is_remote(root):
        with told(Path(root)):
            yield
        return
    url = f"{parse_root(root.rstrip('/')).folder}/{SAMPLES_FILE}"
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise FetchError(f"{url} cannot be read ({error}). Upload the folder again.") from error
    except ValueError as error:
        raise FetchError(f"{url} is not as dfd writes it: {error}. Upload the folder again.") from error


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
