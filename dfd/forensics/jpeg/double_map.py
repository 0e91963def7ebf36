"""double_compression_map: parts of a twice compressed JPEG that do not show the first compression."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Map, Method, Region
from dfd.forensics.jpeg.dct_coefficients import Coefficients, coefficients, unclipped
from dfd.forensics.jpeg.double_compression import FOUND as TWICE
from dfd.forensics.jpeg.double_quantization import REACH, Sample, by_quality, gains, sample, shares
from dfd.forensics.jpeg.headers import jpeg_facts
from dfd.forensics.jpeg.histograms import LOW_MODES
from dfd.media.decode import plain_jpeg, stored_pixels
from dfd.media.jpeg_segments import read_header
from dfd.media.orientation import jpeg_orientation, upright

METHOD = Method(
    "double_compression_map",
    "Bianchi and Piva, Image forgery localization via block-grained analysis, 2012",
    version=2,
)

# nats of a part: the log-likelihood of one compression over two, mean of its blocks
FOUND = 4.0
NEEDED = 128  # pixels a side
_LARGEST = 0.6  # share of the picture that a part may fill
_SMALLEST = 36  # blocks of a part
_NONZERO = 2  # coefficients of a block


def double_compression_map(data: bytes) -> Finding:
    """Where a JPEG that was compressed twice shows one compression only, as a pasted part does; absent of
    others.

    Raises:
        Undecodable: a JPEG that is not read.
    """
    if jpeg_facts(data) is None:
        return METHOD("absent", "no_jpeg")
    read = coefficients(data)
    height, width = read.size
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    measured = sample(read)
    found = gains(measured)
    joint = by_quality(found)
    if max(joint.max(), found.max(axis=1).sum() / 2) < TWICE:
        return METHOD("absent", "not_twice")
    likelihood, informative = once_over_twice(read, measured, found.argmax(axis=1))
    informative &= unclipped(stored_pixels(plain_jpeg(data)))
    values = _around(likelihood, informative)
    values = upright(np.maximum(values, 0), jpeg_orientation(read_header(data).app1))
    regions = _regions(values)
    return METHOD(
        "found" if regions else "clear",
        "part" if regions else "even",
        facts={"regions": len(regions)},
        score=max((strength for _, strength in regions), default=0.0),
        unit="evidence",
        map=Map(values, 0.0, 12.0, "evidence"),
        regions=tuple(Region(box, "once", number) for number, (box, _) in enumerate(regions[:12])),
    )


def once_over_twice(read: Coefficients, measured: Sample, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) float32 log-likelihood of each whole block of luma of one compression over two, in
    nats; and bool whether it holds enough coefficients that are not zero to tell.

    Args:
        read: the stored coefficients.
        measured: of them.
        first: (modes,) steps of the first compression; 0 and 1 where it leaves no trace.
    """
    rows, columns = read.size[0] // 8, read.size[1] // 8
    total = np.zeros((rows, columns), np.float32)
    number = np.zeros((rows, columns), np.uint8)
    for mode, step, single, earlier in zip(LOW_MODES, measured.steps, measured.single, first, strict=True):
        if earlier < 2 or earlier == step:
            continue
        once, twice = shares(single, step)
        once, twice = once / once.sum(), twice[earlier] / twice[earlier].sum()
        ratio = np.log(once / (0.97 * twice + 0.03 * once)).astype(np.float32)
        values = np.minimum(np.abs(read.luma.mode(*mode)[:rows, :columns]), REACH // step)
        total += ratio[values]
        number += values > 0
    return total, number >= _NONZERO


def _around(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(rows, columns) float32 mean of the counted blocks of 5 x 5; 0 where most of them are not."""
    share = cv2.blur(counted.astype(np.float32), (5, 5))
    return np.where(share >= 0.5, cv2.blur(values * counted, (5, 5)) / np.maximum(share, 0.5), 0)


def _regions(values: np.ndarray) -> list[tuple[tuple[float, float, float, float], float]]:
    """Box in pixels and strength of each part that stands out, the strongest first."""
    mask = (values >= FOUND / 2).astype(np.uint8)
    if mask.mean() > _LARGEST:
        return []
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    found = []
    for label, (x, y, width, height, area) in enumerate(stats):
        if label and area >= _SMALLEST:
            strength = float(values[labels == label].mean())
            if strength >= FOUND:
                box = float(8 * x), float(8 * y), float(8 * width), float(8 * height)
                found.append((box, strength))
    return sorted(found, key=lambda each: -each[1])
