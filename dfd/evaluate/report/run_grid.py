"""A run as a grid of one cell, from what `dfd fit`, `test` and `validate` left in its folder."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd import __version__
from dfd.batch import FAKE, REAL, Predictions
from dfd.calibration import Temperature
from dfd.durable import sha256_of
from dfd.evaluate.folder import CELLS, GRID, METRICS_FILE
from dfd.evaluate.names import clean_name, root_name
from dfd.evaluate.plan import NamedDetector
from dfd.evaluate.prediction_file import write_predictions
from dfd.evaluate.report.originals import Originals
from dfd.evaluate.tidy import SHORTCUTS, write_metrics
from dfd.run_record import RunFolder, read
from dfd.text_files import read_text, read_yaml

# the first whose table is there is reported, as pictures of this split
_STAGES = {"test": "test", "predict": "test", "val": "val"}
_NEEDED = ("key", "path", "label", "logit", "prob", "source", "method", "group", "split", "verdict")
_TABLE = 1 << 30  # bytes of a table that are read
_AGAIN = "`dfd test CHECKPOINT --run_folder FOLDER` makes it again."


def is_run(folder: Path) -> bool:
    """Whether a folder holds something of a run."""
    files = RunFolder(folder)
    tables = [files.predictions(stage) for stage in _STAGES]
    return any(path.is_file() for path in (files.record, files.summary, files.metrics, files.config, *tables))


def write_run_grid(run: Path, folder: Path, allow: Sequence[str]) -> list[str]:
    """Writes the grid of a run: its detector, the pictures that it judged last, and nothing else.

    Args:
        run: folder of dfd fit, test or validate.
        folder: an empty one for the grid.
        allow: packages whose code the run's checkpoint may name.

    Returns:
        What the reader of a report is to know of this run.

    Raises:
        ValueError: one of the run's files is not as dfd writes it.
    """
    files, record = RunFolder(run), read(run)
    config, summary = _read(files.config), _read(files.summary)
    stage = next((stage for stage in _STAGES if files.predictions(stage).is_file()), None)
    judged = _last_line(files.metrics) if stage else {}
    checkpoint, named = _checkpoint(files, config)
    detector, seen = _detector(clean_name(run.resolve().name), checkpoint, allow)
    roots = _roots(judged, config)
    root = {"name": clean_name("-".join(map(root_name, roots)) or "data"), "path": ",".join(roots)}
    condition = judged.get("corruption") or judged.get("val_augment") or "clean"
    grid: dict[str, Any] = {
        "dfd": __version__,
        "detectors": [detector],
        "roots": [root],
        "conditions": [{"name": condition, "severities": [None]}],
        "split": _STAGES.get(stage or "", ""),
        "cells": [],
        "command": ["dfd", *record.command] if record else [],
        "seed": config.get("seed_everything"),
        "run": summary,
    }
    notes = []
    if stage is None:
        where = checkpoint or "CHECKPOINT"
        notes.append(
            "This run has judged no pictures yet, so nothing can be said of its verdicts. "
            f"`{shlex.join(['dfd', 'test', str(where), '--run_folder', str(run)])}` judges them; report it "
            f"again then."
        )
    else:
        name = f"{CELLS}/{detector['name']}/{root['name']}/{clean_name(condition)}.parquet"
        grid["cells"] = [name]
        facts = {**detector, "detector": detector, "root": root, "condition": condition, "severity": None}
        originals = Originals(roots)
        root["leaks"] = originals.leaks
        facts |= {"split": _STAGES[stage], "leaks": originals.leaks, "limit": None, "speaks": True}
        root |= _write_cell(files.predictions(stage), folder / name, facts, seen, originals)
    if not checkpoint:
        notes.append(f"Its checkpoint ({named}) is not here: what chose and calibrated it is not known.")
    (folder / GRID).write_text(json.dumps(grid), encoding="utf-8")
    table = write_metrics(folder)
    pq.write_table(_with_shortcuts(table, judged), folder / METRICS_FILE)
    return notes


def _with_shortcuts(table: pa.Table, judged: Mapping[str, str]) -> pa.Table:
    """The table with what the run found beside its metrics of file facts and colour, for all pictures."""
    for name in (f"{shortcut}{end}" for shortcut in SHORTCUTS for end in ("", "_low", "_high")):
        logged = [value for key, value in judged.items() if key.partition("/")[2] == name]
        if logged:
            at = table.schema.get_field_index(name)
            whole = pc.equal(table["part"], "all")
            table = table.set_column(
                at, table.schema.field(name), pc.if_else(whole, float(logged[0]), table[name])
            )
    return table


def _write_cell(
    path: Path,
    out: Path,
    facts: dict[str, Any],
    seen: Mapping[str, np.ndarray],
    originals: Originals,
) -> dict[str, int]:
    """Writes the predictions of a run's CSV file as a cell's, and returns how many pictures there are."""
    columns = _columns(path)
    try:
        label = np.array([int(each or -1) for each in columns["label"]], np.int64)
        logit, prob, familiarity = (
            np.array([float(each or "nan") for each in columns[name]])
            for name in ("logit", "prob", "familiarity")
        )
    except ValueError as error:
        raise ValueError(f"{path} is no prediction table of dfd: {error}. {_AGAIN}") from error
    status = np.where(
        columns["status"] == "", np.where(np.isfinite(logit), "ok", "no logit"), columns["status"]
    )
    known = originals.fingerprints(columns["key"].tolist())
    uses = {use: int(np.isin(known, prints).sum()) for use, prints in seen.items()} if len(known) else {}
    facts |= {"num_trained_on": uses.get("train"), "num_chosen_on": uses.get("val")}
    every = np.concatenate([known[:0], *seen.values()])
    facts["num_seen"] = int(np.isin(known, every).sum()) if uses else None
    out.parent.mkdir(parents=True)
    write_predictions(
        out,
        Predictions(
            row=np.arange(len(label)),
            logit=np.where(status == "ok", logit, np.nan),
            label=label,
            **{name: columns[name] for name in ("source", "method", "clip")},
            family=columns["group"],
            status=status,
            familiarity=familiarity,
        ),
        {name: columns[name] for name in ("key", "path", "split")},
        prob=prob,
        verdict=columns["verdict"],
        reason=columns["reason"],
        facts=facts,
    )
    return {"images": len(label), "real": int((label == REAL).sum()), "fake": int((label == FAKE).sum())}


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Columns (M,) of str of a prediction table; those of newer ones that it has not got are empty."""
    reader = csv.DictReader(io.StringIO(read_text(path, _TABLE), newline=""))
    if lacking := [name for name in _NEEDED if name not in (reader.fieldnames or [])]:
        raise ValueError(f"{path} is no prediction table of dfd: it has no column {lacking[0]}. {_AGAIN}")
    lines = list(reader)
    if any(None in line or None in line.values() for line in lines):
        raise ValueError(f"{path} is cut off, or has lines of another length than its first. {_AGAIN}")
    names = (*_NEEDED, "clip", "status", "reason", "familiarity")
    return {name: np.array([line.get(name, "") for line in lines], str) for name in names}


def _checkpoint(files: RunFolder, config: Mapping[str, Any]) -> tuple[Path | None, str]:
    """The checkpoint that the run judged, or else its best one, None where neither is here; and its name."""
    named = config.get("ckpt_path")
    candidates = [*([Path(named)] if isinstance(named, str) else []), files.best, files.last]
    return next((path for path in candidates if path.is_file()), None), str(candidates[0])


def _detector(
    name: str, path: Path | None, allow: Sequence[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts of a detector, and fingerprints of the pictures that trained and chose it, where it says so."""
    facts: dict[str, Any] = {
        "name": name,
        "path": str(path or ""),
        "calibration": Temperature().to_plain(),
        "thresholds": {"balanced": 0.0},
    }
    facts |= {"calibrated_on": None, "selected_on": None}
    if path is None:
        return facts, {}
    from dfd.detector import load

    try:
        detector = load(path, allow=("dfd.", *allow))
    except ValueError:  # a net of the user's own
        return facts | {"sha256": sha256_of(path)}, {}
    seen = {use: np.asarray(prints) for use, prints in detector.card.seen.items()}
    facts |= NamedDetector(name, str(path), sha256_of(path), detector).facts()
    thresholds = {each: value for each, value in facts["thresholds"].items() if np.isfinite(value)}
    return facts | {"thresholds": thresholds}, seen


def _roots(judged: Mapping[str, str], config: Mapping[str, Any]) -> list[str]:
    """Where the judged pictures lie."""
    if judged.get("roots"):
        return judged["roots"].split(", ")
    given = ((config.get("data") or {}).get("init_args") or {}).get("roots")
    return [given] if isinstance(given, str) else [str(each) for each in given or []]


def _last_line(path: Path) -> dict[str, str]:
    """The line of metrics.csv that the last judging wrote."""
    if not path.is_file():
        return {}
    lines = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    return {name: value for name, value in lines[-1].items() if name and value} if lines else {}


def _read(path: Path) -> Mapping[str, Any]:
    """A YAML file of names and values; nothing where there is none."""
    found = read_yaml(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, where names and values were expected.")
    return found
