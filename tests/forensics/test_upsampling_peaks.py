import cv2
import numpy as np
import pytest
from photos import jpeg, photo, png

from dfd.forensics.spectrum import upsampling, upsampling_peaks
from dfd.forensics.spectrum.upsampling import THRESHOLD, evened_residual, lattice_peaks
from dfd.media.decode import decode

SIZE = 384
SEEDS = range(4)


def smaller(seed: int, factor: int) -> np.ndarray:
    picture = photo(seed, SIZE).astype(np.float32)
    return cv2.resize(picture, (SIZE // factor, SIZE // factor), interpolation=cv2.INTER_AREA)


def rounded(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def nearest(seed: int, factor: int) -> np.ndarray:
    return rounded(smaller(seed, factor).repeat(factor, axis=0).repeat(factor, axis=1))


def bilinear(seed: int, factor: int) -> np.ndarray:
    return rounded(cv2.resize(smaller(seed, factor), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))


def transposed(seed: int, factor: int) -> np.ndarray:
    """Transposed convolutions of stride 2, as many as the factor needs, their taps uneven by 6%."""
    rng = np.random.default_rng(seed)
    picture = smaller(seed, factor)
    while picture.shape[0] < SIZE:
        wide = np.zeros((2 * picture.shape[0], 2 * picture.shape[1], 3), np.float32)
        wide[::2, ::2] = picture
        taps = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]) * (1 + 0.06 * rng.standard_normal((3, 3)))
        picture = cv2.filter2D(wide, -1, (4 * taps / taps.sum()).astype(np.float32))
    return rounded(picture + rng.normal(0, 0.5, picture.shape))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("enlarge", [nearest, bilinear, transposed])
def test_enlargement_is_found_with_its_period(enlarge, factor):
    pictures = [enlarge(seed, factor) for seed in SEEDS]
    if (enlarge, factor) == (bilinear, 4):
        # its steps before JPEG are nearer to what JPEG's blocks do than after
        pictures = [decode(jpeg(picture, 90)) for picture in pictures]
    findings = [upsampling_peaks(picture) for picture in pictures]
    found = [finding for finding in findings if finding.status == "found"]
    assert len(found) >= 3, findings
    for finding in found:
        assert finding.facts["p"] < THRESHOLD and finding.facts["period"] in (2, 4)
    if enlarge is nearest:
        assert {finding.facts["period"] for finding in found} == {factor}


@pytest.mark.parametrize("quality", [90, 75])
def test_repeated_pixels_are_found_after_jpeg(quality):
    for seed in SEEDS:
        finding = upsampling_peaks(decode(jpeg(nearest(seed, 2), quality)))
        assert (finding.status, finding.facts["period"]) == ("found", 2)


@pytest.mark.parametrize("factor", [2, 4])
def test_transposed_convolutions_are_found_after_jpeg(factor):
    for seed in SEEDS:
        assert upsampling_peaks(decode(jpeg(transposed(seed, factor), 75))).answer == "lattice"


@pytest.mark.parametrize("quality", [None, 92, 75, 50])
def test_cameras_and_jpeg_are_silent(quality):
    for seed in SEEDS:
        picture = photo(seed, SIZE)
        finding = upsampling_peaks(picture if quality is None else decode(jpeg(picture, quality)))
        assert finding.status == "clear", finding


def test_p_is_small_no_more_often_than_it_says(monkeypatch):
    monkeypatch.setattr(upsampling, "LEAST_LATTICE", 0.0)
    rng = np.random.default_rng(0)
    p = np.array([
        [peak.p for peak in lattice_peaks(rng.normal(size=(160, 192)).astype(np.float32))] for _ in range(400)
    ])  # fmt: skip
    for level in (0.01, 0.05, 0.2):
        assert ((p < level).mean(axis=0) < level + 3 * np.sqrt(level / 400)).all()
    assert (p < 0.2).mean() > 0.1


def test_the_strength_is_that_of_the_whole_spectrum():
    """A second way: the power of the two-dimensional transform along its axes."""
    rng = np.random.default_rng(3)
    lattice = 4.0 * ((np.arange(320) % 4 == 0) | (np.arange(256) % 4 == 0)[:, None])
    residual = evened_residual(rng.normal(128, 20, (256, 320)) + lattice)
    power = np.abs(np.fft.fft2(residual.astype(np.float64))) ** 2
    ratios = []
    for line in (power[0], power[:, 0]):
        at, reach = len(line) // 4, len(line) // 16 - 1
        ratios.append(line[at] / np.r_[line[at - reach : at], line[at + 1 : at + reach + 1]].mean())
    assert lattice_peaks(residual)[1].strength == pytest.approx(min(ratios), rel=1e-4)


def test_one_way_alone_is_no_up_sampling():
    picture = photo(5, SIZE).astype(np.float32)
    columns = picture + 3.0 * (np.arange(SIZE) % 2)[None, :, None]
    assert upsampling_peaks(rounded(columns)).status == "clear"
    both = columns + 3.0 * (np.arange(SIZE) % 2)[:, None, None]
    finding = upsampling_peaks(rounded(both))
    assert (finding.status, finding.answer, finding.facts["period"]) == ("found", "lattice", 2)


def test_the_map_has_its_peaks_at_the_lattice():
    picture = photo(6, SIZE).astype(np.float32)
    lattice = ((np.arange(SIZE) % 4 == 0)[:, None] | (np.arange(SIZE) % 4 == 0)).astype(np.float32)
    values = upsampling_peaks(rounded(picture + 4 * lattice[..., None])).map.values
    assert values.shape == (256, 256)
    # frequency 0 lies at 128; a quarter of the sampling rate is 64 away
    assert values[128, 128 + 64] > 15 and values[128 + 64, 128] > 15
    assert np.mean(values > 9) < 0.02


def test_flat_pictures_are_not_judged():
    for picture in (np.zeros((200, 200, 3), np.uint8), np.full((150, 300, 3), 255, np.uint8)):
        assert upsampling_peaks(picture).status == "abstained"
    assert upsampling_peaks(decode(png(photo(1, 100)))).answer == "too_small"


@pytest.mark.slow
def test_real_pictures_are_silent(real_data):
    """photos straight from cameras are among them; the faces are at most 256 px wide."""
    folders = ("casia1/real", "real-and-fake-face-detection/real_and_fake_face/training_real",
               "140k-real-and-fake-faces/real_vs_fake/real-vs-fake/test/real", "exif-samples",
               "deepfake-and-real-images/Dataset/Test/Real")  # fmt: skip
    files = [file for folder in folders for file in sorted((real_data / folder).glob("*.jp*g"))]
    said = [upsampling_peaks(decode(file.read_bytes())).status for file in files]
    assert len(said) > 400 and said.count("found") == 0
