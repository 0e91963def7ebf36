import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from dfd.batch import FAKE, REAL, Predictions
from dfd.metrics import (
    METRICS,
    by_method,
    by_source,
    detection_metrics,
    format_metric,
    interval,
    paired,
)
from dfd.metrics.values import Ranked, Tally


def table(logit, label, source="a", method=None, family=None) -> Predictions:
    label = np.asarray(label)
    size = len(label)
    return Predictions(
        row=np.arange(size),
        logit=np.asarray(logit, np.float64),
        label=label,
        source=np.broadcast_to(np.asarray(source, "U8"), size),
        method=np.where(label == FAKE, "swap", "") if method is None else np.asarray(method),
        family=np.arange(size).astype(str) if family is None else np.asarray(family),
        clip=np.full(size, ""),
    )


def sharper(logit):
    return logit / 1.5


def drawn(size: int, seed: int = 0, gap: float = 1.5, digits: int = 1) -> Predictions:
    """Overlapping classes with heavy ties."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, size)
    return table(np.round(rng.normal(size=size) + gap * (label - 0.5), digits), label)


TIED = st.lists(
    st.tuples(st.integers(-4, 4), st.integers(0, 1), st.integers(0, 3)), min_size=4, max_size=60
).filter(lambda rows: {label for _, label, weight in rows if weight} == {0, 1})


@pytest.mark.slow
@given(TIED)
@settings(max_examples=40, deadline=None)
def test_every_metric_equals_scikit_learn_with_ties_and_weights(rows):
    level, label, weight = (np.array(column) for column in zip(*rows, strict=True))
    logit = level * 0.7
    temperature, threshold = 1.3, 0.7
    prob, called = 1 / (1 + np.exp(-logit / temperature)), logit > threshold
    ranked = Ranked(table(logit, label), lambda raw: raw / temperature, threshold)
    tally = Tally(ranked, np.stack([weight[ranked.order], np.ones(len(label))]).astype(float))
    ours = {name: metric(tally) for name, metric in METRICS.items()}
    for line, weights in enumerate([weight, np.ones(len(label), int)]):
        used = dict(sample_weight=weights)
        fpr, tpr, _ = sk.roc_curve(label, logit, drop_intermediate=False, **used)
        expected = {
            "auroc": sk.roc_auc_score(label, logit, **used),
            "ap": sk.average_precision_score(label, logit, **used),
            "eer": np.interp(0, fpr + tpr - 1, fpr),  # misses equal false alarms where tpr = 1 - fpr
            "acc": sk.accuracy_score(label, called, **used),
            "balanced_acc": sk.balanced_accuracy_score(label, called, **used),
            "precision": sk.precision_score(label, called, zero_division=np.nan, **used),
            "recall": sk.recall_score(label, called, **used),
            "f1": sk.f1_score(label, called, **used),
            "acc_real": sk.recall_score(label, called, pos_label=0, **used),
            "acc_fake": sk.recall_score(label, called, **used),
            "tpr@fpr0.1": tpr[fpr <= 0.001].max(),
            "tpr@fpr1": tpr[fpr <= 0.01].max(),
            "tpr@fpr5": tpr[fpr <= 0.05].max(),
            "brier": sk.brier_score_loss(label, prob, **used),
            "nll": sk.log_loss(label, prob, **used),
        }
        if (weights[called] == 0).all():
            expected["precision"] = np.nan
        # a weight is how often an image was drawn: as if it stood there so often
        copies = table(np.repeat(logit, weights), np.repeat(label, weights))
        drawn = detection_metrics(copies, lambda raw: raw / temperature, threshold)
        expected |= {name: drawn[name] for name in ("aurc", "risk@cov80", "risk@cov50", "cov@risk5", "ece")}
        assert expected.keys() == METRICS.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name][line], value, atol=1e-6, err_msg=name)


def test_large_tables_agree_with_scikit_learn_and_torchmetrics():
    predictions = drawn(10_000, digits=2)
    ours = detection_metrics(predictions)
    assert ours["auroc"] == pytest.approx(sk.roc_auc_score(predictions.label, predictions.logit), abs=1e-9)
    assert ours["ap"] == pytest.approx(
        sk.average_precision_score(predictions.label, predictions.logit), abs=1e-9
    )
    ranks = np.unique(predictions.logit, return_inverse=True)[1]
    target = torch.from_numpy(predictions.label)
    assert ours["auroc"] == pytest.approx(
        binary_auroc(torch.from_numpy(ranks / ranks.max()), target).item(), abs=1e-6
    )
    prob = torch.sigmoid(torch.from_numpy(predictions.logit))
    assert ours["ece"] == pytest.approx(binary_calibration_error(prob, target, n_bins=15).item(), abs=1e-6)


def test_saturated_probabilities_still_rank():
    assert torch.sigmoid(torch.tensor([40.0])).item() == 1.0
    metrics = detection_metrics(table([40, 41, 42, 43], [0, 0, 1, 1]))
    assert metrics["auroc"] == metrics["ap"] == 1 and metrics["eer"] == 0
    assert detection_metrics(table([1000, -1000], [0, 1]))["nll"] == pytest.approx(1000)


@pytest.mark.parametrize("label", [REAL, FAKE])
def test_one_class_is_undefined(label):
    metrics = detection_metrics(table([-1.0, 2.0, 3.0], [label] * 3))
    for name in ("auroc", "ap", "eer", "balanced_acc", "precision", "f1", "tpr@fpr1", "tpr@fpr5"):
        assert math.isnan(metrics[name]), name
    assert metrics["acc"] == pytest.approx(1 / 3 if label == REAL else 2 / 3)
    assert format_metric(metrics["auroc"]) == "undefined" and format_metric(0.98765) == "0.9877"
    assert np.isnan(interval(table([-1.0, 2.0, 3.0], [label] * 3), num=50)).all()


def test_an_empty_table_is_undefined():
    metrics = detection_metrics(table([], np.array([], int)))
    assert metrics.pop("num_images") == metrics.pop("num_groups") == 0
    assert all(math.isnan(value) for value in metrics.values())


def test_unknown_labels_are_left_out():
    known = drawn(50)
    mixed = table(np.append(known.logit, [9.0, -9.0]), np.append(known.label, [-1, -1]))
    assert detection_metrics(mixed) == detection_metrics(known)
    assert interval(mixed, num=50) == interval(known, num=50)


def test_a_logit_that_is_not_finite_is_named_by_its_row():
    predictions = table([0.0, np.nan, 1.0, np.inf], [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"2 of 4 logits .* rows 1, 3"):
        detection_metrics(predictions)


def test_each_method_meets_the_reals_of_its_sources():
    predictions = table(
        [0, 1, 5, 6, 2, 3],
        [0, 0, 0, 1, 1, 1],
        source=["a", "a", "b", "a", "b", "b"],
        method=["", "", "", "swap", "gan", ""],
    )
    parts = by_method(predictions)
    assert {name: part.row.tolist() for name, part in parts.items()} == {"gan": [2, 4], "swap": [0, 1, 3]}
    assert {name: part.row.tolist() for name, part in by_source(predictions).items()} == {
        "a": [0, 1, 3],
        "b": [2, 4, 5],
    }
    assert detection_metrics(parts["gan"])["auroc"] == 0  # reported, not flipped


@pytest.mark.slow
def test_interval_agrees_with_a_plain_bootstrap():
    predictions = drawn(60, seed=3)
    rng, plain = np.random.default_rng(1), []
    while len(plain) < 600:
        pick = rng.integers(60, size=60)
        plain.append(sk.roc_auc_score(predictions.label[pick], predictions.logit[pick]))
    assert interval(predictions, num=600) == pytest.approx(
        tuple(np.quantile(plain, [0.025, 0.975])), abs=0.02
    )


@pytest.mark.parametrize("name", METRICS)
def test_interval_of_a_name_equals_that_of_the_function(name):
    predictions = drawn(80, seed=5)
    named = interval(predictions, name, num=60, calibrated=sharper, threshold=0.2)
    called = interval(predictions, lambda part: detection_metrics(part, sharper, 0.2)[name], num=60)
    assert named == pytest.approx(called, abs=1e-9)
    # resampling biases ECE upward
    assert named[0] <= detection_metrics(predictions, sharper, 0.2)[name] <= named[1] or name == "ece"


def test_families_make_the_interval_wider():
    single = drawn(100, seed=2)
    copies = np.tile(np.arange(100), 9)
    family = Predictions(
        np.arange(900),
        *(getattr(single, name)[copies] for name in ("logit", "label", "source", "method", "family", "clip")),
    )
    assert interval(family, num=300) == pytest.approx(interval(single, num=300), abs=1e-12)
    low, high = interval(table(family.logit, family.label), num=300)
    assert high - low < 0.5 * np.subtract(*interval(family, num=300)[::-1])
    assert np.isnan(interval(table(single.logit, single.label, family=["x"] * 100), num=20)).all()


def test_paired_finds_a_real_difference_and_no_other():
    label = np.arange(300) % 2
    rng = np.random.default_rng(0)
    hard = rng.normal(size=300)
    good, bad = table(hard + 2 * label, label), table(hard + 1.4 * label + 0.3 * rng.normal(size=300), label)
    better = paired(good, bad, num=500)
    assert 0 < better.low < better.value < better.high and better.p < 0.01
    alone = interval(good, num=500)
    assert better.high - better.low < alone[1] - alone[0]  # the images' difficulty cancels
    worse = paired(bad, good, num=500)
    assert worse.value == pytest.approx(-better.value) and worse.p == better.p
    assert paired(good, good, num=100) == (0, 0, 0, 1)
    shuffled = bad.where(rng.permutation(300))
    assert paired(good, shuffled, num=500) == better


def test_paired_averages_seeds_on_the_same_draws():
    a, b = (
        [
            table(
                drawn(200, seed=9).logit + 0.5 * np.random.default_rng(s).normal(size=200),
                drawn(200, seed=9).label,
            )
            for s in seeds
        ]
        for seeds in ((1, 2, 3), (4, 5))
    )
    mean = np.mean([detection_metrics(one)["acc"] for one in a]) - np.mean(
        [detection_metrics(one)["acc"] for one in b]
    )
    difference = paired(a, b, "acc", num=300)
    assert difference.value == pytest.approx(mean) and difference.low <= mean <= difference.high


def test_tables_of_other_images_cannot_be_paired():
    a = drawn(30)
    with pytest.raises(ValueError, match="30 rows against 29, 1 rows only"):
        paired(a, a.where(np.arange(29)))
    with pytest.raises(ValueError, match="different data sets"):
        paired(a, table(a.logit, 1 - a.label))
    with pytest.raises(ValueError, match="no metric 'auc'"):
        interval(a, "auc")
    with pytest.raises(ValueError, match="no table"):
        paired(a, [])


def test_metrics_of_ten_thousand_rows_are_quick():
    predictions = drawn(10_000, digits=6)
    took = []
    for _ in range(5):
        start = time.process_time()
        detection_metrics(predictions)
        took.append(time.process_time() - start)
    assert min(took) < 0.05
    start = time.process_time()
    interval(predictions)
    assert time.process_time() - start < 5
