"""Pictures that rotted in their shards: left out, counted, named once, and never judged in silence."""

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from ranks import dfd

from dfd.callbacks import FiniteGuard, PredictionWriter, StepSeed
from dfd.data import ShardDataModule, View
from dfd.models import SingleStream, SmallCNN
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table
from dfd.tasks import ClassificationTask

VIEW = View(size=32, crops=5, longest=None)
TRAIN, OTHER = 24, 8


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
        buffer, "JPEG", quality=90
    )
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path) -> Path:
    counts = {"train": TRAIN, "val": OTHER, "test": OTHER}
    made = [
        NewSample(f"{split}-{i}", jpeg(100 * at + i), i % 2, split, "s")
        for at, (split, count) in enumerate(counts.items())
        for i in range(count)
    ]
    write_samples(made, tmp_path / "shards", {})
    return tmp_path / "shards"


def truncate(root: Path, *keys: str) -> None:
    """The second half of these JPEGs becomes zeros, where they lie in their tar, and the index takes them for
    what they are.
    """
    for row in load_table(root).to_pylist():
        if row["key"] in keys:
            with (root / row["shard"]).open("r+b") as file:
                file.seek(row["offset"] + row["length"] // 2)
                file.write(bytes(row["length"] - row["length"] // 2))
    index = json.loads((root / "index.json").read_text())
    for shard in index["shards"]:
        shard["sha256"] = hashlib.sha256((root / shard["name"]).read_bytes()).hexdigest()
    (root / "index.json").write_text(json.dumps(index))


def module(root, **options) -> ShardDataModule:
    return ShardDataModule(
        str(root), VIEW, **{"batch_size": 4, "num_workers": 0, "max_undecodable": 0.2, **options}
    )


def fit(folder: Path, data: ShardDataModule, **options) -> tuple[ClassificationTask, Trainer]:
    torch.manual_seed(0)
    task = ClassificationTask(SingleStream(SmallCNN(width=4)), class_weight="balanced")
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = Trainer(
        accelerator="cpu", default_root_dir=folder, use_distributed_sampler=False, num_sanity_val_steps=0,
        callbacks=[FiniteGuard(), StepSeed(0)], **{"max_epochs": 2, **quiet, **options},
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    return task, trainer


def table(folder: Path) -> dict[str, tuple[str, str]]:
    with (folder / "undecodable.csv").open(newline="") as file:
        return {line["key"]: (line["split"], line["reason"]) for line in csv.DictReader(file)}


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_left_out_of_its_batch_and_nothing_else_moves(root, workers):
    data = module(root, num_workers=workers)
    data.setup("fit")
    before = [batch["row"].tolist() for batch in data.train_dataloader()]
    truncate(root, "train-3", "train-10")
    data = module(root, num_workers=workers)
    data.setup("fit")
    lost = [row for row in data.rows("train") if data._facts(row)[0] in ("train-3", "train-10")]
    batches = list(data.train_dataloader())
    assert [batch["row"].tolist() for batch in batches] == [
        [row for row in rows if row not in lost] for rows in before
    ]
    assert all(len(batch["image"]) == len(batch["label"]) == len(batch["row"]) for batch in batches)
    faults = [fault for batch in batches for fault in batch.get("faults", [])]
    assert sorted(row for row, _ in faults) == lost and all("JPEG" in why for _, why in faults)


@pytest.mark.usefixtures("messages_on_stderr")
def test_a_fit_goes_on_counts_and_names_each_once(root, tmp_path, capsys):
    truncate(root, "train-3", "train-10", "val-1")
    data = module(root)
    task, trainer = fit(tmp_path, data)
    assert trainer.global_step == 2 * TRAIN // 4
    assert (data.undecodable.shown, data.undecodable.lost) == (2 * TRAIN, 4)
    found = table(tmp_path)
    assert found.keys() == {"train-3", "train-10", "val-1"}
    assert found["val-1"][0] == "val" and "damaged JPEG" in found["train-3"][1]
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot be decoded" in line]
    assert len(said) == 3 and "More of them are named there alone" in said[-1]
    assert len(task.predictions) == OTHER - 1 and all(
        torch.isfinite(value).all() for value in task.net.state_dict().values()
    )
    again = module(root)
    again.load_state_dict(data.state_dict())
    assert (again.undecodable.shown, again.undecodable.lost) == (2 * TRAIN, 4)
    fit(tmp_path, again)
    assert table(tmp_path) == found and again.undecodable.lost == 8


def test_above_the_ceiling_it_ends_the_run(root, tmp_path):
    truncate(root, *(f"train-{at}" for at in range(6)))
    with pytest.raises(
        ValueError,
        match=r"5 of \d+ training samples.* more than data.max_undecodable=0.2 of 24\. .*csv names",
    ):
        fit(tmp_path, module(root))
    assert len(table(tmp_path)) == 5


@pytest.mark.usefixtures("messages_on_stderr")
def test_a_slice_of_which_nothing_is_left_makes_a_step_that_is_skipped(root, tmp_path, capsys):
    truncate(root, "train-3")
    task, trainer = fit(tmp_path, module(root, batch_size=1), max_epochs=1)
    assert trainer.global_step == TRAIN
    assert "is skipped: its loss is not finite (1 in a row, 1 in all)" in capsys.readouterr().err
    assert all(torch.isfinite(value).all() for value in task.net.state_dict().values())


def judged(trainer, task, data, folder) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Metrics and CSV of a test."""
    trainer.callbacks.append(PredictionWriter())
    metrics = trainer.test(task, datamodule=data, verbose=False)[0]
    with (folder / "predictions-test.csv").open(newline="") as file:
        return metrics, list(csv.DictReader(file))


@pytest.mark.parametrize("batch_size", [1, 20])
def test_judging_counts_in_the_coverage_what_it_could_not_judge(root, tmp_path, capsys, batch_size):
    """A status, never a score: every other figure is that of the same test without these pictures."""
    task, trainer = fit(tmp_path, module(root), max_epochs=1, limit_train_batches=1)
    _, before = judged(trainer, task, module(root, batch_size=batch_size), tmp_path)
    truncate(root, "test-2", "test-5")
    trainer.callbacks.pop()
    metrics, lines = judged(trainer, task, module(root, batch_size=batch_size), tmp_path)
    assert metrics["test/coverage"] == 0.75 and metrics["test/num_images"] == 6
    assert [line["key"] for line in lines] == [line["key"] for line in before]
    lost = [line for line in lines if line["status"] != "ok"]
    assert [line["key"] for line in lost] == ["test-2", "test-5"]
    for line in lost:
        assert (line["status"], line["logit"], line["prob"], line["verdict"]) == ("unreadable", "", "", "")
        assert line["label"] == str(int(line["key"][-1]) % 2)
    kept = [line for line in before if line["key"] not in ("test-2", "test-5")]
    assert [float(line["logit"]) for line in lines if line["status"] == "ok"] == pytest.approx(
        [float(line["logit"]) for line in kept], abs=1e-5
    )
    scores = [(float(line["logit"]), int(line["label"])) for line in kept]
    pairs = [(fake > real) + (fake == real) / 2 for fake, a in scores if a for real, b in scores if not b]
    assert metrics["test/auroc"] == pytest.approx(np.mean(pairs))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Coverage: 6 of 8 images have a verdict; the others are no part of any figure above: 2 unreadable."
        in said
    )
    assert table(tmp_path).keys() == {"test-2", "test-5"}


def test_a_prediction_of_what_cannot_be_decoded_is_a_status_too(root, tmp_path, capsys):
    task, trainer = fit(tmp_path, module(root), max_epochs=1, limit_train_batches=1)
    truncate(root, "test-3")
    trainer.callbacks.append(PredictionWriter())
    trainer.predict(task, datamodule=module(root))
    with (tmp_path / "predictions-predict.csv").open(newline="") as file:
        status = {line["key"]: (line["status"], line["verdict"]) for line in csv.DictReader(file)}
    assert status.pop("test-3") == ("unreadable", "")
    assert len(status) == OTHER - 1 and all(each[0] == "ok" and each[1] for each in status.values())
    assert "Coverage: 7 of 8 images have a verdict" in capsys.readouterr().out


def test_where_nothing_can_be_judged_there_is_no_figure(root, tmp_path):
    task, trainer = fit(tmp_path, module(root), max_epochs=1, limit_train_batches=1)
    truncate(root, *(f"test-{at}" for at in range(OTHER)))
    with pytest.raises(ValueError, match="8 of 8 images of the test split cannot be decoded"):
        trainer.test(task, datamodule=module(root), verbose=False)


def test_a_validation_that_lost_too_much_ends_the_fit(root, tmp_path):
    truncate(root, "val-0", "val-1")
    with pytest.raises(ValueError, match="2 of 8 images of the val split cannot be decoded"):
        fit(tmp_path, module(root))


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_a_ceiling_is_a_share(root, wrong):
    with pytest.raises(ValueError, match=rf"data.max_undecodable={wrong} is a share"):
        module(root, max_undecodable=wrong)


@pytest.mark.slow
def test_two_ranks_of_which_one_has_nothing_left_go_on_together(root, tmp_path):
    truncate(root, "train-3", "val-1")
    options = [
        "--data=dfd.data.ShardDataModule", f"--data.roots={root}", "--data.view.size=32", "--data.view.longest=null",
        "--data.batch_size=2", "--data.num_workers=1", "--data.max_undecodable=.2", "--trainer.max_epochs=1",
        "--trainer.callbacks=[]",
    ]  # fmt: skip
    command = ["fit", "--config", "small_cnn", *options, "--config", "overlay/ddp", "--run_folder", "run"]
    said = dfd(*command, cwd=tmp_path, world=2, WANDB_MODE="disabled")
    assert table(tmp_path / "run").keys() == {"train-3", "val-1"}
    assert said.count("train-3 (") == 1 and said.count("is skipped: its loss is not finite") == 1
