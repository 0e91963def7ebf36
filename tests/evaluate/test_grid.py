"""Grid: every picture judged once by the path that a user's files take, whole or not at all, in one table."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from grid_folder import grid_folder
from grid_shards import BAND, CALIBRATED, pixels, samples
from scipy.special import expit
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    roc_auc_score,
)

import dfd
from dfd.evaluate import grid, judging
from dfd.evaluate.conditions import parse_conditions
from dfd.evaluate.folder import missing_cells, read_grid
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.plan import NamedDetector
from dfd.evaluate.prediction_file import read_predictions, read_table
from dfd.evaluate.tidy import read_metrics
from dfd.media.formats import Undecodable
from dfd.metrics import METRICS
from dfd.prepare.job_array import ArrayTask
from dfd.shards.cache import Cache
from dfd.shards.catalog import Catalog
from dfd.shards.samples import NewSample, write_samples

HERE = Options(workers=0, batch_size=20)
DAMAGED = parse_conditions(
    {"conditions": [{"name": "jpeg", "severities": [50]}, {"name": "noise", "severities": [0.1]}]}
)
CLEAN = parse_conditions({"conditions": []})


def line(table, **wanted):
    """The only line with these values."""
    (found,) = [
        each for each in table.to_pylist() if all(each[name] == value for name, value in wanted.items())
    ]
    return found


def same(one, other):
    """Whether two tables are equal, in what is undefined too."""
    return repr(one.to_pylist()) == repr(other.to_pylist())


def cell(out, name="mine", root="lab", condition="clean"):
    return out / "cells" / name / root / f"{condition}.parquet"


def test_a_cell_says_what_the_detector_says_of_the_files(root, checkpoint, tmp_path):
    path = checkpoint()
    evaluate([path], [root], tmp_path / "out", CLEAN, HERE)
    predictions, prob, verdict, facts = read_predictions(cell(tmp_path / "out"))
    keys = read_table(cell(tmp_path / "out"))["key"].to_pylist()
    detector, files = dfd.load(path), {each.key: each for each in samples()}
    assert sorted(keys) == sorted(files)
    for at, key in enumerate(keys):
        (score,) = detector.score(files[key].image_bytes, whole=True)
        assert predictions.logit[at] == pytest.approx(score.logit, abs=1e-5)
        assert prob[at] == pytest.approx(score.prob, abs=1e-5)
        assert verdict[at] == score.verdict
        assert predictions.label[at] == files[key].label
    assert facts["detector"]["name"] == "mine" and facts["condition"] == "clean" and facts["severity"] is None


@pytest.mark.slow
def test_the_table_is_what_scikit_learn_says_of_the_predictions(root, other_root, checkpoint, tmp_path):
    out = tmp_path / "out"
    table = evaluate([checkpoint(), checkpoint("other", 1)], [root, other_root], out, DAMAGED, HERE)
    assert same(read_metrics(out), table)
    assert {each["detector"] for each in table.to_pylist()} == {"mine", "other"}
    tables = {}
    for name in ("lab", "street"):
        tables[name], _, words, _ = read_predictions(cell(out, root=name, condition="jpeg@50"))
        rows, known = tables[name], tables[name].source == "cam"
        found = line(table, detector="mine", root=name, condition="jpeg", part="all", kind="image")
        assert found["auroc"] == pytest.approx(roc_auc_score(rows.label, rows.logit))
        assert found["ap"] == pytest.approx(average_precision_score(rows.label, rows.logit))
        assert found["acc"] == pytest.approx(np.mean((rows.logit > BAND["balanced"]) == rows.label))
        assert (found["num_images"], found["num_real"], found["num_fake"]) == (24, 12, 12)
        assert (found["num_families"], found["num_clips"], found["severity"]) == (12, 8, 50)
        assert found["coverage"] == 1 and found["spoken"] == np.mean(words != "inconclusive")
        found = line(table, detector="mine", root=name, condition="jpeg", part="source:cam", kind="image")
        assert found["auroc"] == pytest.approx(roc_auc_score(rows.label[known], rows.logit[known]))
        swap = (rows.method == "swap") | (rows.label == 0)
        found = line(table, detector="mine", root=name, condition="jpeg", part="method:swap", kind="image")
        assert found["auroc"] == pytest.approx(roc_auc_score(rows.label[swap], rows.logit[swap]))
        both = ((rows.source == "cam") & (rows.label == 0)) | ((rows.source == "phone") & (rows.label == 1))
        found = line(table, detector="mine", root=name, condition="jpeg", part="pooled:cam|phone")
        assert found["auroc"] == pytest.approx(roc_auc_score(rows.label[both], rows.logit[both]))
        assert found["auroc_low"] <= found["auroc"] <= found["auroc_high"]
    both = [tables[name] for name in ("lab", "street")]
    label, logit = (np.concatenate([getattr(each, name) for each in both]) for name in ("label", "logit"))
    found = line(table, detector="mine", root="*", condition="jpeg", part="all")
    assert found["auroc"] == pytest.approx(roc_auc_score(label, logit))
    # families of two roots are not the same ones, whatever they are called
    assert (found["num_images"], found["num_families"]) == (48, 24)
    reals, fakes = tables["lab"], tables["street"]
    reals = reals.where((reals.label == 0) & (reals.source == "cam"))
    fakes = fakes.where((fakes.label == 1) & (fakes.source == "phone"))
    found = line(table, detector="mine", root="*", condition="jpeg", part="pooled:lab/cam|street/phone")
    assert found["auroc"] == pytest.approx(
        roc_auc_score([0] * len(reals) + [1] * len(fakes), [*reals.logit, *fakes.logit])
    )
    csv = (out / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(csv) == table.num_rows + 1 and csv[0].startswith('"detector","root","condition","severity"')


def test_a_clip_is_judged_by_the_mean_of_its_frames(root, checkpoint, tmp_path):
    out = tmp_path / "out"
    table = evaluate([checkpoint()], [root], out, CLEAN, HERE)
    rows, _, _, _ = read_predictions(cell(out))
    clips = np.unique(rows.clip)
    mean = [rows.logit[rows.clip == clip].mean() for clip in clips]
    label = [rows.label[rows.clip == clip][0] for clip in clips]
    found = line(table, part="all", kind="clip")
    assert found["auroc"] == pytest.approx(roc_auc_score(label, mean))
    assert found["num_images"] == found["num_families"] == found["num_clips"] == len(clips) == 8
    assert found["spoken"] is None


def test_an_interval_draws_families(root, checkpoint, tmp_path):
    out = tmp_path / "out"
    found = line(evaluate([checkpoint()], [root], out, CLEAN, HERE), part="all", kind="image")
    rows, _, _, _ = read_predictions(cell(out))
    rng, names, drawn = np.random.default_rng(5), np.unique(rows.family), []
    while len(drawn) < 1500:
        picked = np.concatenate(
            [np.flatnonzero(rows.family == each) for each in rng.choice(names, len(names))]
        )
        fake, real = (rows.logit[picked][rows.label[picked] == kind] for kind in (1, 0))
        if len(fake) and len(real):
            drawn.append(np.mean(fake[:, None] > real))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["auroc_low"] == pytest.approx(low, abs=0.03)
    assert found["auroc_high"] == pytest.approx(high, abs=0.03)


@pytest.mark.slow
def test_the_reals_of_one_source_against_the_fakes_of_another_have_every_interval(tmp_path):
    """Against a bootstrap and metrics of somebody else's; families of one name in two roots are two."""
    out = grid_folder(
        tmp_path / "out", conditions={"clean": (None,)}, num=120, apart={"near": 2.0, "far": 0.6}
    )
    table = read_metrics(out)
    reals, fakes = (read_predictions(path)[0].judged for path in sorted(out.glob("cells/0/*/clean.parquet")))
    reals, fakes = reals.where(reals.label == 0), fakes.where(fakes.label == 1)
    found = line(table, root="*", part="pooled:near/near|far/far")
    for name in METRICS:
        ends = found[f"{name}_low"], found[f"{name}_high"]
        assert np.isnan(ends).all() if name == "ece" else ends[0] <= found[name] <= ends[1], name
    label = np.repeat([0, 1], [len(reals), len(fakes)])
    logit = np.concatenate([reals.logit, fakes.logit])
    family = np.concatenate([np.char.add("a", reals.family), np.char.add("b", fakes.family)])
    judged = {
        "auroc": roc_auc_score,
        "ap": average_precision_score,
        "balanced_acc": lambda label, logit: balanced_accuracy_score(label, logit > 0),
        "f1": lambda label, logit: f1_score(label, logit > 0),
        "brier": lambda label, logit: brier_score_loss(label, expit(logit)),
        "nll": lambda label, logit: log_loss(label, expit(logit)),
        "aurc": lambda label, logit: np.mean(
            np.cumsum(((logit > 0) != label)[np.argsort(-np.abs(logit))]) / np.arange(1, len(label) + 1)
        ),
    }
    names, at = np.unique(family, return_inverse=True)
    members = [np.flatnonzero(at == number) for number in range(len(names))]
    rng, drawn = np.random.default_rng(11), {name: [] for name in judged}
    for _ in range(300):
        pick = np.concatenate([members[each] for each in rng.integers(len(names), size=len(names))])
        for name, metric in judged.items():
            drawn[name].append(metric(label[pick], logit[pick]))
    for name, metric in judged.items():
        assert found[name] == pytest.approx(metric(label, logit)), name
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx((low, high), abs=0.04), name


@pytest.mark.slow
def test_both_classes_get_the_same_corruption(root, checkpoint, tmp_path):
    flipped = tmp_path / "flipped"
    write_samples(samples(flip=True), flipped, {"what": "test"})
    evaluate([checkpoint()], [root, flipped], tmp_path / "out", DAMAGED, HERE)
    clean = read_predictions(cell(tmp_path / "out"))[0]
    for condition in ("jpeg@50", "noise@0.1"):
        mine = read_predictions(cell(tmp_path / "out", condition=condition))[0]
        other = read_predictions(cell(tmp_path / "out", root="flipped", condition=condition))[0]
        np.testing.assert_array_equal(mine.logit, other.logit)
        assert (mine.label != other.label).all() and (mine.logit != clean.logit).all()


@pytest.mark.slow
def test_each_picture_is_decoded_once_for_all_detectors_of_a_view(root, checkpoint, tmp_path, monkeypatch):
    from dfd.data import stream

    count, decode = [], stream.decode
    monkeypatch.setattr(stream, "decode", lambda data: count.append(1) or decode(data))
    one_crop = {**dict(vars(dfd.data.View(size=32, longest=64))), "crops": 1}
    detectors = [checkpoint(), checkpoint("other", 1), checkpoint("third", 2, view=one_crop)]
    evaluate(detectors, [root], tmp_path / "out", CLEAN, HERE)
    assert len(count) == 2 * 24


def test_what_cannot_be_judged_has_a_status_and_no_score(checkpoint, tmp_path, monkeypatch):
    from dfd.data import stream

    rng, made = np.random.default_rng(9), samples()
    small = NewSample("tiny", pixels(rng, 0, (20, 60)), 0, "test", "cam")
    write_samples([*made, small], tmp_path / "lab", {"what": "test"})
    decode = stream.decode

    def broken(data):
        if data == made[3].image_bytes:
            raise Undecodable("truncated")
        return decode(data)

    monkeypatch.setattr(stream, "decode", broken)
    table = evaluate([checkpoint()], [tmp_path / "lab"], tmp_path / "out", CLEAN, HERE)
    rows, prob, verdict, _ = read_predictions(cell(tmp_path / "out"))
    lines = {each["key"]: each for each in read_table(cell(tmp_path / "out")).to_pylist()}
    assert lines[made[3].key]["status"] == "unreadable" and lines[made[3].key]["reason"] == "truncated"
    assert (
        lines["tiny"]["status"] == "too_small"
        and "60 x 20 pixels, and the net needs 32" in lines["tiny"]["reason"]
    )
    refused = rows.status != "ok"
    assert refused.sum() == 2 and np.isnan(rows.logit[refused]).all() and np.isnan(prob[refused]).all()
    assert (verdict[refused] == "").all()
    found = line(table, part="all", kind="image")
    assert found["coverage"] == pytest.approx(23 / 25) and found["num_images"] == 25
    counts = json.loads(found["refused_by_reason"])
    assert counts["too_small"] == 1 and counts["unreadable"] == 1
    ok = rows.judged
    assert found["auroc"] == pytest.approx(roc_auc_score(ok.label, ok.logit))


def test_a_net_that_answers_nan_has_no_score(root, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(
        dfd.Detector, "batch_logits", lambda self, image, cues: torch.full(image.shape[:1], torch.nan)
    )
    table = evaluate([checkpoint()], [root], tmp_path / "out", CLEAN, HERE)
    rows = read_predictions(cell(tmp_path / "out"))[0]
    assert set(rows.status) == {"not_finite"}
    found = line(table, part="all", kind="image")
    assert found["coverage"] == 0 and np.isnan(found["auroc"])


def passes_of(monkeypatch):
    """The passes that are judged, as a list that grows."""
    seen, judge = [], judging.judge
    monkeypatch.setattr(grid, "judge", lambda *args, **more: seen.append(1) or judge(*args, **more))
    return seen


@pytest.mark.slow
def test_an_interrupted_grid_goes_on_and_a_finished_one_is_not_judged_again(
    root, checkpoint, tmp_path, monkeypatch
):
    path, out = checkpoint(), tmp_path / "out"
    whole = evaluate([path], [root], tmp_path / "whole", DAMAGED, HERE)
    write = grid.write_predictions

    def interrupted(file, *args, **more):
        if "jpeg" in file.name:
            raise KeyboardInterrupt
        write(file, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(grid, "write_predictions", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate([path], [root], out, DAMAGED, HERE)
    assert len(missing_cells(out)) == 2 and cell(out).is_file()
    with pytest.raises(ValueError, match="it finishes what a grid lacks"):
        read_metrics(out)
    seen = passes_of(monkeypatch)
    assert same(evaluate([path], [root], out, DAMAGED, HERE), whole)
    assert len(seen) == 2
    assert same(evaluate([path], [root], out, DAMAGED, HERE), whole)
    assert len(seen) == 2


@pytest.mark.slow
def test_a_cell_of_another_checkpoint_or_condition_is_not_taken(root, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = evaluate([checkpoint()], [root], out, CLEAN, HERE)
    seen = passes_of(monkeypatch)
    second = evaluate([checkpoint(seed=1)], [root], out, CLEAN, HERE)
    assert len(seen) == 1 and not same(second, first)
    for kind in ("jpeg", "delivery"):
        named = parse_conditions({"conditions": [{"name": "sent", "corruption": kind, "severities": [50]}]})
        evaluate([checkpoint(seed=1)], [root], out, named, HERE)
    assert len(seen) == 3
    evaluate([checkpoint(seed=1)], [root], out, CLEAN, Options(workers=0, limit=2))
    assert len(seen) == 4
    # the other task's share is missing, not what an earlier checkpoint left there
    first, second = (Options(workers=0, limit=2, task=ArrayTask(number, 2)) for number in (1, 2))
    assert evaluate([checkpoint(seed=2)], [root], out, DAMAGED, first) is None
    assert missing_cells(out) == ["cells/mine/lab/jpeg@50.parquet"] and not (out / "metrics.csv").exists()
    assert evaluate([checkpoint(seed=3)], [root], out, DAMAGED, second) is None
    assert set(missing_cells(out)) == {f"cells/mine/lab/{name}.parquet" for name in ("clean", "noise@0.1")}
    del seen[:]
    evaluate([checkpoint(seed=1)], [root], out, CLEAN, Options(workers=0, limit=2))
    assert len(seen) == 1
    # a damaged cell is made again
    cell(out).write_bytes(b"PAR1 cut")
    evaluate([checkpoint(seed=1)], [root], out, CLEAN, Options(workers=0, limit=2))
    assert len(seen) == 2


@pytest.mark.slow
def test_a_cell_that_another_process_writes_meanwhile_is_left_alone(root, checkpoint, tmp_path, monkeypatch):
    path, out, theirs = checkpoint(), tmp_path / "out", cell(tmp_path / "theirs", condition="jpeg@50")
    evaluate([path], [root], tmp_path / "theirs", DAMAGED, HERE)
    done, jpeg, noise = grid._done, cell(out, condition="jpeg@50"), cell(out, condition="noise@0.1")
    noise.parent.mkdir(parents=True)
    (out / "grid.json").touch()
    noise.write_bytes(b"of something else")

    def meanwhile(folder, each, options):
        shutil.copy(theirs, jpeg)  # was not there when it was looked for
        return done(folder, each, options)

    monkeypatch.setattr(grid, "judge_all", lambda *args: None)
    monkeypatch.setattr(grid, "_done", meanwhile)
    assert evaluate([path], [root], out, DAMAGED, HERE) is None
    assert jpeg.read_bytes() == theirs.read_bytes() and not noise.exists()


@pytest.mark.slow
def test_array_tasks_share_the_cells_and_the_last_one_makes_the_table(
    root, other_root, checkpoint, tmp_path, capsys
):
    path, out = checkpoint(), tmp_path / "out"
    whole = evaluate([path], [root, other_root], tmp_path / "whole", DAMAGED, HERE)
    assert (
        evaluate(
            [path], [root, other_root], out, DAMAGED, Options(workers=0, batch_size=20, task=ArrayTask(2, 2))
        )
        is None
    )
    assert "3 of 6 cells are there" in capsys.readouterr().out and not (out / "metrics.csv").exists()
    last = evaluate(
        [path], [root, other_root], out, DAMAGED, Options(workers=0, batch_size=20, task=ArrayTask(1, 2))
    )
    assert same(last, whole)


def test_of_one_class_what_needs_both_is_undefined_and_said(checkpoint, tmp_path, capsys):
    write_samples([each for each in samples() if each.label == 0], tmp_path / "lab", {"what": "test"})
    found = line(
        evaluate([checkpoint()], [tmp_path / "lab"], tmp_path / "out", CLEAN, HERE), part="all", kind="image"
    )
    assert np.isnan(found["auroc"]) and 0 <= found["acc"] <= 1 and found["num_fake"] == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "all 12 pictures are real, so that no metric of both classes is defined" in shown


@pytest.mark.slow
def test_what_spoils_a_figure_is_said_in_red_words(root, checkpoint, tmp_path, capsys):
    catalog = Catalog([str(root)], Cache())
    prints = torch.from_numpy(catalog.fingerprints(catalog.rows["test"]))
    cards = {
        "clear": {"seen": {"train": prints[:0], "val": prints[:0]}},
        "trained": {"seen": {"train": prints[:5], "val": prints[:0]}},
        "chose": {"seen": {"train": prints[:0], "val": prints[3:5]}},
        "fitted": {"seen": {"train": prints[:0], "val": prints[:0]}, "calibrated_on": {**CALIBRATED, "split": "test"}},
        "silent": {"seen": {}},
        "bare": {"seen": {"train": prints[:0], "val": prints[:0]}, "calibrated_on": None},
        "toy": {
            "seen": {"train": prints[:0], "val": prints[:0]},
            "calibrated_on": {**CALIBRATED, "data": "toy drawings, no photographs"},
        },
    }  # fmt: skip
    table = evaluate(
        [checkpoint(name, **facts) for name, facts in cards.items()], [root], tmp_path / "out", CLEAN, HERE
    )
    flags = {
        name: line(table, detector=name, part="all", kind="image")["flags"].replace("color_match", "").strip()
        for name in cards
    }
    assert flags == {
        "clear": "", "trained": "seen", "chose": "chosen", "fitted": "chosen", "silent": "unknown_training",
        "bare": "uncalibrated", "toy": "drawings",
    }  # fmt: skip
    assert line(table, detector="trained", part="all", kind="image")["num_seen"] == 5
    for name in ("bare", "toy"):
        words = read_predictions(cell(tmp_path / "out", name))[2]
        assert set(words) == {"inconclusive"}
    shown = " ".join(capsys.readouterr().out.split())
    assert "WARNING: the net was trained on some of these pictures (trained on lab)" in shown


def test_what_trained_a_net_is_told_by_name_and_not_by_somebodys_folders(checkpoint):
    roots = {"/home/ann/shards/140k/": 0.5, "s3://lab/mine": 1.0}
    data = {"class_path": "dfd.data.ShardDataModule", "init_args": {"roots": roots}}
    for facts, told in (
        ({"data": data}, ["140k", "mine"]),
        ({"data": {**data, "init_args": {"roots": "/home/ann/faces"}}}, ["faces"]),
        ({"calibrated_on": {**CALIBRATED, "data": "toy drawings, no photographs"}}, ["the toy set"]),
        ({}, []),
    ):
        named = NamedDetector("mine", "mine.ckpt", "0" * 64, dfd.load(checkpoint("named", **facts)))
        assert named.facts()["trained_on"] == told


def test_a_quick_look_takes_some_of_each_class_and_source(root, checkpoint, tmp_path, capsys):
    table = evaluate([checkpoint()], [root], tmp_path / "out", CLEAN, Options(workers=0, limit=2))
    rows = read_predictions(cell(tmp_path / "out"))[0]
    assert sorted(zip(rows.source.tolist(), rows.label.tolist(), strict=True)) == sorted(
        [(source, label) for source in ("cam", "phone") for label in (0, 1)] * 2
    )
    assert line(table, part="all", kind="image")["flags"].endswith("limited unknown_training")
    assert "A QUICK LOOK: at most 2 pictures of each class and source" in capsys.readouterr().out


@pytest.mark.slow
def test_the_worst_cell_comes_first_and_the_minimum_stands_beside_the_mean(
    root, other_root, checkpoint, tmp_path, capsys
):
    table = evaluate([checkpoint()], [root, other_root], tmp_path / "out", DAMAGED, HERE)
    shown = capsys.readouterr().out
    cells = [
        each
        for each in table.to_pylist()
        if each["part"] == "all" and each["kind"] == "image" and each["root"] != "*"
    ]
    worst = min(each["auroc"] for each in cells)
    mean = np.mean([each["auroc"] for each in cells])
    joined = " ".join(shown.split())
    assert f"mine: AUROC at worst {worst:.3f} (" in joined and f"{mean:.3f} in the mean of 6 cells" in joined
    lowest = min(
        each["auroc"]
        for each in table.to_pylist()
        if each["kind"] == "image" and "source" not in each["part"] and "method" not in each["part"]
    )
    first = next(row for row in shown.splitlines() if row.strip().startswith("mine"))
    assert f"{lowest:.3f}" in first


@pytest.mark.slow
def test_grid_json_says_what_the_folder_is_to_hold(root, checkpoint, tmp_path):
    path, out = checkpoint(), tmp_path / "out"
    evaluate([f"better={path}"], [f"home={root}"], out, DAMAGED, HERE)
    told = read_grid(out)
    assert told["cells"] == [
        f"cells/better/home/{name}.parquet" for name in ("clean", "jpeg@50", "noise@0.1")
    ]
    assert told["detectors"][0]["name"] == "better" and len(told["detectors"][0]["sha256"]) == 64
    assert told["roots"][0] | {"digest": ""} == {
        "name": "home", "path": str(root), "digest": "", "images": 24, "real": 12, "fake": 12, "leaks": "",
        "drawings": False,
    }  # fmt: skip
    assert told["conditions"][1] == {"name": "jpeg", "severities": [50.0]}
    told["cells"].append("cells/../../secret.parquet")
    (out / "grid.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match="is not as dfd writes it"):
        read_grid(out)


def test_faults_of_the_command_are_one_clear_error(root, checkpoint, tmp_path):
    path, out = checkpoint(), tmp_path / "out"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").touch()
    faults = [
        (([path, path], [root], out), "two detectors are called mine.*NAME="),
        (([path], [root, root], out), "two roots are called lab.*NAME="),
        (([f"log+gate={path}"], [root], out), "'log.gate' cannot name .*letters, digits"),
        (([path], [root, f"again={root}"], out), "lab and again are the same root.*name it once"),
        (([], [root], out), "at least one checkpoint and one root"),
        (([path], [root], taken), "is not empty and no grid"),
        (([path], [root], path), "is a file"),
        (([path], [root], root / "out"), "lies in .*lab, which is only read"),
        (([checkpoint("blind", view=None)], [root], out), "does not say how its pictures were cut"),
        (([path], [tmp_path / "nowhere"], out), "no such folder.*dfd prepare"),
        (([path], [taken], out), "no shards here.*dfd prepare"),
        (
            ([path], [taken / "thesis.tex"], out),
            "is a file, and what is judged are finished shards: `dfd prepare",
        ),
        (([tmp_path / "no.ckpt"], [root], out), "no.ckpt"),
    ]
    for args, message in faults:
        with pytest.raises((ValueError, OSError), match=message) as raised:
            evaluate(*args, CLEAN, HERE)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="at least one picture"):
        evaluate([path], [root], out, CLEAN, Options(limit=0))
    with pytest.raises(ValueError, match="no image in the val split"):
        evaluate([path], [root], out, CLEAN, Options(workers=0, split="val"))
    assert (taken / "thesis.tex").exists() and not out.exists()


@pytest.mark.slow
def test_a_killed_grid_goes_on_by_the_same_command(root, checkpoint, tmp_path):
    out, path = tmp_path / "out", checkpoint()
    command = [
        *(sys.executable, "-m", "dfd.cli", "evaluate", path, "--on", root, "--workers", "1"),
        *("--conditions", "conditions/deliveries", "--out", out),
    ]
    running = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, start_new_session=True)
    while len(list(out.glob("cells/*/*/*.parquet"))) < 3:
        assert running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    whole = {each: each.stat().st_mtime_ns for each in out.glob("cells/*/*/*.parquet")}
    assert missing_cells(out)
    for each in whole:
        pq.read_table(each, partitioning=None)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert "worst first" in done.stdout and not missing_cells(out)
    assert {each: each.stat().st_mtime_ns for each in whole} == whole
    assert not list(out.rglob("*.part-*"))
    before = (out / "metrics.csv").read_bytes()
    subprocess.run([*map(str, command[:-1]), str(tmp_path / "anew")], check=True)
    assert (tmp_path / "anew" / "metrics.csv").read_bytes() == before


RESAMPLES = """
import sys
from pathlib import Path
from dfd.evaluate import grid, tidy
tidy.LARGE = 0
grid.evaluate = lambda checkpoints, roots, out, *more: tidy.write_metrics(out, 2)
from dfd.cli import main
sys.exit(main(["evaluate", "a.ckpt", "--on", "root", "--out", sys.argv[1]]))
"""


def of_session(leader: int) -> list[str]:
    """Command lines of the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ends meanwhile
            state, _, _, of = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == leader and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="tells processes of a session by /proc")
@pytest.mark.parametrize("group", [True, False], ids=["all", "alone"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_a_signal_ends_the_processes_that_resample(tmp_path, end, group):
    """As a terminal and Slurm send it, to all of them, and to the first one alone."""
    out = grid_folder(
        tmp_path / "out", detectors=("a", "b", "c"), roots=("p", "q", "r", "s"), conditions={"clean": (None,)},
        num=600, finished=False,
    )  # fmt: skip
    (out / "metrics.csv").write_text("of before")
    running = subprocess.Popen(
        [sys.executable, "-c", RESAMPLES, str(out)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 120
    # itself, the one that tracks what is shared, the one that starts others, and two that resample
    while len(of_session(running.pid)) < 5:
        assert running.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    time.sleep(1)
    (os.killpg if group else os.kill)(running.pid, end)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 128 + end, said
    words = "interrupted" if end == signal.SIGINT else "ended by SIGTERM"
    assert "Traceback" not in said and said.splitlines()[-1].startswith(words), said
    limit = time.monotonic() + 10
    while alive := of_session(running.pid):
        assert time.monotonic() < limit, alive
        time.sleep(0.02)
    assert (out / "metrics.csv").read_text() == "of before" and not list(out.glob("metrics.parquet*"))
    assert not list(out.rglob("*.part-*"))


@pytest.mark.slow
def test_unfamiliar_pictures_count_as_the_least_sure_and_strange_sources_are_said(
    root, checkpoint, tmp_path, monkeypatch, capsys
):
    path, out = checkpoint(), tmp_path / "out"
    evaluate([path], [root], out, CLEAN, HERE)
    rows = read_predictions(cell(out))[0]
    wrong = (rows.logit > BAND["balanced"]) != rows.label
    assert 0 < wrong.sum() < len(wrong)
    shown = iter(np.where(wrong, 0.01, 0.9).tolist())  # what it gets wrong is strange to it
    monkeypatch.setattr(
        dfd.Detector, "batch_familiarity", lambda self, image: np.array([next(shown) for _ in image])
    )
    order = np.argsort(rows.row)
    assert (order == np.arange(len(order))).all(), "the loader shows rows in this order"
    table = evaluate([path], [root], tmp_path / "gated", CLEAN, HERE)
    _, prob, words, _ = read_predictions(cell(tmp_path / "gated"))
    assert ((words == "unfamiliar") == wrong).all() and np.isnan(prob[wrong]).all()
    found = line(table, part="all", kind="image")
    assert found["cov@risk5"] >= 1 - wrong.mean() and found["risk@cov50"] == 0
    assert json.loads(found["refused_by_reason"])["unfamiliar"] == wrong.sum()
    assert "strange" not in found["flags"]
    monkeypatch.setattr(
        judging,
        "table_verdicts",
        lambda logit, *more: (np.full(len(logit), "unfamiliar"), {"cam": "strange"}),
    )
    monkeypatch.setattr(dfd.Detector, "batch_familiarity", lambda self, image: np.full(len(image), 0.2))
    table = evaluate([path], [root], tmp_path / "strange", CLEAN, HERE)
    assert "strange" in line(table, part="all", kind="image")["flags"].split()
    assert "come from a world this detector has not seen (mine on lab)" in " ".join(
        capsys.readouterr().out.split()
    )
