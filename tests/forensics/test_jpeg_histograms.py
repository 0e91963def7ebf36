import numpy as np
import pytest
from photos import jpeg, photo

from dfd.forensics.jpeg import coefficients
from dfd.forensics.jpeg.dct_coefficients import Component
from dfd.forensics.jpeg.histograms import (
    LOW_MODES,
    REACH,
    first_digit_misfit,
    first_digits,
    histograms,
    periodicity,
)
from dfd.media.decode import decode

PHOTO = photo(1, 384)


def luma(data: bytes) -> Component:
    return coefficients(data).luma


def again(first: int, second: int) -> bytes:
    return jpeg(decode(jpeg(PHOTO, first)), second)


def test_histograms_count_what_is_stored():
    component = luma(jpeg(PHOTO, 80))
    counts = histograms(component)
    assert counts.shape == (len(LOW_MODES), REACH + 1)
    for row, (vertical, horizontal) in zip(counts, LOW_MODES, strict=True):
        values = np.abs(component.blocks[:, :, vertical, horizontal].astype(int))
        assert [row[k] for k in range(4)] == [int((values == k).sum()) for k in range(4)]


def test_first_digits_are_those_of_the_numbers_in_writing():
    plane = np.arange(-1024, 1024, dtype=np.int16).reshape(1, -1).repeat(8, axis=0)
    component = Component(plane, np.ones((8, 8), int), (1, 1))
    values = [abs(int(value)) for value in component.mode(0, 1).ravel()]
    written = [int(str(value)[0]) for value in values if value]
    shares = first_digits(component, ((0, 1),))[0]
    assert shares == pytest.approx([written.count(digit) / len(written) for digit in range(1, 10)])


def test_benfords_law_itself_fits():
    digits = np.repeat(np.arange(1, 10), np.rint(1e4 * np.log10(1 + 1 / np.arange(1, 10))).astype(int))
    plane = np.zeros((8, 8 * len(digits)), np.int16)
    plane[0, 1::8] = digits
    assert first_digit_misfit(Component(plane, np.ones((8, 8), int), (1, 1))) < 0.02


@pytest.mark.parametrize(("first", "second"), [(50, 75), (65, 90), (75, 95), (70, 90)])
def test_a_second_compression_raises_both(first, second):
    once, twice = luma(jpeg(PHOTO, second)), luma(again(first, second))
    assert first_digit_misfit(once) < 0.2 < 0.3 < first_digit_misfit(twice)
    assert periodicity(histograms(once)).mean() < 0.35 < 0.6 < periodicity(histograms(twice)).mean()


def test_nothing_to_count_is_no_trace():
    black = luma(jpeg(np.zeros((32, 32, 3), np.uint8)))
    assert first_digit_misfit(black) == 0
    assert not periodicity(histograms(black)).any()
