"""Detection metrics of one prediction table: of images, or of clips as `dfd.metrics.clips` makes them.

Images are ranked by their float64 logit, never by a probability that has saturated. Every metric takes one
weight an image: all ones give the metric itself, and how often each image was drawn gives a bootstrap
resample, so a number and its interval come from the same lines. torchmetrics has no weights and answers in
float32; the tests compare with it and with scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy.special import expit

from dfd.batch import FAKE, NUM_BINS, Predictions
from dfd.metrics import abstention
from dfd.run_record import NOT_FINITE, RunFailure
from dfd.weighing import weighed

Calibrated = Callable[[np.ndarray], np.ndarray]  # raw logits (M,) -> calibrated log odds (M,)
Confidence = Callable[[Predictions], np.ndarray]  # a table -> how sure its rows are (M,), in any unit


def uncalibrated(logit: np.ndarray) -> np.ndarray:
    """Raw logits as log odds: the net's own confidence."""
    return logit


def detection_metrics(
    predictions: Predictions,
    calibrated: Calibrated = uncalibrated,
    threshold: float = 0.0,
    confidence: Confidence | None = None,
) -> dict[str, float]:
    """All metrics of a table. Rows without a logit or with an unknown label (-1) are left out; nan means
    undefined (one class, no image).

    auroc ap: area under the ROC curve, and average precision as scikit-learn defines it: ties count half, no
        interpolation
    eer: error rate where the ROC curve, with straight lines between its points, has as many misses as false
        alarms
    acc balanced_acc precision recall f1: at `logit > threshold` (raw logit units) = fake
    acc_real acc_fake: the same, of the reals and of the fakes alone
    tpr@fpr0.1 tpr@fpr1 tpr@fpr5: share of fakes found by the best threshold with at most .1% (1%, 5%) false
        alarms
    ece brier nll: of prob = sigmoid(calibrated(logit)): calibration error in 15 equal bins of P(fake), mean
        squared error, mean negative log-likelihood in nats
    aurc risk@cov80 risk@cov50 cov@risk5: share of errors at the threshold where only the surest images are
        kept: its mean over all coverages, at 80% and at 50% of the images, and the share that may be kept at
        5% errors (`dfd.metrics.abstention`). An image is as sure as its P(fake) is far from the threshold's,
        or as `confidence` says
    coverage: share of all rows that have a logit
    num_images num_groups: images and families that the others rest on

    Precision is undefined where nothing is called fake. Raises ValueError naming the rows when a logit is NaN
    or infinite.
    """
    ranked = Ranked(predictions, calibrated, threshold, confidence)
    tally = Tally(ranked, np.ones((1, len(ranked.logit))))
    metrics = {name: float(metric(tally)[0]) for name, metric in METRICS.items()}
    return metrics | {
        "coverage": len(predictions.judged) / len(predictions) if len(predictions) else math.nan,
        "num_images": float(len(ranked.logit)),
        "num_groups": float(len(set(ranked.family.tolist()))),
    }


def check_finite(predictions: Predictions) -> None:
    """Raises ValueError naming the judged rows whose logit is NaN or infinite: a failure is neither a verdict
    nor a rank.
    """
    predictions = predictions.judged
    rows = predictions.row[~np.isfinite(predictions.logit)]
    if len(rows):
        named = ", ".join(map(str, rows[:8].tolist())) + ("..." if len(rows) > 8 else "")
        raise RunFailure(
            f"{len(rows)} of {len(predictions)} logits are NaN or infinite, in rows {named}. Look at these "
            "images, or at the loss.",
            NOT_FINITE,
        )


def format_metric(value: float, digits: int = 4) -> str:
    """A metric for people: "undefined" where it is nan."""
    return "undefined" if math.isnan(value) else f"{value:.{digits}f}"


class Ranked:
    """The rows of known label, from the most to the least fake, with what each metric needs of an image."""

    def __init__(
        self,
        predictions: Predictions,
        calibrated: Calibrated,
        threshold: float,
        confidence: Confidence | None = None,
    ):
        predictions = predictions.judged
        check_finite(predictions)
        logit = np.asarray(predictions.logit, np.float64)
        known = np.flatnonzero(predictions.label >= 0)
        self.order = order = known[np.argsort(-logit[known], kind="stable")]
        self.logit, self.fake, self.family = (
            logit[order],
            predictions.label[order] == FAKE,
            predictions.family[order],
        )
        self.called = self.logit > threshold
        self.scaled = calibrated(weighed(self.logit, predictions.familiarity[order], threshold))
        self.prob = expit(self.scaled)
        self.ends = _ends(self.logit)
        if confidence is None:
            # rounded: the distances of logits that mirror each other differ in their last bits
            sure = np.abs(self.prob - expit(calibrated(np.array([threshold])))).round(12)
        else:
            sure = np.asarray(confidence(predictions), np.float64)[order]
        self.surest = np.argsort(-sure, kind="stable")
        self.sure_ends = _ends(sure[self.surest])


class Tally:
    """R weightings of one ranked table, weight (R, M); each metric is (R,), nan where undefined."""

    def __init__(self, ranked: Ranked, weight: np.ndarray):
        self.ranked, self.weight = ranked, weight
        self.total = weight.sum(axis=1)
        self.fakes = weight @ ranked.fake
        self.reals = self.total - self.fakes
        self.both = (self.fakes > 0) & (self.reals > 0)

    @cached_property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Hits and false alarms of every threshold, from none called fake to all: 2 x (R, thresholds + 1)."""
        counts = []
        for kind in (self.ranked.fake, ~self.ranked.fake):
            cumulated = np.cumsum(self.weight * kind, axis=1)[:, self.ranked.ends]
            counts.append(np.pad(cumulated, ((0, 0), (1, 0))))
        return counts[0], counts[1]

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Hits and false alarms at the threshold: 2 x (R,)."""
        return self.weight @ (self.ranked.called & self.ranked.fake), self.weight @ (
            self.ranked.called & ~self.ranked.fake
        )

    @cached_property
    def kept(self) -> tuple[np.ndarray, np.ndarray]:
        """How many are kept of the surest, and how many of these are wrong: 2 x (R, confidences + 1)."""
        wrong = (self.ranked.called != self.ranked.fake)[self.ranked.surest]
        return abstention.kept(self.weight[:, self.ranked.surest], wrong, self.ranked.sure_ends)

    def auroc(self) -> np.ndarray:
        hits, alarms = self.curve
        area = (np.diff(alarms) * (hits[:, 1:] + hits[:, :-1])).sum(axis=1) / 2
        return _ratio(area, self.fakes * self.reals, self.both)

    def ap(self) -> np.ndarray:
        hits, alarms = self.curve
        called = hits[:, 1:] + alarms[:, 1:]
        precision = np.divide(hits[:, 1:], called, out=np.zeros_like(called), where=called > 0)
        return _ratio((np.diff(hits) * precision).sum(axis=1), self.fakes, self.both)

    def eer(self) -> np.ndarray:
        if not self.both.any():
            return np.full(len(self.total), np.nan)
        hits, alarms = self.curve
        false = alarms / np.maximum(self.reals, 1e-300)[:, None]
        # false alarms minus misses: from -1 up to 1
        gap = false + hits / np.maximum(self.fakes, 1e-300)[:, None] - 1
        after = np.clip((gap >= 0).argmax(axis=1), 1, None)[:, None]
        (gap_0, gap_1), (false_0, false_1) = (
            [np.take_along_axis(values, at, axis=1)[:, 0] for at in (after - 1, after)]
            for values in (gap, false)
        )
        return np.where(
            self.both, false_0 + _ratio(-gap_0, gap_1 - gap_0, self.both) * (false_1 - false_0), np.nan
        )

    def tpr_at(self, fpr: float) -> np.ndarray:
        hits, alarms = self.curve
        allowed = (fpr * self.reals + 1e-9)[:, None]  # 1e-9: 0.01 * 100 must allow one
        return _ratio(np.where(alarms <= allowed, hits, 0).max(axis=1), self.fakes, self.both)

    def acc(self) -> np.ndarray:
        hits, alarms = self.cells
        return _ratio(hits + self.reals - alarms, self.total)

    def balanced_acc(self) -> np.ndarray:
        hits, alarms = self.cells
        return (_ratio(hits, self.fakes) + 1 - _ratio(alarms, self.reals)) / 2

    def acc_real(self) -> np.ndarray:
        return _ratio(self.reals - self.cells[1], self.reals)

    def precision(self) -> np.ndarray:
        hits, alarms = self.cells
        return _ratio(hits, hits + alarms, self.both)

    def recall(self) -> np.ndarray:
        return _ratio(self.cells[0], self.fakes)

    def f1(self) -> np.ndarray:
        hits, alarms = self.cells
        return _ratio(2 * hits, hits + alarms + self.fakes, self.both)

    def ece(self) -> np.ndarray:
        place = np.minimum((self.ranked.prob * NUM_BINS).astype(int), NUM_BINS - 1)
        excess = np.zeros((len(place), NUM_BINS))  # the claimed minus the true, in the bin of each image
        excess[np.arange(len(place)), place] = self.ranked.prob - self.ranked.fake
        return _ratio(np.abs(self.weight @ excess).sum(axis=1), self.total)

    def brier(self) -> np.ndarray:
        return _ratio(self.weight @ (self.ranked.prob - self.ranked.fake) ** 2, self.total)

    def nll(self) -> np.ndarray:
        return _ratio(
            self.weight @ (np.logaddexp(0, self.ranked.scaled) - self.ranked.fake * self.ranked.scaled),
            self.total,
        )


def risk_coverage(
    predictions: Predictions,
    calibrated: Calibrated = uncalibrated,
    threshold: float = 0.0,
    confidence: Confidence | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and selective risk (S,) each of the risk-coverage curve, from the surest images to all.

    Arguments as of `detection_metrics`; images of equal confidence are one step.
    """
    ranked = Ranked(predictions, calibrated, threshold, confidence)
    num, errors = (each[0, 1:] for each in Tally(ranked, np.ones((1, len(ranked.logit)))).kept)
    return num / max(len(ranked.logit), 1), errors / num


METRICS: dict[str, Callable[[Tally], np.ndarray]] = {
    "auroc": Tally.auroc,
    "ap": Tally.ap,
    "eer": Tally.eer,
    "acc": Tally.acc,
    "balanced_acc": Tally.balanced_acc,
    "acc_real": Tally.acc_real,
    "acc_fake": Tally.recall,
    "precision": Tally.precision,
    "recall": Tally.recall,
    "f1": Tally.f1,
    "tpr@fpr0.1": lambda tally: tally.tpr_at(0.001),
    "tpr@fpr1": lambda tally: tally.tpr_at(0.01),
    "tpr@fpr5": lambda tally: tally.tpr_at(0.05),
    "ece": Tally.ece,
    "brier": Tally.brier,
    "nll": Tally.nll,
    "aurc": lambda tally: abstention.area(*tally.kept),
    "risk@cov80": lambda tally: abstention.risk_at(*tally.kept, 0.8),
    "risk@cov50": lambda tally: abstention.risk_at(*tally.kept, 0.5),
    "cov@risk5": lambda tally: abstention.coverage_at(*tally.kept, 0.05),
}


def _ends(ordered: np.ndarray) -> np.ndarray:
    """The last place of each run of equal values: no threshold parts them."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])


def _ratio(part: np.ndarray, whole: np.ndarray, defined: np.ndarray | bool = True) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=(whole > 0) & defined)
