"""Crops and preprocessing: how a picture becomes what a net sees, in training, evaluation and use.

`View` is stored in every checkpoint. Resizing destroys the traces that a generator leaves, so crops in native
resolution are the default: pictures larger than `longest` are shrunk, none is enlarged.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

# where the crops lie, as fractions of the free room (top, left); the centre is last, so it is `crops[-1]`
PLACES = {
    1: [(0.5, 0.5)],
    5: [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)],
    9: [(0, 0), (0, 0.5), (0, 1), (0.5, 0), (0.5, 1), (1, 0), (1, 0.5), (1, 1), (0.5, 0.5)],
}


# of a view, and of transforms, that state no margin and whose shards record none: 140K's pictures are 1.3 to
# 1.4 faces wide
DEFAULT_MARGIN = 1.35
UNSEEN = 255  # what lies between the crops of several views; white on a page, and as good as opaque


@dataclass(frozen=True)
class View:
    """
    Args:
        size: side of the square that a net sees, in pixels.
        crops: how many crops evaluation averages by logit: 1 (centre), 5 (corners and centre) or 9 (a 3 x 3
            grid).
        longest: pictures whose longer side exceeds this are shrunk to it first; None keeps every picture as
            it is.
        resize: take the whole picture, resized to `size`, instead of crops.
        margin: side of the training pictures as a multiple of the longer side of the face box in them;
            scoring cuts faces out of larger pictures at this margin. None takes what the shards record, and
            where they record none, DEFAULT_MARGIN.
        beside: views of an ensemble's other members, as plain values. Where given, evaluation cuts one sheet:
            the crops of this view and of each of these in a row, from left to right. `dfd ensemble` sets it;
            such a view trains nothing.
    """

    size: int = 128
    crops: int = 5
    longest: int | None = 256
    resize: bool = False
    margin: float | None = None
    beside: list[dict[str, Any]] | None = None

    def __post_init__(self):
        if self.size < 16:
            raise ValueError(
                f"view.size={self.size} is too small to hold a face. Use 16 pixels or more, 96-256 as a rule."
            )
        if self.crops not in PLACES:
            raise ValueError(
                f"view.crops={self.crops} is not a layout of crops. Use one of {sorted(PLACES)}."
            )
        if self.longest is not None and self.longest < self.size:
            raise ValueError(
                f"view.longest={self.longest} is below view.size={self.size}: every crop would be padding. "
                "Raise it."
            )
        if self.margin is not None and not self.margin > 0:
            raise ValueError(
                f"view.margin={self.margin} is not a multiple of the face's box. Use null, which takes what "
                "the shards record, or a number such as 1.3."
            )
        try:
            views = [View(**each) for each in self.beside or ()]
        except TypeError as error:
            raise ValueError(f"view.beside={self.beside}: these are no views ({error}).") from error
        if any(view.beside is not None for view in views):
            raise ValueError(
                "view.beside holds views that have some beside them too. Name the members one by one."
            )

    def resolved(self, recorded: float | None = None) -> "View":
        """The view with a number as its margin: its own, else the `recorded` one, else DEFAULT_MARGIN."""
        stated = (self.margin, recorded, DEFAULT_MARGIN)
        return replace(self, margin=next(margin for margin in stated if margin is not None))

    @property
    def parts(self) -> list["View"]:
        """This view alone, and each of those beside it."""
        return [replace(self, beside=None), *(View(**each) for each in self.beside or ())]

    @property
    def num_crops(self) -> int:
        """Crops of one picture in evaluation, or one sheet of them."""
        return 1 if self.resize or self.beside is not None else self.crops

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W) of what evaluation cuts: crops, or one sheet of them, and their pixels."""
        if self.beside is None:
            return self.num_crops, self.size, self.size
        parts = [part.shape for part in self.parts]
        return 1, max(height for _, height, _ in parts), sum(num * width for num, _, width in parts)

    @property
    def middle(self) -> tuple[slice, slice]:
        """Rows and columns of the last of `eval_crops` that show the middle of a picture; of a sheet in
        native resolution, where one of its views has that.
        """
        if self.beside is None:
            return slice(None), slice(None)
        chosen = min(self.parts, key=lambda part: part.resize)
        right = 0
        for part in self.parts:
            right += part.num_crops * part.size
            if part == chosen:
                break
        return slice(chosen.size), slice(right - chosen.size, right)

    def shrink(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) with the longer side at most `longest`."""
        height, width = image.shape[:2]
        if self.longest is None or max(height, width) <= self.longest:
            return image
        scale = self.longest / max(height, width)
        return cv2.resize(
            image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )

    def train(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(size, size, 3): a random crop, or the whole picture resized."""
        if self.beside is not None:
            raise ValueError(
                "view.beside puts the views of an ensemble side by side, which trains nothing: leave it out."
            )
        if self.resize:
            return _resized(image, self.size)
        image = _padded(image, self.size)
        top, left = (int(rng.integers(side - self.size + 1)) for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]

    def eval_crops(self, image: np.ndarray) -> np.ndarray:
        """(N, size, size, 3): the crops to be averaged, the central one last. With views beside this one a
        sheet (1, H, W, 3) of all their crops.
        """
        if self.beside is not None:
            return self._sheet(image)
        image, corners = self.eval_places(image)
        return np.stack([image[top : top + self.size, left : left + self.size] for top, left in corners])

    def eval_places(self, image: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """The picture (H, W, 3) that crops are cut from, and top and left of each, the central one last."""
        if self.beside is not None:
            return self._sheet(image)[0], [(0, 0)]
        image = self.shrink(image)
        if self.resize:
            return _resized(image, self.size), [(0, 0)]
        image = _padded(image, self.size)
        room = [side - self.size for side in image.shape[:2]]
        return image, [(round(room[0] * y), round(room[1] * x)) for y, x in PLACES[self.crops]]

    def _sheet(self, image: np.ndarray) -> np.ndarray:
        sheet = np.full((*self.shape, *image.shape[2:]), UNSEEN, image.dtype)
        left = 0
        for part in self.parts:
            for crop in part.eval_crops(image):
                sheet[0, : part.size, left : left + part.size] = crop
                left += part.size
        return sheet


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    shrinks = max(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _padded(image: np.ndarray, size: int) -> np.ndarray:
    """At least (size, size, 3): a small picture is mirrored at its edges, which keeps its own pixels."""
    missing = [max(0, size - side) for side in image.shape[:2]]
    if not any(missing):
        return image
    (top, bottom), (left, right) = ((gap // 2, gap - gap // 2) for gap in missing)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT)
