"""Cache of downloaded shards: a folder with a size limit, shared by all processes of a machine.

The cache takes only what it wrote: files of its own pattern of names, in a folder that it made or found
empty, and marked with a CACHEDIR.TAG. Any other folder it refuses, and what else lies in its own is never
counted, read or removed.

A file is named after its content and gets its name only when it is whole. Processes that read or write it
hold a lock on it (flock, which ends with its process, after kill -9 too). An unlocked file is unused: an
unlocked temporary file is a leftover of a killed process, an unlocked whole file may be removed to make room.
Room is reserved before a download begins.

filelock has no such lock: the descriptor that a sample is read from is the lock, shared by all readers, and
the loader workers inherit it.
"""

import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dfd.durable import check_replaceable, explain_os_error, make_folder, meant_name, sync
from dfd.locks import NO_LOCKS, flock, try_flock
from dfd.outputs import output_file
from dfd.shards.fetch import FetchError, Remote, fetch, rng
from dfd.terminal import printable

# temporary files are `<name>.<bytes>.part`: the bytes are room that is taken, however many have come
_TEMPORARY = ".part"
_WHOLE_NAME = re.compile(r"[0-9a-f]{64}\.(tar|parquet)")
_PART_NAME = re.compile(rf"{_WHOLE_NAME.pattern}\.(?P<bytes>[0-9]+){re.escape(_TEMPORARY)}")
_LOCK, TAG = ".lock", "CACHEDIR.TAG"
# backup programs know the first line (bford.info/cachedir), and this cache itself the second
TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Shards that dfd has downloaded. It removes them as it needs room, and never any other file.\n"
)


@dataclass(frozen=True)
class Cache:
    """Where this machine keeps the shards of remote roots.

    Args:
        folder: on a disk of this machine, a new or an empty one; by default below the cache folder
            ($DFD_CACHE or ~/.cache/dfd).
        gb: limit on all of its files together, unfinished downloads included, in 10^9 bytes.
        timeout: seconds without a byte after which a download starts again.
        patience: seconds for which a failed download is repeated, with growing pauses.
    """

    folder: str | None = None
    gb: float = 50.0
    timeout: float = 30.0
    patience: float = 300.0

    def __post_init__(self):
        if not self.gb > 0 or not self.timeout > 0 or self.patience < 0:
            raise ValueError(
                f"data.cache: gb={self.gb} and timeout={self.timeout} must be above 0, "
                f"patience={self.patience} at least 0."
            )

    @property
    def path(self) -> Path:
        return Path(
            self.folder or Path(os.environ.get("DFD_CACHE") or Path.home() / ".cache" / "dfd") / "remote"
        ).expanduser()

    @property
    def limit(self) -> int:
        """In bytes."""
        return round(self.gb * 1e9)

    def read(self, url: str, limit: int) -> bytes:
        """A small file of at most `limit` bytes, downloaded each time."""
        with tempfile.TemporaryDirectory(prefix="dfd-") as folder:
            part = Path(folder) / "file"
            fetch(url, part, self.timeout, self.patience, limit)
            return part.read_bytes()

    def open(
        self, remote: Remote, keep: Container[str] = (), let_go: Callable[[], None] = lambda: None
    ) -> int:
        """A descriptor of the file, which is downloaded if it is missing; an open file is not removed.

        Args:
            keep: names of files that are removed last to make room for this one.
            let_go: closes the files that the caller holds open; called when there is no room, since two
                processes that wait for each other's files would wait for ever.

        Raises:
            FetchError: it cannot be fetched (as `fetch`), or there was no room for it for `patience` seconds.
        """
        waiting = None
        while True:
            if (handle := self._opened(remote)) is not None:
                return handle
            state = self._fetch(remote, keep, self.patience, may_remove_kept=True)
            if state == "full":
                let_go()
                waiting = waiting or time.monotonic()
                if time.monotonic() - waiting > self.patience:
                    raise FetchError(
                        f"no room for {remote} ({remote.bytes / 1e9:.2f} GB): all {self.gb:g} GB of "
                        f"{self.path} are being "
                        "read or fetched by other processes. Raise data.cache.gb, or lower data.window."
                    )
            if state != "here":
                time.sleep(rng.uniform(0.01, 0.1))

    def fetch_ahead(self, remote: Remote, keep: Container[str]) -> bool:
        """Whether the file is in the cache, after one attempt to download it unless another process does;
        no file of `keep` is removed.
        """
        if _is_file(self.place(remote)):
            return True
        with suppress(FetchError, OSError):  # `open` tries again, and says what is wrong
            return self._fetch(remote, keep, 0.0, may_remove_kept=False) == "here"
        return False

    def place(self, remote: Remote) -> Path:
        """Where the file lies, or will lie."""
        assert _WHOLE_NAME.fullmatch(remote.name), f"{remote.name}: files are named after their content"
        return self.path / remote.name

    def drop(self, remote: Remote) -> None:
        """Removes the file; processes that read it can finish."""
        if _is_file(self.place(remote)):
            self.place(remote).unlink(missing_ok=True)

    def _opened(self, remote: Remote) -> int | None:
        path = self.place(remote)
        if not _is_file(path):
            return None
        self._check_ours()
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        flock(handle, shared=True)
        if not _is_at(path, handle):  # removed between our opening and our locking it
            os.close(handle)
            return None
        if os.fstat(handle).st_size != remote.bytes:  # cut by another program
            self.drop(remote)
            os.close(handle)
            return None
        # The least recently used file is removed first. atime is not kept everywhere, and the kernel's own
        # file times stand still for milliseconds.
        now = time.time_ns()
        with suppress(PermissionError):  # another user's file
            os.utime(handle, ns=(now, now))
        return handle

    def _fetch(self, remote: Remote, keep: Container[str], patience: float, may_remove_kept: bool) -> str:
        """ "here" when it is downloaded, "busy" while another process downloads it, "full" without room."""
        with self._alone():
            state, handle = self._claim(remote, keep, may_remove_kept)
        if handle is None:
            return state
        part = self._part(remote)
        try:
            fetch(remote.url, part, self.timeout, patience, remote.bytes, remote.bytes, remote.sha256)
            sync(part)
            with self._alone():  # else another process that lists the folder could miss both of its names
                os.replace(part, self.place(remote))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return "here"

    def _part(self, remote: Remote) -> Path:
        return self.place(remote).with_name(f"{remote.name}.{remote.bytes}{_TEMPORARY}")

    def _claim(self, remote: Remote, keep: Container[str], may_remove_kept: bool) -> tuple[str, int | None]:
        """A state as `_fetch` returns it; if this process is to download the file, "fetching" and a locked
        descriptor of an empty temporary file. The folder is locked.
        """
        if remote.bytes > self.limit:
            raise FetchError(
                f"{remote} has {remote.bytes / 1e9:.2f} GB, more than the whole cache "
                f"(data.cache.gb={self.gb:g}). Raise it."
            )
        if _is_file(self.place(remote)):
            return "here", None
        check_replaceable(self.place(remote), links=False)
        used, whole = 0, []
        for entry in os.scandir(self.path):
            path = Path(entry.path)
            if not entry.is_file(follow_symlinks=False):
                continue
            if part := _PART_NAME.fullmatch(entry.name):
                if (left := _locked(path)) is None:
                    if path == self._part(remote):
                        return "busy", None
                    used += int(part["bytes"])
                else:  # left by a process that was killed
                    path.unlink(missing_ok=True)
                    os.close(left)
            elif _WHOLE_NAME.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    facts = entry.stat()
                    used += facts.st_size
                    if may_remove_kept or entry.name not in keep:
                        whole.append((entry.name in keep, facts.st_mtime_ns, facts.st_size, path))
        if not self._make_room(used + remote.bytes - self.limit, sorted(whole)):
            return "full", None
        handle = os.open(self._part(remote), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try_flock(handle)  # the folder is locked, so nobody else has it
        return "fetching", handle

    def _marked(self) -> bool:
        try:
            return _is_file(self.path / TAG) and (self.path / TAG).read_bytes() == TAG_TEXT.encode()
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def _check_ours(self) -> None:
        """Raises ValueError for a folder with files of others that no cache has marked.

        A folder of dfd before caches were marked holds nothing but the cache's own names.
        """
        if self._marked():
            return
        names = os.listdir(self.path) if self.path.is_dir() else []
        strange = sorted(name for name in names if not _is_own(name) or _is_taken(self.path / name))
        # a tag of another program; asked again, since another process may have marked the folder just now
        if (TAG in names or strange) and not self._marked():
            strange = strange or [TAG]
            raise ValueError(
                f"data.cache.folder: {self.path} holds {printable(strange[0], keep='')}, so it is no cache "
                f"of dfd, and nothing in it was touched. Name a folder that is new or empty, such as "
                f"--data.cache.folder {self.path / 'dfd-cache'}."
            )

    def _make_room(self, needed: int, whole: list[tuple[bool, int, int, Path]]) -> bool:
        """Removes unused files until `needed` bytes are free; none if that is not possible."""
        going: list[tuple[Path, int]] = []
        try:
            for _, _, size, path in whole:
                if needed <= 0:
                    break
                if (handle := _locked(path)) is not None:
                    going.append((path, handle))
                    needed -= size
            if needed <= 0:
                for path, _ in going:
                    path.unlink(missing_ok=True)
            return needed <= 0
        finally:
            for _, handle in going:
                os.close(handle)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock on the folder: one process at a time lists it and reserves room in it."""
        if not self.path.is_dir():
            make_folder(self.path)
        self._check_ours()
        try:
            handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        try:
            flock(handle)
            if not self._marked():
                with output_file(self.path / TAG) as temporary:
                    temporary.write_text(TAG_TEXT, encoding="utf-8")
            yield
        except OSError as error:
            if error.errno in NO_LOCKS:
                raise OSError(
                    error.errno,
                    f"{self.path} lies on a file system without locks. Name a folder on a disk of this "
                    "machine by data.cache.folder.",
                ) from error
            raise explain_os_error(error, self.path) from error
        finally:
            os.close(handle)


def _is_own(name: str) -> bool:
    """Whether the cache gives such names."""
    if name in (_LOCK, TAG) or meant_name(name) in (TAG, ".dfd"):
        return True
    return bool(_WHOLE_NAME.fullmatch(name) or _PART_NAME.fullmatch(name))


def _is_file(path: Path) -> bool:
    """Whether a regular file lies there, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _is_taken(path: Path) -> bool:
    """Whether something else than a regular file lies there."""
    return os.path.lexists(path) and not _is_file(path)


def _locked(path: Path) -> int | None:
    """A descriptor with an exclusive lock on the file; None if another process holds it, or it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    if try_flock(handle):
        return handle
    os.close(handle)
    return None


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
