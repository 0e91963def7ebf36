"""Download of a released detector's files: mirrors in turn, resumed, checked before they have their names.

By the standard library alone, so that whoever may score may fetch, without the packages of remote shards.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from urllib.parse import urljoin

from dfd import __version__
from dfd.durable import explain_os_error, sha256_of, sync
from dfd.released.entry import ListedFile
from dfd.shards.fetch import is_remote

TIMEOUT = 30.0  # seconds without a byte
ROUNDS = 3  # times that each mirror is asked
PAUSE = 2.0  # seconds between rounds, at random and doubled
UNFINISHED = ".unfinished"
_BLOCK = 1 << 18
_PASSING = (408, 425, 429)  # answers of 400 to 499 that may be others a little later


class _Wrong(Exception):
    """Asking this mirror again changes nothing."""


class _NotWritten(Exception):
    """Its cause is an error of the disk here."""


def fetch_file(
    file: ListedFile,
    folder: Path,
    base: str,
    say: Callable[[str], None],
    timeout: float = TIMEOUT,
    rounds: int = ROUNDS,
) -> None:
    """Downloads a file into a folder. It takes its name once its sha256 is right; until then it is
    NAME.SHA256.unfinished, from whose end a later call goes on.

    Args:
        base: the list's place, beside which mirrors without an address lie.
        say: told a line where something is worth knowing.
        timeout: seconds without a byte after which a mirror is left.
        rounds: how often each mirror is asked.

    Raises:
        ValueError: no mirror gave it; says why of each.
        OSError: the disk is full or cannot be written, in words.
    """
    part = folder / f"{file.name}.{file.sha256[:16]}{UNFINISHED}"
    asked = [place_of(mirror, base) for mirror in file.mirrors]
    failed: dict[str, str] = {}
    left = list(asked)
    for number in range(rounds):
        if number and left:
            time.sleep(random.SystemRandom().uniform(0.1, PAUSE * 2 ** (number - 1)))
        for place in list(left):
            try:
                _fetch_from(place, file, part, say, timeout)
                sync(part)
                os.replace(part, folder / file.name)
                return
            except _NotWritten as error:
                raise explain_os_error(error.__cause__, folder) from error.__cause__
            except _Wrong as error:
                left.remove(place)
                failed[place] = str(error)
            except (OSError, http.client.HTTPException) as error:
                failed[place] = _reason(error)
            say(f"{place}: {failed[place]}")
    why = "; ".join(f"{place}: {reason}" for place, reason in failed.items())
    came = part.stat().st_size if part.exists() else 0
    goes_on = (
        f" {came} of {file.bytes} bytes are here, and the same command goes on from there." if came else ""
    )
    raise ValueError(f"{file.name} could not be fetched. {why}.{goes_on} Is the network there?")


def read_small(place: str, limit: int, timeout: float = TIMEOUT) -> bytes:
    """The bytes of a small file at a path or an address.

    Raises:
        ValueError: it is not there, cannot be read, or is longer than `limit`.
    """
    try:
        with _opened(place, 0, timeout) as (stream, _, _):
            data = stream.read(limit + 1)
    except _Wrong as error:
        raise ValueError(f"{place}: {error}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{place} cannot be read: {_reason(error)}.") from error
    if len(data) > limit:
        raise ValueError(f"{place} is longer than {limit} bytes, which is more than is read of such a file.")
    return data


def place_of(mirror: str, base: str) -> str:
    """The path or address of a mirror, which may be a name beside the list.

    Raises:
        ValueError: an address of another kind.
    """
    if is_remote(mirror):
        return _web(mirror)
    if is_remote(base) and not Path(mirror).is_absolute():
        return urljoin(base, mirror)
    return str(Path(base).parent / mirror)


def _web(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url}: files are fetched from https:// and http:// addresses, and from paths.")
    return url


def _fetch_from(place: str, file: ListedFile, part: Path, say: Callable[[str], None], timeout: float) -> None:
    """Fills `part` up to the whole file from one mirror."""
    for _ in range(2):  # again from the beginning where what lay here was not of this file
        begin = part.stat().st_size if part.exists() else 0
        if begin > file.bytes:
            begin = 0
        if begin and begin < file.bytes:
            say(f"{file.name}: goes on at {begin} of {file.bytes} bytes")
        if begin < file.bytes:
            _append(place, file, part, begin, timeout)
        if (size := part.stat().st_size) < file.bytes:
            raise ConnectionError(f"the connection ended after {size} of {file.bytes} bytes")
        if (found := sha256_of(part)) == file.sha256:
            return
        part.unlink()
        if not begin:
            raise _Wrong(
                f"other bytes than the list's: their sha256 is {found[:12]}..., not {file.sha256[:12]}..."
            )
    raise _Wrong("other bytes than the list's")


def _append(place: str, file: ListedFile, part: Path, begin: int, timeout: float) -> None:
    with _opened(place, begin, timeout) as (stream, start, total):
        if total is not None and total != file.bytes:
            raise _Wrong(f"{total} bytes, where the list says {file.bytes}")
        with _written(part, start) as write:
            size = start
            while block := stream.read1(_BLOCK):
                size += len(block)
                if size > file.bytes:
                    raise _Wrong(f"more than the {file.bytes} bytes that the list says")
                write(block)


@contextmanager
def _written(part: Path, start: int) -> Iterator[Callable[[bytes], None]]:
    """Writes behind the first `start` bytes of a file."""
    try:
        out = open(part, "r+b") if part.exists() else open(part, "wb")  # noqa: SIM115  closed below
        if os.fstat(out.fileno()).st_size > start:
            out.truncate(start)
        out.seek(start)
    except OSError as error:
        raise _NotWritten from error

    def write(block: bytes) -> None:
        try:
            out.write(block)
        except OSError as error:
            raise _NotWritten from error

    try:
        yield write
    finally:
        try:
            out.close()
        except OSError as error:  # a full disk, once more
            raise _NotWritten from error


@contextmanager
def _opened(place: str, begin: int, timeout: float) -> Iterator[tuple[BufferedIOBase, int, int | None]]:
    """A stream of the bytes from `begin` on, or from where it says; and how many the whole file has, None
    where that is not said.
    """
    if not is_remote(place):
        try:
            file = open(place, "rb")  # noqa: SIM115  closed below
            total = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise _Wrong(error.strerror or str(error)) from error
        with file:
            file.seek(min(begin, total))
            yield file, min(begin, total), total
        return
    headers = {"User-Agent": f"dfd/{__version__}", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(_web(place), headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and begin:  # it has fewer bytes
            raise _Wrong(f"fewer than {begin} bytes") from error
        if 400 <= error.code < 500 and error.code not in _PASSING:
            raise _Wrong(f"HTTP {error.code} {error.reason}") from error
        raise ConnectionError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            why = error.reason.verify_message
            raise _Wrong(f"its certificate is not to be trusted: {why}") from error
        raise
    with answer:
        if answer.status != 206:
            length = answer.headers.get("Content-Length", "")
            yield answer, 0, int(length) if length.isdecimal() else None
            return
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not said or int(said[1]) != begin:
            raise _Wrong("an answer for another range than was asked for")
        yield answer, begin, int(said[2]) if said[2] != "*" else None


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None)
    cause = cause if isinstance(cause, BaseException) else error
    if isinstance(cause, TimeoutError):
        return "no byte came in time"
    return (
        (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).splitlines()[0].rstrip(".")
    )
