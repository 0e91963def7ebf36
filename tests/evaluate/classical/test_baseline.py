"""Shallow models of simple features: fitted, chosen, calibrated and judged as nets are."""

import json

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from dfd.batch import Predictions
from dfd.evaluate.classical.baseline import baseline
from dfd.evaluate.classical.embeddings import Embedder
from dfd.evaluate.classical.features import features_named
from dfd.evaluate.classical.file_audit import audit_cues, audit_metadata
from dfd.evaluate.classical.models import Part, fit
from dfd.evaluate.classical.splits import open_splits
from dfd.evaluate.compare import compare
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.report import report
from dfd.evaluate.tidy import read_metrics
from dfd.media.crops import View
from dfd.models import Autoencoder, SingleStream, SmallCNN
from dfd.prepare.cues import add_cues


def drawn(seed: int, num: int, shift: float, width: int = 12) -> Part:
    rng = np.random.default_rng(seed)
    label = np.arange(num) % 2
    values = rng.standard_normal((num, width))
    values[:, :3] += shift * label[:, None]
    return Part(values, label, np.arange(num).astype(str))


def table(auroc_of: float, num: int = 200) -> Predictions:
    rng, label = np.random.default_rng(0), np.arange(num) % 2
    return Predictions.of(np.arange(num), rng.normal(size=num) + auroc_of * label, label, {})


def test_pca_and_svm_are_sklearns_with_the_strength_that_val_chose():
    train, val, test = drawn(0, 120, 0.8), drawn(1, 60, 0.8), drawn(2, 90, 0.8)
    reached = {}
    for strength in (0.1, 1.0, 10.0, 100.0):
        svm = SVC(C=strength, class_weight="balanced")
        pipeline = make_pipeline(StandardScaler(), PCA(4, whiten=True, random_state=0), svm)
        pipeline.fit(train.values, train.label)
        reached[strength] = roc_auc_score(val.label, pipeline.decision_function(val.values)), pipeline
    best = max(reached, key=lambda strength: reached[strength][0])
    fitted = fit(train, val, "svm", 4)
    assert fitted.strength == best and fitted.weights is None
    assert fitted.tried == pytest.approx({strength: value[0] for strength, value in reached.items()})
    expected = reached[best][1].decision_function(test.values)
    np.testing.assert_allclose(fitted.model(test.values), expected, atol=0.02)


def test_embeddings_of_a_detector_are_what_its_head_reads():
    net = SingleStream(SmallCNN(width=8)).eval()
    crops = torch.randint(0, 256, (3, 2, 32, 32, 3), dtype=torch.uint8)
    found = Embedder(net, View(32), title="mine", digest="")(crops)
    assert found.shape == (3, net.backbone.num_features)
    image = crops.flatten(0, 1).movedim(-1, 1) / 255
    logit = net(image).view(3, 2).mean(1)
    torch.testing.assert_close(net.head(torch.from_numpy(found)).squeeze(1), logit, atol=1e-5, rtol=1e-4)
    # a backbone gives its features itself, an autoencoder has an encoder whose maps are pooled
    own = Embedder(net.backbone, View(32), title="backbone", digest="")(crops)
    np.testing.assert_allclose(own, found, atol=1e-6)
    coder = Autoencoder(width=8, latent=5)
    assert Embedder(coder, View(32), title="coder", digest="")(crops).shape == (3, 5 * 16)
    with pytest.raises(ValueError, match="no features to take"):
        Embedder(torch.nn.Conv2d(3, 8, 3), View(32), title="conv", digest="")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "spectra"}, "Did you mean spectrum"),
        ({"name": "pixels", "backbone": "resnet18"}, "--backbone is for --on embeddings"),
        ({"name": "embeddings"}, "takes one net"),
        ({"name": "cues", "size": 64}, "stand in the table"),
        ({"name": "pixels", "components": 0}, "at least one"),
    ],
)
def test_wrong_features_are_one_clear_error(options, words):
    with pytest.raises(ValueError, match=words):
        features_named(**options)


def test_shards_that_will_not_do_are_refused_before_any_work(shards_of):
    spectrum, cues = features_named("spectrum", size=32), features_named("cues")
    no_val = shards_of("no_val", splits=("train",) * 12 + ("test",) * 2)
    reals = shards_of("reals", labels=(0,))
    for root, features, words in (
        (no_val, spectrum, "no picture in the val split"),
        (reals, spectrum, "16 real and 0 fake pictures.*needs 10 of each.*fake ones"),
        (shards_of("even"), cues, "has no cues. `dfd cues"),
    ):
        with pytest.raises(ValueError, match=words):
            open_splits([str(root)], [], features, workers=0)


def test_a_model_that_reads_the_encoder_is_named_a_shortcut():
    names = ("file.quality", "file.square")
    weights, nothing = np.array([0.1, -2.0]), np.zeros((200, 2))
    (told,) = audit_metadata(names, weights, [("lab", nothing, table(3.0))])
    assert told.startswith("SHORTCUT: metadata alone on lab: AUROC 0.9") and "not forgery" in told
    assert told.endswith("It rests on square, quality most.")
    (told,) = audit_metadata(names, None, [("lab", nothing, table(0.0))])
    assert "not shown to be better than chance" in told
    (told,) = audit_metadata(names, None, [("lab", nothing, table(-2.0))])
    assert "worse than chance" in told


def test_a_cue_model_that_leans_on_the_file_is_told_from_one_that_does_not():
    names = ("file.quality", "noise.level", "noise.skew")
    for told_by, shortcut in ((0, True), (1, False)):
        parts = [drawn(seed, 80, 0.0, 3) for seed in range(3)]
        for part in parts:
            part.values[:, told_by] += 3 * part.label
        train, val, test = parts
        whole = Predictions.of(
            np.arange(80), fit(train, val).model(test.values), test.label, {"family": test.family}
        )
        (told,) = audit_cues(names, "logistic", train, val, [("lab", test.values, whole)])
        assert told.startswith("SHORTCUT") == shortcut, told


@pytest.mark.slow
def test_baselines_stand_beside_nets_in_grid_comparison_and_report(shards_of, checkpoint, tmp_path, capsys):
    root, out = shards_of("blurred", blurred=True), tmp_path / "grid"
    net = checkpoint("net", view={"size": 32, "crops": 1, "longest": None, "margin": 1.0})
    evaluate([net], [root], out, None, Options(workers=0))
    before = json.loads((out / "grid.json").read_text())
    found = baseline([str(root)], features_named("spectrum", size=32), out, workers=0)
    assert found.detector.card.calibrated_on["images"] == 22
    baseline([str(root)], features_named("pixels", size=32, components=5), out, name="eigen", workers=0)
    grid = json.loads((out / "grid.json").read_text())
    assert [each["name"] for each in grid["detectors"]] == ["net", "spectrum-logistic", "eigen"]
    assert grid["roots"] == before["roots"] and len(grid["cells"]) == len(before["cells"]) + 2
    lines = {
        line["detector"]: line
        for line in read_metrics(out).to_pylist()
        if (line["part"], line["condition"], line["kind"]) == ("all", "clean", "image")
    }
    assert lines["spectrum-logistic"]["auroc"] == 1 and lines["spectrum-logistic"]["num_images"] == 30
    assert lines["spectrum-logistic"]["num_seen"] == 0
    cells = [str(out / "cells" / name / "blurred/clean.parquet") for name in ("net", "spectrum-logistic")]
    assert compare(cells, ["auroc", "balanced_acc", "brier"]).num_images == 30
    report(out, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "spectrum-logistic" in page and "logistic regression of azimuthal spectrum" in page

    # the files alone tell: said in words, in the file of the choice, and by a flag of the table
    add_cues(written := shards_of("programs", programs=True), workers=1)
    capsys.readouterr()
    told = baseline([str(written)], features_named("metadata"), tmp_path / "files", workers=0).audit
    assert told[0].startswith("SHORTCUT: metadata alone on programs: AUROC 1.000")
    assert "SHORTCUT: metadata alone" in capsys.readouterr().out
    choice = json.loads((tmp_path / "files/baselines/metadata-logistic.json").read_text())
    assert choice["audit"] == told and abs(choice["weights"]["file.quality"]) > 0
    (line,) = [line for line in read_metrics(tmp_path / "files").to_pylist() if line["part"] == "all"]
    assert "file_facts_match" in line["flags"]
    with pytest.raises(ValueError, match="grid of other pictures that are called blurred"):
        baseline([f"blurred={written}"], features_named("metadata"), out, workers=0)
