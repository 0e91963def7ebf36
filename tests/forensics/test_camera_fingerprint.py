"""Sensors that are simulated: dfd.synthetic.camera has no pattern of its own."""

import io
import zipfile

import numpy as np
import pytest
from photos import ellipse, jpeg, photo, png

from dfd.cli import main
from dfd.forensics import Catalogue, examine
from dfd.forensics.noise import Fingerprint, camera_match, camera_tool, fingerprint, prnu
from dfd.forensics.noise.camera_match import METHOD, pce
from dfd.forensics.noise.prnu import sensor_pixels, without_shared
from dfd.media.decode import decode

SIZE = 320
TURNED = b"Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"


def sensor(seed: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """The pattern of a camera: deviations of 2% from pixel to pixel."""
    return np.random.default_rng(seed).normal(0, 0.02, (height, width)).astype(np.float32)


def shot(seed: int, pattern: np.ndarray) -> np.ndarray:
    """A photo by a sensor of that pattern, never compressed."""
    height, width = pattern.shape
    light = photo(seed, max(pattern.shape))[:height, :width]
    return np.clip(light * (1 + pattern[..., None]) + 0.5, 0, 255).astype(np.uint8)


def saved(seed: int, pattern: np.ndarray, quality: int = 90) -> np.ndarray:
    return decode(jpeg(shot(seed, pattern), quality))


@pytest.fixture(scope="module")
def camera() -> Fingerprint:
    return fingerprint(saved(seed, sensor(1)) for seed in range(10))


def test_the_pattern_comes_out_of_the_photos(camera):
    assert camera.photos == 10 and camera.pattern.shape == (SIZE, SIZE)
    assert np.corrcoef(camera.pattern.ravel(), sensor(1).ravel())[0, 1] > 0.45
    for axis in (0, 1):
        assert np.abs(camera.pattern.mean(axis=axis)).max() < 0.1 * camera.pattern.std()


def test_a_photo_of_the_camera_is_told_from_those_of_others(camera):
    for seed in range(20, 24):
        own = camera_match(saved(seed, sensor(1)), camera)
        assert own.answer == "same_camera" and own.score > 1000 and own.facts["p"] < 1e-100
        for other in (saved(seed, sensor(2)), decode(jpeg(photo(seed, SIZE), 90))):
            finding = camera_match(other, camera)
            assert (finding.status, finding.answer) == ("clear", "not_from") and finding.score < 40


@pytest.mark.slow
def test_over_many_cameras_none_is_taken_for_another():
    for number in range(8):
        camera = fingerprint(saved(1000 * number + seed, sensor(number)) for seed in range(10))
        for seed in range(12):
            other = sensor(100 + 20 * number + seed)
            for quality in (90, 75):
                at = 1000 * number + 500 + seed
                assert camera_match(saved(at, sensor(number), quality), camera).score > 500
                assert camera_match(saved(at, other, quality), camera).score < 60


def test_plain_numpy_gives_the_same_energy():
    rng = np.random.default_rng(0)
    pattern = rng.normal(size=(48, 64)).astype(np.float32)
    residual = (rng.normal(size=(48, 64)) + 0.3 * pattern).astype(np.float32)
    centred = pattern - pattern.mean()
    shifts = np.array([[(residual * np.roll(centred, (-down, -across), (0, 1))).sum() for across in range(64)]
                       for down in range(48)])  # fmt: skip
    far = np.ones_like(shifts, bool)
    far[np.ix_(np.arange(-5, 6), np.arange(-5, 6))] = False
    wanted = shifts[0, 0] ** 2 / (shifts[far] ** 2).mean()
    assert pce(residual, pattern) == pytest.approx(wanted, rel=1e-3)
    assert pce(-residual, pattern) == pytest.approx(-wanted, rel=1e-3)


def test_what_cameras_share_is_taken_off():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(128, 160)).astype(np.float32)
    down, across = np.mgrid[:128, :160]
    shared = (
        2.0 * (across % 8 == 7) + 1.0 * (down % 8 == 7) + 1.5 * ((down + across) % 2) + rng.normal(size=160)
    )
    left = without_shared((own + shared).astype(np.float32))
    assert np.corrcoef(left.ravel(), own.ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(left.ravel(), np.ravel(shared))[0, 1]) < 0.05


def test_a_region_of_another_camera_shows(camera):
    mask = ellipse(SIZE, radius=0.26)
    pasted = decode(jpeg(np.where(mask[..., None], shot(60, sensor(3)), shot(61, sensor(1))), 92))
    finding = camera_match(pasted, camera)
    assert finding.status == "found" and finding.answer == "same_camera_but_for_a_region"
    (region,) = finding.regions
    x, y, width, height = region.box
    assert x < 160 < x + width and y < 160 < y + height
    inside = mask[8::16, 8::16]
    values = finding.map.values
    assert np.median(values[inside]) > np.median(values[~inside]) + 3
    whole = camera_match(saved(61, sensor(1), 92), camera)
    assert (whole.status, whole.answer) == ("clear", "same_camera") and not whole.regions


def test_a_turned_photo_is_turned_back():
    pattern = sensor(4, 240, SIZE)
    camera = fingerprint(saved(seed, pattern) for seed in range(8))
    taken = shot(50, pattern)
    for quarter in range(4):
        finding = camera_match(decode(jpeg(np.ascontiguousarray(np.rot90(taken, quarter)), 90)), camera)
        assert finding.answer == "same_camera" and finding.facts["turned"] == 90 * quarter
    # upright for us, a file lies on its sensor as it was stored
    stored = jpeg(taken, 95, exif=TURNED)
    assert decode(stored).shape == (SIZE, 240, 3)
    assert np.array_equal(sensor_pixels(stored), decode(jpeg(taken, 95)))
    assert camera_match(decode(stored), camera).answer == "same_camera"


def test_a_photo_of_the_fingerprint_itself_is_not_compared(camera):
    finding = camera_match(saved(3, sensor(1)), camera)
    assert (finding.status, finding.answer) == ("abstained", "own_photo")


def test_other_dimensions_are_one_clear_error(camera, tmp_path):
    with pytest.raises(
        ValueError, match=r"320 x 200 pixels, and the fingerprint is of photos of 320 x 320.*neither"
    ):
        camera_match(photo(1, SIZE)[:200], camera)
    camera.save(tmp_path / "camera.npz")
    tool = camera_tool(tmp_path / "camera.npz")
    assert tool.name == METHOD.tool
    for data in (png(photo(1, SIZE)[:200]), png(np.zeros((1, 1, 3), np.uint8)), b"none"):
        (finding,) = examine(data, [tool]).findings
        assert finding.status == "abstained" and Catalogue().answer(finding)
    for pixels in (np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 255, np.uint8)):
        (finding,) = examine(png(pixels), [tool]).findings
        assert finding.answer == "not_from" and finding.score == 0 and Catalogue().answer(finding)
    (found,) = examine(jpeg(shot(70, sensor(1)), 90), [tool]).findings
    assert found.answer == "same_camera" and Catalogue().look(tool.name)
    assert "60 is the threshold" in Catalogue().answer(found) and "e+" not in Catalogue().answer(found)


def test_photos_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="1 photo was given"):
        fingerprint([photo(1, 64)])
    with pytest.raises(ValueError, match="photo 2 is 64 x 72 pixels, and those before it are 72 x 72"):
        fingerprint([photo(1, 72), photo(2, 72)[:, :64]])
    with pytest.raises(ValueError, match="photos 1 and 3 show the same pixels"):
        fingerprint([photo(1, 64), photo(2, 64), photo(1, 64)])
    with pytest.raises(ValueError, match="photo 1 is 40 x 40 pixels"):
        fingerprint([photo(1, 40)])


def test_the_command_writes_what_the_tool_reads(tmp_path, capsys):
    files = [tmp_path / f"{seed}.jpg" for seed in range(3)]
    for seed, file in enumerate(files):
        file.write_bytes(jpeg(shot(seed, sensor(1)), 92))
    out = tmp_path / "camera.npz"
    assert main(["fingerprint", *map(str, files), "--out", str(out)]) == 0
    assert "3 photos of 320 x 320 pixels; few" in capsys.readouterr().out
    camera = Fingerprint.load(out)
    np.testing.assert_array_equal(
        camera.pattern, fingerprint(decode(file.read_bytes()) for file in files).pattern
    )
    assert len(camera.digests) == 3
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "notes.txt").write_text("no picture")
    assert main(["fingerprint", str(folder), "--out", str(tmp_path / "of-folder.npz")]) == 0
    assert "3 photos of 320 x 320" in (said := capsys.readouterr().out) and "1 other file not tried" in said
    np.testing.assert_array_equal(Fingerprint.load(tmp_path / "of-folder.npz").pattern, camera.pattern)
    (tmp_path / "small.png").write_bytes(png(photo(1, 100)))
    assert main(["fingerprint", *map(str, files), str(tmp_path / "small.png"), "--out", str(out)]) == 1
    assert "small.png: photo 4 is 100 x 100" in capsys.readouterr().err
    (tmp_path / "text.jpg").write_text("no picture")
    assert main(["fingerprint", str(files[0]), str(tmp_path / "text.jpg"), "--out", str(out)]) == 1
    assert "text.jpg: " in capsys.readouterr().err
    assert Fingerprint.load(out).photos == 3
    assert main(["fingerprint", str(files[0]), "--out", str(tmp_path / "a.jpg")]) == 1


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


GOOD = {
    "version": np.array(1),
    "photos": np.array(5),
    "digests": np.zeros(0, np.uint8),
    "pattern": np.ones((64, 64), np.float32),
}


def claiming(shape: tuple[int, ...]) -> bytes:
    """A fingerprint whose pattern claims a shape that is not there."""
    buffer = io.BytesIO(npz(**{name: value for name, value in GOOD.items() if name != "pattern"}))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("pattern.npy", header.getvalue() + b"\0" * 400)
    return buffer.getvalue()


HOSTILE = {
    "nothing": b"",
    "a picture": b"\x89PNG\r\n\x1a\n",
    "cut off": npz(**GOOD)[:-200],
    "no pattern": npz(**{name: value for name, value in GOOD.items() if name != "pattern"}),
    "of objects": npz(**GOOD | {"pattern": np.array([{"a": 1}], dtype=object)}),
    "of whole numbers": npz(**GOOD | {"pattern": np.ones((64, 64), np.int64)}),
    "of one dimension": npz(**GOOD | {"pattern": np.ones(4096, np.float32)}),
    "not finite": npz(**GOOD | {"pattern": np.full((64, 64), np.nan, np.float32)}),
    "flat": npz(**GOOD | {"pattern": np.zeros((64, 64), np.float32)}),
    "of no photos": npz(**GOOD | {"photos": np.array(-3)}),
    "of many numbers": npz(**GOOD | {"photos": np.arange(9)}),
    "of the future": npz(**GOOD | {"version": np.array(2)}),
    "digests of no text": npz(**GOOD | {"digests": np.full(9, 200, np.uint8)}),
    "huge": claiming((1 << 40, 1 << 20)),
    "negative": claiming((-1, -100)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_no_fingerprint_is_refused(kind, tmp_path):
    path = tmp_path / "camera.npz"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match=r"camera.npz is no camera fingerprint .*dfd fingerprint PHOTO"):
        camera_tool(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(prnu, "MAX_PIXELS", 1_000_000)
    path = tmp_path / "camera.npz"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("version", "photos", "digests", "pattern"):
            with file.open(f"{name}.npy", "w") as member:
                for _ in range(20 if name == "pattern" else 1):
                    member.write(b"\0" * 1_000_000)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="is no camera fingerprint"):
        Fingerprint.load(path)
