"""The logistic model of forensic cues, beside the detectors of a grid."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from dfd.evaluate.classical.models import FAR, Part
from dfd.evaluate.cue_baseline import model_of, read_cue_baseline
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.report import report
from dfd.evaluate.tidy import read_metrics
from dfd.media.encode import encode_png
from dfd.prepare.cues import add_cues
from dfd.shards.cue_table import read_cues
from dfd.shards.samples import NewSample, write_samples

SPLITS = ("train",) * 15 + ("val",) * 10 + ("test",) * 15


def part(seed: int, num: int, shift: float, width: int = 6) -> Part:
    rng = np.random.default_rng(seed)
    label = np.arange(num) % 2
    cues = rng.standard_normal((num, width)) * 10.0 ** np.arange(width)
    cues[:, 1] += shift * 10 * label
    return Part(cues, label, np.arange(num).astype(str))


def auroc(model, of: Part) -> float:
    return roc_auc_score(of.label, model(of.values))


def test_it_finds_the_cue_that_tells_and_is_chance_without_one():
    assert auroc(model_of(part(0, 300, 2.0), part(1, 100, 2.0)), part(2, 200, 2.0)) > 0.88
    assert abs(auroc(model_of(part(0, 300, 0.0), part(1, 100, 0.0)), part(2, 400, 0.0)) - 0.5) < 0.1


def test_it_is_sklearns_model_of_the_strength_that_val_chose():
    train, val, test = part(0, 200, 0.6), part(1, 80, 0.6), part(2, 150, 0.6)
    best = None
    for strength in (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0):
        clipped = FunctionTransformer(lambda values: np.clip(values, -FAR, FAR))
        logistic = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        pipeline = make_pipeline(StandardScaler(), clipped, logistic).fit(train.values, train.label)
        reached = roc_auc_score(val.label, pipeline.decision_function(val.values))
        if best is None or reached > best[0]:
            best = reached, pipeline
    expected = best[1].decision_function(test.values)
    np.testing.assert_allclose(model_of(train, val)(test.values), expected, atol=1e-4)


def test_a_wild_value_and_a_constant_cue_do_no_harm():
    train, val, test = part(0, 200, 2.0), part(1, 80, 2.0), part(2, 150, 2.0)
    for each in (train, val, test):
        each.values[:, 3] = 1e6
    test.values[0, 4] = -1e6
    assert np.isfinite(model_of(train, val)(test.values)).all()
    assert auroc(model_of(train, val), test) > 0.88


@pytest.mark.parametrize(("train", "val"), [(18, 100), (100, 18), (0, 0)])
def test_too_few_pictures_are_not_asked(train, val):
    assert model_of(part(0, train, 1.0), part(1, val, 1.0)) is None


def shards(root: Path, blurred: bool) -> Path:
    """Pictures of three splits in families of two, one of each class; fakes blurred, or not."""
    made = []
    for family, split in enumerate(SPLITS):
        for label in (0, 1):
            rng = np.random.default_rng((family, label))
            pixels = rng.integers(60, 190, (40, 40, 3), dtype=np.uint8)
            if label and blurred:
                pixels = cv2.GaussianBlur(pixels, (0, 0), 0.8)
            made.append(
                NewSample(
                    f"{family}_{label}", encode_png(pixels), label, split, "lab", groups=(f"f{family}",)
                )
            )
    write_samples(made, root, {"what": "test"})
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    place = tmp_path_factory.mktemp("cues")
    made = {name: shards(place / name, name != "even") for name in ("blurred", "even", "without")}
    for name in ("blurred", "even"):
        add_cues(made[name], workers=1)
    return made


def whole(out) -> dict:
    return {
        (line["root"], line["condition"]): line
        for line in read_metrics(out).to_pylist()
        if line["part"] == "all" and line["kind"] == "image"
    }


@pytest.mark.slow
def test_the_grid_says_what_cues_alone_reach(roots, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    conditions = tmp_path / "conditions.yaml"
    conditions.write_text("conditions: [{name: jpeg, severities: [60]}]", encoding="utf-8")
    net = checkpoint("net", view={"size": 32, "crops": 1, "longest": None, "margin": 1.0})
    evaluate([net], [*roots.values()], out, conditions, Options(workers=0))
    found = whole(out)
    assert found["blurred", "clean"]["cues_auroc"] == 1 and found["blurred", "clean"]["num_images"] == 30
    even = found["even", "clean"]
    assert even["cues_auroc_low"] < 0.5 < even["cues_auroc_high"]
    for place in (("without", "clean"), ("blurred", "jpeg"), ("*", "clean")):
        assert np.isnan(found[place]["cues_auroc"])
    assert "forensic cues alone on blurred, clean: AUROC 1.000" in capsys.readouterr().out
    alone = read_cue_baseline(out, "blurred")
    assert len(alone) == 30 and set(alone.family.tolist()) == {f"f{at}" for at in range(25, 40)}
    report(out, tmp_path / "report.html")
    assert "forensic cues alone" in (tmp_path / "report.html").read_text(encoding="utf-8")

    # cues that come later are asked about without judging again
    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.parquet")}
    asked = (out / "shortcuts/blurred/cues.parquet").stat().st_mtime_ns
    add_cues(roots["without"], workers=1)
    assert read_cues(roots["without"]).values.shape[0] == 80
    evaluate([net], [*roots.values()], out, conditions, Options(workers=0))
    assert whole(out)["without", "clean"]["cues_auroc"] == 1
    assert (out / "shortcuts/blurred/cues.parquet").stat().st_mtime_ns == asked
    same_root = [path for path in kept if "without" not in path.parts]
    assert {path: path.stat().st_mtime_ns for path in same_root} == {path: kept[path] for path in same_root}


@pytest.mark.slow
def test_val_which_chose_the_model_is_not_judged_by_it(roots, checkpoint, tmp_path):
    net = checkpoint("net", view={"size": 32, "crops": 1, "longest": None, "margin": 1.0})
    evaluate([net], [roots["blurred"]], tmp_path / "out", None, Options(workers=0, split="val"))
    assert not pq.read_table(tmp_path / "out/shortcuts/blurred/cues.parquet").num_rows
    assert np.isnan(whole(tmp_path / "out")["blurred", "clean"]["cues_auroc"])
