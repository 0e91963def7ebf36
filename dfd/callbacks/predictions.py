"""Predictions CSV and metrics table of an evaluation: a line an image, and a table on the screen."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from dfd.batch import FAKE, LABELS, REAL, Predictions
from dfd.calibration import WORDS, Calibration, Shifted, check_prior, in_words, worth_in_words
from dfd.callbacks.conditions import conditions, sentence
from dfd.detector.card import TOY
from dfd.detector.selection import warning
from dfd.familiarity.alarm import table_verdicts
from dfd.metrics import (
    METRICS,
    by_method,
    by_source,
    check_finite,
    detection_metrics,
    format_metric,
    interval,
    intervals,
)
from dfd.outputs import check_file, output_file, table_heads
from dfd.run_record import STAGES, UNDECODABLE_FILE, RunFolder
from dfd.weighing import weighed

COLUMNS = (
    "key",
    "path",
    "label",
    "logit",
    "prob",
    "familiarity",
    "source",
    "method",
    "group",
    "split",
    "verdict",
    "status",
)
WARNING = "bold red"  # on terminals, of what spoils a figure
# as many as 80 columns hold beside the names
OF_PARTS = ("real", "fake", "families", "auroc", "95% interval", "balanced_acc")


class PredictionWriter(Callback):
    """After `dfd validate`, `test` and `predict` (not within a fit) writes predictions-<stage>.csv into the
    run folder and prints which pictures these were, and the metrics: overall with 95% bootstrap intervals, a
    source, and a method against the reals of its sources.

    In the CSV `label` is 0 real, 1 fake, empty where unknown; `logit` is raw, `prob` is P(fake) after
    calibration, empty where the picture is unfamiliar; `familiarity` is the share of the detector's own
    pictures that are at least as strange, empty where it never learnt that.

    A picture without a verdict is a line with its `status`, and counts in the coverage alone.

    Args:
        prior: share of fakes among such pictures, in (0, 1), which P(fake) and all that is measured of it are
            corrected to; None leaves that of the calibration. No verdict depends on it.

    Raises:
        ValueError: prior outside (0, 1).
    """

    def __init__(self, prior: float | None = None):
        if prior is not None:
            check_prior(prior)
        self.prior = prior

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        """Refuses, before pictures are judged, a place where the table may not be written.

        Raises:
            ValueError: something else lies there.
        """
        if trainer.is_global_zero and trainer.state.fn in STAGES:
            path = RunFolder(trainer.default_root_dir).predictions(STAGES[trainer.state.fn])
            check_file(path, f"the table of predictions, {path},", heads=table_heads(COLUMNS))

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._correct(task)

    def on_test_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._correct(task)

    def on_predict_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._correct(task)

    def _correct(self, task: LightningModule) -> None:
        """Corrects P(fake) to the prior, once the checkpoint's calibration is there."""
        if self.prior is not None:
            task.use_prior(self.prior)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == "validate":  # `trainer.validating` is true in a fit's validation as well
            self._leave(trainer, task, "val")

    def on_test_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._leave(trainer, task, "test")

    def on_predict_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._leave(trainer, task, "predict")

    def _leave(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        path = RunFolder(trainer.default_root_dir).predictions(stage)
        predictions = task.predictions
        judged, ok = predictions.judged, predictions.status == "ok"
        check_finite(judged)
        gate = getattr(task, "familiarity", None)
        said, strange = table_verdicts(judged.logit, judged.familiarity, judged.source, task.thresholds, gate)
        verdict = np.full(len(predictions), "", said.dtype)
        verdict[ok] = said
        words = verdict.tolist()
        silent = (task.calibrated_on or {}).get("data") == TOY != trainer.datamodule.title
        if silent:
            words, strange = [word and "inconclusive" for word in words], {}
        facts = trainer.datamodule.describe(predictions.row)
        with output_file(path) as temporary:
            balanced = task.thresholds["balanced"]
            _write(temporary, predictions, task.calibration, balanced, words, facts)
        console = Console(markup=False, highlight=False, emoji=False)  # a method may be called [gan]
        console.print(sentence(conditions(trainer.datamodule, stage)), soft_wrap=True)
        for line in (*_report(stage, task, words, self.prior), _seen_before(stage, task, trainer.datamodule)):
            console.print(line, style=WARNING if str(line).startswith("SEEN BEFORE") else None)
        if not ok.all():
            console.print(
                f"Coverage: {ok.sum()} of {len(ok)} images have a verdict; the others are no part of any "
                f"figure above: {_counted(predictions.status[~ok])}. {UNDECODABLE_FILE} names them.",
                soft_wrap=True,
            )
        if chosen := warning(
            "val" if stage == "val" else "test", task.calibrated_on, getattr(task, "selected_on", None)
        ):
            console.print(chosen, style=WARNING)
        if silent:
            console.print(
                "No verdicts: this detector has seen drawings only, and knows nothing of other pictures.",
                soft_wrap=True,
            )
        for source, text in strange.items():
            console.print(f"{source}: {text}.", soft_wrap=True)
        for root, known in trainer.datamodule.leaks.items():
            console.print(
                f"LEAK: in {root} related pictures lie in different splits ({known}), kept by --allow-leaks.",
                style=WARNING,
            )
        if stage == "val" and _chose(task, trainer.datamodule):
            console.print(
                "These figures are optimistic: val chose epoch and thresholds. Those of dfd test are not.",
                style=WARNING,
            )
        console.print(f"{len(words)} predictions: {path}", soft_wrap=True)


def _write(
    path: Path,
    predictions: Predictions,
    calibration: Calibration | Shifted,
    balanced: float,
    words: list[str],
    facts: dict[str, np.ndarray],
) -> None:
    label = ["" if label < 0 else label for label in predictions.label.tolist()]
    ok = predictions.status == "ok"
    counted = weighed(predictions.logit, predictions.familiarity, balanced)
    # of what is unfamiliar, or was not judged, there is no P(fake)
    spoken = ok & (np.array(words, str) != "unfamiliar")
    columns = (
        facts["key"],
        facts["path"],
        label,
        _cells(predictions.logit, ok),
        _cells(expit(calibration(counted)), spoken),
        _cells(predictions.familiarity, ~np.isnan(predictions.familiarity)),
        predictions.source,
        predictions.method,
        predictions.family,
        facts["split"],
        words,
        predictions.status,
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*columns, strict=True))


def _cells(values: np.ndarray, known: np.ndarray) -> list[float | str]:
    """Python floats: written with all digits, so that ranks survive; "" for what is not known."""
    return [value if each else "" for value, each in zip(values.tolist(), known.tolist(), strict=True)]


def _counted(status: np.ndarray) -> str:
    names, counts = np.unique(status, return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))


def _report(stage: str, task: LightningModule, words: list[str], prior: float | None) -> list[Table | str]:
    """What goes to the screen: metrics where the truth is known, the verdicts, and what they rest on."""
    tables, predictions = [], task.predictions.judged
    if known := set(predictions.label[predictions.label >= 0].tolist()):
        tables.append(_overall(stage, task))
        sources, methods = by_source(predictions), by_method(predictions)
        if len(sources) > 1 or len(methods) > 1:
            tables.append(_parts(task, sources, methods))
    counts = Counter(words)
    corrected = [] if prior is None else [_for_prior(prior, task.predictions)]
    fitted = task.calibrated_on
    of = f" of {fitted['data']}" if fitted and "data" in fitted else ""
    lines = [
        *corrected,
        "Verdicts: " + ", ".join(f"{counts[verdict]} {word}" for verdict, word in WORDS.items()),
        f"Calibration and thresholds: from {fitted['split']}{of}, {fitted['images']} images in "
        f"{fitted['groups']} families"
        if fitted
        else "Calibration and thresholds: never fitted",
        *in_words((fitted or {}).get("sources", {})),
        *worth_in_words((fitted or {}).get("sources", {}), prior),
    ]
    if len(known) == 1:
        name = LABELS[known.pop()]
        lines.insert(
            0,
            f"All these images are {name}: what compares both classes is undefined. acc is the share of them "
            f"that is called {name} at the stored threshold.",
        )
    if chosen := getattr(task, "selected_on", None):
        lines.append(f"Checkpoint chosen on: {chosen}")
    return tables + lines


def _for_prior(prior: float, predictions: Predictions) -> str:
    """What P(fake) is for, and what of the metrics depends on it."""
    text = f"P(fake) is for {prior:g} fakes among such pictures (--prior)"
    known = predictions.label[predictions.label >= 0]
    if not len(known):
        return text
    return f"{text}; of these {(known == FAKE).mean():.3g} are, which ece, brier and nll show"


def _seen_before(stage: str, task: LightningModule, data: LightningDataModule) -> str:
    """Whether the net knows these pictures, byte for byte."""
    seen = getattr(task, "seen", {})
    if not seen:
        return "Seen before: not checked, since this checkpoint does not say which images it was trained on"
    prints = data.fingerprints(task.predictions.row)
    uses = {"train": "trained it"} | ({} if stage == "val" else {"val": "chose its epoch and thresholds"})
    known = {use: int(np.isin(prints, seen[split].numpy()).sum()) for split, use in uses.items()}
    lines = [f"{number} of these {len(prints)} images {use}" for use, number in known.items() if number]
    if not lines:
        trained = len(seen["train"])
        return (
            f"Seen before: none of these images is, byte for byte, among the {trained} that trained the net"
        )
    return (
        f"SEEN BEFORE: {', '.join(lines)}. These figures do not hold for pictures that the net has not seen."
    )


def _chose(task: LightningModule, data: LightningDataModule) -> bool:
    """Whether the checkpoint was chosen on some of these pictures, or may have been."""
    chose = getattr(task, "seen", {}).get("val")
    return chose is None or bool(np.isin(data.fingerprints(task.predictions.row), chose.numpy()).any())


def _overall(stage: str, task: LightningModule) -> Table:
    predictions, threshold = task.predictions.judged, task.thresholds["balanced"]
    metrics = detection_metrics(predictions, task.calibration, threshold)
    table = Table(
        title=f"{stage}: {metrics['num_images']:.0f} images in {metrics['num_groups']:.0f} families",
        title_justify="left",
        box=SIMPLE,
    )
    table.add_column("metric")
    table.add_column("all", justify="right")
    table.add_column("95% interval", justify="right")
    found = intervals(predictions, task.calibration, threshold)
    for name in METRICS:
        ends = ""
        if name in found:
            low, high = found[name]
            perfect = low == high == 1 and name in ("auroc", "ap", "acc", "balanced_acc")
            ends = "no error seen" if perfect else f"{format_metric(low)} .. {format_metric(high)}"
        table.add_row(name, format_metric(metrics[name]), ends)
    return table


def _parts(task: LightningModule, sources: dict[str, Predictions], methods: dict[str, Predictions]) -> Table:
    table = Table(
        box=SIMPLE,
        padding=0,
        pad_edge=False,
        caption="method: its fakes against the reals of its sources",
        caption_justify="left",
    )
    table.add_column("of", overflow="fold")
    for name in OF_PARTS:
        table.add_column(name, justify="right")
    named = {
        f"{kind} {name}": part
        for kind, parts in (("source", sources), ("method", methods))
        for name, part in parts.items()
    }
    for name, part in named.items():
        metrics = detection_metrics(part, task.calibration, task.thresholds["balanced"])
        counts = (str((part.label == kind).sum()) for kind in (REAL, FAKE))
        low, high = (format_metric(end, 3) for end in interval(part))
        auroc, balanced = (format_metric(metrics[column], 3) for column in ("auroc", "balanced_acc"))
        table.add_row(name, *counts, f"{metrics['num_groups']:.0f}", auroc, f"{low} .. {high}", balanced)
    return table
