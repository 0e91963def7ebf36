import numpy as np
import pytest
from photos import jpeg, photo, png

from dfd.forensics.jpeg import coefficients
from dfd.forensics.jpeg.double_compression import double_compression
from dfd.forensics.jpeg.double_quantization import by_quality, gains, sample, shares
from dfd.forensics.jpeg.shifted_lattice import shifted_lattice
from dfd.media.decode import decode

PHOTO = photo(1, 384)


def again(first: int | str, second: int, cut: tuple[int, int] = (0, 0)) -> bytes:
    return jpeg(decode(jpeg(PHOTO, first))[cut[0] :, cut[1] :], second)


@pytest.mark.parametrize(("first", "second"), [(50, 75), (65, 85), (70, 90), (80, 90), (75, 95), (90, 95)])
def test_an_earlier_coarser_compression_is_found_with_its_quality(first, second):
    found = double_compression(again(first, second))
    assert (found.status, found.answer) == ("found", "same_tables")
    assert abs(found.facts["primary_quality"] - first) <= 2 and found.facts["quality"] == second
    rows = [row for row in found.table.rows if row[2]]
    assert len(rows) >= 4


@pytest.mark.parametrize("quality", [60, 75, 85, 90, 95, 98])
def test_one_compression_is_silent(quality):
    found = double_compression(jpeg(PHOTO, quality))
    assert found.status == "clear" and found.score < 0.06


def test_tables_that_are_not_libjpegs_are_found_by_their_frequencies():
    found = double_compression(again("medium", 92))
    assert (found.status, found.answer) == ("found", "own_tables")


@pytest.mark.parametrize("cut", [(5, 3), (0, 2), (7, 4)])
def test_a_crop_between_two_compressions_shows_its_grid(cut):
    found = double_compression(again(70, 90, cut))
    assert (found.status, found.answer) == ("found", "other_grid")
    assert (found.facts["grid_y"], found.facts["grid_x"]) == (-cut[0] % 8, -cut[1] % 8)
    assert abs(found.facts["primary_quality"] - 70) <= 2


def test_a_lattice_is_on_the_grid_of_its_compression():
    pixels = decode(jpeg(PHOTO[..., 0], 60))[..., 0]
    lattice = shifted_lattice(pixels[3:, 6:])
    assert (lattice.y, lattice.x) == (5, 2) and lattice.strength > 25


def test_shares_are_those_of_values_quantized_one_after_another():
    rng = np.random.default_rng(0)
    values = np.rint(rng.laplace(0, 12, 2_000_000)).astype(int)
    single = np.bincount(np.minimum(np.abs(values), 319), minlength=320) / len(values)
    once, twice = shares(single, 4)
    drawn = np.bincount(np.minimum(np.rint(np.abs(values) / 4.000001).astype(int), 63), minlength=64)
    up = np.bincount(np.minimum(np.rint(np.abs(values) / 3.999999).astype(int), 63), minlength=64)
    assert once[:40] == pytest.approx((drawn + up)[:40] / 2 / len(values), abs=2e-3)
    # by 10, then rounded to grey levels, then by 4
    first = 10 * np.rint((values + rng.normal(0, 1e-3, len(values))) / 10) + rng.normal(0, 0.6, len(values))
    second = np.bincount(np.minimum(np.rint(np.abs(first) / 4).astype(int), 63), minlength=64) / len(values)
    assert twice[10][:30] == pytest.approx(second[:30], abs=0.02)
    assert once.sum() == pytest.approx(1, abs=0.01) and twice.shape == (64, 64)


def test_the_gain_of_the_true_quality_is_the_largest():
    gain = by_quality(gains(sample(coefficients(again(72, 93)))))
    assert abs(int(gain.argmax()) + 1 - 72) <= 1 and gain.shape == (100,)


def test_what_cannot_be_judged_is_said():
    assert double_compression(png(PHOTO)).status == "absent"
    assert double_compression(jpeg(PHOTO[:40, :40])).answer == "too_small"
    assert double_compression(jpeg(np.full((200, 200, 3), 90, np.uint8))).answer == "too_flat"


CAMERA_ORIGINALS = (
    "exif-org__fujifilm-mx1700", "exif-org__kodak-dc210", "exif-org__kodak-dc240", "exif-org__sanyo-vpcsx550",
    "exif-org__sony-cybershot", "DSCN0012", "DSCN0027", "DSCN0042", "Casio QV-7000SX", "FinePix1400Zoom",
    "HR200", "Konica Q-M100 (1)", "Konica Q-M100 (2)", "Nikon D1X", "Nikon E900 (2)", "Sony Cybershot (1)",
    "Sony Cybershot (2)", "Sony Cybershot (5)", "Sony DCR-PC110", "Sony DSC-HX5V (2)",
)  # fmt: skip


@pytest.mark.slow
def test_it_is_silent_on_camera_originals_and_finds_them_saved_again(real_data):
    found_again = 0
    for name in CAMERA_ORIGINALS:
        (path,) = (path for path in (real_data / "exif-samples").glob("*.jpg") if name in path.name)
        data = path.read_bytes()
        said = double_compression(data)
        assert said.status == "clear", (name, said)
        saved = double_compression(jpeg(decode(data), 97))
        found_again += saved.status == "found"
    assert found_again >= 18
