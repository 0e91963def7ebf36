"""Planted edits: a photograph changed in one place, with the mask of that place.

Each kind is one thing that people do to pictures, done as an editor would, with nothing else beside it: so a
tool that is said to see splices is asked about splices.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dfd.media.decode import decode
from dfd.media.encode import encode_jpeg

# of a picture: an object, not a speck, and not half of it
AREA = (0.04, 0.12)
# sides below leave no room for an outline that a block of 8 pixels can fill
SMALLEST = 96
TRIES = 12  # places that are looked at for the most textured one


def plant(
    kind: str, pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Edits a picture in one place.

    Args:
        kind: one of KINDS.
        pixels: (H, W, 3) uint8 RGB, sides of 96 or more; left as it is.
        donor: (h, w, 3) uint8 RGB, another photograph that a splice is cut out of; sides of 96 or more.
        rng: place, outline and strength.

    Returns:
        The picture, and its mask (H, W) bool: outside it not one pixel has changed. Of a copy-move it covers
        both ends, as in the benchmarks of the field: nothing in a picture tells which was first.

    Raises:
        ValueError: an unknown kind, or too small a picture.
    """
    if kind not in KINDS:
        raise ValueError(f"no planted edit {kind!r}. There are {', '.join(KINDS)}.")
    for name, image in (("picture", pixels), ("donor", donor)):
        if min(image.shape[:2]) < SMALLEST:
            raise ValueError(
                f"a {name} of {image.shape[1]} x {image.shape[0]} pixels: an edit takes {SMALLEST} on "
                "each side."
            )
    return KINDS[kind](pixels, donor, rng)


def splice(pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A piece of another photograph, with that camera's noise, sharpness and compression; its edge is soft,
    as an editor's feather makes it."""
    donor = _as_large(donor, pixels.shape[:2])
    alpha = _outline(pixels, rng)
    moved = _shifted(donor, *_textured(donor, alpha, rng))
    return _blended(pixels, moved, alpha), alpha > 0


def copy_move(
    pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A piece of the picture itself, put somewhere else by whole pixels."""
    return _copied(pixels, rng, turn=0.0, scale=1.0)


def copy_move_turned(
    pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same, turned by 10 to 40 degrees either way and scaled by 0.8 to 1.25."""
    turn = float(rng.choice([-1, 1]) * rng.uniform(10, 40))
    return _copied(pixels, rng, turn=turn, scale=float(np.exp(rng.uniform(np.log(0.8), np.log(1.25)))))


def inpaint(pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An object taken out, the hole filled from its rim (Telea, 2004); the fill has no noise of the
    camera's."""
    where = _outline(pixels, rng, area=(0.02, 0.05)) > 0
    # OpenCV's fill is of BGR or RGB alike
    filled = cv2.inpaint(pixels, where.astype(np.uint8), 5, cv2.INPAINT_TELEA)
    return np.where(where[..., None], filled, pixels), where


def double_jpeg(
    pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A piece that was saved once more than the rest, as a JPEG of quality 50 to 75 on the picture's own
    grid."""
    alpha = _outline(pixels, rng)
    saved = decode(encode_jpeg(pixels, int(rng.integers(50, 76))))
    return _blended(pixels, saved, alpha), alpha > 0


def resample(
    pixels: np.ndarray, donor: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A piece enlarged in its place by 1.15 to 1.7, bicubic: an object made larger."""
    alpha = _outline(pixels, rng)
    middle = np.argwhere(alpha > 0).mean(axis=0)[::-1]
    move = cv2.getRotationMatrix2D(tuple(map(float, middle)), 0.0, float(rng.uniform(1.15, 1.7)))
    return _blended(pixels, _warped(pixels, move), alpha), alpha > 0


Edit = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
KINDS: dict[str, Edit] = {
    "splice": splice,
    "copy_move": copy_move,
    "copy_move_turned": copy_move_turned,
    "inpaint": inpaint,
    "double_jpeg": double_jpeg,
    "resample": resample,
}


def _copied(
    pixels: np.ndarray, rng: np.random.Generator, turn: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of all places that were tried, the pair of source and target that overlap least."""
    best = None
    for _ in range(TRIES):
        alpha = _outline(pixels, rng, area=(0.03, 0.08))
        middle = np.argwhere(alpha > 0).mean(axis=0)[::-1]
        down, right = _textured(pixels, alpha, rng)
        move = cv2.getRotationMatrix2D((float(middle[0]) + right, float(middle[1]) + down), turn, scale)
        # the place that (right, down) from the outline's middle shows comes to the middle
        move[:, 2] -= (right, down)
        back = cv2.invertAffineTransform(move)
        source = (
            cv2.warpAffine((alpha > 0).astype(np.uint8), back, alpha.shape[::-1], flags=cv2.INTER_NEAREST) > 0
        )
        overlap = (source & (alpha > 0)).sum() / (alpha > 0).sum()
        if best is None or overlap < best[0]:
            best = overlap, alpha, source, move
        if overlap == 0:
            break
    assert best is not None
    _, alpha, source, move = best
    if turn == 0.0 and scale == 1.0:
        moved = _shifted(pixels, *(-np.round(move[:, 2]).astype(int)[::-1]))
    else:
        moved = _warped(pixels, move)
    return _blended(pixels, moved, alpha), (alpha > 0) | source


def _outline(pixels: np.ndarray, rng: np.random.Generator, area: tuple[float, float] = AREA) -> np.ndarray:
    """Opacity (H, W) float32 in [0, 1] of an irregular object that lies well inside the picture, soft for
    about two pixels."""
    height, width = pixels.shape[:2]
    radius = np.sqrt(rng.uniform(*area) * height * width / np.pi)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    reach = np.ones_like(angle)
    for wave in (2, 3, 4, 5):
        reach += rng.uniform(0.0, 0.3 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    reach *= min(radius, 0.3 * min(height, width))
    x, y = reach * np.cos(angle), reach * np.sin(angle)
    rim = 4
    at_x = rng.uniform(rim - x.min(), width - rim - x.max())
    at_y = rng.uniform(rim - y.min(), height - rim - y.max())
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(np.column_stack([x + at_x, y + at_y])).astype(np.int32)], 255)
    return cv2.blur(mask, (3, 3)).astype(np.float32) / 255


def _textured(picture: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """How far (down, right) from the outline the most textured piece lies, of several that fit: what is
    copied is an object, not a sky."""
    height, width = alpha.shape
    rows, columns = np.flatnonzero((alpha > 0).any(axis=1)), np.flatnonzero((alpha > 0).any(axis=0))
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    best, found = -1.0, (0, 0)
    for _ in range(TRIES):
        down = int(rng.integers(-rows[0], height - rows[-1]))
        right = int(rng.integers(-columns[0], width - columns[-1]))
        piece = gray[rows[0] + down : rows[-1] + 1 + down, columns[0] + right : columns[-1] + 1 + right]
        # a copy that nearly lies on its source is none
        far = np.hypot(down / len(rows), right / len(columns)) > 1
        texture = float(piece.std()) * (1.0 if far else 0.2)
        if texture > best:
            best, found = texture, (down, right)
    return found


def _shifted(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    """What lies (down, right) of each place, by whole pixels."""
    return np.roll(picture, (-int(down), -int(right)), axis=(0, 1))


def _warped(picture: np.ndarray, move: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(
        picture, move, picture.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def _as_large(donor: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The donor's own pixels, mirrored where it is smaller: a resize would leave a trace of its own."""
    down, right = (max(0, needed - had) for needed, had in zip(shape, donor.shape, strict=False))
    padded = np.pad(donor, ((0, down), (0, right), (0, 0)), mode="symmetric")
    return padded[: shape[0], : shape[1]]


def _blended(before: np.ndarray, after: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    mixed = before + alpha[..., None] * (after.astype(np.float32) - before)
    return np.where(alpha[..., None] > 0, np.clip(np.rint(mixed), 0, 255), before).astype(np.uint8)
