"""Attacks as conditions of an evaluation: pictures in, pictures out that a detector gets wrong.

What is attacked is the picture as a file holds it, and not each crop by itself: the net's answer for a
picture is the mean logit over its crops, one change serves all of them, and the result is rounded to the 256
levels of a file. To attack every crop alone would be a stronger attack than can be made of one file, since
crops overlap. The attacked picture is then cut and judged as any other, by the same code.

    - {name: pgd20, attack: pgd, steps: 20, restarts: 2, eps: [1, 2, 4, 8]}
    - {name: transferred, attack: pgd, eps: [4], from: other.ckpt}
    - {name: square, attack: square, eps: [4, 8], images: 50}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dfd.augment import APGD, FGSM, PGD, Attack, Square
from dfd.batch import LABELS
from dfd.media.crops import View
from dfd.terminal import printable

if TYPE_CHECKING:
    from dfd.detector import Detector

# what each attack may say beside its name and budgets, with what is taken where it does not
SETTINGS: dict[str, dict[str, int]] = {
    "fgsm": {},
    "pgd": {"steps": 10, "restarts": 1},
    "apgd": {"steps": 20, "restarts": 1},
    "square": {"steps": 200, "restarts": 1},
}
EPS = (1.0, 2.0, 4.0, 8.0)  # in 255ths
IMAGES = 100  # pictures of a root that are attacked: an attack costs some hundred times a look
MOST = 100_000  # steps, restarts or pictures: more is a slip
KEYS = ("name", "attack", "eps", "steps", "restarts", "from", "images")


@dataclass(frozen=True)
class PictureAttack:
    """An attack with its budget.

    Args:
        kind: fgsm, pgd, apgd or square.
        eps: budget for each channel of each pixel, in 255ths.
        steps, restarts: see the attack's class; 1 for fgsm.
        source: checkpoint of the net that is attacked in place of the judged one (transfer); "" for none.
        images: how many pictures of a root are attacked, half of them real.
    """

    kind: str
    eps: float
    steps: int = 1
    restarts: int = 1
    source: str = ""
    images: int = IMAGES

    @property
    def white_box(self) -> bool:
        """Whether it follows the gradients of the very net that is judged."""
        return self.kind != "square" and not self.source

    @property
    def strength(self) -> tuple[int, ...]:
        """Of FGSM and PGDs with the same budget the one of more is no weaker."""
        return int(self.kind != "fgsm"), self.steps * self.restarts

    def __str__(self) -> str:
        if self.kind == "fgsm":
            words = f"fgsm of {self.eps:g}/255"
        else:
            words = f"{self.kind}-{self.steps} of {self.eps:g}/255, {self.restarts} restarts"
        return f"{words}, made on {self.source}" if self.source else words

    def make(self) -> Attack:
        """The attack on a net; ValueError where it needs a package that is not installed."""
        if self.kind == "fgsm":
            return FGSM(self.eps)
        if self.kind == "pgd":
            return PGD(self.eps, self.steps, restarts=self.restarts)
        return {"apgd": APGD, "square": Square}[self.kind](self.eps, self.steps, self.restarts)


def parse_attack(name: str, told: Mapping[str, Any]) -> list[PictureAttack]:
    """The attacks that one entry of a conditions file asks for, one a budget.

    Raises:
        ValueError: what is wrong with the entry, and what is known.
    """
    kind = told.get("attack")
    if not isinstance(kind, str) or kind not in SETTINGS:
        raise ValueError(
            f"the condition {name} has the unknown attack {_shown(kind)}. Known are {', '.join(SETTINGS)}."
        )
    known = [key for key in KEYS if key not in ("steps", "restarts") or key in SETTINGS[kind]]
    if unknown := [key for key in told if key not in known]:
        raise ValueError(
            f"the condition {name} has the unknown key {_shown(unknown[0])}. {kind} takes {', '.join(known)}."
        )
    source = told.get("from", "")
    if not isinstance(source, str):
        raise ValueError(f"the condition {name} has from: {_shown(source)}, where a checkpoint was expected.")
    eps = told.get("eps", list(EPS))
    budgets = eps if isinstance(eps, list) else [eps]
    if not budgets or not all(type(each) in (int, float) and 1 <= each <= 255 for each in budgets):
        raise ValueError(
            f"the condition {name} has eps {_shown(eps)}, where budgets in 255ths were expected, from 1 on: "
            "[1, 2, 4, 8]. A file holds no smaller steps."
        )
    numbers = {
        key: _count(name, key, told.get(key, default))
        for key, default in {**SETTINGS[kind], "images": IMAGES}.items()
    }
    return [PictureAttack(kind, float(each), source=source, **numbers) for each in budgets]


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
        # a list: not to be weights of a module
        self._cut = [_Cut(*_linear(detector.view, height, width), detector.device)]

    def forward(self, image: Tensor) -> Tensor:
        crops = self._cut[0](image)  # (B, N, 3, size, size)
        logit = self.net(crops.flatten(0, 1))
        return logit.view(crops.shape[:2]).mean(1) - self.threshold


class _Cut:
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


def _count(name: str, key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MOST:
        raise ValueError(
            f"the condition {name} has {key}: {_shown(value)}, where a whole number from 1 to {MOST} was "
            "expected."
        )
    return value


def _shown(value: Any) -> str:
    """A stranger's value in a few letters."""
    text = repr(value)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")
