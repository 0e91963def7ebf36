"""Atomic file writes: a file is there whole or not at all, whatever kills the process that writes it."""

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# temporary names are `<name>.part-<random>`: two processes, on one node or two, never write the same one
TEMPORARY = ".part-"
MAX_NAME = 240  # bytes of a file's name, so that its temporary one has no more than file systems take (255)
_TEMPORARY_NAME = re.compile(rf"(.+){re.escape(TEMPORARY)}[0-9a-f]{{8}}", re.DOTALL)


def temporary_name(path: Path) -> Path:
    """A new temporary path beside `path`."""
    return path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(4)}")


def meant_name(name: str) -> str | None:
    """The name that a file of this temporary name was to take; None for a name that is no temporary one."""
    match = _TEMPORARY_NAME.fullmatch(name)
    return match[1] if match else None


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block ends well; after an error nothing is
    left.

    The folder is made where it is missing. A link of that name is replaced, not followed.

    Raises:
        OSError: the folder cannot be written, the disk is full, or a folder or a device has that name; in
            words for the user.
    """
    part = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_replaceable(path)
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
            (path for path in (folder, *folder.parents) if os.path.lexists(path) and not path.is_dir()),
            None,
        )
        if way is None:
            return error
        nowhere = way.is_symlink() and not way.exists()
        what = "a link that leads nowhere" if nowhere else kind_of(way.stat().st_mode) or "a file"
        text = f"{folder} cannot be a folder: {what} is in the way ({way}). Choose another folder."
    elif error.errno == errno.ENAMETOOLONG:
        text = (
            f"a name in {folder} is too long for its file system. Choose a shorter one: {MAX_NAME} bytes are "
            "always few enough."
        )
    elif error.errno == errno.ENOENT and error.filename and meant_name(Path(error.filename).name):
        # as /proc says it; the temporary name tells a user nothing
        text = f"{folder} takes no new files. Choose another folder."
    else:
        return error
    return OSError(error.errno, text)


def kind_of(mode: int) -> str:
    """What a thing that is no file is called, by its mode as `os.stat` gives it; "" for a regular file."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a block device",
    }
    return "" if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "no file")


def check_folder(path: Path, missing: str, needed: str) -> None:
    """Raises ValueError where no folder lies: what to do where there is nothing (`missing`), and what to name
    instead of a thing of another kind (`needed`).
    """
    if path.is_dir():
        return
    try:
        kind = kind_of(path.stat().st_mode) or "a file"
    except OSError:
        raise ValueError(f"{path}: no such folder. {missing}") from None
    raise ValueError(f"{path} is {kind}, not a folder. {needed}")


def check_replaceable(path: Path, links: bool = True) -> None:
    """Raises OSError where something else than a file lies.

    Args:
        links: whether a link may be replaced too.
    """
    try:
        kind = kind_of(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if kind and not (links and kind == "a link"):
        raise OSError(errno.EEXIST, f"{path} is {kind}, where a file is to be written. Take it away.")


def make_folder(folder: Path) -> None:
    """Makes it with its parents and proves that it can be written.

    Raises:
        OSError: it cannot be made or written, in words.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe_folder(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error


def probe_folder(folder: Path) -> None:
    """Proves that files can be made in a folder. Nothing is left there, though the process be killed.

    Raises:
        OSError: they cannot.
    """
    for left in folder.glob(f".dfd{TEMPORARY}*"):  # of a killed process, from where files need a name
        if meant_name(left.name) and left.is_file() and not left.stat().st_size:
            left.unlink(missing_ok=True)
    with suppress(AttributeError):  # not every system knows files without a name
        try:
            os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o600))
            return
        except OSError as error:
            # nor does every file system
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    probe = temporary_name(folder / ".dfd")
    probe.touch()
    probe.unlink()


@contextmanager
def folder_if_used(folder: Path) -> Iterator[None]:
    """Makes a folder as `make_folder` does; after an error the empty ones that it made are removed."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        make_folder(folder)
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # it holds something
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


def sha256_of(path: os.PathLike[str] | str) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
