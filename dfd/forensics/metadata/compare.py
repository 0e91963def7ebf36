"""Thumbnail against picture: whether an embedded preview shows the picture, a larger one, or another.

A camera writes both at once; many editors change the picture and leave the preview (Kee and Farid, Digital
image authentication from thumbnails, SPIE 2010).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dfd.forensics.metadata.read import Thumbnail, stored_size
from dfd.media.decode import decode
from dfd.media.formats import Undecodable
from dfd.media.orientation import upright

_MAX_PIXELS = 2_000_000  # of a preview that is compared
_LONG = 160  # pixels on the longer side at which both are compared, as most previews have
_SMALLEST = 24  # of a side, below which anything resembles anything
_FLAT = 4.0  # deviation of gray levels, below which there is nothing to compare
# Correlations from which on both show the same, and from which on the picture lies in the preview, for which
# many places are tried; and those below which neither holds. What lies between is not judged. 28 files whose
# preview is theirs are above .97; 400 pairs of different photographs reach .73, and .92 as a part.
_SAME, _PART = 0.85, 0.93
_OTHER, _OTHER_PART = 0.75, 0.88
_BLACK = 24  # gray level of the bars beside a preview
_CELLS = 32  # on the longer side, in which local differences are looked for
# Gray levels by which 3 x 3 of these differ, and how many times the median difference that must be. The
# largest of 29 files whose preview is of the picture as it is was 11; the least of four planted ones was 23.
_LOCAL, _LOCAL_MEDIANS = 18.0, 8.0

Box = tuple[float, float, float, float]  # x, y, width and height, from 0 to 1
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Preview(NamedTuple):
    """A preview beside its picture, both upright.

    Args:
        width, height: of what the preview shows, without black bars.
        same: correlation with the whole picture, -1 to 1.
        turn: how the preview is turned to be like the picture, as EXIF counts orientations; 1 is not at all.
        stretch: how much wider the picture is than the preview would have it.
        part: the part of the preview that is the picture; None where the preview does not show more.
        differs: the part of the picture that the preview shows differently; None where there is none.
        is_other: whether it shows another picture.
    """

    width: int
    height: int
    same: float
    turn: int = 1
    stretch: float = 1.0
    part: Box | None = None
    differs: Box | None = None
    is_other: bool = False


def shown_in(thumbnail: Thumbnail, picture: np.ndarray, orientation: int = 1) -> Preview | None:
    """What a preview shows of a picture; None where it cannot be read or judged: too small, too flat, unlike.

    Args:
        thumbnail: as stored, turned as the picture is stored.
        picture: (h, w) uint8 gray, upright.
        orientation: 1 to 8, by which picture and preview are turned upright.
    """
    small = _gray(thumbnail)
    if small is None:
        return None
    small = upright(small, orientation)
    small = _without_bars(small, picture.shape[1] / picture.shape[0])
    if min(small.shape) < _SMALLEST or min(small.std(), picture.std()) < _FLAT:
        return None
    small = _to_long(small, _LONG)
    size = small.shape[1], small.shape[0]
    same, stretch, place, fitted = _same(small, picture)
    if same >= _SAME:
        return Preview(*size, same, stretch=stretch, differs=_inside(place, _difference(small, fitted)))
    part, place = _place_in(small, picture)
    if part >= _PART:
        return Preview(*size, same, part=place)
    turned, turn = max((_same(upright(small, turn), picture)[0], turn) for turn in range(2, 9))
    if turned >= _SAME:
        return Preview(*size, turned, turn=turn)
    if max(same, turned) < _OTHER and part < _OTHER_PART:
        return Preview(*size, max(same, turned), is_other=True)
    return None


def _gray(thumbnail: Thumbnail) -> np.ndarray | None:
    if thumbnail.width:
        size = (thumbnail.height, thumbnail.width, 3)
        if len(thumbnail.data) < np.prod(size):
            return None
        pixels = np.frombuffer(thumbnail.data, np.uint8, int(np.prod(size))).reshape(size)
    else:
        stored = stored_size(thumbnail.data)
        if stored is None or stored[0] * stored[1] > _MAX_PIXELS:
            return None
        try:
            pixels = decode(thumbnail.data)
        except Undecodable:
            return None
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _without_bars(small: np.ndarray, aspect: float) -> np.ndarray:
    """The preview without black bars, where it is nearer to the picture's aspect then."""
    bright = small > _BLACK
    rows, columns = (np.flatnonzero(bright.mean(axis=axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return small
    cut = small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    candidates = (small, cut, cut[1:-1, 1:-1]) if min(cut.shape) > 4 else (small,)
    return min(candidates, key=lambda each: round(abs(np.log(each.shape[1] / each.shape[0] / aspect)), 2))


def _to_long(gray: np.ndarray, long: int) -> np.ndarray:
    scale = long / max(gray.shape)
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _same(small: np.ndarray, picture: np.ndarray) -> tuple[float, float, Box, np.ndarray]:
    """The better correlation of the preview with the picture, whole or cut to the preview's aspect as some
    cameras cut it; how far the picture is stretched then; which part of it that is; and it at the preview's
    size.
    """
    height, width = picture.shape
    aspect = small.shape[1] / small.shape[0]
    inner_width, inner_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    inner = picture[top : top + max(1, inner_height), left : left + max(1, inner_width)]
    place = left / width, top / height, inner.shape[1] / width, inner.shape[0] / height
    found = []
    for each, stretch, box in ((inner, 1.0, place), (picture, width / height / aspect, _WHOLE)):
        fitted = cv2.resize(each, small.shape[::-1], interpolation=cv2.INTER_AREA)
        found.append((_correlation(small, fitted), stretch, box, fitted))
    return max(found, key=lambda one: one[0])


def _inside(outer: Box, inner: Box | None) -> Box | None:
    """A part of a part, as a part of the whole."""
    if inner is None:
        return None
    (x, y, width, height), (left, top, across, down) = outer, inner
    return x + left * width, y + top * height, across * width, down * height


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of two gray pictures of a size, their finest detail left out."""
    a, b = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1.5) for each in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def _place_in(small: np.ndarray, picture: np.ndarray) -> tuple[float, Box]:
    """The best correlation of the picture with any part of the preview, and that part."""
    height, width = small.shape
    blurred = cv2.GaussianBlur(small, (0, 0), 1.0)
    best, place = -1.0, _WHOLE
    fit = min(width / picture.shape[1], height / picture.shape[0])
    for scale in fit * np.geomspace(1, 0.3, 40):
        size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
        if min(size) < _SMALLEST or size[0] > width or size[1] > height:
            continue
        template = cv2.GaussianBlur(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
        if template.std() < _FLAT:
            continue
        _, score, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(blurred, template, cv2.TM_CCOEFF_NORMED))
        if score > best:
            best, place = score, (x / width, y / height, size[0] / width, size[1] / height)
    return best, place


def _difference(small: np.ndarray, fitted: np.ndarray) -> Box | None:
    """The part that is not the same, when place, tone and contrast are made alike."""
    off = _differences(small, _aligned(fitted, small))
    around = cv2.blur(off, (3, 3))
    limit = max(_LOCAL, _LOCAL_MEDIANS * float(np.median(off)))
    if around.max() <= limit:
        return None
    _, labels = cv2.connectedComponents((around > limit / 2).astype(np.uint8))
    top, left = np.unravel_index(int(around.argmax()), around.shape)
    rows, columns = np.nonzero(labels == labels[top, left])
    height, width = off.shape[0] + 2, off.shape[1] + 2  # the outermost cells were left out
    box = columns.min() + 1, rows.min() + 1, columns.max() + 2, rows.max() + 2
    x, y, right, bottom = (float(each) / side for each, side in zip(box, (width, height) * 2, strict=True))
    return x, y, right - x, bottom - y


def _differences(small: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Differences (h, w) in gray levels by cells, the outermost left out, when tones are made alike."""
    scale = _CELLS / max(small.shape)
    cells = max(3, round(small.shape[1] * scale)), max(3, round(small.shape[0] * scale))
    a, b = (
        cv2.resize(
            cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1.5), cells, interpolation=cv2.INTER_AREA
        )[1:-1, 1:-1]
        for each in (small, fitted)
    )
    tones = np.stack([b.ravel() ** power for power in range(3)], axis=1)
    off = weights = np.ones(a.size, np.float32)
    for _ in range(3):  # the part that differs shall not draw the tones to itself
        curve = np.linalg.lstsq(tones * weights[:, None], a.ravel() * weights, rcond=None)[0]
        off = np.abs(a.ravel() - tones @ curve)
        weights = 1 / np.maximum(off, 2.0)
    return off.reshape(a.shape)


def _aligned(fitted: np.ndarray, small: np.ndarray) -> np.ndarray:
    """The picture moved to where the preview has it: they lie up to a few pixels apart.

    Evangelidis and Psarakis, Parametric image alignment using enhanced correlation coefficient maximization,
    PAMI 2008.
    """
    steps = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(small, fitted, warp, cv2.MOTION_AFFINE, steps, None, 5)
    except cv2.error:  # it found no way
        return fitted
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(fitted, warp, small.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)
