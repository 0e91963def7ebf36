"""Atomic file writes: a file is there whole or not at all, whatever kills the process that writes it."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# temporary names are `<name>.part-<random>`: two processes, on one node or two, never write the same one
TEMPORARY = ".part-"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block ends well; after an error nothing is
    left.

    The folder is made where it is missing.

    Raises:
        OSError: the folder cannot be written or the disk is full, in words for the user.
    """
    part = path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        sync(part)
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise explain_os_error(error, path.parent) from error
        raise


def explain_os_error(error: OSError, folder: Path) -> OSError:
    """The same kind of error, saying what to do about it where that is known."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"no space left for {folder}. Free some and run the same command again."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = os.strerror(error.errno)
        text = f"{folder} cannot be written ({why}). Choose another folder or change its permissions."
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        way = next(
            (path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()),
            error.filename,
        )
        text = f"{folder} cannot be a folder: a file is in the way ({way}). Choose another folder."
    else:
        return error
    return OSError(error.errno, text)


def make_folder(folder: Path) -> None:
    """Makes it with its parents and proves that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".dfd{TEMPORARY}{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise explain_os_error(error, folder) from error


@contextmanager
def folder_if_used(folder: Path) -> Iterator[None]:
    """Makes a folder as `make_folder` does; after an error the empty ones that it made are removed."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it holds something
            for path in new:
                path.rmdir()
        raise


def sync(path: Path) -> None:
    """Forces a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # some file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)
