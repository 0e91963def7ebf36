"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al., arXiv:1807.01069): APGD-CE and Square.

They are a second implementation beside FGSM and PGD, by other hands. APGD-CE: Croce and Hein, "Reliable
evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML 2020. Square:
Andriushchenko et al., ECCV 2020, which sees answers and no gradients. AutoAttack's other loss, DLR, is
undefined for two classes. The toolbox is handed the two scores [0, logit].
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dfd.augment.attack import attackable, check_budget, landed
from dfd.batch import FAKE, REAL

if TYPE_CHECKING:
    from art.estimators.classification import PyTorchClassifier

# the cross-entropy of larger logits has no gradient left in float32, and a sure net would look robust
LARGEST = 8.0
INSTALL = "the attacks apgd and square need the Adversarial Robustness Toolbox: pip install 'dfd[attacks]'"


class APGD:
    """Projected gradient ascent on the cross-entropy with a step that adapts itself.

    An image that the net already gets wrong is left as it is, and one that it cannot turn moves at random
    within the budget.

    Args:
        eps: budget for each channel of each pixel, in 255ths.
        steps: gradient steps a restart.
        restarts: random starts.
        quantize: round to the 256 levels that a file can hold.

    Raises:
        ValueError: the budget is none, or the toolbox is not installed.
    """

    def __init__(self, eps: float, steps: int = 20, restarts: int = 1, quantize: bool = True):
        _check(eps, steps, restarts, quantize)
        self.eps, self.steps, self.restarts, self.quantize = eps, steps, restarts, quantize

    def __call__(self, net: nn.Module, image: Tensor, label: Tensor, seed: int | None = None) -> Tensor:
        """Attacked images (B, 3, H, W) in [0, 1]; see `dfd.augment.PGD`."""
        from art.attacks.evasion import AutoProjectedGradientDescent

        with attackable(net), _frozen(net), _drawing(seed):
            attack = AutoProjectedGradientDescent(
                _classifier(net, image),
                norm=np.inf,
                eps=self.eps / 255,
                eps_step=2 * self.eps / 255,
                max_iter=self.steps,
                nb_random_init=self.restarts,
                batch_size=len(image),
                loss_type="cross_entropy",
                verbose=False,
            )
            return _attacked(attack, image, label, self.eps, self.quantize)


class Square:
    """Random search with squares, from the net's answers alone: it needs no gradients.

    An image is left as soon as the net gets it wrong.

    Args:
        eps: budget for each channel of each pixel, in 255ths.
        steps: squares that are tried a restart, each at the price of a look at the net.
        restarts: random starts.
        quantize: round to the 256 levels that a file can hold.

    Raises:
        ValueError: the budget is none, or the toolbox is not installed.
    """

    def __init__(self, eps: float, steps: int = 200, restarts: int = 1, quantize: bool = True):
        _check(eps, steps, restarts, quantize)
        self.eps, self.steps, self.restarts, self.quantize = eps, steps, restarts, quantize

    def __call__(self, net: nn.Module, image: Tensor, label: Tensor, seed: int | None = None) -> Tensor:
        """Attacked images (B, 3, H, W) in [0, 1]; see `dfd.augment.PGD`."""
        from art.attacks.evasion import SquareAttack

        height, width = image.shape[2:]
        # the toolbox's first squares do not fit into an image that is not a square itself
        largest = (min(height, width) - 1) ** 2 / (height * width)
        with attackable(net), _frozen(net), _drawing(seed):
            attack = SquareAttack(
                _classifier(net, image),
                norm=np.inf,
                eps=self.eps / 255,
                max_iter=self.steps,
                p_init=min(0.8, largest),
                nb_restarts=self.restarts,
                batch_size=len(image),
                verbose=False,
            )
            return _attacked(attack, image, label, self.eps, self.quantize)


class _TwoScores(nn.Module):
    """[0, logit] (B, 2), the logit divided by a number that keeps it among those that have a gradient. The
    order of images and the sign stay, so the worst images stay the worst.
    """

    def __init__(self, net: nn.Module, scale: float):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, image: Tensor) -> Tensor:
        logit = self.net(image) / self.scale
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def _check(eps: float, steps: int, restarts: int, quantize: bool) -> None:
    check_budget(eps, quantize)
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps={steps} and restarts={restarts} must both be 1 or more.")
    try:
        import art  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"{INSTALL}.") from error


def _classifier(net: nn.Module, image: Tensor) -> PyTorchClassifier:
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        largest = float(net(image).abs().max())
    return PyTorchClassifier(
        _TwoScores(net, max(1.0, largest / LARGEST)),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(image.shape[1:]),
        nb_classes=2,
        clip_values=(0.0, 1.0),
        device_type="cpu" if image.device.type == "cpu" else "gpu",
    )


def _attacked(attack: Any, image: Tensor, label: Tensor, eps: float, quantize: bool) -> Tensor:
    truth = (label > (REAL + FAKE) / 2).long().cpu().numpy()
    pixels = image.detach().cpu().numpy()
    found = torch.from_numpy(attack.generate(pixels.copy(), truth)).to(image)
    return landed(found * 255, image.detach() * 255, eps, quantize)


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """The weights without gradients, which the toolbox would clear and then gather for all of them."""
    before = [(weight, weight.requires_grad, weight.grad) for weight in net.parameters()]
    for weight, _, _ in before:
        weight.requires_grad_(False)
        weight.grad = None
    try:
        yield
    finally:
        for weight, wanted, gradient in before:
            weight.requires_grad_(wanted)
            weight.grad = gradient


@contextmanager
def _drawing(seed: int | None) -> Iterator[None]:
    """The toolbox draws from NumPy's global generator: from `seed` within the block, and as before after it.
    It also logs to the root logger what it thinks of labels.
    """
    before, level = np.random.get_state(), logging.getLogger("art").level
    logging.getLogger("art").setLevel(logging.ERROR)
    if seed is not None:
        np.random.seed(seed % (1 << 32))
    try:
        yield
    finally:
        logging.getLogger("art").setLevel(level)
        if seed is not None:
            np.random.set_state(before)
