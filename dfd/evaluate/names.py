"""Names of what is judged, and of its files: from NAME=PATH, or from the path itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfd.shards.fetch import is_remote
from dfd.terminal import printable

# of names that become names of files
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}", re.ASCII)
_NAMED = re.compile(rf"({NAME.pattern})=(.+)", re.ASCII | re.DOTALL)


def named(given: Iterable[str], what: str, default: Any) -> dict[str, str]:
    """Paths by name, of "NAME=PATH" or of a path, whose name is then `default(path)`.

    Args:
        what: "detector" or "root", for the error.

    Raises:
        ValueError: two of them have the same name, or one is empty; a root is named twice.
    """
    found: dict[str, str] = {}
    place: dict[str, str] = {}
    for text in given:
        name, path = split_name(text)
        name = name or clean_name(default(text))
        if name in found:
            raise ValueError(
                f"two {what}s are called {name}: {found[name]} and {path}. Give one of them a name of its "
                f"own: NAME={path}."
            )
        where = path.rstrip("/") if is_remote(path) else str(Path(path).resolve())
        other = place.setdefault(where, name)
        if what == "root" and other != name:
            raise ValueError(f"{other} and {name} are the same root, {path}: name it once.")
        found[name] = path
    return found


def split_name(text: str) -> tuple[str, str]:
    """The name, "" for none, and the path of "NAME=PATH" or of a path.

    Raises:
        ValueError: a path that is there has a name that could not be one of a file.
    """
    if Path(text).exists():
        return "", text
    if match := _NAMED.fullmatch(text):
        return match[1], match[2]
    name, _, path = text.partition("=")
    if path and Path(path).exists():
        raise ValueError(
            f"{printable(name)!r} cannot name {path}: files are called by it. Use up to 80 letters, digits, "
            "dots, dashes and underscores, a letter or digit first."
        )
    return "", text


def detector_name(path: str) -> str:
    """The run's, since every run has a best.ckpt: of runs/dual/20261129-1200/checkpoints/best.ckpt
    dual-20261129-1200; that of any other file is the file's own.
    """
    place = Path(path)
    if place.parent.name != "checkpoints":
        return place.stem
    run = place.absolute().parent.parent
    name = f"{run.parent.name}-{run.name}" if re.fullmatch(r"[\d-]+", run.name) else run.name
    return name if place.stem == "best" else f"{name}-{place.stem}"


def root_name(path: str) -> str:
    """The last part of a folder's name or a URL."""
    return path.rstrip("/").rpartition("/")[2] or (path if is_remote(path) else Path(path).resolve().name)


def clean_name(text: str) -> str:
    """A name for files and tables."""
    kept = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._-")
    return kept[:80] or "unnamed"
