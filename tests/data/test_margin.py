"""The margin that shards record is that of the view, of the transforms and of the checkpoint."""

import io
import json
import warnings

import numpy as np
import pytest
import yaml
from PIL import Image

from dfd.augment import Augment, FaceBlend
from dfd.batch import REAL
from dfd.cli import main
from dfd.data import ShardDataModule, View
from dfd.detector import load
from dfd.prepare.reencode import Reencoding, reencode
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.splits import SPLITS


def cut(root, margin, count=36):
    """Shards of small pictures, which were cut at this margin; None records none."""
    samples = []
    for at in range(count):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(at).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        samples.append(
            NewSample(f"{root.name}-{at}", buffer.getvalue(), at % 2, SPLITS[at // 2 % 3], "drawn")
        )
    of_cut = {"frames": 4, "margin": margin, "face_detector": f"{root.name[0]}.onnx sha256:0123456789ab"}
    made_by = {"what": "test"} if margin is None else {"cut": of_cut}
    write_samples(samples, root, made_by)
    return str(root)


def set_up(roots, margin=None, stage="fit", **options):
    data = ShardDataModule(roots, View(size=32, longest=None, margin=margin), 4, num_workers=0, **options)
    data.setup(stage)
    return data


@pytest.mark.parametrize(
    ("recorded", "stated", "taken"),
    [(1.3, None, 1.3), (1.3, 1.3, 1.3), (2, None, 2), (None, None, 1.35), (None, 1.84, 1.84)],
)
def test_the_view_takes_the_margin_of_the_shards(tmp_path, recorded, stated, taken):
    data = set_up(cut(tmp_path / "set", recorded), stated)
    assert data.view.margin == taken and data.view.size == 32
    data.setup("test")
    assert data.view.margin == taken


def test_a_root_that_records_no_margin_leaves_it_to_the_others(tmp_path):
    roots = [cut(tmp_path / "whole", None), cut(tmp_path / "cut", 1.5)]
    assert set_up(roots).view.margin == set_up(roots[::-1]).view.margin == 1.5
    assert set_up(roots).face_detector == "c.onnx sha256:0123456789ab"
    assert set_up(roots[0]).face_detector == ""


def test_what_is_re_encoded_keeps_its_margin(tmp_path):
    cut(tmp_path / "set", 1.6)
    reencode(tmp_path / "set", tmp_path / "alike", Reencoding(jpeg=90, size=32), workers=1)
    reencode(tmp_path / "alike", tmp_path / "again", Reencoding(jpeg=80, size=32), workers=1)
    assert set_up(str(tmp_path / "again")).view.margin == 1.6
    assert set_up(str(tmp_path / "again")).face_detector == "s.onnx sha256:0123456789ab"


@pytest.mark.parametrize("stated", [None, 1.3])
def test_roots_of_different_margins_are_refused_in_training(tmp_path, stated):
    roots = [cut(tmp_path / "first", 1.3), cut(tmp_path / "second", 1.5)]
    words = r"different margins .*first at 1\.3, .*second at 1\.5\.\n.*again with --margin 1\.3 --overwrite"
    with pytest.raises(ValueError, match=words):
        set_up(roots, stated)
    with pytest.warns(UserWarning, match="different margins"):
        set_up(roots, stated, stage="test")


def test_another_margin_than_that_of_the_shards_is_refused_in_training(tmp_path):
    root = cut(tmp_path / "set", 1.3)
    words = r"data\.view\.margin=1\.35 .*set at 1\.3\.\nUse --data\.view\.margin=null, .*--margin 1\.35"
    with pytest.raises(ValueError, match=words):
        set_up(root, 1.35)


def test_a_checkpoint_of_another_margin_is_evaluated_with_a_warning(tmp_path):
    root = cut(tmp_path / "set", 1.3)
    for stage in ("validate", "test", "predict"):
        with pytest.warns(UserWarning, match=r"margin=1\.35 is not the margin .*set at 1\.3"):
            assert set_up(root, 1.35, stage=stage).view.margin == 1.35


@pytest.mark.parametrize("margin", [0, -1.3, "1.3", True, float("nan"), float("inf"), [1.3]])
def test_a_recorded_margin_that_is_none_is_refused(tmp_path, margin):
    root = cut(tmp_path / "set", 1.3)
    index = json.loads((tmp_path / "set/index.json").read_text())
    index["made_by"]["cut"]["margin"] = margin
    (tmp_path / "set/index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="faces cut at a margin of"):
        set_up(root)


@pytest.mark.parametrize("margin", [0, -1])
def test_a_margin_that_is_none_is_refused_in_a_view(margin):
    with pytest.raises(ValueError, match=r"view\.margin=.* Use null"):
        View(margin=margin)


def test_transforms_that_state_no_margin_are_given_the_shards(tmp_path):
    given, stated = FaceBlend(p=0.3), FaceBlend(p=0.3, margin=1.8)
    data = set_up(cut(tmp_path / "set", 1.5), augment=[given, stated, Augment("light")])
    assert [each.margin for each in data.augment[:2]] == [1.5, 1.8]
    assert given.margin is None and data.augment[1] is stated, "an object of the caller's stays as it was"


def test_a_blend_that_is_given_no_margin_takes_the_default():
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    masks = []
    for margin in (None, 1.35, 1.8):
        sample = {"image": image, "label": REAL, "key": "a", "row": 0}
        masks.append(FaceBlend(p=1, margin=margin)(sample, np.random.default_rng(5))["mask"])
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()


def test_the_shipped_recipe_of_photographs_takes_the_margin_of_the_shards(tmp_path, capsys):
    # over a config whose own data states the drawings' margin
    assert main(["fit", "--config", "small_cnn", "--data", "data/140k.yaml", "--print_config"]) == 0
    view = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["view"]
    assert view.pop("margin", "absent") is None and View(**view).resolved().margin == 1.35


@pytest.mark.slow
def test_a_checkpoint_stores_the_margin_of_its_shards(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    root, other = cut(tmp_path / "set", 1.3), cut(tmp_path / "other", 1.5)
    fit = ["fit", "--config", "small_cnn", "--data", "data/140k.yaml", "--config", "overlay/smoke"]
    fit += ["--data.view.size=32", "--data.batch_size=4", "--model.net.backbone.width=8", "--run_folder=run"]
    assert main([*fit, f"--data.roots={root}", "--data.view.margin=1.35"]) == 1
    assert "--data.view.margin=null" in capsys.readouterr().err
    assert main([*fit, f"--data.roots={root}"]) == 0
    checkpoint = "run/checkpoints/last.ckpt"
    assert load(checkpoint).view.margin == 1.3
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert set_up(root, load(checkpoint).view.margin, stage="test").view.margin == 1.3
    with pytest.warns(UserWarning, match=r"margin=1\.3 is not the margin .*other at 1\.5"):
        assert main(["test", checkpoint, f"--data.roots={other}"]) == 0
