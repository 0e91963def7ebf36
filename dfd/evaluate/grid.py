"""Grid: detectors x roots x conditions, as one prediction file a cell and one table of metrics.

A cell is whole or not there, so that an interrupted grid goes on, and several processes or the tasks of a job
array may fill one folder.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dfd import __version__
from dfd.detector import load
from dfd.durable import explain_os_error
from dfd.evaluate.conditions import Condition, load_conditions
from dfd.evaluate.folder import GRID, missing_cells, read_grid
from dfd.evaluate.judging import judge, verdicts
from dfd.evaluate.plan import (
    Cell,
    NamedDetector,
    NamedRoot,
    Pass,
    detector_name,
    named,
    passes,
    root_name,
    sha256_of,
)
from dfd.evaluate.prediction_file import read_facts, write_predictions
from dfd.evaluate.screen import show
from dfd.evaluate.shortcut_files import PassShortcuts
from dfd.evaluate.tidy import write_metrics
from dfd.outputs import lies_within, output_file
from dfd.prepare.job_array import ArrayTask
from dfd.progress import progress
from dfd.shards.fetch import is_remote

ALL = ArrayTask(1, 1)


@dataclass(frozen=True)
class Options:
    """How a grid is judged.

    Args:
        split: val or test.
        batch_size: pictures that are judged at once.
        workers: decoding processes; 0 decodes in this one.
        device: where the nets run, as torch names it.
        allow: packages beside dfd whose code the checkpoints may name.
        drawings: the pictures are the toy set's drawings, see `dfd.load`.
        limit: judge at most so many pictures of each class and source, for a quick look.
        task: which share of the passes is this process's.
    """

    split: str = "test"
    batch_size: int = 32
    workers: int = 2
    device: str = "cpu"
    allow: tuple[str, ...] = ()
    drawings: bool = False
    limit: int | None = None
    task: ArrayTask = ALL

    def check(self) -> None:
        if self.split not in ("val", "test"):
            raise ValueError(f"--split {self.split}: a grid judges test, or val.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit {self.limit}: it takes at least one picture of each class and source.")


def evaluate(
    checkpoints: Sequence[str | Path],
    roots: Sequence[str | Path],
    out: Path,
    conditions: str | Path | Sequence[Condition] | None = None,
    options: Options = Options(),
) -> pa.Table | None:
    """Judges every root with every detector under every condition, and prints the worst first; returns the
    table of metrics, or None where other tasks of a job array are to finish the grid.

    What is there already of the same checkpoint, root and condition is not judged again.

    Args:
        checkpoints: files that `dfd fit` or `dfd export` wrote, or "NAME=FILE".
        roots: folders of finished shards or their URLs, or "NAME=ROOT".
        out: folder of the grid: new, or that of an earlier one.
        conditions: see `load_conditions`.

    Raises:
        ValueError: something is wrong with what was named; says what.
    """
    options.check()
    if conditions is None or isinstance(conditions, (str, Path)):
        conditions = load_conditions(conditions)
    files = named(map(str, checkpoints), "detector", detector_name)
    folders = named(map(str, roots), "root", root_name)
    if not files or not folders:
        raise ValueError(
            "a grid needs at least one checkpoint and one root: dfd evaluate CHECKPOINT --on ROOT."
        )
    _check_out(out, folders.values())
    detectors = [_detector(name, path, options) for name, path in files.items()]
    opened = [_root(name, path, detectors[0].detector, options) for name, path in folders.items()]
    plan = passes(detectors, opened, conditions)
    try:
        _write_grid(out, detectors, opened, conditions, plan, options)
        _judge_all(out, plan, options)
        missing = missing_cells(out)
        table = None if missing else write_metrics(out)
    except OSError as error:
        raise explain_os_error(error, out) from error
    if table is None:
        number = len(read_grid(out)["cells"])
        print(f"{number - len(missing)} of {number} cells are there; the others are of other tasks: {out}")
    else:
        show(out, table, options.limit)
    return table


def _check_out(out: Path, roots: Iterable[str]) -> None:
    for root in roots:
        if not is_remote(root) and lies_within(out, Path(root)):
            raise ValueError(f"--out {out} lies in {root}, which is only read. Choose a folder beside it.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file, where the folder of a grid is to be. Choose another name.")
    if out.is_dir() and any(out.iterdir()) and not (out / GRID).is_file():
        raise ValueError(
            f"--out {out} is not empty and no grid of dfd's. Choose a new folder; nothing was written."
        )


def _detector(name: str, path: str, options: Options) -> NamedDetector:
    detector = load(
        path,
        device=options.device,
        allow=options.allow or ("dfd.",),
        batch_size=options.batch_size,
        drawings=options.drawings,
    )
    return NamedDetector(name, path, sha256_of(Path(path)), detector)


def _root(name: str, path: str, detector: Any, options: Options) -> NamedRoot:
    return NamedRoot(
        name, path, options.split, detector.view, options.batch_size, options.workers, options.limit
    )


def _write_grid(
    out: Path,
    detectors: Sequence[NamedDetector],
    roots: Sequence[NamedRoot],
    conditions: Sequence[Condition],
    plan: Sequence[Pass],
    options: Options,
) -> None:
    severities: dict[str, list[float | None]] = {}
    for condition in conditions:
        found = severities.setdefault(condition.name, [])
        found.append(None if np.isnan(condition.severity) else condition.severity)
    grid = {
        "dfd": __version__,
        "detectors": [each.facts() for each in detectors],
        "roots": [each.facts() for each in roots],
        "conditions": [{"name": name, "severities": each} for name, each in severities.items()],
        "split": options.split,
        "limit": options.limit,
        "drawings": options.drawings,
        "cells": [cell.file for each in plan for cell in each.cells],
        "command": ["dfd", *sys.argv[1:]],
        "versions": _versions(),
        "git": _git(),
        "device": options.device,
        "seed": 0,  # of noise, of --limit and of the intervals
    }
    with output_file(out / GRID) as temporary:
        temporary.write_text(json.dumps(_plain(grid), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _judge_all(out: Path, plan: Sequence[Pass], options: Options) -> None:
    """Judges what is not there yet of this task's share."""
    waiting = [
        (each, cells)
        for number, each in enumerate(plan)
        if options.task.has(number)
        and (cells := [cell for cell in each.cells if not _done(out, cell, options)])
    ]
    with progress(sum(len(each.root.rows) for each, _ in waiting), "pictures") as advance:
        for each, cells in waiting:
            _judge(out, each, cells, options, advance)


def _done(out: Path, cell: Cell, options: Options) -> bool:
    try:
        made_of = read_facts(out / cell.file).get("cell")
    except ValueError:
        return False  # not there, or not ours
    return made_of == cell.identity(options.limit, options.drawings)


def _judge(out: Path, each: Pass, cells: Sequence[Cell], options: Options, advance: Any) -> None:
    root, detectors = each.root, [cell.detector.detector for cell in cells]
    loader = root.loader(each.condition, detectors[0].view)
    described = root.data.describe(root.rows)
    prints = root.data.fingerprints(root.rows)
    shortcuts = PassShortcuts(out, each, options.limit)
    found = judge(detectors, shortcuts.watched(loader), root.rows, root.data, advance)
    # before the cells: a cell that is there is not judged again, and would lack them
    shortcuts.write()
    for cell, judged in zip(cells, found, strict=True):
        detector = cell.detector.detector
        speaks = detector.speaks or root.drawings
        prob, verdict = verdicts(detector, judged.predictions, speaks)
        write_predictions(
            out / cell.file,
            judged.predictions,
            described,
            prob=prob,
            verdict=verdict,
            reason=judged.reason,
            facts=_plain(_cell_facts(cell, prints, speaks, options)),
        )


def _cell_facts(cell: Cell, prints: np.ndarray, speaks: bool, options: Options) -> dict[str, Any]:
    """What the figures of a cell rest on."""
    card = cell.detector.detector.card
    known = {name: int(np.isin(prints, seen.numpy()).sum()) for name, seen in card.seen.items()}
    every = np.concatenate([prints[:0], *(seen.numpy() for seen in card.seen.values())])
    return {
        "detector": cell.detector.facts(),
        "root": {"name": cell.root.name, "path": cell.root.path},
        "condition": cell.condition.name,
        "severity": cell.condition.severity,
        "what": cell.condition.what,
        "split": cell.root.split,
        "calibration": card.calibration.to_plain(),
        "thresholds": card.thresholds,
        "calibrated_on": card.calibrated_on,
        "selected_on": card.selected_on,
        "num_seen": int(np.isin(prints, every).sum()) if card.seen else None,
        "num_trained_on": known.get("train"),
        "num_chosen_on": known.get("val"),
        "speaks": speaks,
        "leaks": cell.root.data.leaks.get(cell.root.path, ""),
        "limit": options.limit,
        "seed": 0,
        "versions": _versions(),
        "cell": cell.identity(options.limit, options.drawings),
    }


def _plain(value: Any) -> Any:
    """For JSON: infinite numbers as strings, as cards have them; NaN as null."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
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
