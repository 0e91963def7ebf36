"""The forgeries of the toy set (upsampled, blended swap, warped): each returns a picture and its mask.

A picture is (H, W, 3) uint8 RGB. A mask is (H, W) uint8, 255 where forged; outside it not one pixel changes.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from dfd.synthetic.canvas import grain, step
from dfd.synthetic.person import Sitting
from dfd.synthetic.portrait import Portrait

METHODS = ("upsampled", "blended_swap", "warped")


def upsampled(portrait: Portrait, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Generator traces: the picture, or its face, made anew at half its size and enlarged by transposed
    convolution.

    Its taps do not sum to the same in all four phases, which leaves a faint checkerboard (Odena et al.,
    Distill 2016), and what is enlarged repeats its spectrum (Durall et al., CVPR 2020).
    """
    before = portrait.picture.astype(np.float32)
    size = before.shape[0]
    even = -(-size // 2) * 2
    padded = cv2.copyMakeBorder(before, 0, even - size, 0, even - size, cv2.BORDER_REPLICATE)
    low = cv2.resize(padded, (even // 2, even // 2), interpolation=cv2.INTER_AREA)
    uneven = rng.uniform(0.02, 0.06)
    base = _transposed(low, np.outer([0.5, 1.0, 0.5], [0.5, 1.0, 0.5]), uneven, rng)
    detail = padded - cv2.resize(low, (even, even), interpolation=cv2.INTER_LINEAR)
    # A generator invents fine detail as strong as a photograph's, but draws it with the same stride.
    invented = _transposed(np.ascontiguousarray(detail[::2, ::2]), np.ones((2, 2)), 0.1, rng)
    # grain, not sparks around the eyes
    local = np.minimum(cv2.blur(np.abs(detail).mean(axis=2), (7, 7)), 4.0)[..., None]
    share = rng.uniform(0.5, 0.9)
    fresh = local * rng.standard_normal(padded.shape[:2], dtype=np.float32)[..., None]
    after = base + share * invented + (1.0 - share) * 1.25 * fresh
    after = _regrain(after, padded)[:size, :size]
    if rng.uniform() < 0.5:
        return _finish(before, after, np.ones((size, size), np.float32))
    region = _region(portrait.marks["inner"], size, rng.uniform(1.15, 1.35), 1.0, rng)
    return _finish(before, after, region)


def blended_swap(
    portrait: Portrait, donor: Portrait, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Another's inner face, moved onto this one, its colours matched, blended in through a soft, deformed
    mask.

    The donor's face keeps its own camera's noise and the softness of having been made at a lower resolution.
    """
    before = portrait.picture.astype(np.float32)
    size = before.shape[0]
    names = ("eyes", "nose", "mouth", "inner")
    ours, theirs = (np.concatenate([one.marks[name] for name in names]) for one in (portrait, donor))
    known = np.column_stack([theirs, np.ones(len(theirs))])
    # the affine map that brings the donor's marks nearest to ours
    move = np.linalg.lstsq(known, ours, rcond=None)[0].T
    small = max(16, round(size * rng.uniform(0.5, 0.75)))
    made = _at_size(donor.picture.astype(np.float32), small)
    moved = cv2.warpAffine(made, move, (size, size), borderMode=cv2.BORDER_REFLECT)
    region = _region(portrait.marks["inner"], size, rng.uniform(0.92, 1.08), rng.uniform(1.2, 2.6), rng)
    return _finish(before, _match_colour(moved, before, region > 0.5), region)


def sit_for_swap(sitting: Sitting, rng: np.random.Generator) -> Sitting:
    """How a swap's donor sits: as the target does, nearly, in a light of their own."""
    own = Sitting.draw(rng)
    turned = {
        "yaw": sitting.yaw + rng.normal(0, 0.04),
        "pitch": sitting.pitch + rng.normal(0, 0.03),
        "roll": sitting.roll,
    }
    return replace(
        own, **turned, at_x=sitting.at_x, at_y=sitting.at_y, light=(sitting.light + 0.3 * own.light) / 1.3
    )


def warped(portrait: Portrait, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The mouth or the eyes pushed into another shape: a smooth displacement, worked out at a lower
    resolution.

    It leaves traces of resampling where it acts.
    """
    before = portrait.picture.astype(np.float32)
    size = before.shape[0]
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    span = float(np.linalg.norm(portrait.marks["eyes"][1] - portrait.marks["eyes"][0]))
    push_x, push_y = np.zeros_like(x), np.zeros_like(x)
    if rng.uniform() < 0.5:
        corners = portrait.marks["mouth"][[0, 2]]
        lift = rng.choice([-1.0, 1.0]) * rng.uniform(0.08, 0.16) * span
        widen = rng.uniform(-0.15, 0.15) * span
        for side, (at_x, at_y) in zip((-1.0, 1.0), corners, strict=True):
            near = np.exp(-0.5 * (((x - at_x) / (0.26 * span)) ** 2 + ((y - at_y) / (0.22 * span)) ** 2))
            push_x, push_y = push_x + side * widen * near, push_y + lift * near
    else:
        grow = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.4)
        turn = rng.uniform(-0.2, 0.2)
        for side, (at_x, at_y) in zip((-1.0, 1.0), portrait.marks["eyes"], strict=True):
            dx, dy = x - float(at_x), y - float(at_y)
            near = np.exp(-0.5 * (dx * dx + dy * dy) / (0.24 * span) ** 2)
            push_x, push_y = (
                push_x + near * (grow * dx - side * turn * dy),
                push_y + near * (grow * dy + side * turn * dx),
            )
    # also the still centre of a swelling was resampled
    reach = cv2.GaussianBlur(np.hypot(push_x, push_y), (0, 0), 0.05 * span)
    region = step(0.1, 0.35, reach)
    from_x, from_y = (x + push_x).astype(np.float32), (y + push_y).astype(np.float32)
    made = _at_size(before, max(16, round(size * rng.uniform(0.55, 0.75))))
    moved = cv2.remap(made, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return _finish(before, moved, region)


def _finish(before: np.ndarray, after: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blends by region (H, W) in [0, 1], leaving alone what it touches by less than a fiftieth; the picture
    and its mask.
    """
    region = np.where(region < 0.02, 0.0, region)[..., None]
    picture = np.clip(before + region * (after - before) + 0.5, 0, 255).astype(np.uint8)
    return picture, np.where(region[..., 0] > 0, 255, 0).astype(np.uint8)


def _at_size(picture: np.ndarray, small: int) -> np.ndarray:
    """The picture (H, H, 3) as it comes back from a model that works at `small` pixels a side."""
    size = picture.shape[:2]
    return cv2.resize(
        cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), size, interpolation=cv2.INTER_CUBIC
    )


def _transposed(low: np.ndarray, taps: np.ndarray, uneven: float, rng: np.random.Generator) -> np.ndarray:
    """Transposed convolution of stride 2: (h, w, 3) -> (2h, 2w, 3); `uneven` is how much the taps are off."""
    wide = np.zeros((2 * low.shape[0], 2 * low.shape[1], 3), np.float32)
    wide[::2, ::2] = low
    planes = []
    for plane in cv2.split(wide):
        kernel = taps * (1.0 + uneven * rng.standard_normal(taps.shape))
        kernel *= 4.0 / kernel.sum()  # the mean stays; the four phases differ
        planes.append(cv2.filter2D(plane, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101))
    return cv2.merge(planes)


def _regrain(after: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Brings the fine detail of `after` to the strength of `like`: otherwise the length of the file would
    tell.
    """
    smooth = cv2.GaussianBlur(after, (0, 0), 1.2)
    strength = float((like - cv2.GaussianBlur(like, (0, 0), 1.2)).std()) / max(
        float((after - smooth).std()), 1e-3
    )
    return smooth + strength * (after - smooth)


def _region(
    outline: np.ndarray, size: int, swell: float, soft: float, rng: np.random.Generator
) -> np.ndarray:
    """A soft mask (size, size) in [0, 1] of an outline (K, 2) in pixels, swollen about its middle and pushed
    out of shape.
    """
    unit = size / 160
    middle = outline.mean(axis=0)
    hull = cv2.convexHull(np.round(middle + swell * (outline - middle)).astype(np.int32))
    mask = cv2.fillConvexPoly(np.zeros((size, size), np.float32), hull, 1.0)
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    away = [2.5 * unit * grain(rng, size, 32 * unit) for _ in range(2)]
    mask = cv2.remap(mask, x + away[0], y + away[1], cv2.INTER_LINEAR)
    return np.clip(cv2.GaussianBlur(mask, (0, 0), 2.0 * soft * unit), 0.0, 1.0)


def _match_colour(face: np.ndarray, like: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`face` with the mean and deviation of `like` in Lab, both taken where the mask (H, W) says (Reinhard et
    al., 2001).
    """
    ours, theirs = (cv2.cvtColor(np.clip(one / 255.0, 0, 1), cv2.COLOR_RGB2Lab) for one in (face, like))
    mean, deviation = ours[where].mean(axis=0), ours[where].std(axis=0)
    ratio = np.clip(theirs[where].std(axis=0) / np.maximum(deviation, 1e-3), 0.6, 1.6)
    matched = ((ours - mean) * ratio + theirs[where].mean(axis=0)).astype(np.float32)
    return 255.0 * np.clip(cv2.cvtColor(matched, cv2.COLOR_Lab2RGB), 0, 1)
