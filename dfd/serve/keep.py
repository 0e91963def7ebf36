"""Kept uploads: files in a folder, where that is asked for, each deleted when its time is up."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from dfd.durable import TEMPORARY, atomic_write
from dfd.serve.faults import Fault
from dfd.terminal import many

_NAME = re.compile(rf"upload-[0-9a-f]{{64}}({re.escape(TEMPORARY)}[0-9a-f]{{8}})?")


class Keep:
    """A folder of uploads.

    Args:
        folder: must be there; only files that this class names are deleted in it.
        minutes: for which each is kept after it was last sent.

    Raises:
        ValueError: the folder is not there, or cannot be written to.
    """

    def __init__(self, folder: Path, minutes: float):
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            what = "cannot be written to" if folder.is_dir() else "is no folder"
            raise ValueError(f"--keep {folder} {what}. Make it, for the user who runs the service alone.")
        self.folder, self.minutes = folder, minutes

    def add(self, data: bytes) -> None:
        """Keeps a file under its SHA-256.

        Raises:
            Fault: it cannot be written, as on a full disk.
        """
        path = self.folder / f"upload-{hashlib.sha256(data).hexdigest()}"
        try:
            with atomic_write(path) as part:
                part.touch(0o600)
                part.write_bytes(data)
        except OSError as error:
            raise Fault(
                507,
                "not_kept",
                "The file cannot be kept, as whoever runs this service asks for: "
                f"{os.strerror(error.errno or 0)}. Nothing was judged. Send it again later.",
            ) from error

    def delete_old(self) -> int:
        """Deletes the files whose time is up, and says how many."""
        now, deleted = time.time(), 0
        for path, until in self._kept():
            if until < now:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted

    def left(self) -> str:
        """Of a service that stops, in a sentence: how many files are left, until when, and who deletes them;
        "" where there is none.
        """
        self.delete_old()
        times = [until for _, until in self._kept()]
        if not times:
            return ""
        last = datetime.fromtimestamp(max(times)).strftime("%Y-%m-%d %H:%M:%S")
        return (
            f"{many(len(times), 'upload')} left in {self.folder}, whose time is up by {last}: while no "
            "service runs nothing deletes them. The next dfd serve with this --keep does, or you by: "
            f"rm {shlex.quote(str(self.folder))}/upload-*"
        )

    def _kept(self) -> Iterator[tuple[Path, float]]:
        """Each kept file, and when its time is up."""
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name):
                # another service of the same folder may delete it meanwhile
                with suppress(FileNotFoundError):
                    yield path, path.stat().st_mtime + 60 * self.minutes
