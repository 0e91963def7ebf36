"""Comparing detectors: the tests are those of dfd.metrics on the same pictures, and nothing else is compared."""

import csv
import json
import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from dfd.batch import Predictions
from dfd.calibration import Temperature
from dfd.callbacks.predictions import COLUMNS as OF_TEST
from dfd.cli import main
from dfd.evaluate.compare import (
    CALIBRATED,
    COVERAGE,
    DECIDED,
    KNOWN,
    LOWER_IS_BETTER,
    RANKED,
    SELECTIVE,
    compare,
)
from dfd.evaluate.compare_screen import COLUMNS
from dfd.evaluate.prediction_file import write_predictions
from dfd.metrics import METRICS, delong, detection_metrics, paired

NUM = 200


def logits(strength: float, seed: int, num: int = NUM) -> np.ndarray:
    """Alternately of a real and a fake; what is hard for one detector is hard for all."""
    shared = np.random.default_rng(99).normal(size=num)
    own = np.random.default_rng(seed).normal(size=num)
    return strength * np.tile([-1.0, 1.0], num // 2) + shared + 0.3 * own


def predictions(logit: np.ndarray, per_family: int = 1) -> Predictions:
    row = np.arange(len(logit))
    family = np.char.add("f", (row // per_family).astype(str))
    return Predictions.of(row, logit, row % 2, {"family": family})


def write(path, logit, label=None, per_family=1, keys=None, order=None):
    """As `dfd test` writes it; an empty cell where there is no logit or label."""
    order = range(len(logit)) if order is None else order
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, OF_TEST)
        writer.writeheader()
        for at in order:
            known = not np.isnan(logit[at])
            line = dict.fromkeys(OF_TEST, "") | {
                "key": f"k{at}" if keys is None else keys[at],
                "path": f"a/{at}.jpg",
                "label": (at % 2) if label is None else label[at],
                "logit": logit[at] if known else "",
                "prob": expit(logit[at] / 2) if known else "",
                "group": f"f{at // per_family}",
            }
            writer.writerow(line)
    return str(path)


def cell(path, name, logit, threshold=0.0, familiarity=None, per_family=1):
    """As `dfd evaluate` writes it; no logit is NaN, and a familiarity under .05 is unfamiliar."""
    table = predictions(logit, per_family)
    known = ~np.isnan(logit)
    familiarity = np.full(len(logit), np.nan) if familiarity is None else familiarity
    table = replace(table, status=np.where(known, "ok", "unreadable"), familiarity=familiarity)
    verdict = np.where(familiarity < 0.05, "unfamiliar", "fake")
    names = [f"k{at}" for at in range(len(logit))], [f"a/{at}.jpg" for at in range(len(logit))]
    write_predictions(
        path, table,
        {"key": np.array(names[0]), "path": np.array(names[1]), "split": np.full(len(logit), "test")},
        prob=expit(logit / 2), verdict=np.where(known, verdict, ""), reason=np.full(len(logit), ""),
        facts={
            "detector": {"name": name}, "condition": "clean", "severity": None, "thresholds": {"balanced": threshold},
            "calibration": Temperature(2.0).to_plain(), "calibrated_on": {"split": "val"},
        },
    )  # fmt: skip
    return str(path)


@pytest.mark.parametrize("per_family", [1, 4])
def test_the_tests_are_those_of_the_metrics(tmp_path, per_family):
    better, worse = logits(2, 1), logits(0.7, 2)
    shuffled = np.random.default_rng(0).permutation(NUM)
    found = compare(
        [
            write(tmp_path / "a.csv", better, per_family=per_family),
            write(tmp_path / "b.csv", worse, per_family=per_family, order=shuffled),
        ]
    )
    (test,) = found.tests
    tables = predictions(better, per_family), predictions(worse, per_family)
    assert test.values == pytest.approx([detection_metrics(table)["auroc"] for table in tables])
    assert test.difference.value == pytest.approx(paired(*tables).value)
    assert test.difference[1:3] == pytest.approx(paired(*tables)[1:3], abs=0.01)  # families in another order
    assert test.delong == pytest.approx(delong(*tables)) and test.delong_holm == test.delong.p
    assert test.p_holm == test.difference.p < 0.01 and test.better == "a"
    assert (found.num_images, found.num_families) == (NUM, NUM // per_family)


def test_equal_detectors_are_not_shown_to_differ_and_many_tests_are_corrected(tmp_path):
    files = [write(tmp_path / f"d{at}.csv", logits(0.8, at)) for at in range(4)]
    found = compare(files)
    assert len(found.tests) == 6
    ranked = sorted(found.tests, key=lambda test: test.difference.p)
    highest = 0.0
    for place, test in enumerate(ranked):  # Holm 1979, by hand
        highest = max(highest, min(1.0, (6 - place) * test.difference.p))
        assert test.p_holm == pytest.approx(highest)
    assert {test.better for test in found.tests} == {"not shown"}


@pytest.mark.parametrize("metric", ["nll", "brier", "eer"])
def test_where_less_is_better_the_lower_one_is_named(tmp_path, metric):
    files = [write(tmp_path / "poor.csv", logits(0.5, 1)), write(tmp_path / "good.csv", logits(2.5, 2))]
    (test,) = compare(files, [metric]).tests
    assert test.difference.value > 0 and test.better == "good" and test.delong is None
    if metric == "nll":  # of the table's own P(fake)
        prob = expit(logits(2.5, 2) / 2)
        label = np.arange(NUM) % 2
        assert test.values[1] == pytest.approx(-np.log(np.where(label == 1, prob, 1 - prob)).mean())


def test_prediction_files_have_thresholds_and_names_and_mix_with_csv(tmp_path):
    a, b = logits(2, 1), logits(1, 2)
    files = [cell(tmp_path / "a.parquet", "dual", a, threshold=0.5), cell(tmp_path / "b.parquet", "small", b)]
    (test,) = compare(files, ["acc"]).tests
    label = np.arange(NUM) % 2
    assert (test.a.name, test.b.name) == ("dual", "small")
    assert test.values == pytest.approx([((a > 0.5) == label).mean(), ((b > 0) == label).mean()])
    mixed = [files[0], write(tmp_path / "other.csv", b)]
    assert compare(mixed).tests[0].values == pytest.approx(compare(files).tests[0].values)
    with pytest.raises(ValueError, match=r"other.csv does not say its detector's threshold, which acc needs"):
        compare(mixed, ["acc"])


def test_tables_of_different_conditions_are_compared_and_that_is_said(tmp_path, capsys):
    files = [tmp_path / f"{name}.parquet" for name in ("one", "two")]
    for seed, (file, condition) in enumerate(zip(files, ("clean", "jpeg"), strict=True)):
        cell(file, file.stem, logits(0.5, seed))
        table = pq.read_table(file)
        facts = json.loads(table.schema.metadata[b"dfd"]) | {"condition": condition}
        pq.write_table(table.replace_schema_metadata({"dfd": json.dumps(facts)}), file)
    assert main(["compare", *map(str, files)]) == 0
    assert "The conditions differ (one: clean; two: jpeg)" in capsys.readouterr().out
    assert main(["compare", str(files[0]), write(tmp_path / "three.csv", logits(0.5, 3))]) == 0
    assert "conditions differ" not in capsys.readouterr().out


def test_p_fake_is_needed_of_every_picture_where_it_is_measured(tmp_path):
    files = [write(tmp_path / f"{name}.csv", logits(1, seed)) for name, seed in (("a", 1), ("b", 2))]
    with (tmp_path / "a.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    for lacking, why in ((3, "they are unfamiliar to it"), (NUM, "its detector was never calibrated")):
        for line in lines[1 : lacking + 1]:
            line[OF_TEST.index("prob")] = ""
        with (tmp_path / "a.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
        with pytest.raises(ValueError, match=rf"no P\(fake\) for {lacking} of 200 pictures: {why}\. nll"):
            compare(files, ["nll"])
        assert compare(files).num_images == NUM  # the AUROC does without


@pytest.mark.slow
def test_every_metric_of_the_grid_can_be_compared(tmp_path):
    assert sorted(KNOWN) == sorted([*METRICS, COVERAGE])
    files = [
        cell(tmp_path / "a.parquet", "a", logits(2, 1)),
        cell(tmp_path / "b.parquet", "b", logits(0.5, 2)),
    ]
    found = compare(files, KNOWN)
    for test in found.tests:
        values = [
            detection_metrics(predictions(logits(*each)), Temperature(2.0))[test.metric]
            for each in ((2, 1), (0.5, 2))
        ]
        assert test.values == pytest.approx(values), test.metric
        if test.metric not in CALIBRATED and values[0] != values[1]:  # strong logits may be too sure
            assert (test.difference.value < 0) == (test.metric in LOWER_IS_BETTER)
            assert test.better in ("a", "not shown")
    assert {test.metric for test in found.tests if test.better == "a"} >= {"aurc", "risk@cov80", "cov@risk5"}
    csvs = [write(tmp_path / f"{name}.csv", logits(1, seed)) for name, seed in (("a", 1), ("b", 2))]
    assert len(compare(csvs, (*RANKED, *CALIBRATED, COVERAGE)).tests) == len(RANKED) + len(CALIBRATED) + 1
    for metric in (*DECIDED, *SELECTIVE):
        with pytest.raises(
            ValueError, match=rf"threshold, which {metric} needs.*take one of auroc, .*coverage\.$"
        ):
            compare(csvs, [metric])


def strange(num: int = NUM) -> np.ndarray:
    """Familiarity: of every seventh picture under 5%."""
    return np.where(np.arange(num) % 7 == 0, 0.01 + np.arange(num) / num / 100, 0.5)


def test_of_risk_and_coverage_unfamiliar_pictures_are_the_least_sure(tmp_path):
    """By hand: the surest first, by the distance of P(fake) from that of the threshold, the strange ones last."""
    files, by_hand, kept = [], [], np.arange(NUM) != 5
    for name, strength, seed, threshold, familiarity in (
        ("a", 2, 1, 0.7, strange()),
        ("b", 1, 2, -0.4, None),
    ):
        logit = logits(strength, seed)
        logit[5] = np.nan if name == "b" else logit[5]
        files.append(cell(tmp_path / f"{name}.parquet", name, logit, threshold, familiarity, per_family=4))
        sure = np.abs(expit(logit / 2) - expit(threshold / 2))
        sure = sure if familiarity is None else np.where(familiarity < 0.05, familiarity - 1, sure)
        by_hand.append(((logit > threshold) != np.arange(NUM) % 2, sure))

    def curve(at, pick):
        wrong, sure = (each[pick] for each in by_hand[at])
        return np.cumsum(wrong[np.argsort(-sure)]) / np.arange(1, len(pick) + 1)

    every = np.flatnonzero(kept)
    expected = {
        "aurc": [curve(at, every).mean() for at in (0, 1)],
        "risk@cov80": [curve(at, every)[math.ceil(0.8 * 199) - 1] for at in (0, 1)],
        "risk@cov50": [curve(at, every)[math.ceil(0.5 * 199) - 1] for at in (0, 1)],
        "cov@risk5": [(np.flatnonzero(curve(at, every) <= 0.05).max(initial=-1) + 1) / 199 for at in (0, 1)],
    }
    found = compare(files, SELECTIVE)
    assert found.num_images == 199
    for test in found.tests:
        assert test.values == pytest.approx(expected[test.metric]), test.metric
    rng, drawn = np.random.default_rng(7), []
    families = [every[every // 4 == family] for family in range(NUM // 4)]
    for _ in range(1500):
        pick = np.concatenate([families[each] for each in rng.integers(len(families), size=len(families))])
        drawn.append(curve(0, pick).mean() - curve(1, pick).mean())
    # drawn pictures are equally sure, in an order that is by chance here and evened out there
    assert found.tests[0].difference[1:3] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def test_equally_sure_pictures_come_in_every_order(tmp_path):
    """And one class is enough: risk asks for errors alone."""
    a, b = np.array([2.0, 2, -2, 1, -1, 1]), np.array([3.0, -2, -2, 1, 1, 2])
    label = np.zeros(6, int)
    files = [cell(tmp_path / f"{name}.parquet", name, logit) for name, logit in (("a", a), ("b", b))]
    expected = {"mixed": [], "one": []}
    for kind, truth in (("mixed", np.arange(6) % 2), ("one", label)):
        for logit in (a, b):
            wrong, sure = (logit > 0) != truth, np.abs(logit)
            orders = [list(each) for each in permutations(range(6)) if (np.diff(sure[list(each)]) <= 0).all()]
            risks = [np.mean(np.cumsum(wrong[order]) / np.arange(1, 7)) for order in orders]
            expected[kind].append(np.mean(risks))
    assert compare(files, ["aurc"]).tests[0].values == pytest.approx(expected["mixed"])
    for file in files:
        table = pq.read_table(file)
        at = table.schema.get_field_index("label")
        pq.write_table(table.set_column(at, table.schema.field(at), pa.array(label, pa.int8())), file)
    assert compare(files, ["aurc"]).tests[0].values == pytest.approx(expected["one"])
    with pytest.raises(ValueError, match="auroc is not defined on these pictures: 6 real and 0 fake"):
        compare(files, ["auroc"])


def test_the_coverage_is_of_all_pictures(tmp_path, capsys):
    a, b = logits(2, 1), logits(1, 2)
    a[:60], b[-2:] = np.nan, np.nan
    files = [write(tmp_path / "a.csv", a, per_family=2), write(tmp_path / "b.csv", b, per_family=2)]
    coverage, auroc = compare(files, ["coverage", "auroc"]).tests
    assert coverage.values == (0.7, 0.99) and coverage.better == "b"
    assert (coverage.num_images, coverage.num_families) == (200, 100) and auroc.num_images == 138
    judged = [~np.isnan(each[::2]) for each in (a, b)]  # whole families, so that a family is one draw
    rng = np.random.default_rng(3)
    drawn = [np.mean((judged[0].astype(int) - judged[1])[rng.integers(100, size=100)]) for _ in range(4000)]
    assert coverage.difference[1:3] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
    out = tmp_path / "tests.csv"
    assert main(["compare", *files, "--metric", "coverage", "--metric", "auroc", "--csv", str(out)]) == 0
    assert "coverage is that of all 200 pictures" in capsys.readouterr().out
    with out.open(newline="") as file:
        told = [(line["metric"], line["num_images"], line["num_left_out"]) for line in csv.DictReader(file)]
    assert told == [("coverage", "200", "0"), ("auroc", "138", "62")]


def test_several_seeds_are_one_detector(tmp_path):
    files = [write(tmp_path / f"s{at}.csv", logits(1.5, at)) for at in range(3)]
    other = write(tmp_path / "other.csv", logits(0.5, 9))
    (test,) = compare([f"mine={','.join(files)}", f"theirs={other}"]).tests
    tables = [predictions(logits(1.5, at)) for at in range(3)]
    assert test.values[0] == pytest.approx(np.mean([detection_metrics(each)["auroc"] for each in tables]))
    assert (test.a.name, len(test.a.tables), test.delong, test.better) == ("mine", 3, None, "mine")


def test_pictures_without_a_verdict_are_left_out_of_all_and_counted(tmp_path):
    a, b = logits(2, 1), logits(1, 2)
    a[[3, 4]] = np.nan
    label = [at % 2 if at != 7 else "" for at in range(NUM)]
    files = [write(tmp_path / "a.csv", a, label=label), write(tmp_path / "b.csv", b, label=label)]
    found = compare(files)
    assert (found.num_images, found.num_left_out, found.without) == (NUM - 3, 3, {files[0]: 2})
    kept = np.setdiff1d(np.arange(NUM), [3, 4, 7])
    alone = detection_metrics(predictions(b).where(kept))["auroc"]
    assert found.tests[0].values[1] == pytest.approx(alone)


def test_what_cannot_be_compared_is_refused(tmp_path):
    a, b = (write(tmp_path / f"{name}.csv", logits(1, seed)) for name, seed in (("a", 1), ("b", 2)))
    copy = write(tmp_path / "copy.csv", logits(1, 1))
    few = write(tmp_path / "few.csv", logits(1, 3, 40))
    others = write(tmp_path / "others.csv", logits(1, 4), keys=[f"x{at}" for at in range(NUM)])
    other_truth = write(tmp_path / "truth.csv", logits(1, 5), label=[(at + 1) % 2 for at in range(NUM)])
    other_families = write(tmp_path / "families.csv", logits(1, 6), per_family=2)
    twice = write(tmp_path / "twice.csv", logits(1, 7), keys=["k"] * NUM)
    twice_path = tmp_path / "twice.csv"
    twice_path.write_text(twice_path.read_text().replace("a/1.jpg", "a/0.jpg"))
    one = [write(tmp_path / f"one{at}.csv", logits(1, at), label=[0] * NUM) for at in range(2)]
    none = [write(tmp_path / f"none{at}.csv", logits(1, at), label=[""] * NUM) for at in range(2)]
    strange, broken, empty = (tmp_path / name for name in ("strange.csv", "broken.csv", "empty.csv"))
    strange.write_text("name,age\nx,3\n")
    broken.write_text((tmp_path / "a.csv").read_text().replace("k5,a/5.jpg,1,", "k5,a/5.jpg,1,high", 1))
    empty.write_text("")
    for given, words in (
        ([a], "one detector alone"),
        ([a, few], "of different pictures: 160 of 200 are only in the first, 0 of 40 only in the second"),
        ([a, others], "200 of 200 are only in the first, 200 of 200 only in the second"),
        ([a, other_truth], "another label for 200 of 200 pictures, first for k0"),
        ([a, other_families], "another family"),
        ([a, copy], "the same table: every logit is equal"),
        ([a, f"again={a}"], "the same table"),
        ([a, a], "two detectors are called a"),
        ([a, twice], "picture k twice"),
        (one, "auroc is not defined on these pictures: 200 real and 0 fake"),
        (none, "has no labels"),
        ([a, str(strange)], "has no column key: it is no table of predictions"),
        ([a, str(broken)], "logit is 'high"),
        ([a, str(empty)], "has no lines"),
        ([a, str(tmp_path / "missing.csv")], "No such file"),
        ([a, str(tmp_path)], "directory"),
    ):
        with pytest.raises(ValueError, match=words):
            compare(given)
    with pytest.raises(ValueError, match="--metric f2 is not known"):
        compare([a, b], ["f2"])
    with pytest.raises(ValueError, match="comes twice"):
        compare([a, b], ["ap", "ap"])


def test_the_command_prints_a_table_and_writes_it(tmp_path, capsys):
    files = [write(tmp_path / f"{name}.csv", logits(power, power), per_family=2) for name, power in (("a", 2), ("b", 1))]  # fmt: skip
    out = tmp_path / "tests.csv"
    for _ in range(2):  # its own one is written anew
        command = ["compare", *files, "--metric", "auroc", "--metric", "nll", "--csv", str(out)]
        assert main(command) == 0
    shown = capsys.readouterr().out
    assert (
        "200 pictures in 100 families, the same for all" in shown and "corrected for 2 tests (Holm)" in shown
    )
    assert "DeLong takes every picture for independent" in shown
    assert max(map(len, shown.split("\n")[:4])) <= 80
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS and [line["metric"] for line in lines] == ["auroc", "nll"]
    assert float(lines[0]["difference"]) == pytest.approx(
        float(lines[0]["value_a"]) - float(lines[0]["value_b"])
    )
    assert lines[1]["delong_p"] == "" and not math.isnan(float(lines[0]["delong_p"]))
    out.write_text("mine\n")
    assert main(command) == 1 and out.read_text() == "mine\n"
    assert "dfd did not write it" in capsys.readouterr().err
