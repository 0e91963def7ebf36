"""Shortcuts beside a score: each is caught where it was planted, at the detector's side, and nowhere else."""

import io

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

from dfd.audit.shortcuts import Shortcut
from dfd.data import ShardDataModule, View
from dfd.evaluate import shortcuts
from dfd.evaluate.shortcut_check import ShortcutCheck
from dfd.evaluate.shortcuts import (
    COLOR,
    FILE_FACTS,
    ShownColors,
    ask_color,
    ask_files,
    matches,
    reached,
    told,
)
from dfd.models import SingleStream, SmallCNN
from dfd.shards.samples import NewSample, write_samples
from dfd.tasks import ClassificationTask

NUM = 120


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(shortcuts, "TREES", 30)


def picture(seed: int, quality: int = 90, tint: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 190, (8, 8, 3), dtype=np.uint8)).resize((40, 40), Image.BICUBIC)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.add(rough, [tint, 0, 0], dtype=int), 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=quality
    )
    return buffer.getvalue()


def data_of(root, **of_fakes) -> ShardDataModule:
    made = [
        NewSample(
            f"s{at}", picture(at, **(of_fakes if at % 2 else {})), at % 2, "test", f"source{at % 4 // 2}"
        )
        for at in range(NUM)
    ]
    write_samples(made, root, {"what": "test"})
    data = ShardDataModule(str(root), View(size=32, longest=None), batch_size=16, num_workers=0)
    data.setup("test")
    return data


def facts(data):
    rows = data.rows("test")
    return rows, data.contents.label[rows], data.describe(rows)["family"]


def shown(data, rows) -> ShownColors:
    colors = ShownColors(rows)
    for batch in data.test_dataloader():
        wanted = colors.wants(batch["row"].numpy())
        colors.add(batch["row"].numpy()[wanted], batch["image"].numpy()[wanted])
    return colors


@pytest.mark.parametrize(
    ("of_fakes", "file", "color"),
    [({}, False, False), ({"quality": 60}, True, False), ({"tint": 60}, False, True)],
)
def test_a_planted_shortcut_matches_a_score_and_is_found_in_each_part(tmp_path, of_fakes, file, color):
    data = data_of(tmp_path / "set", **of_fakes)
    rows, label, family = facts(data)
    found = shown(data, rows).found
    assert found.keys() == set(rows.tolist())
    for name, alone, planted in (
        (FILE_FACTS, ask_files(data.contents, rows, label, family), file),
        (COLOR, ask_color(found, rows, label, family), color),
    ):
        for part in (rows, rows[data.describe(rows)["source"] == "source1"]):
            shortcut = reached(name, alone, part)
            assert shortcut.num_images == len(part)
            assert matches(shortcut, 0.99) == planted, (name, shortcut)
            if planted:
                assert shortcut.auroc > 0.95 and "shows nothing about forgery" in told(shortcut, 0.99)
            else:
                assert abs(shortcut.auroc - 0.5) < 0.3 and "SHORTCUT" not in told(shortcut, 0.99)


def test_colour_is_that_of_the_crops_as_shown(tmp_path):
    """A corruption that takes the tint away takes the shortcut with it, and one that plants it plants it."""

    class Grey:
        def __call__(self, sample, rng):
            return {**sample, "image": np.full_like(sample["image"], 128)}

    data = data_of(tmp_path / "set", tint=60)
    rows, label, family = facts(data)
    data.corruption = [Grey()]
    grey = reached(COLOR, ask_color(shown(data, rows).found, rows, label, family), rows)
    assert grey.auroc == pytest.approx(0.5, abs=0.2) and not matches(grey, 0.9)


def test_a_shortcut_learns_from_other_families_alone(tmp_path):
    """Each family has a quality of its own: without the cut by family the headers would tell every picture."""
    rng = np.random.default_rng(0)
    made = []
    for family in range(30):
        quality, label = 40 + family, int(rng.random() < 0.5)
        made += [
            NewSample(f"f{family}-{at}", picture(100 * family + at, quality), label, "test", "s", groups=(f"g{family}",))
            for at in range(4)
        ]  # fmt: skip
    write_samples(made, tmp_path / "set", {})
    data = ShardDataModule(str(tmp_path / "set"), View(size=32, longest=None), num_workers=0)
    data.setup("test")
    rows, label, family = facts(data)
    assert len(set(family)) == 30
    assert not matches(reached(FILE_FACTS, ask_files(data.contents, rows, label, family), rows), 0.95)


def test_too_few_families_or_unknown_labels_are_not_asked(tmp_path):
    data = data_of(tmp_path / "set", quality=60)
    rows, label, family = facts(data)
    for labels, families in (
        (label, np.full(NUM, "one")),
        (np.full(NUM, -1), family),
        (np.zeros(NUM), family),
    ):
        shortcut = reached(FILE_FACTS, ask_files(data.contents, rows, labels, families), rows)
        assert np.isnan(shortcut.auroc) and not matches(shortcut, 0.9) and "not asked" in told(shortcut, 0.9)


@pytest.mark.parametrize(
    ("auroc", "low", "high", "detector", "matched"),
    [
        (0.98, 0.97, 0.99, 0.999, True),  # it gives the labels away, whatever the detector adds
        (0.80, 0.75, 0.85, 0.84, True),
        (0.80, 0.75, 0.85, 0.95, False),
        (0.60, 0.55, 0.65, 0.60, False),  # a hint, as chance gives one now and then
        (np.nan, np.nan, np.nan, 0.9, False),
    ],
)
def test_when_a_shortcut_matches(auroc, low, high, detector, matched):
    assert matches(Shortcut(COLOR, auroc, low, high, 100, 100, {}, {}), detector) is matched


def test_a_test_prints_and_logs_them_beside_its_metrics(tmp_path, capsys):
    data = data_of(tmp_path / "set", quality=60)
    torch.manual_seed(0)
    task = ClassificationTask(SingleStream(SmallCNN(width=4)))
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, logger=False, callbacks=[ShortcutCheck()],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    metrics = trainer.test(task, datamodule=data, verbose=False)[0]
    assert metrics["test/file_facts_auroc"] > 0.95 and 0.2 < metrics["test/color_auroc"] < 0.8
    assert metrics["test/file_facts_auroc_low"] <= metrics["test/file_facts_auroc"]
    said = capsys.readouterr().out
    assert "SHORTCUT: a classifier of file facts alone reaches AUROC" in said
    assert f"the detector's {metrics['test/auroc']:.3f} shows nothing about forgery" in said
    assert "colour alone: AUROC" in said
