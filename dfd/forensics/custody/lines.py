"""Lines of a custody log: what an entry says, the one way in which it is written, and its hash."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dfd import __version__

FORMAT = 1
START = "0" * 64  # what the first line has for the hash of the line before
MAX_LINE = 1_000_000  # bytes
# beside dfd itself, what decides what the tools find
_PACKAGES = ("numpy", "scipy", "opencv-python-headless", "Pillow", "c2pa-python")
_BEGIN = b'{"action":"'
_KEYS = {"custody", "number", "time", "who", "action", "file", "sha256", "before", "hash"}


@dataclass(frozen=True)
class Entry:
    """What a line says beside time, who and chain.

    Args:
        action: a verb, such as "inspect".
        file: its name, as it was given.
        sha256: of its bytes, hex.
        versions: of programs and tools by name, as `versions()` gives them.
        details: further plain values.
    """

    action: str
    file: str
    sha256: str
    versions: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def versions(tools: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Versions of dfd, Python and what the tools stand on, and of the tools themselves where they are
    given.
    """
    found: dict[str, Any] = {"dfd": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | ({"tools": dict(tools)} if tools else {})


def new_line(
    entry: Entry, who: str, *, number: int, before: str, torn: bytes = b""
) -> tuple[bytes, str, str]:
    """The line with its end, its hash and its time."""
    time = datetime.now(UTC).isoformat(timespec="microseconds")
    said: dict[str, Any] = {
        "custody": FORMAT,
        "number": number,
        "time": time,
        "who": who,
        "action": entry.action,
        "file": entry.file,
        "sha256": entry.sha256,
        "versions": dict(entry.versions),
        "details": dict(entry.details),
        "before": before,
    }
    if torn:
        said["cut_off"] = hashlib.sha256(torn).hexdigest()
    digest = line_hash(said)
    line = line_text({**said, "hash": digest}) + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a line of {len(line)} bytes, more than the {MAX_LINE} of a custody log: say less.")
    return line, digest, time


def line_text(said: Mapping[str, Any]) -> bytes:
    """The one way in which a line is written. Names of files that are no Unicode keep their bytes,
    escaped.
    """
    return json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def line_hash(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(line_text(said)).hexdigest()


def may_begin_a_line(torn: bytes) -> bool:
    """Whether bytes may be what is left of a line that was cut off."""
    return _BEGIN.startswith(torn[: len(_BEGIN)])


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line as an object with all keys; None of anything else."""
    if len(line) > MAX_LINE:
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not said.keys() >= _KEYS or said["custody"] != FORMAT:
        return None
    texts = ("time", "who", "action", "file", "sha256", "before", "hash")
    if type(said["number"]) is not int or not all(isinstance(said[name], str) for name in texts):
        return None
    try:
        same = line_text(said) == line
    except (ValueError, RecursionError):
        return None
    return said if same else None
