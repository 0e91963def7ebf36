"""jpeg_grid, jpeg_ghosts, double_compression_map and error_level on parts of another JPEG history."""

import io

import numpy as np
import pytest
from jpeg_edits import pixel_auc, spliced
from photos import ellipse, jpeg, photo, png
from PIL import Image

from dfd.forensics import TOOLS, Catalogue, examine
from dfd.forensics.jpeg.dct_coefficients import unclipped
from dfd.forensics.jpeg.double_map import double_compression_map
from dfd.forensics.jpeg.error_level import block_errors, error_level
from dfd.forensics.jpeg.ghosts import QUALITIES, ghosts, jpeg_ghosts
from dfd.forensics.jpeg.grid import jpeg_grid
from dfd.forensics.jpeg.grid_votes import CELL, GRIDS, cell_votes, log10_chance, log_tail
from dfd.media.decode import decode

PHOTO = photo(1, 384)


def overlap(box: tuple[float, float, float, float], mask: np.ndarray) -> float:
    """Share of the mask that a box holds."""
    x, y, width, height = (int(side) for side in box)
    return float(mask[y : y + height, x : x + width].sum() / mask.sum())


def test_votes_are_for_the_grid_of_the_compression():
    luma = decode(jpeg(PHOTO[..., 0], 80))[..., 0]
    counts = cell_votes(luma[3:, 6:])
    votes = counts.sum(axis=(0, 1))
    assert (counts.sum(axis=2) == CELL**2).all()
    assert votes[:GRIDS].argmax() == 8 * 5 + 2 and votes[8 * 5 + 2] > votes.sum() / 2


def test_votes_are_those_of_a_plain_count_of_zeros():
    luma = decode(jpeg(photo(3, 64), 85))[..., 1][2:50, 5:53]
    at = np.arange(8)
    basis = np.cos(np.pi * (2 * at + 1) * at[:, None] / 16) / 2
    basis[0] /= np.sqrt(2)
    zeros = np.zeros((41, 41), int)
    for y in range(41):
        for x in range(41):
            dct = basis @ luma[y : y + 8, x : x + 8].astype(float) @ basis.T
            zeros[y, x] = (np.abs(dct) < 0.5001).sum()
    expected = np.zeros((3, 3, GRIDS + 1), int)
    for y in range(48):
        for x in range(48):
            around = zeros[max(0, y - 7) : y + 1, max(0, x - 7) : x + 1]
            best = np.argwhere(around == around.max())
            vote = GRIDS
            if len(best) == 1:
                top, left = best[0] + (max(0, y - 7), max(0, x - 7))
                vote = 8 * (top % 8) + left % 8
            expected[y // CELL, x // CELL, vote] += 1
    assert np.abs(cell_votes(luma) - expected).sum() <= 8


def test_chance_is_bounded_from_above():
    from scipy.stats import binom

    for number, count in ((100, 5), (1000, 40), (4000, 100)):
        exact = binom.logsf(count - 1, number, 1 / GRIDS)
        bound = float(log_tail(np.array(count * 64), np.array(number * 64)))
        assert exact <= bound < 0
    assert log10_chance(64, 64 * 64, tests=GRIDS) >= 0


@pytest.mark.parametrize(("host", "part"), [(85, 90), (90, 75), (None, 80)])
def test_a_part_of_another_grid_is_found_where_it_lies(host, part):
    pixels, mask = spliced(host, part, shift=3)
    found = jpeg_grid(pixels)
    assert found.status == "found" and found.answer == ("foreign" if host else "partly_compressed")
    assert overlap(found.regions[0].box, mask) > 0.7
    assert found.table.rows[0][0] == "3, 3"
    assert pixel_auc(found.map.values, mask) > 0.9


@pytest.mark.parametrize("quality", [60, 85, 95])
def test_one_grid_is_silent_and_a_crop_is_named(quality):
    pixels = decode(jpeg(PHOTO, quality))
    assert (jpeg_grid(pixels).status, jpeg_grid(pixels).answer) == ("clear", "one_grid")
    moved = jpeg_grid(pixels[2:, 3:])
    assert (moved.status, moved.answer) == ("clear", "moved_grid")
    assert (moved.facts["grid_x"], moved.facts["grid_y"]) == (5, 6)


def test_a_picture_without_history_has_no_grid():
    found = jpeg_grid(PHOTO)
    assert (found.status, found.answer) == ("clear", "no_grid") and not found.regions


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, 4])
def test_an_enlarged_picture_is_silent(times):
    import cv2

    large = cv2.resize(photo(2, 1024 // times), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    for quality in (75, 90, 97):
        pixels = decode(jpeg(large, quality))
        assert jpeg_grid(pixels).status == jpeg_ghosts(pixels).status == "clear"


@pytest.mark.parametrize(("answer", "many", "side"), [("missing", 4, 128), ("foreign", 8, 96)])
def test_parts_all_over_a_picture_are_none_of_its_parts(answer, many, side):
    """Two parts of another history are named; many are called a property of the whole."""
    host, other = decode(jpeg(photo(1, 512), 85)), photo(51, 512)
    if answer == "foreign":
        other = np.roll(decode(jpeg(other, 85)), 3, (0, 1))
    places = [(y, x) for y in (16, 192, 368) for x in (16, 192, 368)]
    for number, said in ((2, answer), (many, "all_over")):
        pixels = host.copy()
        for y, x in places[:number]:
            pixels[y : y + side, x : x + side] = other[y : y + side, x : x + side]
        found = jpeg_grid(pixels)
        assert found.answer == said and found.status == ("found" if number == 2 else "clear")
        assert found.facts["regions"] >= number and bool(found.regions) == (number == 2)


def test_nothing_is_said_of_the_blocks_of_a_white_file():
    found = jpeg_grid(decode(jpeg(np.full((256, 256, 3), 255, np.uint8), 90)))
    assert (found.status, found.answer) == ("abstained", "too_flat")


def bright(quality: int | None, gain: float) -> np.ndarray:
    """A JPEG photograph of which an ellipse is overexposed: half of its pixels are clipped."""
    pixels = decode(jpeg(photo(1, 512), quality)) if quality else photo(1, 512)
    light = 1 + gain * ellipse(512, (0.45, 0.55))[..., None].astype(float)
    return np.clip(pixels * light, 0, 255).astype(np.uint8)


def test_a_clipped_part_is_no_part_of_another_history():
    pixels = bright(75, 3.0)
    assert (pixels[ellipse(512, (0.45, 0.55))].max(axis=1) == 255).mean() > 0.5
    assert jpeg_ghosts(pixels).status == "clear"
    assert double_compression_map(jpeg(pixels, 95)).status == "clear"


def test_clipped_blocks_and_their_neighbours_are_those_of_any_colour():
    pixels = np.full((80, 80, 3), 128, np.uint8)
    pixels[32:40, 40:48, 2] = 255
    kept = unclipped(pixels)
    expected = np.ones((10, 10), bool)
    expected[3:6, 4:7] = False
    assert (kept == expected).all()


def test_a_part_without_the_compression_of_the_rest_has_a_sentence_of_its_own():
    pixels, _ = spliced(90, 75, shift=3)
    found = jpeg_ghosts(pixels)
    assert (found.status, found.answer, found.facts["region_quality"]) == ("found", "without_ghost", None)
    assert "quality" not in Catalogue().answer(found)


def test_coefficients_of_cmyk_are_not_read_but_the_picture_is_decoded():
    file = io.BytesIO()
    Image.fromarray(PHOTO).convert("CMYK").save(file, "JPEG")
    tools = [tool for tool in TOOLS if tool.name in ("double_compression", "double_compression_map")]
    examined = examine(file.getvalue(), tools)
    assert examined.pixels is not None
    for found in examined.findings:
        assert (found.status, found.answer) == ("abstained", "not_read")
        assert "CMYK" in Catalogue().answer(found)


def test_ghosts_are_least_at_the_quality_of_the_earlier_compression():
    pixels = decode(jpeg(PHOTO[..., 1], 70))
    error, number = ghosts(pixels[..., 0], unclipped(pixels))
    level = error.sum(axis=(1, 2)) / number.sum(axis=(1, 2))
    assert QUALITIES[int(level.argmin())] == 70 and level.min() < 0.2
    assert 0.7 < level[QUALITIES.index(40)] < 1.3


@pytest.mark.parametrize("part", [60, 70])
def test_a_part_of_lower_quality_is_found_with_its_quality(part):
    pixels, mask = spliced(92, part)
    found = jpeg_ghosts(decode(jpeg(pixels, 95)))
    assert found.status == "found" and abs(found.facts["region_quality"] - part) <= 5
    assert overlap(found.regions[0].box, mask) > 0.7
    assert pixel_auc(found.map.values, mask) > 0.9


def test_a_part_without_the_first_compression_is_found():
    pixels, mask = spliced(70, None, shift=3)
    found = double_compression_map(jpeg(pixels, 92))
    assert found.status == "found" and overlap(found.regions[0].box, mask) > 0.7
    assert pixel_auc(found.map.values, mask) > 0.95


def test_a_map_is_upright():
    pixels, mask = spliced(70, None, shift=3)
    exif = b"Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    found = double_compression_map(jpeg(pixels[:400], 92, exif=exif))
    assert found.map.values.shape == (64, 50)
    assert pixel_auc(found.map.values, np.rot90(mask[:400], -1)) > 0.95


def test_whole_histories_are_silent():
    once, twice = jpeg(PHOTO, 90), jpeg(decode(jpeg(PHOTO, 70)), 92)
    assert double_compression_map(once).status == "absent"
    assert double_compression_map(twice).status == "clear"
    assert double_compression_map(png(PHOTO)).answer == "no_jpeg"
    for data in (once, twice, png(PHOTO)):
        assert jpeg_ghosts(decode(data)).status == "clear"


def test_the_error_level_is_that_of_saving_again_and_is_calm_on_one_history():
    pixels = decode(jpeg(PHOTO, 85))
    error, contrast = block_errors(pixels)
    again = decode(jpeg(pixels, 90, subsampling=0)).astype(int)
    plain = np.abs(again - pixels).max(axis=2).reshape(48, 8, 48, 8).mean(axis=(1, 3))
    assert error == pytest.approx(plain, abs=1.5) and contrast.shape == (48, 48)
    found = error_level(pixels)
    assert found.status == "clear" and np.median(found.map.values) < 2


def test_the_error_level_shows_a_part_saved_less_often():
    pixels, mask = spliced(None, 60)
    assert pixel_auc(error_level(pixels).map.values, mask) > 0.75


@pytest.mark.slow
def test_they_are_silent_on_camera_originals(real_data):
    from test_double_compression import CAMERA_ORIGINALS

    found = []
    for name in CAMERA_ORIGINALS:
        (path,) = (path for path in (real_data / "exif-samples").glob("*.jpg") if name in path.name)
        data = path.read_bytes()
        pixels = decode(data)
        said = [double_compression_map(data), *(tool(pixels) for tool in (jpeg_grid, jpeg_ghosts))]
        found += [(name, each.tool) for each in said if each.status == "found"]
    assert len(found) <= 1, found
