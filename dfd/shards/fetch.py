"""Download of whole files from object stores and web servers, by fsspec: time-outs, retries, checksums."""

import asyncio
import errno
import hashlib
import logging
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from dfd.durable import explain_os_error

# scheme -> what fsspec needs for it
LIBRARIES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs"}
DELIVERIES = 3  # damaged ones of a file before it counts as damaged where it lies
LONGEST_PAUSE = 30.0  # seconds between two attempts
_POLL = 0.05  # seconds between two looks at a transfer
_SAID_AT = 4  # attempts after which it is said why nothing happens
# not `random`, whose seed all ranks share, and which a run's results may depend on
rng = random.SystemRandom()
_log = logging.getLogger(__name__)
_VERSION = (
    "ETag",
    "etag",
    "Last-Modified",
    "LastModified",
    "Content-MD5",
    "md5Hash",
    "generation",
    "mtime",
    "size",
)


class FetchError(ValueError):
    """A remote file could not be fetched; the text names its URL, the reason and what to do."""


class _Damaged(Exception):
    """The bytes that came are not those of the file."""


class _Permanent(Exception):
    """Its cause is an error that further attempts do not change."""


@dataclass(frozen=True)
class Remote:
    """A remote file."""

    url: str
    name: str  # in the cache, after its content: changed bytes are another file
    bytes: int
    sha256: str | None = None  # hex; None where it is not known

    def __str__(self) -> str:
        return self.url


def is_remote(root: str) -> bool:
    return "://" in str(root)


def scheme_of(url: str) -> str:
    """Of a URL whose files can be fetched.

    Raises:
        ValueError: another scheme, or a URL with a query.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in LIBRARIES:
        raise ValueError(
            f"{url}: remote roots begin with {', '.join(f'{known}://' for known in LIBRARIES)}, not "
            f"{scheme}://."
        )
    if LIBRARIES[scheme] == "aiohttp" and any(sign in rest for sign in "?#"):
        raise ValueError(
            f"{url}: a root is a folder, so its URL has no '?' or '#': the names of its files are put behind "
            "it."
        )
    return scheme


def fetch(
    url: str,
    part: Path,
    timeout: float,
    patience: float,
    limit: int,
    num_bytes: int | None = None,
    sha256: str | None = None,
) -> None:
    """Downloads the file at `url` into `part`, with retries, each from the beginning.

    Args:
        timeout: seconds without a byte after which an attempt is given up.
        patience: seconds after which no further attempt begins; 0 makes one. Between attempts lie random
            pauses that double (full jitter), so that the ranks of a cluster do not come back all at once.
        limit: bytes that the file may have; the download of a longer one ends there.
        num_bytes, sha256: what it must have, where that is known.

    Raises:
        FetchError: it is not there, it may not be read, its bytes are wrong, or it did not come within
            `patience`.
        OSError: the disk is full or cannot be written, in words.
    """

    def attempt() -> None:
        try:
            _download(url, part, timeout, limit)
            _check(part, num_bytes, sha256)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise _Permanent from explain_os_error(error, part.parent)
            raise

    _with_retries(url, attempt, patience)


def version(url: str, timeout: float, patience: float) -> tuple[int | None, str]:
    """Size in bytes of the file at `url`, None where the server does not say, and a text that changes with
    its content: ETag, time of change, length.

    Raises:
        FetchError: as `fetch`.
    """

    def attempt() -> tuple[int | None, str]:
        facts = _run(url, lambda system, path: system._info(path), timeout)
        return facts.get("size"), " ".join(
            str(facts[name]) for name in _VERSION if facts.get(name) is not None
        )

    return _with_retries(url, attempt, patience)


def _with_retries(url: str, attempt: Callable[[], Any], patience: float) -> Any:
    begin, damaged = time.monotonic(), 0
    for tries in count(1):
        try:
            return attempt()
        except _Permanent as error:
            raise error.__cause__ from None  # ty: ignore[invalid-raise]
        except Exception as error:
            # fsspec calls whatever a web server answers to HEAD and GET "not found"; the cause is the answer
            cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
            _raise_if_permanent(url, cause)
            damaged += isinstance(cause, _Damaged)
            if damaged == DELIVERIES:
                raise FetchError(
                    f"{url}: {cause}, {DELIVERIES} times. It was damaged or replaced after its table was "
                    "made: upload shards, samples.parquet and index.json of the folder once more."
                ) from error
            pause = rng.uniform(0, min(LONGEST_PAUSE, 2.0 ** (tries - 1)))
            waited = time.monotonic() - begin
            if waited + pause > patience:
                raise FetchError(
                    f"{url} could not be fetched in {tries} attempts over {waited:.0f} s: {_reason(cause)}. "
                    "Is the server up and the network there? data.cache.patience says for how many seconds "
                    "to go on trying."
                ) from error
            if tries == _SAID_AT:
                _log.warning("%s: %s; trying again for up to %.0f s", url, _reason(cause), patience)
            time.sleep(pause)


def _download(url: str, part: Path, timeout: float, limit: int) -> None:
    part.write_bytes(b"")  # nothing of an earlier attempt counts

    def arrived() -> int:
        size = part.stat().st_size
        if size > limit:
            raise _Damaged(f"more than {limit} bytes came")
        return size

    _run(url, lambda system, path: system._get_file(path, str(part)), timeout, arrived)
    arrived()


def _run(
    url: str, work: Callable[[Any, str], Coroutine], timeout: float, progress: Callable[[], int] = lambda: 0
) -> Any:
    """The result of `work(file system, path)`, unless `progress()` stands still for `timeout` seconds.

    Loop, session and connections live as long as this call. fsspec would keep them for the process, and a
    fork's two sides would share the epoll behind them: when the child closes what it inherited, the parent
    gets no more events of its own connections.
    """

    async def watched() -> Any:
        system = _system(url, timeout)
        task = asyncio.ensure_future(work(system, system._strip_protocol(url)))
        seen, since = progress(), time.monotonic()
        try:
            while not (await asyncio.wait([task], timeout=_POLL))[0]:
                if (now := progress()) != seen:
                    seen, since = now, time.monotonic()
                if time.monotonic() - since > timeout:
                    raise TimeoutError(f"no byte came for {timeout:g} s, after {seen}")
            return task.result()
        finally:
            task.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await task
            with suppress(Exception):  # errors are the task's to raise
                session = await (
                    system.set_session() if hasattr(system, "set_session") else system._set_session()
                )
                await session.close()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(watched())
    with ThreadPoolExecutor(1) as thread:  # in a notebook a loop runs already
        return thread.submit(asyncio.run, watched()).result()


def _system(url: str, timeout: float) -> Any:
    """fsspec's file system for `url`, of this call alone."""
    scheme = scheme_of(url)
    options: dict[str, Any] = {"asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
    try:
        import fsspec

        if LIBRARIES[scheme] == "aiohttp":
            import aiohttp

            # aiohttp's own limit of five minutes a file would cut large shards on slow lines
            options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=timeout)}
        elif scheme == "s3":
            options["max_concurrency"] = 1  # one request a file; several files are fetched at once as it is
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise FetchError(
            f"{url}: {scheme}:// needs the package {LIBRARIES[scheme]} ({error}). "
            + (f"`pip install {LIBRARIES[scheme]}`." if scheme == "gs" else "`pip install 'dfd[remote]'`.")
        ) from error


def _check(part: Path, num_bytes: int | None, sha256: str | None) -> None:
    size = part.stat().st_size
    if num_bytes is not None and size != num_bytes:
        raise _Damaged(f"{size} of {num_bytes} bytes came")
    if sha256 is not None:
        with open(part, "rb") as file:
            found = _sha256(file)
        if found != sha256:
            raise _Damaged(f"its sha256 is {found[:16]}... instead of {sha256[:16]}...")


def _sha256(file: Any) -> str:
    digest, block = hashlib.sha256(), bytearray(1 << 20)
    while size := file.readinto(block):
        digest.update(memoryview(block)[:size])
    return digest.hexdigest()


def _raise_if_permanent(url: str, error: BaseException) -> None:
    """Raises FetchError for an error that further attempts do not change."""
    if isinstance(error, FetchError):
        raise error
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        raise FetchError(
            f"{url} is not there. Is it spelt right, and was all of the folder uploaded that `dfd prepare` "
            "made?"
        ) from error
    if (
        isinstance(error, PermissionError)
        or status in (401, 403)
        or type(error).__name__ == "NoCredentialsError"
    ):
        raise FetchError(
            f"{url} may not be read ({_reason(error)}). Credentials come from where the store's own tools "
            "look for them; for an open bucket set FSSPEC_S3_ANON=true (gs: FSSPEC_GS_TOKEN=anon)."
        ) from error
    if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
        raise FetchError(f"{url} was refused: {_reason(error)}.") from error


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of aiohttp, gcsfs or botocore."""
    answer = getattr(error, "response", None)
    said = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
    found = said or getattr(error, "status", None) or getattr(error, "code", None)
    return found if isinstance(found, int) else None


def _reason(error: BaseException) -> str:
    if getattr(error, "status", None):  # aiohttp's own text repeats the URL
        return f"HTTP {error.status} {getattr(error, 'message', '')}".strip()
    text = (str(error) or type(error).__name__).splitlines()[0]
    return (
        text.rstrip(".")
        if isinstance(error, (OSError, _Damaged))
        else f"{type(error).__name__}: {text}".rstrip(".")
    )
