"""Opening untrusted files: suffixes, size limits, and paths that stay inside their folder."""

import errno
import os
import re
import stat
from functools import lru_cache
from io import FileIO

from dfd.media.formats import EMPTY, Undecodable

MAX_BYTES = 256_000_000  # of one file
NO_FILE = "no file: a pipe, a socket or a device"
# opening a named pipe then does not wait for its other end
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def read_inside(root: str, path: str) -> bytes:
    """The bytes of a regular file below `root`; raises as `open_inside` does, and where it is empty or too
    large.
    """
    with open_inside(root, path) as file:
        return _read(file)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file that a person named; raises as `open_file` does, and where it is empty or
    too large.
    """
    with open_file(path) as file:
        return _read(file)


def open_file(path: str | os.PathLike[str]) -> FileIO:
    """A regular file that a person named, wherever it lies and by whatever links, open for reading.

    Raises:
        Undecodable: a pipe, a socket or a device, which may have no end.
        OSError: there is no such file, it is a folder, or it may not be read.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | _NO_WAIT)

    file = open(path, "rb", buffering=0, opener=opener)  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Undecodable(NO_FILE)
    return file


def _read(file: FileIO) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise Undecodable(f"{size} bytes, more than the {MAX_BYTES // 1_000_000} MB that are read")
    try:
        data = file.read()
    except OSError as error:
        raise Undecodable(f"cannot be read: {os.strerror(error.errno or 0)}") from error
    if not data:
        raise Undecodable(EMPTY)
    return data


def elsewhere(path: str) -> str:
    """What to do about a path that is written for something else."""
    if re.match(r"\w+:/", path):
        return (
            "Addresses are not opened: whoever runs that host would learn that you ask, and may hand out "
            "another file than others got. So download it first, and keep what you downloaded. "
        )
    if re.match(r"[A-Za-z]:\\|\\\\", path):
        return "That is a path of Windows: write it as this system does, in WSL as /mnt/c/... "
    return ""


def why_unopened(path: str, error: OSError) -> str:
    """Why a file that somebody named could not be opened, in words."""
    if isinstance(error, IsADirectoryError):
        return "a folder: name the files in it"
    return f"{elsewhere(path)}{error.strerror or error}"


def open_inside(root: str, path: str) -> FileIO:
    """A regular file below `root`, open for reading.

    Args:
        root: real path of a folder, no links left in it.

    Raises:
        Undecodable: no such file, no plain file, or outside `root` by "..", an absolute path or a link.
    """
    whole = os.path.join(root, path)
    if not _below(_real(os.path.dirname(whole)), root):
        raise Undecodable("leads out of the source folder")
    try:
        file = open(_open(whole, root), "rb", buffering=0)  # noqa: SIM115  the caller closes it
    except OSError as error:
        is_socket = error.errno == errno.ENXIO
        reason = NO_FILE if is_socket else f"cannot be opened: {os.strerror(error.errno or 0)}"
        raise Undecodable(reason) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Undecodable(NO_FILE)
    return file


def _open(whole: str, root: str) -> int:
    flags = os.O_RDONLY | _NO_WAIT | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(whole, flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    real = os.path.realpath(whole)
    if not _below(real, root):
        raise Undecodable("a link that leads out of the source folder; cp -rL makes a copy without links")
    return os.open(real, flags)


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


READ_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".avif",
        ".heic",
        ".heif",
        ".hif",
        ".jp2",
        ".j2k",
        ".jpx",
        ".ppm",
        ".pgm",
        ".pnm",
    )
)
# JPEG XL is not read, but is a picture: it is listed as rejected instead of passed over
IMAGE_SUFFIXES = READ_SUFFIXES | {".jxl"}
VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"))

# folders and files that systems leave beside pictures: macOS (zip, tar), Synology, Windows, GNU tar
_LITTER_FOLDERS = re.compile(r"__MACOSX|@eaDir|\$RECYCLE\.BIN|System Volume Information|PaxHeaders?(\..*)?")
_LITTER_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r"))


def is_litter(path: str) -> bool:
    """Whether a path, relative to a source or in a tar, is what a system leaves behind: nobody's picture,
    whatever its suffix. macOS's "._a.jpg" holds the attributes of a.jpg.
    """
    *folders, name = path.split("/")
    return (
        name.startswith("._")
        or name.lower() in _LITTER_FILES
        or any(_LITTER_FOLDERS.fullmatch(folder) for folder in folders)
    )


def is_hidden(path: str) -> bool:
    """Whether a path, relative to a source or in a tar, has a part that begins with a dot: such are passed
    over. "." and ".." hide nothing.
    """
    return any(part.startswith(".") and part.strip(".") for part in path.split("/"))
