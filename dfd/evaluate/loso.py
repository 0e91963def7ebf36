"""Leave one source out: a net is trained without each source in turn, and judged on the source that it has
not seen. It is the headline number of a detector that was trained on several sources.

The fits are trials of a study (`dfd.sweep`): killed and started again, or started on several machines with
the same folder, it goes on. Each is judged as soon as it has ended, into the cells of a grid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dfd.detector import Detector
from dfd.durable import explain_os_error, make_folder
from dfd.evaluate.conditions import CLEAN, Condition, load_conditions
from dfd.evaluate.folder import GRID, check_out
from dfd.evaluate.grid import (
    ALL,
    Options,
    judge_all,
    named_detector,
    named_root,
    with_victims,
    write_grid,
)
from dfd.evaluate.loso_fits import BEGUN, Fits, check_begun, fit_command, fits_of
from dfd.evaluate.loso_sources import LeftOut, find_sources
from dfd.evaluate.loso_table import LOSO_FILE, said, write_loso
from dfd.evaluate.names import clean_name, named, root_name
from dfd.evaluate.plan import NamedDetector, NamedRoot, Pass, cell_file, passes
from dfd.evaluate.tidy import write_metrics
from dfd.run_record import RunFolder
from dfd.sweep.runner import TrialRunner
from dfd.sweep.sweep import run_trials

FITS = "loso"  # folder of the fits in that of the results
MOST_SEEDS = 100
OPTIONS = Options()


def leave_one_out(
    configs: Sequence[str],
    roots: Sequence[str],
    out: Path,
    conditions: str | None = None,
    options: Options = OPTIONS,
    seeds: int = 1,
    fits: int = 1,
) -> pa.Table | None:
    """Trains a net without each source and judges it there; prints the worst source first, and returns the
    table of metrics, or None where other processes are to finish it.

    Args:
        configs: of `dfd fit`, by path or name: the experiment, then overlays.
        roots: folders of finished shards or their URLs, or "NAME=ROOT"; their tables name the sources.
        out: gets loso.csv, metrics.csv and cells as any grid, and the runs as loso/SOURCE/seedN.
        conditions: see `load_conditions`; None judges the pictures as found.
        seeds: fits of each source.
        fits: how many run at once here.

    Raises:
        ValueError: something is wrong with what was named, or all fits failed; says what.
        SystemExit: after SIGTERM (143) or SIGINT (130): the same command goes on.
    """
    options.check()
    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"--seeds {seeds}: from 1 to {MOST_SEEDS} fits of each source are trained.")
    if options.task != ALL:
        raise ValueError(
            "--task shares out the cells of a grid. Fits are shared by starting the same --loso command "
            "several times, on as many machines."
        )
    if fits < 1:
        raise ValueError(f"--fits {fits}: at least one fit runs at a time.")
    asked = [Condition(CLEAN)] if conditions is None else load_conditions(conditions)
    folders = named(map(str, roots), "root", root_name)
    command = fit_command(configs)
    if (out / GRID).is_file() and not (out / FITS).is_dir():
        raise ValueError(f"--out {out} holds another evaluation. Choose a new folder; nothing was written.")
    check_out(out, folders.values(), FITS)  # of two processes the second may come before there is a grid.json
    sources = find_sources(folders, options.split)
    asked, victims = with_victims(asked, options)
    told = fits_of(command, folders, [source.name for source in sources if not source.why], seeds)
    study = Loso(out, told, sources, folders, asked, victims, options)
    try:
        for name in told.names:
            make_folder((study.place / name).parent)
        check_begun(study.place / BEGUN, configs, folders)
        write_grid(out, [], [], asked, study.cells(), options)
        runner = run_trials(told, told.points, study.place, fits, completed=study.judge)
        return study.finish(runner)
    except OSError as error:
        raise explain_os_error(error, out) from error


@dataclass(frozen=True)
class Loso:
    """The fits of one call, and how each is judged.

    Args:
        told: the fits.
        sources: all, also those that are trained on alone.
        folders: roots by name.
        asked, victims: see `with_victims`.
    """

    out: Path
    told: Fits
    sources: Sequence[LeftOut]
    folders: Mapping[str, str]
    asked: Sequence[Condition]
    victims: Mapping[str, Detector]
    options: Options

    @property
    def place(self) -> Path:
        """The folder of the fits."""
        return (self.out / FITS).absolute()

    def cells(self) -> list[str]:
        """The prediction files of all fits, as they will be."""
        return [
            cell_file(_detector_name(source, seed), _root_name(source, root), condition)
            for source, seed in map(self._fit, range(self.told.points))
            for root in source.roots
            for condition in self.asked
        ]

    def judge(self, run: Path) -> list[Pass]:
        """Judges the net of a finished fit on the source that it has not seen, where that is not done yet."""
        source, seed = self._fit(self._number(run))
        detector = named_detector(_detector_name(source, seed), str(RunFolder(run).best), self.options)
        roots = [self._root(source, root, detector) for root in source.roots]
        plan = passes([detector], roots, self.asked)
        judge_all(self.out, plan, self.options, self.victims, left_out=source.name, loso_seed=seed)
        return plan

    def finish(self, runner: TrialRunner) -> pa.Table | None:
        """Judges what a killed process left unjudged, writes the tables, and says what came out."""
        trials = runner.study.trials
        failed = {
            self.told.names[trial.number]: trial.user_attrs["reason"]
            for trial in trials
            if trial.state.name == "FAIL"
        }
        plan = [
            each
            for trial in trials
            if trial.state.name == "COMPLETE"
            for each in self.judge(runner.study.folder_of(trial))
        ]
        if runner.study.unfinished():
            print(f"{len(plan)} of {self.told.points} fits are judged; other processes see to the rest.")
            return None
        if not plan:
            raise ValueError(
                f"none of {self.told.points} fits ended well; the first of {len(failed)} ended so: "
                f"{next(iter(failed.values()), 'not begun')}\nTheir logs are in {self.place}. Mend the "
                "cause, and begin anew with another --out."
            )
        cells = [cell for each in plan for cell in each.cells]
        detectors = list({cell.detector.name: cell.detector for cell in cells}.values())
        roots = list({cell.root.name: cell.root for cell in cells}.values())
        write_grid(self.out, detectors, roots, self.asked, [cell.file for cell in cells], self.options)
        table = write_metrics(self.out)
        lines = write_loso(self.out, table)
        for text in said(lines, {each.name: each.why for each in self.sources if each.why}, failed):
            print(text)
        print(f"{len(plan)} nets, each on the source that it has not seen: {self.out / LOSO_FILE}")
        return table

    def _fit(self, number: int) -> tuple[LeftOut, int]:
        """What the fit of a number leaves out, and its seed."""
        params = self.told.point(number)
        (name,) = json.loads(str(params["data.leave_out"]))
        return next(source for source in self.sources if source.name == name), int(params["data.seed"])

    def _number(self, run: Path) -> int:
        """Of the trial in a run folder, whose name may end with the number of its place."""
        name = run.relative_to(self.place).as_posix()
        exact = [number for number, each in enumerate(self.told.names) if name == each]
        begun = [number for number, each in enumerate(self.told.names) if name.startswith(f"{each}-")]
        return (exact or begun)[0]

    def _root(self, source: LeftOut, name: str, detector: NamedDetector) -> NamedRoot:
        """The pictures of a source in one root."""
        root = named_root(_root_name(source, name), self.folders[name], detector.detector, self.options)
        root.keep_source(source.name)
        return root


def _detector_name(source: LeftOut, seed: int) -> str:
    return clean_name(f"without-{source.name}-seed{seed}")


def _root_name(source: LeftOut, root: str) -> str:
    """What the pictures of a source in a root are called: the source alone, where that says it."""
    return clean_name(source.name if len(source.roots) == 1 else f"{source.name}-{root}")
