"""Cache of downloaded shards: a folder with a size limit, shared by all processes of a machine.

A file is named after its content and gets its name only when it is whole. Processes that read or write it
hold a lock on it (flock, which ends with its process, after kill -9 too). An unlocked file is unused: an
unlocked temporary file is a leftover of a killed process, an unlocked whole file may be removed to make room.
Room is reserved before a download begins.

filelock has no such lock: the descriptor that a sample is read from is the lock, shared by all readers, and
the loader workers inherit it.
"""

import os
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dfd.durable import explain_os_error, make_folder, sync
from dfd.locks import NO_LOCKS, flock, try_flock
from dfd.shards.fetch import FetchError, Remote, fetch, rng

# temporary files are `<name>.<bytes>.part`: the bytes are room that is taken, however many have come
_TEMPORARY = ".part"


@dataclass(frozen=True)
class Cache:
    """Where this machine keeps the shards of remote roots.

    Args:
        folder: on a disk of this machine; by default below the cache folder ($DFD_CACHE or ~/.cache/dfd).
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
        if (self.path / remote.name).exists():
            return True
        with suppress(FetchError, OSError):  # `open` tries again, and says what is wrong
            return self._fetch(remote, keep, 0.0, may_remove_kept=False) == "here"
        return False

    def drop(self, remote: Remote) -> None:
        """Removes the file; processes that read it can finish."""
        (self.path / remote.name).unlink(missing_ok=True)

    def _opened(self, remote: Remote) -> int | None:
        path = self.path / remote.name
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
                os.replace(part, self.path / remote.name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return "here"

    def _part(self, remote: Remote) -> Path:
        return self.path / f"{remote.name}.{remote.bytes}{_TEMPORARY}"

    def _claim(self, remote: Remote, keep: Container[str], may_remove_kept: bool) -> tuple[str, int | None]:
        """A state as `_fetch` returns it; if this process is to download the file, "fetching" and a locked
        descriptor of an empty temporary file. The folder is locked.
        """
        if remote.bytes > self.limit:
            raise FetchError(
                f"{remote} has {remote.bytes / 1e9:.2f} GB, more than the whole cache "
                f"(data.cache.gb={self.gb:g}). Raise it."
            )
        if (self.path / remote.name).exists():
            return "here", None
        used, whole = 0, []
        for entry in os.scandir(self.path):
            path = Path(entry.path)
            if path.suffix == _TEMPORARY:
                if (left := _locked(path)) is None:
                    if path == self._part(remote):
                        return "busy", None
                    used += int(path.suffixes[-2][1:])
                else:  # left by a process that was killed
                    path.unlink(missing_ok=True)
                    os.close(left)
            elif not entry.name.startswith("."):
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
        try:
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        try:
            flock(handle)
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
