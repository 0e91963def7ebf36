"""Tidy table of a grid: a line for each cell and each part of its pictures: every metric and its interval.

The parts of a root's pictures are all of them, each source, each method against the reals of its sources, and
the reals of one source against the fakes of another: scores shift between sources, and a mean of AUROCs hides
it. The root "*" is all roots together, for sources that lie in different ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dfd.batch import FAKE, REAL, Predictions
from dfd.calibration import calibration_of
from dfd.evaluate.conditions import CLEAN
from dfd.evaluate.confidence import familiar_first
from dfd.evaluate.cue_baseline import CUES_AUROC, read_cue_baseline
from dfd.evaluate.folder import CSV_FILE, METRICS_FILE, missing_cells, read_grid
from dfd.evaluate.gradient_masking import mark_masking
from dfd.evaluate.prediction_file import read_facts, read_predictions
from dfd.evaluate.shortcut_files import ask_together, read_shortcuts
from dfd.evaluate.shortcuts import COLOR, FILE_FACTS, matches, reached
from dfd.evaluate.warnings import flags_of
from dfd.metrics import (
    METRICS,
    across_sources,
    by_clip,
    by_method,
    by_source,
    detection_metrics,
    intervals,
)
from dfd.outputs import output_file
from dfd.parallel import ProcessPool

# what a line is of; then the metrics; then what they rest on
NAMES = ("detector", "root", "condition", "severity", "part", "kind")
SHORTCUTS = (f"{FILE_FACTS}_auroc", f"{COLOR}_auroc")
EVERY_ROOT = "*"
LARGE = 2 << 20  # bytes of cells, some fifty thousand pictures: seconds of resampling
SILENT = ("inconclusive", "unfamiliar")
Asked = tuple[str, Path, tuple[str, ...], str]  # a shortcut, the grid's folder, roots, a condition's title
Alone = Mapping[str, Predictions | None]


def schema() -> pa.Schema:
    """Columns of the table: NAMES, each metric with _low and _high, and what they rest on."""
    fields = [(name, pa.float64() if name == "severity" else pa.string()) for name in NAMES]
    for name in (*METRICS, *SHORTCUTS, CUES_AUROC):
        fields += [(f"{name}{end}", pa.float64()) for end in ("", "_low", "_high")]
    fields += [(f"num_{what}", pa.int64()) for what in ("images", "families", "clips", "real", "fake")]
    fields += [("coverage", pa.float64()), ("spoken", pa.float64()), ("refused_by_reason", pa.string())]
    fields += [("selected_on", pa.string()), ("calibrated_split", pa.string()), ("num_seen", pa.int64())]
    return pa.schema([*fields, ("flags", pa.string())])


def write_metrics(folder: Path, workers: int = 1) -> pa.Table:
    """metrics.parquet and metrics.csv of the cells that a grid has so far.

    Args:
        workers: processes that resample, where that takes longer than to start them.
    """
    grid, missing = read_grid(folder), set(missing_cells(folder))
    cells = [folder / cell for cell in grid["cells"] if cell not in missing]
    together: dict[tuple[str, str], list[Path]] = {}
    for cell in cells:  # cells/DETECTOR/ROOT/CONDITION.parquet
        together.setdefault((cell.parts[-3], cell.name), []).append(cell)
    several = [paths for paths in together.values() if len(paths) > 1]
    large = sum(path.stat().st_size for path in cells) > LARGE
    with _several_processes(workers if large else 1) as run:
        of_all = dict(run(_ask, {key for paths in several for key in _asked(paths)}))
        tasks = [([cell], {}) for cell in cells]
        tasks += [(paths, {key[0]: of_all[key] for key in _asked(paths)}) for paths in several]
        found = dict(run(_lines, enumerate(tasks)))
    lines = [line for number in sorted(found) for line in found[number]]
    mark_masking(lines, [read_facts(cell) for cell in cells])
    table = pa.Table.from_pylist(lines, schema())
    with output_file(folder / METRICS_FILE) as temporary:
        pq.write_table(table, temporary)
    with output_file(folder / CSV_FILE) as temporary:
        pa_csv.write_csv(table, temporary)
    return table


@contextmanager
def _several_processes(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` over so many processes, whose results come in any order."""
    if count < 2:
        yield map
        return
    with ProcessPool(count, "dfd.evaluate.tidy") as pool:
        yield pool.run


def read_metrics(folder: str | Path) -> pa.Table:
    """The table of a grid.

    Raises:
        ValueError: it is not there yet, or no table of dfd's.
    """
    path = Path(folder) / METRICS_FILE
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"{path} cannot be read. Run `dfd evaluate` again: it finishes what a grid lacks."
        ) from error
    if lacking := [name for name in schema().names if name not in table.column_names]:
        raise ValueError(
            f"{path} has no column {lacking[0]}: another version of dfd wrote it, or it is no table of "
            "dfd's. Run `dfd evaluate` again: it makes the table anew from the cells."
        )
    return table


def cell_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one cell: of its images, and of its clips where there are any."""
    predictions, _, verdict, facts = read_predictions(path)
    # cells/DETECTOR/ROOT/CONDITION.parquet
    alone = read_shortcuts(path.parents[3], path.parts[-2], path.stem)
    facts["shortcuts"] = alone
    if facts["condition"] == CLEAN:
        facts["cues"] = read_cue_baseline(path.parents[3], path.parts[-2])
    whole = _line("all", predictions, verdict, facts)
    yield whole
    for name, part in _parts(predictions).items():
        if len(part) == len(predictions):
            yield {**whole, "part": name}
        else:
            yield _line(name, part, verdict[np.isin(predictions.row, part.row)], facts)
    for name, part in across_sources(predictions).items():
        word = verdict[np.isin(predictions.row, part.row)]
        yield _line(f"pooled:{name}", part, word, facts)
    clips = by_clip(predictions)
    if len(clips):
        facts["shortcuts"] = {name: each and _clips_of(each, predictions) for name, each in alone.items()}
        if cues := facts.get("cues"):
            facts["cues"] = _clips_of(cues.where(np.isin(cues.row, predictions.row)), predictions)
        for name, part in {"all": clips, **_parts(clips)}.items():
            yield _line(name, part, None, facts)


def _lines(task: tuple[int, tuple[list[Path], Alone]]) -> tuple[int, list[dict[str, Any]]]:
    """The lines of one cell, or of the cells of all roots together, with the number that they came with."""
    number, (paths, alone) = task
    return number, list(cell_lines(paths[0]) if len(paths) == 1 else pooled_lines(paths, alone))


def _asked(paths: Sequence[Path]) -> list[Asked]:
    """What is asked of the pictures of all roots together: the same for all detectors, and of file facts for
    all conditions, whose title is then "".
    """
    folder, roots = paths[0].parents[3], tuple(path.parts[-2] for path in paths)
    return [(FILE_FACTS, folder, roots, ""), (COLOR, folder, roots, paths[0].stem)]


def _ask(key: Asked) -> tuple[Asked, Predictions | None]:
    name, folder, roots, title = key
    return key, ask_together(folder, roots, name, title)


def pooled_lines(paths: Sequence[Path], alone: Alone) -> Iterator[dict[str, Any]]:
    """The lines of all roots together, of one detector under one condition.

    Args:
        alone: by its name, what each shortcut says of their pictures, see `ask_together`.
    """
    tables, words, facts = [], [], []
    for path in paths:
        predictions, _, verdict, told = read_predictions(path)
        tables.append(predictions)
        words.append(verdict)
        facts.append(told)
    names = [told["root"]["name"] for told in facts]
    predictions, verdict = _joined(tables, names), np.concatenate(words)
    every = {**facts[0], "root": {"name": EVERY_ROOT}, "flags_of": facts}
    every["shortcuts"] = {
        name: each and _in_joined(each, [path.parts[-2] for path in paths], tables)
        for name, each in alone.items()
    }
    yield _line("all", predictions, verdict, every)
    home = np.repeat(names, [len(table) for table in tables])
    place = np.char.add(np.char.add(home, "/"), predictions.source)
    for name, part in across_sources(replace(predictions, source=place)).items():
        # those of one root stand among its own lines
        if len(set(home[part.row].tolist())) > 1:
            yield _line(f"pooled:{name}", part, verdict[part.row], every)


def _in_joined(alone: Predictions, roots: Sequence[str], tables: Sequence[Predictions]) -> Predictions:
    """What a shortcut says of the pictures of several roots, by the rows of their joined table."""
    start = np.cumsum([0, *map(len, tables)])
    parts = []
    for root, table, first in zip(roots, tables, start[:-1], strict=True):
        part = alone.where((alone.source == root) & np.isin(alone.row, table.row))
        order = np.argsort(table.row)
        parts.append(replace(part, row=first + order[np.searchsorted(table.row, part.row, sorter=order)]))
    return Predictions(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Predictions.__dataclass_fields__
        }
    )


def _clips_of(alone: Predictions, predictions: Predictions) -> Predictions:
    """What a shortcut says of clips, one row each, called by the same row as in `by_clip(predictions)`."""
    told = predictions.where(np.searchsorted(predictions.row, alone.row))
    asked, clips = by_clip(replace(told, logit=alone.logit, status=alone.status)), by_clip(predictions)
    row = dict(zip(_clip_keys(clips), clips.row.tolist(), strict=True))
    return replace(asked, row=np.array([row[key] for key in _clip_keys(asked)], np.int64))


def _clip_keys(clips: Predictions) -> list[tuple[Any, ...]]:
    """What tells clips from one another, as in `by_clip`."""
    columns = (clips.source, clips.clip, clips.label, clips.method)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _parts(predictions: Predictions) -> dict[str, Predictions]:
    parts = {f"source:{name}": part for name, part in by_source(predictions).items()}
    return parts | {f"method:{name}": part for name, part in by_method(predictions).items()}


def _joined(tables: Sequence[Predictions], names: Sequence[str]) -> Predictions:
    """One table of several roots, whose rows are counted anew; families of different roots stay apart."""
    columns = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in Predictions.__dataclass_fields__
    }
    home = np.repeat([f"{name}/" for name in names], [len(table) for table in tables])
    columns["row"] = np.arange(len(home))
    columns["family"] = np.char.add(home, columns["family"])
    return Predictions(**columns)


def _line(
    part: str,
    predictions: Predictions,
    verdict: np.ndarray | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Args:
        verdict: (M,) words; None for clips, of which none is said.
    """
    calibrated, threshold = calibration_of(facts["calibration"]), float(facts["thresholds"]["balanced"])
    sure = familiar_first(predictions, verdict, calibrated, threshold)
    values = detection_metrics(predictions.judged, calibrated, threshold, sure)
    ends = intervals(predictions.judged, calibrated, threshold, sure)
    line: dict[str, Any] = {
        "detector": facts["detector"]["name"],
        "root": facts["root"]["name"],
        "condition": facts["condition"],
        "severity": math.nan if facts["severity"] is None else facts["severity"],
        "part": part,
        "kind": "image" if verdict is not None else "clip",
    }
    for name in METRICS:
        low, high = ends.get(name, (math.nan, math.nan))
        line |= {name: values[name], f"{name}_low": low, f"{name}_high": high}
    of = facts.get("flags_of", [facts])
    seen = [each["num_seen"] for each in of]
    flags = {flag for each in of for flag in flags_of(each)}
    for name, alone in facts.get("shortcuts", {}).items():
        shortcut = reached(name, alone, predictions.judged.row)
        ends = {"": shortcut.auroc, "_low": shortcut.low, "_high": shortcut.high}
        line |= {f"{name}_auroc{end}": value for end, value in ends.items()}
        if matches(shortcut, values["auroc"]):
            flags.add(f"{name}_match")
    baseline = reached(CUES_AUROC, facts.get("cues"), predictions.judged.row)
    ends = {"": baseline.auroc, "_low": baseline.low, "_high": baseline.high}
    line |= {f"{CUES_AUROC}{end}": value for end, value in ends.items()}
    return line | {
        "num_images": len(predictions),
        "num_families": predictions.num_families,
        "num_clips": len(set(predictions.clip.tolist()) - {""}),
        "num_real": int((predictions.label == REAL).sum()),
        "num_fake": int((predictions.label == FAKE).sum()),
        "coverage": len(predictions.judged) / len(predictions),
        "spoken": None if verdict is None else float((~np.isin(verdict, ("", *SILENT))).mean()),
        "refused_by_reason": json.dumps(_refused(predictions, verdict)),
        "selected_on": facts["selected_on"],
        "calibrated_split": (facts["calibrated_on"] or {}).get("split"),
        "num_seen": None if None in seen else sum(seen),
        "flags": " ".join(sorted(flags)),
    }


def _refused(predictions: Predictions, verdict: np.ndarray | None) -> dict[str, int]:
    """How many rows got no word, by the reason: statuses, and the words that decide nothing."""
    reason = predictions.status if verdict is None else np.where(verdict == "", predictions.status, verdict)
    names, numbers = np.unique(reason, return_counts=True)
    counts = dict(zip(names.tolist(), numbers.tolist(), strict=True))
    said = ("ok",) if verdict is None else ("fake", "no_trace")
    return {name: number for name, number in counts.items() if name not in said}
