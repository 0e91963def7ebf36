"""double_compression: whether a JPEG was compressed before, on its own grid or on another, and at which
quality."""

from __future__ import annotations

import numpy as np

from dfd.forensics.finding import Finding, Method, Table
from dfd.forensics.jpeg.dct_coefficients import Coefficients, block_pixels, coefficients
from dfd.forensics.jpeg.double_quantization import Sample, by_quality, gains, sample
from dfd.forensics.jpeg.headers import jpeg_facts
from dfd.forensics.jpeg.histograms import LOW_MODES, first_digit_misfit, histograms, periodicity
from dfd.forensics.jpeg.shifted_lattice import shifted_lattice

METHOD = Method(
    "double_compression",
    "Popescu and Farid 2004; Fu, Shi and Su 2007; Bianchi and Piva 2012 (aligned and nonaligned)",
)

# gain in nats a coefficient, summed over 14 frequencies. Files compressed once reach 0.04 (252 of known
# history), camera originals 0.01 (20), reals of public sets 0.08 (240)
FOUND = 0.1
# standard deviations
FOUND_SHIFTED = 25.0
# coefficients that are not zero, over all frequencies
NEEDED = 1500
# side of the part in the middle that is searched for another grid, pixels
_PART = 384


def double_compression(data: bytes) -> Finding:
    """Traces of an earlier compression in a JPEG file; absent of any other.

    Raises:
        Undecodable: a JPEG that is not read.
    """
    headers = jpeg_facts(data)
    if headers is None:
        return METHOD("absent", "no_jpeg")
    read = coefficients(data)
    height, width = read.size
    if min(height, width) < 64:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": 64})
    measured = sample(read)
    if sum(int(counts[1:].sum()) for counts in measured.counts) < NEEDED:
        return METHOD("abstained", "too_flat")
    found = gains(measured)
    joint = by_quality(found)
    free = found.max(axis=1).sum()
    # tables that are not libjpeg's are looked for frequency by frequency, which chance does more easily
    gain = float(max(joint.max(), free / 2))
    shifted = shifted_lattice(_middle(read))
    said = {
        "primary_quality": int(joint.argmax()) + 1 if joint.max() >= FOUND else None,
        "quality": headers.quality,
        "first_digit_misfit": first_digit_misfit(read.luma),
        "periodicity": float(periodicity(histograms(read.luma)).mean()),
        "shifted_strength": shifted.strength,
        "grid_x": shifted.x,
        "grid_y": shifted.y,
    }
    if gain >= FOUND:
        status, answer = "found", "same_tables" if joint.max() >= max(FOUND, 0.7 * free) else "own_tables"
    elif shifted.strength >= FOUND_SHIFTED:
        status, answer = "found", "other_grid"
        said["primary_quality"] = shifted.quality
    else:
        status, answer = "clear", "single"
    return METHOD(
        status, answer, facts=said, score=gain, unit="gain", table=_table(measured, found, gain >= FOUND)
    )


def _middle(read: Coefficients) -> np.ndarray:
    """(H, W) uint8 luma of the middle, its blocks beginning at 0, 0."""
    plane = read.luma.plane
    rows, columns = read.size[0] // 8 * 8, read.size[1] // 8 * 8
    top, left = (max(0, (side - _PART) // 16 * 8) for side in (rows, columns))
    return block_pixels(plane[top:rows, left:columns][:_PART, :_PART], read.luma.table)


def _table(measured: Sample, found: np.ndarray, earlier: bool) -> Table:
    """A row a frequency: its step, and the earlier one that explains it best."""
    rows = []
    for (vertical, horizontal), step, row in zip(LOW_MODES, measured.steps, found, strict=True):
        best = int(row.argmax())
        seen = earlier and row[best] > 0
        rows.append((f"{vertical} {horizontal}", step, best if seen else None, round(float(row[best]), 4)))
    return Table(("frequency", "step", "earlier_step", "gain"), tuple(rows))
