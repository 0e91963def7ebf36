"""SHA-256 of a checkpoint inside the checkpoint, so that damage is found when it is read.

torch.save writes a zip archive, and an archive may end in a comment. The seal is that comment: the sha256 of
the file without it. So there is no second file that could be lost, left behind by a copy, or be half of a
pair when the power fails. torch, zip and every other reader see a plain archive. `unzip -z FILE` shows the
seal, `(head -c -73 FILE; printf '\\0\\0') | sha256sum` computes it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch

MARK = b"sha256:"
COMMENT = len(MARK) + 64
LENGTH = struct.Struct("<H")  # of the comment: an archive's last field before it
BEGIN = b"PK\3\4"
# how an archive's last record begins, and how many bytes follow that, up to and with LENGTH
END, LAST = b"PK\5\6", 18
CHUNK = 1 << 20


def save_sealed(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes plain containers and tensors to a file with its seal, in one pass over the data.

    Raises:
        OSError: the disk is full or fails.
    """
    with path.open("wb") as file:
        out = _Hashed(file)
        try:
            torch.save(checkpoint, out)
        except BaseException:
            # torch hides it behind one of its own: its writer still closes the archive, in vain
            if out.fault is not None:
                raise out.fault from None
            raise
        file.seek(-LENGTH.size, os.SEEK_END)
        file.write(LENGTH.pack(COMMENT) + MARK + out.sha256.hexdigest().encode())


def check_whole(path: Path) -> None:
    """Checks the seal of a checkpoint. A file that bare torch.save wrote has none, and passes.

    Raises:
        ValueError: it is no archive, its end is missing, or it is not what was sealed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(len(BEGIN))
        file.seek(max(0, size - len(END) - LAST - 0xFFFF))
        _, end, last = file.read().rpartition(END)
    if begin != BEGIN:
        raise ValueError(f"{path} is not a checkpoint that dfd wrote. Give a .ckpt file.")
    if not end or len(last) < LAST:
        raise ValueError(f"{path} is incomplete: its end is missing. {remedy(path)}")
    (length,), comment = LENGTH.unpack_from(last, LAST - LENGTH.size), last[LAST:]
    if len(comment) != length:
        raise ValueError(
            f"{path} is damaged: its last bytes are missing, or something follows them. {remedy(path)}"
        )
    if not comment.startswith(MARK):
        return
    # as the archive ended before it was sealed
    found = _digest(path, size - COMMENT - LENGTH.size, LENGTH.pack(0))
    if found != (recorded := comment.removeprefix(MARK).decode("ascii", "replace")):
        raise ValueError(
            f"{path} is damaged: its sha256 is {found}, where {recorded} was recorded when it was written. "
            f"{remedy(path)}"
        )


def _digest(path: Path, size: int, end: bytes) -> str:
    """Hex digest of the first `size` bytes of a file and of `end`."""
    sha256, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while chunk := file.read(min(CHUNK, left)):
            sha256.update(chunk)
            left -= len(chunk)
    sha256.update(end)
    return sha256.hexdigest()


def previous(path: Path) -> Path:
    """Path of the checkpoint that was saved before this one."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def remedy(path: Path) -> str:
    """What to do about a damaged checkpoint."""
    if previous(path).is_file():
        return f"Copy it again, or use {previous(path).name} beside it, which was saved before it."
    return "Copy it again from where it came."


class _Hashed:
    """A file for torch.save that hashes what is written, and keeps the first error."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()
        self.fault: BaseException | None = None

    def write(self, data: memoryview) -> int:
        try:
            self.sha256.update(data)
            return self.file.write(data)
        except BaseException as fault:
            self.fault = self.fault or fault
            raise

    def flush(self) -> None:
        self.file.flush()
