"""Open files of a process that reads many shards: a bounded number of descriptors, the last used ones."""

import os
import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Any

_MOST = 1024


def max_open_files() -> int:
    """Shards that one reader of a process may hold open: an eighth of what `ulimit -n` allows, as training
    and evaluation, local and remote roots each have a reader, and the rest of a run opens files too.
    """
    try:
        import resource
    except ImportError:  # Windows
        return 128
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else min(max(soft // 8, 1), _MOST)


class OpenFile:
    """A file that is closed when nobody holds this object any more: while a thread reads it, it stays open.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self):
        if "descriptor" in self.__dict__:
            os.close(self.descriptor)


class OpenFiles:
    """Files by a key; of more than `max_open_files`, those that were used least recently are let go.

    Several threads may use it, and forked processes too, each of which closes its own.
    """

    def __init__(self) -> None:
        self._files: dict[Hashable, OpenFile] = {}
        self._limit = max_open_files()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> OpenFile | None:
        with self._lock:
            file = self._files.pop(key, None)
            if file is not None:
                self._files[key] = file  # the last one now
            return file

    def keep(self, key: Hashable, file: OpenFile) -> None:
        with self._lock:
            while len(self._files) >= self._limit:
                del self._files[next(iter(self._files))]
            self._files[key] = file

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenFiles, ()  # a spawned worker opens its own
