"""Listed paths: how a path in a table, written on another machine or system, is found in the folder of the
pictures.
"""

import os
import posixpath
import re
import shlex
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_UP = 4  # folders above the table's, where a file is looked for to say so


class NotInFolder(ValueError):
    """A path that can be no file of the folder; the text says why, and what to do."""


def find_listed(folder: str, path: str, start: str = "") -> str:
    """A listed path as it is below `folder`, where the list spells it otherwise than the file system.

    Windows writes backslashes, a Mac's names are decomposed Unicode, and research tables have absolute paths.
    Plain paths are not looked for. Nothing outside the folder is opened.

    Args:
        folder: real path of the folder that listed paths start at, and lie in.
        start: folder of the list, where it is another: a path may start there too, and lead into `folder` by
            a link.

    Raises:
        NotInFolder: an address, or an absolute path that leads elsewhere.
    """
    if _ADDRESS.match(path):
        raise NotInFolder("an address; pictures are read from the disk: download them, and list their paths")
    if start and not os.path.lexists(os.path.join(folder, path)):
        whole = os.path.join(start, path)
        if os.path.isfile(whole) and (inside := _relative(folder, os.path.realpath(whole))):
            return inside
    if path.isascii() and "\\" not in path and path[:1] not in "/~":
        return path
    if _DRIVE.match(path):
        raise NotInFolder(_elsewhere(folder, path.replace("\\", "/"), "a path of a Windows machine"))
    for spelling in _spellings(path):
        inside = _relative(folder, spelling)
        if inside and os.path.lexists(os.path.join(folder, inside)):
            return inside
    if posixpath.isabs(path):
        if inside := _relative(folder, path):
            return inside
        raise NotInFolder(_elsewhere(folder, path, "an absolute path"))
    if path.startswith("~"):
        raise NotInFolder("~ is not expanded; write the path from the root on, and name --root FOLDER")
    return path


def _spellings(path: str) -> Iterator[str]:
    for slashed in dict.fromkeys((path, path.replace("\\", "/"))):
        yield slashed
        yield from (unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))


def _relative(folder: str, path: str) -> str:
    """An absolute path as seen from the folder, "" where it lies elsewhere; others as they are."""
    if not posixpath.isabs(path):
        return path
    path = posixpath.normpath(path)
    whole = posixpath.join(_real(posixpath.dirname(path)), posixpath.basename(path))
    below = folder.rstrip("/") + "/"
    return next((one.removeprefix(below) for one in (path, whole) if one.startswith(below)), "")


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _elsewhere(folder: str, path: str, what: str) -> str:
    """Why an absolute path is no file of the folder."""
    if os.path.isfile(path):
        return f"{what} outside of {folder}; --root FOLDER names the folder that holds the pictures"
    if rest := _rest(folder, path):
        prefix = path[: len(path) - len(rest)]
        # it goes into a command that people copy
        plain = re.fullmatch(r"[\w./:+ -]+", prefix)
        by = f", by sed 's|{prefix}||' TABLE > NEW.csv" if plain and "\\" not in path else ""
        return f"{what}; {rest} is in {folder}: take {prefix} away{by}"
    return f"{what}, and nothing is there; --root FOLDER names the folder that holds the pictures"


def _rest(folder: str, path: str) -> str:
    """The longest end of a path that is a file below the folder."""
    names = [name for name in path.split("/") if name]
    ends = ("/".join(names[start:]) for start in range(1, len(names)))
    return next((end for end in ends if os.path.isfile(os.path.join(folder, end))), "")


def why_missing(folder: str, path: str) -> str:
    """Where a listed file is that the folder lacks, or at least where it was looked for, as a sentence."""
    here = f" {path} was looked for in {folder}"
    if os.path.isfile(path) and not os.path.isabs(path):
        return f"{here}; it is there from the current folder: add --root ."
    for above in list(Path(folder).parents)[:_UP]:
        if (above / path).is_file():
            return f"{here}; it is in {above}: add --root {shlex.quote(str(above))}."
    if rest := _rest(folder, path):
        return f"{here}, which has {rest}: take {path.removesuffix(rest)} away from the paths."
    if spelt := _other_case(folder, path):
        return f"{here}, which has {spelt}: large and small letters differ."
    return f"{here}: the paths of a table start there, or where --root says."


def _other_case(folder: str, path: str) -> str:
    """The file whose path differs in large and small letters or in its suffix alone; "" for none."""
    found = ""
    for name in path.split("/"):
        try:
            inside = sorted(os.listdir(os.path.join(folder, found)))
        except OSError:
            return ""
        alike = [other for other in inside if other.casefold() == name.casefold()]
        stems = [other for other in inside if os.path.splitext(other)[0] == os.path.splitext(name)[0]]
        if not alike and not stems:
            return ""
        found = posixpath.join(found, (alike or stems)[0])
    return found if os.path.isfile(os.path.join(folder, found)) else ""


def why_outside(folder: str, path: str) -> str:
    """What to do about a listed file that a link leads out of the folder to, as a sentence; "" for none."""
    real = os.path.realpath(os.path.join(folder, path))
    if not os.path.isfile(real):
        return ""
    return (
        f" {path} is a link to {real}: add --root {shlex.quote(os.path.dirname(real))} or a folder above it."
    )
