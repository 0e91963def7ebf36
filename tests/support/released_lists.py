"""Signed lists of released detectors in a folder, whose files lie beside them."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from dfd.released.signature import sign

FIGURE = {
    "source": "faces",
    "condition": "clean",
    "metric": "auroc",
    "value": 0.9,
    "low": 0.85,
    "high": 0.95,
    "images": 340,
    "families": 339,
    "seeds": 3,
}


def listed(path: Path, *mirrors: str) -> dict[str, Any]:
    """A file as a list has it; its mirror is the name beside the list where none is named."""
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return {"name": path.name, "bytes": len(data), "sha256": sha256, "mirrors": list(mirrors) or [path.name]}


def entry(*files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A detector as a list has it."""
    return {
        "name": "faces-small",
        "version": 1,
        "about": "A small net.",
        "net": "SingleStream",
        "parameters": 1000,
        "view": "5 crops of 64 px",
        "terms": "Apache-2.0",
        "materials": [{"name": "faces", "use": "trained it", "terms": "CC0", "stated": "its page"}],
        "chosen_on": "val/auroc",
        "figures": [FIGURE, {**FIGURE, "source": "others", "value": 0.5, "low": 0.4, "high": 0.6}],
        "stated": "its results page",
        "not_for": ["other sources"],
        "files": list(files),
        **changes,
    }


def write_list(path: Path, key: Path, *entries: dict[str, Any]) -> Path:
    """The list, with its signature beside it."""
    path.write_text(yaml.safe_dump({"format": 1, "detectors": list(entries)}))
    sign(path, key)
    return path
