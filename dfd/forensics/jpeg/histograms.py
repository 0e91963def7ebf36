"""Histograms of quantized coefficients: first digits and periodicity, signs of an earlier compression."""

from __future__ import annotations

import numpy as np

from dfd.forensics.jpeg.dct_coefficients import Component

# the frequencies (vertical, horizontal) of most energy, as zigzag has them, without DC
LOW_MODES = (
    (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2),
    (2, 1), (3, 0), (4, 0), (3, 1), (2, 2), (1, 3), (0, 4),
)  # fmt: skip
# quantized values that are counted on each side of zero; beyond are few
REACH = 63
# a histogram is judged up to the value that so many exceed: further out, bins are empty by chance
_LEAST_TAIL = 64


def histograms(component: Component, modes: tuple[tuple[int, int], ...] = LOW_MODES) -> np.ndarray:
    """(modes, REACH + 1) counts of absolute quantized values 0 to REACH, one row a frequency."""
    rows = []
    for vertical, horizontal in modes:
        values = np.abs(component.mode(vertical, horizontal)).ravel()
        rows.append(np.bincount(values[values <= REACH], minlength=REACH + 1))
    return np.array(rows)


def first_digits(component: Component, modes: tuple[tuple[int, int], ...] = LOW_MODES) -> np.ndarray:
    """(modes, 9) share of each first digit, 1 to 9, among a frequency's values that are not zero (Li, Shi and
    Huang 2008); zeros where all are zero."""
    digit = _digits_of(2048)
    rows = []
    for vertical, horizontal in modes:
        values = np.abs(component.mode(vertical, horizontal)).ravel()
        counts = np.bincount(digit[np.minimum(values, 2047)], minlength=10)[1:]
        rows.append(counts / max(1, counts.sum()))
    return np.array(rows)


def _digits_of(count: int) -> np.ndarray:
    """(count,) first digit of 0 to count - 1."""
    numbers = np.arange(count)
    while (numbers > 9).any():
        numbers = np.where(numbers > 9, numbers // 10, numbers)
    return numbers


def first_digit_misfit(component: Component) -> float:
    """How far first digits lie from any generalized Benford law (Fu, Shi and Su 2007).

    0 is a fit. Photographs compressed once have 0.02 to 0.15, and up to 1.2 after a second compression. The
    law is N log(1 + 1 / (s + d^q)); s and q are the best of a grid.

    Returns:
        sum of absolute differences of the nine shares, mean over frequencies; 0 without any value but zero.
    """
    shares = first_digits(component)
    shares = shares[shares.sum(axis=1) > 0]
    if not len(shares):
        return 0.0
    misfit = np.abs(shares[:, None] - _LAWS).sum(axis=2).min(axis=1)
    return float(misfit.mean())


def _laws() -> np.ndarray:
    """(laws, 9) generalized Benford laws over a grid of their two parameters."""
    digits = np.arange(1, 10)
    exponent, shift = np.meshgrid(np.linspace(0.6, 4, 35), np.linspace(-0.7, 1.5, 23))
    law = np.log10(1 + 1 / (shift.reshape(-1, 1) + digits ** exponent.reshape(-1, 1)))
    return law / law.sum(axis=1, keepdims=True)


_LAWS = _laws()


def periodicity(counts: np.ndarray) -> np.ndarray:
    """(modes,) strength of the strongest period, of 2 to 16 bins, in each histogram (Popescu and Farid 2004).

    A histogram's logarithm is freed of its slow course, and its spectrum taken. 1 is a swing by a factor e.
    Photographs compressed once have a mean of 0.03 to 0.2 over LOW_MODES, and up to 3 after a second one.

    Args:
        counts: (modes, bins) as of `histograms`.
    """
    found = []
    for row in counts:
        tail = row[::-1].cumsum()[::-1]
        length = int((tail >= _LEAST_TAIL).sum())
        if length < 8:
            found.append(0.0)
            continue
        course = np.log1p(row[1:length].astype(float))
        at = np.arange(len(course))
        rest = course - np.polyval(np.polyfit(at, course, min(4, len(at) // 4)), at)
        window = np.hanning(len(rest) + 2)[1:-1]
        periods = np.linspace(2, min(16, len(rest) / 2), 64)
        waves = np.exp(-2j * np.pi * at / periods[:, None])
        found.append(float(np.abs(waves @ (window * rest)).max() * 2 / window.sum()))
    return np.array(found)
