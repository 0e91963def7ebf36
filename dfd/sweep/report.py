"""HTML report of a sweep: the best trial's command, and how the metric depends on the parameters."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfd.html import Section, html_page, png
from dfd.outputs import output_file
from dfd.run_record import RunFolder
from dfd.sweep.figures import history, importance_bars, parallel_coordinates, short_names
from dfd.sweep.storage import PAGE
from dfd.sweep.study import Study, cost, minutes, state

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ROWS = 1000  # of the table: a page of more opens slowly
REASONS, LISTED = 20, 10  # why trials failed, and by number how many of each
FEW = 10  # complete trials a parameter, below which their shares mean little


def write_page(study: Study, total: int) -> Path:
    """Writes STUDY/sweep.html, whole or not at all, and returns its path.

    Args:
        study: with its trials so far.
        total: how many trials it is to have.
    """
    path = study.folder / PAGE
    sections = [_best(study, total), *_figures(study), *_failures(study), _table(study)]
    text = html_page(f"Sweep: {study.folder.name}", sections)
    with output_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _best(study: Study, total: int) -> Section:
    told, trials, best = study.sweep, study.trials, study.best()
    lines = [
        f"{len(trials)} of {max(total, len(trials))} trials of a {told.method} search begun: "
        f"{study.states()}."
    ]
    if spent := cost(trials):
        lines.append(f"{spent[0].upper()}{spent[1:]}.")
    if best is None:
        return Section("No trial is complete", lines, mood="bad")
    compared = sum(trial.value is not None for trial in trials)
    lines += [
        f"This value is optimistic: it is the best of {compared}, so some of it is luck with the pictures "
        f"that {told.metric} was measured on, and the more trials, the more of it. It says which trial to "
        "take, and not how good that one is.",
        "Judge on the test split the one trial that you take, once.",
    ]
    folder = study.folder_of(best)
    commands = [("Its command:", told.shown_command(best.params)), ("Its run folder:", str(folder))]
    if (checkpoint := RunFolder(folder).best).exists():
        commands.append(("To judge it:", shlex.join(["dfd", "test", str(checkpoint)])))
    return Section(f"Best: trial {best.number}, {told.metric} {best.value:.6g}", lines, commands=commands)


def _figures(study: Study) -> list[Section]:
    told, trials = study.sweep, study.trials
    value = np.array([_shown_value(trial, told.maximize) for trial in trials], float)
    sections = []
    if np.isfinite(value).any():
        drawn = history(value, [trial.state.name for trial in trials], told.metric, told.maximize)
        caption = (
            "Each trial's best value; of those stopped early and of those still running, the best so far."
        )
        sections.append(Section("History", figures=[(caption, png(drawn))]))
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if shares := _importances(study, complete):
        text = [
            "How much each parameter does in a random forest that learns the metric of the complete trials "
            "(mean decrease of impurity, Breiman 2001). One with many values is favoured a little."
        ]
        mood = ""
        if len(complete) < FEW * len(told.space):
            mood = "bad"
            few = f"{len(complete)} complete trials are few for {len(told.space)} parameters"
            text.insert(0, f"{few}: do not rely on these shares.")
        if any(trial.state.name == "PRUNED" for trial in trials):
            text.append(
                "Trials that were stopped early are not in it, so that what matters early is underrated."
            )
        sections.append(
            Section("Importance", text, figures=[("They sum to 1.", png(importance_bars(shares)))], mood=mood)
        )
    if complete:
        values = np.array([trial.value for trial in complete])
        drawn = parallel_coordinates(
            told.space, [trial.params for trial in complete], values, told.metric, told.maximize
        )
        caption = "A line a complete trial, dark is good; the best one is orange."
        sections.append(Section("Parallel coordinates", figures=[(caption, png(drawn))]))
    return sections


def _importances(study: Study, complete: list[FrozenTrial]) -> dict[str, float]:
    """Shares that sum to 1; none where there is nothing to compare."""
    varied = any(len({trial.params[name] for trial in complete}) > 1 for name in study.sweep.space)
    if len(study.sweep.space) < 2 or not varied or len({trial.value for trial in complete}) < 2:
        return {}
    from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances

    return get_param_importances(study.study, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=0))


def _failures(study: Study) -> list[Section]:
    """Why trials failed, the commonest reasons first."""
    reasons: dict[str, list[int]] = {}
    for trial in study.trials:
        if trial.state.name == "FAIL":
            reasons.setdefault(trial.user_attrs["reason"], []).append(trial.number)
    if not reasons:
        return []
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    rows = [(_listed(numbers), reason) for reason, numbers in ordered[:REASONS]]
    more = [f"The commonest {REASONS} of {len(ordered)} reasons."] if len(ordered) > REASONS else []
    return [Section("Failures", more, [(("trials", "reason"), rows)])]


def _listed(numbers: list[int]) -> str:
    more = f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else ""
    return ", ".join(map(str, numbers[:LISTED])) + more


def _table(study: Study) -> Section:
    short = short_names(study.sweep.space)
    rows = []
    for trial in study.trials:
        value = "" if trial.value is None else f"{trial.value:.6g}"
        params = (trial.params.get(name) for name in short)
        rounded = (float(f"{each:.4g}") if isinstance(each, float) else each for each in params)
        spent = minutes(trial)
        took = f"{spent:.1f}" if math.isfinite(spent) else ""
        rows.append((trial.number, state(trial), value, took, len(trial.intermediate_values), *rounded))
    more = [f"The first {ROWS} of {len(rows)}."] if len(rows) > ROWS else []
    head = ("trial", "state", study.sweep.metric, "minutes", "values", *short.values())
    return Section("All trials", more, [(head, rows[:ROWS])])


def _shown_value(trial: FrozenTrial, maximize: bool) -> float:
    if trial.value is not None:
        return trial.value
    seen = trial.intermediate_values.values() if trial.state.name == "RUNNING" else ()
    return (max if maximize else min)(seen, default=np.nan)
