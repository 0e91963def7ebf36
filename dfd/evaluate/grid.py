"""Grid: detectors x roots x conditions, as one prediction file a cell and one table of metrics.

A cell is whole or not there, so that an interrupted grid goes on, and several processes or the tasks of a job
array may fill one folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.detector import Detector, load
from dfd.detector.detector import EXPORTS
from dfd.detector.published import detector_file
from dfd.durable import explain_os_error, sha256_of
from dfd.evaluate.attacked import judge_attacked
from dfd.evaluate.conditions import Condition, load_conditions
from dfd.evaluate.cue_baseline import write_cue_baseline
from dfd.evaluate.folder import CSV_FILE, METRICS_FILE, check_out, missing_cells, read_grid
from dfd.evaluate.gradient_masking import masking_of
from dfd.evaluate.judging import Judged, judge, verdicts
from dfd.evaluate.names import detector_name, named, root_name
from dfd.evaluate.plan import Cell, NamedDetector, NamedRoot, Pass, passes
from dfd.evaluate.prediction_file import read_facts, write_predictions
from dfd.evaluate.provenance import cell_facts, plain, write_record
from dfd.evaluate.screen import show
from dfd.evaluate.shortcut_files import PassShortcuts
from dfd.evaluate.tidy import write_metrics
from dfd.prepare.job_array import ArrayTask
from dfd.progress import progress

ALL = ArrayTask(1, 1)


@dataclass(frozen=True)
class Options:
    """How a grid is judged.

    Args:
        split: val or test.
        batch_size: pictures that are judged at once.
        workers: decoding processes; 0 decodes in this one.
        device: where the nets run, as torch names it; None for a GPU where there is one.
        allow: packages beside dfd whose code the checkpoints may name.
        drawings: the pictures are the toy set's drawings, see `dfd.load`.
        limit: judge at most so many pictures of each class and source, for a quick look.
        task: which share of the passes is this process's.
    """

    split: str = "test"
    batch_size: int = 32
    workers: int = 2
    device: str | None = None
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
    check_out(out, folders.values())
    detectors = [named_detector(name, path, options) for name, path in files.items()]
    opened = [named_root(name, path, detectors[0].detector, options) for name, path in folders.items()]
    conditions, victims = with_victims(conditions, options)
    plan = passes(detectors, opened, conditions)
    try:
        files = [cell.file for cell in _cells(plan)]
        write_grid(out, detectors, opened, conditions, files, options)
        _remove_outdated(out, plan, options)
        judge_all(out, plan, options, victims)
        missing = missing_cells(out)
        if not missing:
            for root in opened:
                write_cue_baseline(out, root, options.limit)
        table = None if missing else write_metrics(out, options.workers)
    except OSError as error:
        raise explain_os_error(error, out) from error
    if table is None:
        number = len(read_grid(out)["cells"])
        print(f"{number - len(missing)} of {number} cells are there; the others are of other tasks: {out}")
    else:
        show(out, table, options.limit)
        for sign in masking_of(table.to_pylist(), [read_facts(out / cell.file) for cell in _cells(plan)]):
            print(sign)
    return table


def _cells(plan: Sequence[Pass]) -> list[Cell]:
    return [cell for each in plan for cell in each.cells]


def named_detector(name: str, path: str, options: Options) -> NamedDetector:
    """The detector of a file, of a published folder or of a released name, on its device."""
    file = detector_file(path)
    detector = load(
        file,
        device="cpu" if file.suffix in EXPORTS and options.device is None else _device(options),
        allow=options.allow or ("dfd.",),
        batch_size=options.batch_size,
        drawings=options.drawings,
    )
    # a report looks for the file, which a released name does not say
    return NamedDetector(name, path if Path(path).exists() else str(file), sha256_of(file), detector)


def _device(options: Options) -> str:
    import torch

    if options.device is not None:
        return options.device
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"


def named_root(name: str, path: str, detector: Any, options: Options) -> NamedRoot:
    """The pictures of a folder or URL that are to be judged."""
    return NamedRoot(
        name, path, options.split, detector.view, options.batch_size, options.workers, options.limit
    )


def write_grid(
    out: Path,
    detectors: Sequence[NamedDetector],
    roots: Sequence[NamedRoot],
    conditions: Sequence[Condition],
    cells: Sequence[str],
    options: Options,
) -> None:
    """grid.json: what is judged, by what, and which cells are to be there in the end."""
    told = {"split": options.split, "limit": options.limit, "drawings": options.drawings}
    write_record(out, detectors, roots, conditions, cells, **told, device=_device(options))


def with_victims(
    conditions: Sequence[Condition], options: Options
) -> tuple[list[Condition], dict[str, Detector]]:
    """The conditions, and by path the detectors that their transferred attacks are made on."""
    paths = sorted({each.attack.source for each in conditions if each.attack and each.attack.source})
    victims = {path: named_detector(detector_name(path), path, options) for path in paths}
    known = [
        replace(each, attack=replace(each.attack, sha256=victims[each.attack.source].sha256))
        if each.attack and each.attack.source
        else each
        for each in conditions
    ]
    return known, {path: victim.detector for path, victim in victims.items()}


def _remove_outdated(out: Path, plan: Sequence[Pass], options: Options) -> None:
    """Removes cells of the plan that were made of something else, and tables that no longer say what is
    there: a half-finished grid is known as one.
    """
    missing = False
    for cell in _cells(plan):
        path = out / cell.file
        # one that is not there yet is left alone: another process may be writing it at this moment
        if not path.exists():
            missing = True
        elif not _done(out, cell, options):
            missing = True
            path.unlink(missing_ok=True)
    if missing:
        for path in (out / METRICS_FILE, out / CSV_FILE):
            path.unlink(missing_ok=True)


def judge_all(
    out: Path, plan: Sequence[Pass], options: Options, victims: Mapping[str, Detector], **facts: Any
) -> None:
    """Judges what is not there yet of this task's share.

    Args:
        victims: see `with_victims`.
        facts: that the cells are to say beside their own.
    """
    waiting = [
        (each, cells)
        for number, each in enumerate(plan)
        if options.task.has(number)
        and (cells := [cell for cell in each.cells if not _done(out, cell, options)])
    ]
    with progress(sum(each.num_pictures for each, _ in waiting), "pictures") as advance:
        for each, cells in waiting:
            if each.condition.attack:
                _judge_attacked(out, cells[0], options, victims, advance, facts)
            else:
                _judge(out, each, cells, options, advance, facts)


def _done(out: Path, cell: Cell, options: Options) -> bool:
    try:
        made_of = read_facts(out / cell.file).get("cell")
    except ValueError:
        return False  # not there, or not ours
    return made_of == cell.identity(options.limit, options.drawings)


def _judge(
    out: Path,
    each: Pass,
    cells: Sequence[Cell],
    options: Options,
    advance: Any,
    facts: Mapping[str, Any],
) -> None:
    root, detectors = each.root, [cell.detector.detector for cell in cells]
    loader = root.loader(each.condition, detectors[0].view, detectors[0].net)
    shortcuts = PassShortcuts(out, each, options.limit)
    found = judge(detectors, shortcuts.watched(loader), root.rows, root.data, advance)
    # before the cells: a cell that is there is not judged again, and would lack them
    shortcuts.write()
    for cell, judged in zip(cells, found, strict=True):
        _write(out, cell, judged, options, facts)


def _judge_attacked(
    out: Path,
    cell: Cell,
    options: Options,
    victims: Mapping[str, Detector],
    advance: Any,
    facts: Mapping[str, Any],
) -> None:
    attack, detector = cell.condition.attack, cell.detector.detector
    victim = victims[attack.source] if attack.source else detector
    try:
        found = judge_attacked(detector, victim, attack, cell.root.data, cell.root.split, advance)
    except ValueError as error:
        raise ValueError(f"{cell.detector.path}, under {cell.condition.title}: {error}") from error
    share = found.num_flat / found.num_attacked if found.num_attacked else 0.0
    told = {**facts, "attack": asdict(attack), "zero_gradients": share}
    _write(out, cell, found.judged, options, told)


def _write(out: Path, cell: Cell, judged: Judged, options: Options, facts: Mapping[str, Any]) -> None:
    """Writes a cell's prediction file; `facts` beside those of every cell."""
    data, rows = cell.root.data, judged.predictions.row
    speaks = cell.detector.detector.speaks or cell.root.drawings
    made_of = cell.identity(options.limit, options.drawings)
    detector = cell.detector.detector
    prob, verdict, strange = verdicts(detector.card, detector.gate, judged.predictions, speaks)
    write_predictions(
        out / cell.file,
        judged.predictions,
        data.describe(rows),
        prob=prob,
        verdict=verdict,
        reason=judged.reason,
        facts=plain(
            {
                **cell_facts(
                    detector.card,
                    cell.detector.facts(),
                    cell.root,
                    cell.condition,
                    prints=data.fingerprints(rows),
                    speaks=speaks,
                    identity=made_of,
                ),
                "strange": strange,
                **facts,
            }
        ),
    )
