"""Attacks as conditions of an evaluation: pictures in, pictures out that a detector gets wrong.

What is attacked is the picture as a file holds it, and not each crop by itself: the net's answer for a
picture is the mean logit over its crops, one change serves all of them, and the result is rounded to the 256
levels of a file. To attack every crop alone would be a stronger attack than can be made of one file, since
crops overlap. The attacked picture is then cut and judged as any other, by the same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dfd.batch import LABELS
from dfd.evaluate.attack_conditions import PictureAttack
from dfd.media.crops import View

if TYPE_CHECKING:
    from dfd.detector import Detector


def attack_pictures(
    attack: PictureAttack, victim: Detector, pictures: Sequence[np.ndarray], label: np.ndarray, seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures (H, W, 3) uint8 RGB that the victim gets wrong, within the budget, in the order given.

    Args:
        attack: how.
        victim: the detector whose net is attacked: the judged one, or of a transfer the one that it is made
            on.
        pictures: (H, W, 3) uint8 RGB each, as the files hold them.
        label: (M,) REAL or FAKE.
        seed: of the random starts.

    Returns:
        the pictures, and (M,) bool: whether the net's gradient was exactly zero where the attack began, which
        no honest net's is. False for an attack without gradients.

    Raises:
        ValueError: the net gives no gradients.
    """
    method, found = attack.make(), [np.empty(0)] * len(pictures)
    flat = np.zeros(len(pictures), bool)
    for shape, group in _batches(pictures, max(1, victim.batch_size // victim.view.num_crops)):
        net = PictureNet(victim, *shape)
        image = torch.from_numpy(np.stack([pictures[at] for at in group])).to(victim.device)
        image = image.movedim(-1, -3).float().div_(255).contiguous()
        truth = torch.from_numpy(np.asarray(label)[group].astype(np.int64)).to(victim.device)
        if attack.kind != "square":
            flat[group] = _gradients(net, image, victim) == 0
        attacked = method(net, image, truth, seed=seed + group[0])
        levels = attacked.mul(255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()
        for at, picture in zip(group, levels, strict=True):
            found[at] = picture
    return found, flat


def pick(label: np.ndarray, images: int) -> np.ndarray:
    """The places (N,) of about `images` rows, ascending: as many of each class, spread evenly over the table,
    which may lie in the order of its sources.

    label: (M,) REAL, FAKE or -1, which is never attacked: there is no wrong answer to it.
    """
    places = [np.flatnonzero(label == kind) for kind in range(len(LABELS))]
    wanted = [min(len(each), -(-images // 2)) for each in places]
    chosen = [
        each[np.linspace(0, len(each) - 1, count).round().astype(int)]
        for each, count in zip(places, wanted, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


class PictureNet(nn.Module):
    """A detector's answer to whole pictures (B, 3, H, W) in [0, 1]: logits (B,), above zero being FAKE.

    Shrinks, cuts and averages as the detector's view does, but with gradients. OpenCV's resizing is linear
    and acts on rows and columns apart, so two matrices say exactly what it does; the rounding of a shrunk
    picture to 256 levels is left out.

    Args:
        detector: its net is used as it is, on its device.
        height, width: of the pictures.
    """

    def __init__(self, detector: Detector, height: int, width: int):
        super().__init__()
        self.net, self.threshold = detector.net, detector.card.thresholds["balanced"]
        self.cuts = [Cut(*_linear(part, height, width), detector.device) for part in detector.view.parts]
        self.on_sheet = detector.view.beside is not None

    def forward(self, image: Tensor) -> Tensor:
        views = [cut(image) for cut in self.cuts]  # (B, N, 3, size, size) each
        crops = sheet(views)[:, None] if self.on_sheet else views[0]
        logit = self.net(crops.flatten(0, 1))
        return logit.view(crops.shape[:2]).mean(1) - self.threshold


def sheet(views: Sequence[Tensor]) -> Tensor:
    """Crops (B, N, 3, size, size) of several views -> (B, 3, H, W): all in a row, as `View.eval_crops` lays
    them.
    """
    height = max(crops.shape[-1] for crops in views)
    rows = [crops.movedim(1, -2).flatten(-2) for crops in views]  # (B, 3, size, N * size)
    return torch.cat([pad(row, (0, 0, 0, height - row.shape[-2]), value=1.0) for row in rows], dim=-1)


class Cut:
    """Pictures (B, 3, H, W) -> crops (B, N, 3, size, size), differentiable."""

    def __init__(
        self,
        rows: np.ndarray | None,
        columns: np.ndarray | None,
        places: np.ndarray | None,
        device: str,
    ):
        made = [
            None if each is None else torch.from_numpy(each).to(device) for each in (rows, columns, places)
        ]
        self.rows, self.columns, self.places = made

    def __call__(self, image: Tensor) -> Tensor:
        if self.rows is not None:
            image = self.rows @ image @ self.columns.T
        if self.places is None:
            return image[:, None]
        pixels = image.flatten(2)[:, :, self.places.flatten()]
        return pixels.unflatten(2, self.places.shape).movedim(2, 1)


@lru_cache(maxsize=64)
def _linear(
    view: View, height: int, width: int
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """What a view does to a picture of that size: matrices (h, H) and (w, W) float32 that resize its rows and
    columns, None where it is not resized, and which pixels (N, size, size) of the result make each crop, None
    where the whole of it is the only one.
    """

    def resized(picture: np.ndarray) -> np.ndarray:
        return view.eval_crops(picture)[0] if view.resize else view.shrink(picture)

    small = resized(np.zeros((height, width), np.float32)).shape[:2]
    rows = columns = None
    if small != (height, width):
        rows = np.stack([resized(_line(height, width, at, 0))[:, 0] for at in range(height)], axis=1)
        columns = np.stack([resized(_line(height, width, at, 1))[0] for at in range(width)], axis=1)
    if view.resize:
        return rows, columns, None
    numbered = np.arange(small[0] * small[1], dtype=np.int32).reshape(small)
    return rows, columns, view.eval_crops(numbered).astype(np.int64)


def _line(height: int, width: int, at: int, axis: int) -> np.ndarray:
    """A black picture (H, W) with one white row (axis 0) or column."""
    picture = np.zeros((height, width), np.float32)
    if axis == 0:
        picture[at] = 1
    else:
        picture[:, at] = 1
    return picture


def _batches(pictures: Sequence[np.ndarray], size: int) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Places of pictures of one height and width, at most `size` at a time."""
    shapes: dict[tuple[int, int], list[int]] = {}
    for at, picture in enumerate(pictures):
        shapes.setdefault((picture.shape[0], picture.shape[1]), []).append(at)
    for shape, places in shapes.items():
        for start in range(0, len(places), size):
            yield shape, places[start : start + size]


def _gradients(net: PictureNet, image: Tensor, victim: Detector) -> np.ndarray:
    """(B,) the largest absolute gradient of each picture's logit in its pixels.

    Raises:
        ValueError: there is none.
    """
    with torch.inference_mode(False), torch.enable_grad():
        image = image.detach().clone().requires_grad_()
        logit = net(image)
        gradient = None
        if logit.requires_grad:
            gradient = torch.autograd.grad(logit.sum(), image, allow_unused=True)[0]
    if gradient is None:
        raise ValueError(
            f"the net ({type(victim.net).__name__}) gives no gradients for its pictures, so there is nothing "
            "for this attack to follow. Take a black-box one, {attack: square}, or one made on another net, "
            "{from: OTHER.ckpt}."
        )
    return gradient.abs().flatten(1).amax(1).cpu().numpy()
