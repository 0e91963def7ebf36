import io
import json
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from dfd.batch import FAKE, REAL
from dfd.media.decode import decode
from dfd.shards.table import load_table
from dfd.synthetic import METHODS, draw_person, forgery, make_toy, toy, toy_root
from dfd.synthetic.camera import EDGE_AWARE, QUALITIES, Camera
from dfd.synthetic.head import Head
from dfd.synthetic.person import Person

NUM = 60  # two of the ten families are not for training


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy") / "set", NUM, size=96, seed=3, workers=2)


@pytest.fixture(scope="module")
def table(root):
    return load_table(root).to_pylist()


@pytest.fixture(scope="module")
def facts():
    """What a file tells without a look at its traces, of 300 pictures: (log length, quality, mean colours),
    and the labels.
    """
    rows, labels = [], []
    for number in range(300):
        sample = toy.draw_sample(number, 2400, 64, 0)
        data = sample["image_bytes"]
        tables = Image.open(io.BytesIO(data)).quantization
        rows.append([np.log(len(data)), sum(tables[0]), *decode(data).mean(axis=(0, 1))])
        labels.append(sample["label"])
    return np.array(rows), np.array(labels)


def _bytes(root):
    return {path.name: path.read_bytes() for path in sorted(root.glob("*.tar"))}


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_on_any_number_of_processes(root, tmp_path):
    again = make_toy(tmp_path / "again", NUM, size=96, seed=3, workers=1)
    assert _bytes(again) == _bytes(root)
    one, other = toy.draw_sample(4, NUM, 96, 3), toy.draw_sample(4, NUM, 96, 4)
    assert one["image_bytes"] != other["image_bytes"]


def test_labels_and_methods_are_balanced_in_every_split(table):
    for split in ("train", "val", "test"):
        rows = [row for row in table if row["split"] == split]
        methods = [row["method"] for row in rows]
        assert rows and all(row["source"] == "toy" for row in rows)
        assert sum(row["label"] == REAL for row in rows) == sum(row["label"] == FAKE for row in rows)
        assert {methods.count(method) for method in METHODS} == {len(rows) // 6}
        assert all(
            (row["method"] == "") == (row["label"] == REAL) == (row["mask_offset"] < 0) for row in rows
        )
    assert sum(row["split"] == "train" for row in table) == 48


def test_families_never_cross_splits_and_stay_small(table):
    homes, persons = {}, {}
    for row in table:
        assert len(row["groups"]) == (2 if row["method"] == "blended_swap" else 1)
        homes.setdefault(row["family"], set()).add(row["split"])
        persons.setdefault(row["family"], set()).update(row["groups"])
        for person in row["groups"]:
            homes.setdefault(person, set()).add(row["split"])
    assert all(len(splits) == 1 for splits in homes.values())
    assert len(persons) == NUM // 6 and all(len(names) == 2 for names in persons.values())


def test_each_person_is_seen_real_and_forged():
    seen = [toy.draw_sample(number, 2400, 64, 0) for number in range(12)]
    for person in {sample["groups"][0] for sample in seen}:
        assert {sample["label"] for sample in seen if sample["groups"][0] == person} == {REAL, FAKE}


def test_real_and_fake_share_size_format_subsampling_and_tables(root, table):
    kinds = {REAL: set(), FAKE: set()}
    for row in table:
        with open(root / row["shard"], "rb") as file:
            file.seek(row["offset"])
            picture = Image.open(io.BytesIO(file.read(row["length"])))
        sampling = tuple(part[1:3] for part in picture.layer)
        kinds[row["label"]].add(
            (picture.format, picture.size, picture.mode, sampling, bool(picture.info.get("exif")))
        )
    assert kinds[REAL] == kinds[FAKE] == {("JPEG", (96, 96), "RGB", ((2, 2), (1, 1), (1, 1)), False)}


def test_file_facts_and_colour_do_not_give_the_label_away(facts):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = facts
    family = np.arange(len(labels)) // toy.FAMILY
    model = make_pipeline(StandardScaler(), LogisticRegression())
    guess = cross_val_predict(model, rows, labels, cv=GroupKFold(5), groups=family, method="predict_proba")[
        :, 1
    ]
    assert abs(roc_auc_score(labels, guess) - 0.5) < 0.1  # three standard errors at 300 pictures
    for column in rows.T:  # and each fact has one distribution
        assert stats.ks_2samp(column[labels == REAL], column[labels == FAKE]).pvalue > 1e-3


def test_qualities_span_the_range_for_both_labels(facts):
    rows, labels = facts
    for label in (REAL, FAKE):
        assert len(np.unique(rows[labels == label, 1])) > 0.8 * len(QUALITIES)


@pytest.mark.parametrize("method", METHODS)
def test_masks_cover_what_was_changed_and_little_else(method):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        portrait = draw_person(seed, rng, 128)
        if method == "blended_swap":
            donor = draw_person(seed + 100, rng, 128, forgery.sit_for_swap(portrait.sitting, rng))
            picture, mask = forgery.blended_swap(portrait, donor, rng)
        else:
            picture, mask = getattr(forgery, method)(portrait, rng)
        changed = (picture != portrait.picture).any(axis=2)
        assert picture.dtype == mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
        assert not (changed & (mask == 0)).any()
        assert changed[mask > 0].mean() > 0.7
        assert method == "upsampled" or 0.01 < (mask > 0).mean() < 0.6
        if method != "upsampled":  # the forgery is where the face is
            rows, columns = np.nonzero(mask)
            assert np.hypot(*(portrait.marks["nose"][0] - (columns.mean(), rows.mean()))) < 0.25 * 128


def test_upsampled_pictures_repeat_with_the_generators_stride():
    """The four phases of a stride of two differ in level: a checkerboard that no other picture shows."""

    def checkers(picture):
        level = picture.astype(float).mean(axis=2)
        flat = level - cv2.blur(level, (5, 5))
        signs = np.where(np.add.outer(np.arange(128), np.arange(128)) % 2, 1.0, -1.0)
        return (
            abs((signs * flat).mean())
            + abs((flat[::2] - flat[1::2]).mean())
            + abs((flat[:, ::2] - flat[:, 1::2]).mean())
        )

    before, after = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        portrait = draw_person(seed, rng, 128)
        picture, mask = forgery.upsampled(portrait, rng)
        if mask.all():
            before.append(checkers(portrait.picture))
            after.append(checkers(picture))
    assert np.median(after) > 2 * np.median(before)


def test_marks_follow_the_pose_of_the_head():
    """`place` undoes `face_at`: two ways from the face to the canvas."""
    rng = np.random.default_rng(5)
    for identity in range(5):
        portrait = draw_person(identity, rng, 64)
        head = Head(Person.born(identity), portrait.sitting)
        points = np.concatenate(list(head.landmarks().values()))
        x, y = ((head.place(points, 1000) + 0.5) / 500 - 1).T
        face_x, face_y, _ = head.face_at(*head.seen_at(x, y))
        assert np.abs(face_x - points[:, 0]).max() < 0.01 and np.abs(face_y - points[:, 1]).max() < 0.01


def test_the_camera_keeps_the_colours_whatever_its_mosaic():
    light = np.ones((3, 48, 48), np.float32) * np.array([0.4, 0.2, 0.1], np.float32)[:, None, None]
    settings = dict(
        lens=0.5, falloff=0.0, shot=0.0, read=0.0, red=2.0, blue=1.5, sharpen=0.5, contrast=0.0, exposure=0.2
    )
    for phase in range(len(EDGE_AWARE)):
        for edge_aware in (False, True):
            camera = Camera(**settings, phase=phase, edge_aware=edge_aware)
            picture = camera.photograph(light, 32, np.random.default_rng(0))
            gain = min(0.2 / (0.7 / 3), 0.95 / 0.4)
            wanted = 255 * (1.055 * (gain * np.array([0.4, 0.2, 0.1])) ** (1 / 2.4) - 0.055)
            assert np.abs(picture[2:-2, 2:-2] - wanted).max() < 1.5


@pytest.mark.usefixtures("messages_on_stderr")
def test_a_finished_set_is_left_alone_and_another_is_not_taken_for_it(root, capsys):
    stamp = (root / "index.json").stat().st_mtime_ns
    start = time.monotonic()
    assert make_toy(root, NUM, size=96, seed=3) == root
    assert time.monotonic() - start < 0.1 and (root / "index.json").stat().st_mtime_ns == stamp
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="holds other shards"):
        make_toy(root, NUM, size=96, seed=4)
    with pytest.raises(ValueError, match="18 or more"):
        make_toy(root / "few", 12)


@pytest.mark.slow
def test_two_makers_at_once_do_not_clash(tmp_path):
    target = tmp_path / "both"
    line = (
        "import logging; from pathlib import Path; from dfd.synthetic import make_toy; "
        f"logging.basicConfig(level='INFO'); make_toy(Path({str(target)!r}), 18, 64, 0, 1)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    makers = [
        subprocess.Popen([sys.executable, "-c", line], env=env, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [maker.communicate()[1] for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0], said
    # one drew and said so, the other waited
    assert sum("drawings, not photographs" in text for text in said) == 1
    assert len(load_table(target)) == 18
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["both"]
    assert "drawings" in json.loads((target / "index.json").read_text())["made_by"]["what"]


def test_the_default_folder_follows_the_parameters(monkeypatch, tmp_path):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path))
    roots = {toy_root(), toy_root(seed=1), toy_root(size=128), toy_root(num_images=600)}
    assert len(roots) == 4 and all(root.parent == tmp_path for root in roots)
    assert toy_root(2400, 160, 0) == toy_root()


def test_drawing_needs_no_torch_and_is_quick():
    code = (
        "import sys, time, numpy as np; from dfd.synthetic import toy; assert 'torch' not in sys.modules\n"
        "toy.draw_sample(0, 2400, 160, 0); start = time.process_time()\n"
        "for number in range(12): toy.draw_sample(number, 2400, 160, 0)\n"
        "print((time.process_time() - start) / 12)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    seconds = float(
        subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        ).stdout
    )
    assert seconds < 0.1  # 0.025 on an idle core; 0.05 is a minute for the whole set on two


def test_faces_are_faces_to_a_detector(real_weights):
    finder = cv2.FaceDetectorYN.create(str(real_weights / "yunet_n_640_640.onnx"), "", (160, 160), 0.6)
    for number in range(18):
        picture = decode(toy.draw_sample(number, 2400, 160, 0)["image_bytes"])
        _, found = finder.detect(np.ascontiguousarray(picture[..., ::-1]))
        assert found is not None and len(found) == 1
