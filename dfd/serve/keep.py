"""Kept uploads: files in a folder, where that is asked for, each deleted when its time is up."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

from dfd.durable import TEMPORARY, atomic_write
from dfd.serve.faults import Fault

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
        until, deleted = time.time() - 60 * self.minutes, 0
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name) and path.stat().st_mtime < until:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted
