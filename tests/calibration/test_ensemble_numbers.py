"""Numbers of an ensemble: no worse than its best member where they are fitted, and words that stay certified."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from dfd.batch import FAKE
from dfd.calibration import Isotonic, Platt, Temperature, fit_calibration, fit_thresholds
from dfd.calibration.certified import ERROR_RATE
from dfd.calibration.ensemble import auroc, best_single, fit_ensemble, log_loss, of_experts


def drawn(rng, num=300, skills=(1.5, 1.0, 0.2), alike=0.5):
    """Logits (N, M) of members of some skill whose errors resemble one another, and labels (N,)."""
    label = rng.integers(0, 2, num)
    shared = rng.normal(size=num)
    noise = alike * shared[:, None] + np.sqrt(1 - alike**2) * rng.normal(size=(num, len(skills)))
    scale = np.array([3.0, 0.5, 8.0])[: len(skills)]  # some are louder than others
    return scale * (np.outer(2 * label - 1, skills) + noise), label


def fused(numbers, logits, how):
    parts = numbers.parts(logits)
    return parts.max(1) if how in ("max", "experts") else parts.sum(1)


@pytest.mark.parametrize("how", ["weighted", "stacked"])
def test_on_val_it_is_at_least_as_good_as_the_best_member(how):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # of the last draws one member alone knows anything, and few pictures tell
        logits, label = drawn(rng, 60 if seed % 2 else 200, (1.0, 0.0, 0.0) if seed > 2 else (1.5, 1.0, 0.2))
        numbers = fit_ensemble(logits, label, how)
        assert (numbers.slopes >= 0).all()
        best = max(auroc(column, label) for column in logits.T)
        # multiplication may part or join what was equal by a rounding
        assert auroc(fused(numbers, logits, how), label) >= best - 1e-9


def test_members_that_err_apart_are_worth_more_together_on_other_pictures():
    rng = np.random.default_rng(0)
    logits, label = drawn(rng, 500, (1.0, 1.0, 0.9), alike=0.2)
    others, truth = drawn(rng, 4000, (1.0, 1.0, 0.9), alike=0.2)
    best = auroc(others[:, best_single(logits, label)], truth)
    for how in ("mean", "weighted", "stacked"):
        assert auroc(fused(fit_ensemble(logits, label, how), others, how), truth) > best + 0.03, how


def test_stacking_is_scikit_learns_logistic_regression():
    logits, label = drawn(np.random.default_rng(1), 500, (1.5, 1.0, 0.8), alike=0.1)
    numbers = fit_ensemble(logits, label, "stacked")
    odds = np.stack([fit_calibration(column, label, "platt")(column) for column in logits.T], axis=1)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(odds, label)
    assert (theirs.coef_ > 0).all(), "else the bound at 0 makes a difference"
    np.testing.assert_allclose(
        fused(numbers, logits, "stacked"), theirs.decision_function(odds), rtol=1e-3, atol=1e-3
    )


def test_no_member_is_turned_round():
    logits, label = drawn(np.random.default_rng(2), 400, (1.5, 1.5, 1.5))
    logits[:, 2] *= -1
    for how in ("weighted", "stacked"):
        assert fit_ensemble(logits, label, how).slopes[2] == pytest.approx(0, abs=1e-6), how


def test_auroc_and_log_loss_are_scikit_learns():
    logits, label = drawn(np.random.default_rng(3), 200)
    logits = np.round(logits)  # ties
    assert auroc(logits[:, 0], label) == pytest.approx(roc_auc_score(label, logits[:, 0]))
    prob = 1 / (1 + np.exp(-logits[:, 0]))
    assert log_loss(logits[:, 0], label) == pytest.approx(sklearn_log_loss(label, prob), rel=1e-9)


def test_experts_keep_the_calibrations_of_their_own():
    numbers = of_experts([Temperature(2.0), Platt(0.5, -1.0)], ["blend", "trace"])
    assert numbers.slopes.tolist() == [0.5, 0.5] and numbers.offsets.tolist() == [0.0, -1.0]
    with pytest.raises(ValueError, match="the expert trace has an isotonic calibration"):
        of_experts([Temperature(), Isotonic((0.0, 1.0), (0.0, 1.0))], ["blend", "trace"])


@pytest.mark.parametrize("how", ["experts", "stacked"])
def test_certified_words_hold_on_other_pictures(how):
    """The larger of two logits calls more reals fake than either: so its thresholds are fitted again. Of 40
    fits at most 5% may overrun the rate that they certify, but for what chance does to 40 draws.
    """
    overrun, without = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)

        def experts(num, rng=rng):
            label = rng.integers(0, 2, num)
            kind = rng.integers(0, 2, num)  # each expert knows the fakes of one kind
            known = (label == FAKE)[:, None] * (kind[:, None] == np.arange(2))
            return 2.0 * (3 * known - 1.5 + rng.normal(size=(num, 2))), label

        logits, label = experts(400)
        single = [fit_thresholds(column, label)["fpr5"] for column in logits.T]
        fit = (
            of_experts([Temperature(2.0)] * 2, "ab") if how == "experts" else fit_ensemble(logits, label, how)
        )
        fpr5 = fit_thresholds(fused(fit, logits, how), label)["fpr5"]
        others, truth = experts(6000)
        real = truth != FAKE
        overrun += (fused(fit, others[real], how) > fpr5).mean() > ERROR_RATE
        without += (others[real] > single).any(1).mean() > ERROR_RATE
    assert overrun <= 6
    assert without > 20, "either alone keeps its rate, both together do not"
