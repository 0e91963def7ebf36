"""Checksums of shards: SHA-256 against index.json, checked when a shard is first used, and remembered."""

import hashlib
import os
from contextlib import nullcontext, suppress
from pathlib import Path

from dfd.durable import sha256_of
from dfd.locks import flock


def verify(shard: Path, sha256: str, again: bool = False) -> None:
    """Compares the SHA-256 of a shard with the index's, the first time that it is used on this machine.

    The result is kept in the cache folder ($DFD_CACHE or ~/.cache/dfd), and the shard is not read again
    unless its file changes. One process reads while others that need the same shard wait. If the folder
    cannot be written, each process reads for itself.

    Bytes that change while size and time of the file stay (a failing disk, `rsync --inplace -t`) are seen
    with `again` alone: what was kept is forgotten, and the shard is read.

    Raises:
        ValueError: the bytes are not those that the index counted; says what to do.
    """
    facts = shard.stat()
    name = f"{shard.absolute()} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {sha256}"
    stamp = _folder() / hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        remembered = open(stamp, "a+b")  # noqa: SIM115  closed below
    except OSError:
        remembered = nullcontext()
    with remembered as file:
        if file is not None:
            with suppress(OSError):  # on a file system without locks several processes read it
                flock(file)
            if again:
                os.truncate(file.fileno(), 0)
            if os.fstat(file.fileno()).st_size:
                return
        found = sha256_of(shard)
        if found != sha256:
            raise ValueError(
                f"{shard} is damaged or was replaced: its sha256 is {found[:12]}..., index.json says "
                f"{sha256[:12]}.... "
                "Copy it again from where it came, or prepare the folder again with --overwrite."
            )
        if file is not None:
            with suppress(OSError):  # a full disk
                file.write(b"whole\n")


def _folder() -> Path:
    return Path(os.environ.get("DFD_CACHE") or Path.home() / ".cache" / "dfd") / "verified"
