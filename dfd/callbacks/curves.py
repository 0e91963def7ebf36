"""ROC, DET, precision, confusion, reliability and risk-coverage curves after each validation and test."""

from __future__ import annotations

from textwrap import fill

from lightning import Callback, LightningModule, Trainer

from dfd.batch import Predictions
from dfd.callbacks.conditions import conditions, sentence
from dfd.callbacks.publish import only_a_warning, publish
from dfd.metrics import detection_metrics, format_metric, interval, risk_coverage


class Curves(Callback):
    """Draws ROC, DET, precision and recall, confusion, reliability and risk over coverage to
    plots/val-curves.png and plots/test-curves.png of the run folder, over the last ones, and into the logger.

    Args:
        every_n_epochs: 1 is after each validation of a fit; `dfd validate` and `dfd test` always draw.
    """

    def __init__(self, every_n_epochs: int = 1):
        if every_n_epochs < 1:
            raise ValueError(
                f"every_n_epochs={every_n_epochs} must be 1 or more. To draw none, leave the callback out."
            )
        self.every_n_epochs = every_n_epochs

    # the hooks at a stage's end: at an epoch's end callbacks come before the task, which has not yet gathered
    # its table
    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._draw(trainer, task, "val")
        elif not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, task, "val", f"epoch {trainer.current_epoch + 1}, ")

    def on_test_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._draw(trainer, task, "test")

    def _draw(self, trainer: Trainer, task: LightningModule, stage: str, when: str = "") -> None:
        if not trainer.is_global_zero:
            return
        with only_a_warning(f"{stage}-curves"):
            from dfd.plots import (
                curves,
            )  # matplotlib: most of a second that `dfd fit --help` need not wait for

            pictures = fill(f"{when}{sentence(conditions(trainer.datamodule, stage))}", 100)
            title = f"{pictures}\n{_summary(task.predictions.judged)}"
            judged = task.predictions.judged, task.calibration, task.thresholds["balanced"]
            risk = (*risk_coverage(*judged), detection_metrics(*judged)["aurc"])
            figure = curves(*judged, title, risk)
            publish(trainer, figure, f"{stage}-curves")


def _summary(predictions: Predictions) -> str:
    metrics = detection_metrics(predictions)
    low, high = (format_metric(end) for end in interval(predictions))
    return (
        f"{metrics['num_images']:.0f} images in {metrics['num_groups']:.0f} families, "
        f"AUROC {format_metric(metrics['auroc'])} [{low}, {high}]"
    )
