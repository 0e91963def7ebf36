"""Provenance of a grid: what grid.json and every cell say of how they were made."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfd import __version__
from dfd.detector.card import Card
from dfd.evaluate.conditions import Condition
from dfd.evaluate.folder import CELLS, GRID, read_grid
from dfd.evaluate.plan import NamedDetector, NamedRoot
from dfd.outputs import output_file

SEED = 0  # of noise, of --limit and of the intervals


def write_record(
    out: Path,
    detectors: Sequence[NamedDetector],
    roots: Sequence[NamedRoot],
    conditions: Sequence[Condition],
    cells: Sequence[str],
    **options: Any,
) -> None:
    """Writes grid.json.

    Args:
        cells: the prediction files that are to be there in the end.
        options: what else it is to say, plain values.
    """
    severities: dict[str, list[float | None]] = {}
    for condition in conditions:
        found = severities.setdefault(condition.name, [])
        found.append(None if np.isnan(condition.severity) else condition.severity)
    grid = {
        "dfd": __version__,
        "detectors": [each.facts() for each in detectors],
        "roots": [each.facts() for each in roots],
        "conditions": [{"name": name, "severities": each} for name, each in severities.items()],
        **options,
        "cells": list(cells),
        "command": ["dfd", *sys.argv[1:]],
        "versions": _versions(),
        "git": _git(),
        "seed": SEED,
    }
    _write(out, grid)


def join_record(
    out: Path,
    detector: dict[str, Any] | None,
    roots: Sequence[NamedRoot],
    conditions: Sequence[Condition],
    cells: Sequence[str],
    split: str,
) -> None:
    """Adds a detector with its cells to the grid.json of a folder, or begins one with them.

    Args:
        detector: what grid.json is to say of it; it takes the place of an earlier one of its name. None for
            none.
        cells: its prediction files.
        split: that they judge.

    Raises:
        ValueError: the folder's grid is of other pictures.
    """
    if not (out / GRID).exists():
        write_record(out, [], roots, conditions, [], split=split, limit=None, drawings=False)
    grid = read_grid(out)
    if grid.get("split") != split:
        raise ValueError(
            f"{out} is a grid of the {grid.get('split')} split, and these are predictions of {split}. Choose "
            "another folder."
        )
    if grid.get("limit") is not None:
        raise ValueError(
            f"{out} is a quick look at {grid['limit']} pictures of each class and source, and these are "
            "predictions of all. Run dfd evaluate without --limit, or choose another folder."
        )
    known = {each.get("name"): each for each in grid["roots"]}
    for root in roots:
        if known.setdefault(root.name, root.facts()).get("digest") != root.digest:
            raise ValueError(
                f"{out} is a grid of other pictures that are called {root.name}. Give these another name, "
                f"NAME={root.path}, or choose another folder."
            )
    steps = {each["name"]: list(each.get("severities") or []) for each in grid["conditions"]}
    for condition in conditions:
        severity = None if np.isnan(condition.severity) else condition.severity
        if severity not in steps.setdefault(condition.name, []):
            steps[condition.name].append(severity)
    grid["roots"] = list(known.values())
    grid["conditions"] = [{"name": name, "severities": each} for name, each in steps.items()]
    if detector is not None:
        own = f"{CELLS}/{detector['name']}/"
        others = [each for each in grid["detectors"] if each.get("name") != detector["name"]]
        grid["detectors"] = [*others, detector]
        grid["cells"] = [cell for cell in grid["cells"] if not cell.startswith(own)] + list(cells)
    _write(out, grid)


def cell_facts(
    card: Card,
    detector: dict[str, Any],
    root: NamedRoot,
    condition: Condition,
    *,
    prints: np.ndarray,
    speaks: bool,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """What the figures of a cell rest on.

    Args:
        card: the detector's.
        detector: what grid.json says of it.
        prints: (M,) fingerprints of its pictures.
        speaks: whether the detector has verdicts on them.
        identity: see `Cell.identity`.
    """
    known = {name: int(np.isin(prints, seen.numpy()).sum()) for name, seen in card.seen.items()}
    every = np.concatenate([prints[:0], *(seen.numpy() for seen in card.seen.values())])
    return {
        "detector": detector,
        "root": {"name": root.name, "path": root.path},
        "condition": condition.name,
        "severity": condition.severity,
        "what": condition.what,
        "split": root.split,
        "calibration": card.calibration.to_plain(),
        "thresholds": card.thresholds,
        "calibrated_on": card.calibrated_on,
        "selected_on": card.selected_on,
        "num_seen": int(np.isin(prints, every).sum()) if card.seen else None,
        "num_trained_on": known.get("train"),
        "num_chosen_on": known.get("val"),
        "speaks": speaks,
        "leaks": root.data.leaks.get(root.path, ""),
        "limit": identity["limit"],
        "seed": SEED,
        "versions": _versions(),
        "cell": identity,
    }


def _write(out: Path, grid: dict[str, Any]) -> None:
    with output_file(out / GRID) as temporary:
        temporary.write_text(json.dumps(plain(grid), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """For JSON: infinite numbers as strings, as cards have them; NaN as null."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value


def _versions() -> dict[str, str]:
    import torch

    return {
        "dfd": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _git() -> str | None:
    """The commit that dfd's code lies at, with "+" where it was changed; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=20, check=True
            ).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("+" if changed.strip() else "")
