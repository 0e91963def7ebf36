import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from output_kinds import everything, made
from rich.console import Console
from sklearn.metrics import roc_auc_score

from dfd.batch import Predictions
from dfd.callbacks import PredictionWriter
from dfd.callbacks.predictions import _overall
from dfd.metrics import uncalibrated


def lines(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_hold_every_image_once_and_all_digits(tmp_path, trainer, task, data, capsys):
    run = trainer(PredictionWriter())
    run.fit(task, datamodule=data)
    assert not list(tmp_path.glob("predictions*"))  # a fit's own validations leave none
    metrics = run.test(task, datamodule=data, verbose=False)[0]
    table = lines(tmp_path / "predictions-test.csv")
    assert [line["key"] for line in table] == [f"key{at}" for at in range(20)]
    assert list(table[0]) == [
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
    ]
    assert [float(line["logit"]) for line in table] == task.predictions.logit.tolist()
    label, logit = (np.array([float(line[name]) for line in table]) for name in ("label", "logit"))
    assert roc_auc_score(label, logit) == pytest.approx(metrics["test/auroc"], abs=1e-6)
    np.testing.assert_allclose(
        [float(line["prob"]) for line in table], 1 / (1 + np.exp(-logit / task.calibration.temperature))
    )
    assert table[13] | {"logit": "", "prob": "", "verdict": ""} == {
        "key": "key13",
        "path": "a, folder/13",
        "label": "1",
        "logit": "",
        "prob": "",
        "familiarity": "",
        "source": "theirs",
        "method": "swap",
        "group": "family6",
        "split": "test",
        "verdict": "",
        "status": "ok",
    }
    shown = capsys.readouterr().out
    assert "test: 20 images in 10 families" in shown and "source theirs" in shown and "method gan" in shown
    assert "from val of tiny, 20 images in 10 families" in shown and "predictions-test.csv" in shown.replace(
        "\n", ""
    )
    assert max(map(len, shown.split("\n")[:-2])) <= 80


@pytest.mark.parametrize(("verb", "stage"), [("validate", "val"), ("predict", "predict")])
def test_each_verb_leaves_its_own_file(tmp_path, trainer, task, data, capsys, verb, stage):
    getattr(trainer(PredictionWriter()), verb)(task, datamodule=data)
    assert [path.name for path in tmp_path.iterdir()] == [f"predictions-{stage}.csv"]
    assert "never fitted" in capsys.readouterr().out


@pytest.mark.parametrize("label", [0, 1])
def test_of_one_class_what_is_undefined_is_said(trainer, task, data, capsys, label):
    data.shown = np.full(20, label)
    trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"All these images are {('real', 'fake')[label]}: what compares both classes is undefined" in shown
    assert "auroc undefined" in shown and "acc 0." in shown.replace("1.0", "0.") and "Traceback" not in shown


def test_unknown_labels_stay_empty_and_unmeasured(tmp_path, trainer, task, data, capsys):
    data.shown = np.full(20, -1)
    trainer(PredictionWriter()).predict(task, datamodule=data)
    assert {line["label"] for line in lines(tmp_path / "predictions-predict.csv")} == {""}
    shown = capsys.readouterr().out
    assert "auroc" not in shown and "Verdicts: " in shown


def test_a_failure_leaves_no_file(tmp_path, trainer, task, data, monkeypatch):
    import dfd.callbacks.predictions as module

    def fails(path, *args):
        path.write_text("key,path\n")
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "_write", fails)
    with pytest.raises(OSError, match="No space"):
        trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
    assert not list(tmp_path.iterdir())


def test_a_table_to_which_somebody_added_a_column_stays(tmp_path, trainer, task, data):
    table = tmp_path / "predictions-test.csv"
    for _ in range(2):  # its own one is written anew
        trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
    text = table.read_text().replace("verdict", "verdict,examiner", 1)
    table.write_text(text)
    with pytest.raises(ValueError, match="somebody changed its first line"):
        trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
    assert table.read_text() == text


def test_a_logit_that_is_no_number_is_named_by_its_row(tmp_path, trainer, task, data):
    data.image[7] = np.nan
    with pytest.raises(ValueError, match="1 of 20 logits are NaN or infinite, in rows 107"):
        trainer(PredictionWriter()).predict(task, datamodule=data)
    assert not list(tmp_path.iterdir())


def test_it_says_which_pictures_the_net_has_seen(trainer, task, data, capsys):
    run = trainer(PredictionWriter())
    run.test(task, datamodule=data, verbose=False)
    assert "Seen before: not checked" in capsys.readouterr().out
    run.fit(task, datamodule=data)
    capsys.readouterr()
    run.test(task, datamodule=data, verbose=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "SEEN BEFORE: 20 of these 20 images chose its epoch and thresholds. These figures do not hold"
        in shown
    )
    data.rows = lambda split: np.arange(20) + (100 if split == "test" else 50)
    task.seen = {"train": torch.arange(103, 106) * 7, "val": torch.arange(3)}
    run.test(task, datamodule=data, verbose=False)
    assert "SEEN BEFORE: 3 of these 20 images trained it. These" in " ".join(capsys.readouterr().out.split())
    task.seen = {"train": torch.arange(30) * 7, "val": torch.arange(3)}
    run.test(task, datamodule=data, verbose=False)
    assert "none of these images is, byte for byte, among the 30 that trained the net" in " ".join(
        capsys.readouterr().out.split()
    )


def test_leaks_of_the_shards_are_told(trainer, task, data, capsys):
    data.leaks = {"shards/a": "near duplicate: 3"}
    trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "LEAK: in shards/a related pictures lie in different splits (near duplicate: 3), kept by "
        "--allow-leaks." in shown
    )


def test_validation_need_not_be_told_that_it_chose(trainer, task, data, capsys):
    run = trainer(PredictionWriter())
    run.fit(task, datamodule=data)
    capsys.readouterr()
    run.validate(task, datamodule=data, verbose=False)
    assert "Seen before: none" in capsys.readouterr().out


@pytest.mark.parametrize(("logit", "said"), [([0.0] * 20, False), ([-1.0, 1.0] * 10, True)])
def test_no_error_seen_is_said_of_perfect_scores_alone(logit, said):
    """A score that is the same for all pictures resamples to itself too."""
    same = np.full(20, "")
    table = Predictions(
        np.arange(20), np.array(logit), np.array([0, 1] * 10), same, same, np.arange(20).astype(str), same
    )
    task = SimpleNamespace(predictions=table, calibration=uncalibrated, thresholds={"balanced": 0.0})
    with (console := Console(width=80)).capture() as page:
        console.print(_overall("test", task))
    assert ("no error seen" in page.get()) == said


@pytest.mark.parametrize("kind", ["somebody's file", "pipe", "folder", "link to somebody's file"])
def test_a_table_of_somebody_elses_is_no_place_for_predictions(tmp_path, trainer, task, data, kind):
    """Said before pictures are judged."""
    made(kind, tmp_path).rename(tmp_path / "predictions-test.csv")
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"the table of predictions, .*predictions-test.csv, is "):
        trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
    assert everything(tmp_path) == before


def test_predictions_are_written_behind_a_link(tmp_path, trainer, task, data):
    (tmp_path / "predictions-test.csv").symlink_to(tmp_path / "elsewhere.csv")
    for _ in range(2):
        trainer(PredictionWriter()).test(task, datamodule=data, verbose=False)
        assert (tmp_path / "predictions-test.csv").is_symlink() and len(
            lines(tmp_path / "elsewhere.csv")
        ) == 20


def test_a_prior_corrects_what_is_written_and_measured(tmp_path, trainer, task, data, capsys):
    """Of the calibration's images half were fake."""
    trainer().fit(task, datamodule=data)
    run = trainer(PredictionWriter(prior=0.01))
    for _ in range(2):  # once, however often it judges
        metrics = run.test(task, datamodule=data, verbose=False)[0]
    shown = " ".join(capsys.readouterr().out.split())
    assert "P(fake) is for 0.01 fakes among such pictures (--prior)" in shown
    table = lines(tmp_path / "predictions-test.csv")
    logit = np.array([float(line["logit"]) for line in table])
    odds = logit / task.calibration.calibration.temperature - np.log(99)
    np.testing.assert_allclose([float(line["prob"]) for line in table], 1 / (1 + np.exp(-odds)))
    label = task.predictions.label
    assert metrics["test/brier"] == pytest.approx(np.mean((1 / (1 + np.exp(-odds)) - label) ** 2), abs=1e-6)
    for prior in (0, 1, 7):
        with pytest.raises(ValueError, match="no share of fakes"):
            PredictionWriter(prior)


def test_too_few_images_of_a_calibration_are_named(trainer, task, data, capsys):
    run = trainer(PredictionWriter())
    run.fit(task, datamodule=data)
    run.test(task, datamodule=data, verbose=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert '"fake" is never said: it takes at least' in shown
    assert "Verdicts: 0 no trace found, 0 fake, 20 inconclusive, 0 unfamiliar" in shown
