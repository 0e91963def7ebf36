"""Whatever a name that is to be written can be the name of."""

import os
import socket
import stat
from pathlib import Path

OURS, THEIRS = "path,face\n1,2\n", "what somebody wrote\n"
# what is no place for a file or a folder of ours
TAKEN = ("pipe", "socket", "link to a device", "loop", "somebody's file", "link to somebody's file")


def made(kind: str, folder: Path, own: str = OURS) -> Path:
    """A path of that kind in the folder."""
    path, other = folder / "name", folder / "other"
    match kind:
        case "folder":
            path.mkdir()
        case "link to a folder":
            other.mkdir()
            path.symlink_to(other)
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as place:
                before = Path.cwd()
                os.chdir(folder)  # a socket's path has 107 bytes at most
                place.bind("name")
                os.chdir(before)
        case "device":
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        case "block device":
            os.mknod(path, 0o666 | stat.S_IFBLK, os.makedev(7, 250))
        case "link to a device":
            path.symlink_to("/dev/null")
        case "loop":
            path.symlink_to(path)
        case "somebody's file":
            path.write_text(THEIRS)
        case "link to somebody's file":
            other.write_text(THEIRS)
            path.symlink_to(other)
        case "own file":
            path.write_text(own)
        case "empty file":
            path.touch()
        case "link to own file":
            other.write_text(own)
            path.symlink_to(other)
        case "link to nothing":
            path.symlink_to(other)
        case "nothing":
            pass
    return path


def everything(folder: Path) -> dict[str, tuple]:
    """What lies in a folder, to be compared: kind, place and time of change of each thing."""
    return {
        str(path.relative_to(folder)): (
            facts.st_mode,
            facts.st_ino,
            facts.st_mtime_ns,
            path.read_bytes() if stat.S_ISREG(facts.st_mode) else None,
        )
        for path in sorted(folder.rglob("*"))
        if (facts := path.lstat())
    }
