"""`dfd landmarks`: where faces are, the same however they came there, and whole shards whenever it is killed."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from killing import killed_at
from pictures import noise

from dfd.cli import main
from dfd.commands.data import prepare
from dfd.media.encode import encode_jpeg
from dfd.media.mean_face import mean_face
from dfd.prepare import landmarks as module
from dfd.prepare.landmarks import LandmarkFinder, add_landmarks, store
from dfd.shards.landmark_table import encode_landmarks, landmarks_of
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_index

MESH, YUNET = "mediapipe_face_landmark_468.tflite", "yunet_n_640_640.onnx"


def shards(folder, pictures) -> Path:
    splits = ["train", "train", "val", "test"] * len(pictures)
    write_samples(
        [
            NewSample(f"s{at}", data, at % 2, splits[at], "set", groups=(f"p{at}",))
            for at, data in enumerate(pictures)
        ],
        folder,
        {"command": "test"},
    )
    return folder


@pytest.fixture
def face_files(real_data) -> list[Path]:
    return sorted((real_data / "140k-real-and-fake-faces").rglob("test/real/*.jpg"))[:5]


@pytest.mark.slow
def test_landmarks_are_found_in_faces_and_in_nothing_else(face_files, real_weights, tmp_path, capsys):
    faces = [path.read_bytes() for path in face_files]
    root = shards(tmp_path / "root", [*faces, noise(1, width=90, height=80)])
    command = [f"--mesh={real_weights / MESH}", f"--faces={real_weights / YUNET}", "--workers=1"]
    assert main(["landmarks", str(root), *command]) == 0
    assert "5 of 6 pictures are there; in 1 no face was found" in capsys.readouterr().out
    found = landmarks_of([str(root)])
    named = {line["key"]: row for row, line in enumerate(load_table(root).to_pylist())}
    for at in range(5):
        points = found.of(named[f"s{at}"], (256, 256))
        # FFHQ's faces lie within some pixels of one another
        assert np.abs(points - mean_face((256, 256), 1.31)).mean() < 20
        assert points[33, 0] + 30 < points[263, 0] and points[159, 1] + 40 < points[13, 1]
    assert np.isnan(found.of(named["s5"], (80, 90))).all()
    assert main(["landmarks", str(root), *command]) == 0
    assert "already" in capsys.readouterr().out
    assert not (root / module.STATE).exists()
    # a lost file is made again, the same
    (file,) = root.glob("landmarks-*")
    before = file.read_bytes()
    file.unlink()
    assert main(["landmarks", str(root), *command]) == 0
    assert file.read_bytes() == before
    # and `dfd prepare --landmarks` finds them too
    source = tmp_path / "source" / "real"
    source.mkdir(parents=True)
    for at, data in enumerate(faces[:4]):
        (source / f"s{at}.jpg").write_bytes(data)
    shutil.copytree(source, tmp_path / "source" / "fake")
    for path in (tmp_path / "source" / "fake").iterdir():
        path.write_bytes(encode_jpeg(cv2.imread(str(path))[:, ::-1], 90))
    out = ["--out", str(tmp_path / "made"), f"--landmarks={real_weights / MESH}", command[1], command[2]]
    assert main(["prepare", str(tmp_path / "source"), *out]) == 0
    made = landmarks_of([str(tmp_path / "made")])
    rows = [row for row, line in enumerate(load_table(tmp_path / "made").to_pylist()) if not line["label"]]
    both = [found.of(named[f"s{at}"], (256, 256)) for at in range(4)]
    for row in rows:
        assert min(np.abs(made.of(row, (256, 256)) - other).max() for other in both) == 0


@pytest.mark.slow
def test_without_a_face_detector_a_face_that_fills_the_picture_is_found(face_files, real_weights):
    by_box = LandmarkFinder(real_weights / MESH, real_weights / YUNET)
    by_place = LandmarkFinder(real_weights / MESH, None)
    for path in face_files:
        image = cv2.imread(str(path))[..., ::-1]
        one, two = by_box.find(image), by_place.find(image)
        assert np.linalg.norm(one - two, axis=1).mean() < 8
        large = cv2.resize(image, (900, 800))  # shown to the nets smaller, and told in its own pixels
        again = by_box.find(large) / (900 / 256, 800 / 256)
        assert np.linalg.norm(one - again, axis=1).mean() < 5


def test_wrong_weights_and_a_part_of_a_root_are_refused(tmp_path):
    root = shards(tmp_path / "root", [noise(at, width=24, height=20) for at in range(4)])
    with pytest.raises(ValueError, match=r"no face mesh: .*nowhere\.tflite is no file"):
        add_landmarks(root, tmp_path / "nowhere.tflite")
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is no face mesh that OpenCV"):
        add_landmarks(root, tmp_path / "empty.tflite")
    with pytest.raises(ValueError, match=r"give --landmarks together with --merge"):
        prepare(tmp_path, out=tmp_path / "out", task="1/2", landmarks=tmp_path / "empty.tflite")


@pytest.mark.slow
def test_killed_at_any_moment_of_the_writing_the_shards_stay_whole(tmp_path):
    made = shards(tmp_path / "made", [noise(at, width=24, height=20) for at in range(4)])
    weights = {"mesh": "0" * 64, "faces": ""}
    old = np.array([encode_landmarks(mean_face((20, 24), 2.0), (20, 24))] * 4)
    new = np.array([encode_landmarks(mean_face((20, 24), 1.5), (20, 24))] * 4)
    store(made, read_index(made), old, weights)
    number, seen = 0, set()
    while True:
        again = Path(shutil.copytree(made, tmp_path / f"again-{number}"))
        killed = killed_at(number, lambda again=again: store(again, read_index(again), new, weights))
        left = landmarks_of([str(again)]).of(2, (20, 24))  # whole, the old ones or the new ones
        is_new = [np.abs(left - mean_face((20, 24), margin)).max() < 0.01 for margin in (2.0, 1.5)]
        assert sum(is_new) == 1
        seen.add(bool(is_new[1]))
        if not killed:
            break
        module.make_way(again, module.STATE, module.is_own)
        store(again, read_index(again), new, weights)
        shutil.rmtree(again / module.STATE)
        names = {path.name for path in again.iterdir()}
        assert len(names) == len(os.listdir(made)) and not any(".part-" in name for name in names)
        number += 1
    assert number > 5 and seen == {True, False}
