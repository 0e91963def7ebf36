"""Adversarial attacks on a detector, white-box and in pixel units: FGSM, FastFGSM and PGD.

FGSM: Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015. PGD: Madry
et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018. FastFGSM: Wong, Rice and
Kolter, "Fast is better than free: revisiting adversarial training", ICLR 2020.

The net is any module from images (B, 3, H, W) in [0, 1] to logits (B,), above zero meaning FAKE. It is
attacked in eval mode, as it would be in use, and left as it was: modes, gradients and running statistics.
Under DDP, hand over the bare net.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from dfd.batch import FAKE, REAL, transform_name
from dfd.eval_mode import eval_mode


class Attack(Protocol):
    """`attack(net, image, label)` -> images (B, 3, H, W), within a budget, that the net gets wrong."""

    def __call__(self, net: nn.Module, image: Tensor, label: Tensor, seed: int | None = None) -> Tensor: ...


# as a config names it: jsonargparse finds a protocol met by classes alone that write the same types
AnyAttack = Callable[..., Any]


def attacked(attack: AnyAttack, net: nn.Module, image: Tensor, label: Tensor, **options: Any) -> Tensor:
    """What an attack makes of pictures (B, 3, H, W); ValueError where that is none."""
    made = attack(net, image, label, **options)
    if not isinstance(made, Tensor) or made.shape != image.shape:
        gave = tuple(made.shape) if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise ValueError(
            f"{transform_name(attack)} gave {gave} for pictures {tuple(image.shape)}, and an attack gives as "
            "many pictures of the same size, in [0, 1]."
        )
    return made


@runtime_checkable
class ScalableAttack(Attack, Protocol):
    """An attack whose budget a training can raise little by little."""

    def scaled(self, share: float) -> Attack: ...


class PGD:
    """Projected gradient ascent on the loss, from a random start, in a cube of half-width `eps`.

    Args:
        eps: budget for each channel of each pixel, in 255ths.
        steps: gradient steps a restart.
        step_size: in 255ths; None takes 2.5 * eps / steps, which can cross the cube.
        restarts: the worst of this many is kept, image by image.
        quantize: round to the 256 levels that a file can hold.
    """

    def __init__(
        self,
        eps: float,
        steps: int = 10,
        step_size: float | None = None,
        restarts: int = 1,
        quantize: bool = True,
    ):
        check_budget(eps, quantize)
        if steps < 1 or restarts < 1:
            raise ValueError(f"steps={steps} and restarts={restarts} must both be 1 or more.")
        if step_size is not None and step_size <= 0:
            raise ValueError(
                f"step_size={step_size} does not move. Use a number above 0, in 255ths, or leave it out."
            )
        self.eps, self.steps, self.restarts, self.quantize = eps, steps, restarts, quantize
        self.step_size = 2.5 * eps / steps if step_size is None else step_size

    def __call__(self, net: nn.Module, image: Tensor, label: Tensor, seed: int | None = None) -> Tensor:
        """Attacked images (B, 3, H, W) in [0, 1].

        Args:
            net: images (B, 3, H, W) -> logits (B,).
            image: (B, 3, H, W) in [0, 1].
            label: (B,) REAL or FAKE.
            seed: makes the random starts a function of it; without, they come from torch's global generator.
        """
        # on the CPU: one attack on every device
        dice = None if seed is None else torch.Generator().manual_seed(seed)
        with attackable(net):
            image, wrong = image.detach().clone(), _wrong_way(label)
            worst, most = image, None
            for _ in range(self.restarts):
                attacked = self._climb(net, image, wrong, dice)
                if self.restarts == 1:
                    return attacked
                # not under no_grad: autocast remembers the weights that it casts, and training would find
                # them without gradient
                error = (wrong * net(attacked)).detach()
                most = torch.full_like(error, -torch.inf) if most is None else most
                worst = torch.where((error > most)[:, None, None, None], attacked, worst)
                most = torch.maximum(error, most)
            return worst

    def scaled(self, share: float) -> Self:
        """The same with a share in (0, 1) of its budget and step; not rounded, which could undo it."""
        weaker = copy.copy(self)
        weaker.eps, weaker.step_size, weaker.quantize = share * self.eps, share * self.step_size, False
        return weaker

    def _climb(self, net: nn.Module, image: Tensor, wrong: Tensor, dice: torch.Generator | None) -> Tensor:
        level = image * 255
        low, high = (level - self.eps).clamp(min=0), (level + self.eps).clamp(max=255)
        start = torch.rand_like(level) if dice is None else torch.rand(level.shape, generator=dice).to(level)
        attacked = (level + (2 * start - 1) * self.eps).clamp(low, high)
        for _ in range(self.steps):
            attacked = (attacked + self.step_size * _uphill(net, attacked / 255, wrong)).clamp(low, high)
        return landed(attacked, level, self.eps, self.quantize)


class FastFGSM(PGD):
    """One step of 1.25 `eps` from a random start in the cube, and back into it: for training, at the price of
    FGSM.

    FGSM itself starts at the picture, and a net that trains on it soon learns to withstand that one corner of
    the cube alone (catastrophic overfitting). The random start delays this and does not rule it out:
    `dfd.callbacks.MaskingStats` watches for it.

    Args:
        eps: budget for each channel of each pixel, in 255ths.
        quantize: round to the 256 levels that a file can hold.
    """

    def __init__(self, eps: float, quantize: bool = True):
        super().__init__(eps, steps=1, step_size=1.25 * eps, quantize=quantize)


class FGSM:
    """One step of `eps` along the sign of the loss's gradient.

    Args:
        eps: change of each channel of each pixel, in 255ths.
        quantize: round to the 256 levels that a file can hold.
    """

    def __init__(self, eps: float, quantize: bool = True):
        check_budget(eps, quantize)
        self.eps, self.quantize = eps, quantize

    def __call__(self, net: nn.Module, image: Tensor, label: Tensor, seed: int | None = None) -> Tensor:
        """Attacked images (B, 3, H, W) in [0, 1]; nothing here is random, so `seed` changes nothing."""
        with attackable(net):
            # an inference tensor cannot take part in autograd, its clone can
            image = image.detach().clone()
            level = image * 255
            attacked = (level + self.eps * _uphill(net, image, _wrong_way(label))).clamp(0, 255)
            return landed(attacked, level, self.eps, self.quantize)

    def scaled(self, share: float) -> Self:
        """See `PGD.scaled`."""
        weaker = copy.copy(self)
        weaker.eps, weaker.quantize = share * self.eps, False
        return weaker


class WithCues(nn.Module):
    """A net and the cues (B, C) of the pictures that are attacked: an attack changes pixels, not the file."""

    def __init__(self, net: nn.Module, cues: Tensor):
        super().__init__()
        self.net, self.cues = net, cues

    def forward(self, image: Tensor) -> Tensor:
        assert len(image) == len(self.cues), "an attack asks for all pictures of the batch at once"
        return self.net(image, self.cues)


def check_budget(eps: float, quantize: bool) -> None:
    """ValueError where `eps` is no budget in 255ths."""
    if not 0 < eps <= 255:
        raise ValueError(
            f"eps={eps} is not a budget in 255ths. Use a number above 0 and at most 255, such as 4 (not "
            "4/255)."
        )
    shares = eps * 255
    if eps < 0.063 and shares > 0.9 and abs(shares - round(shares)) < 0.02:  # 1/255 to 16/255 as a decimal
        raise ValueError(
            f"eps={eps} is {round(shares)}/255, and budgets count 255ths: use eps={round(shares)}."
        )
    if quantize and eps < 1:
        raise ValueError(
            f"eps={eps} is less than one of the 256 levels, so rounding would undo it. "
            "Use 1 or more (eps counts 255ths), or quantize=False."
        )


def _wrong_way(label: Tensor) -> Tensor:
    """(B,) the sign by which a logit moves away from its label; a mixed label counts as the nearer one."""
    return torch.where(label > (REAL + FAKE) / 2, -1.0, 1.0)


def _uphill(net: nn.Module, image: Tensor, wrong: Tensor) -> Tensor:
    """(B, 3, H, W) the sign of the loss's gradient in the pixels.

    The loss grows strictly with `wrong * logit`, so both gradients have the same sign; but where a confident
    net's sigmoid saturates, the loss has none left, and the attack would stand still and look harmless.
    """
    image = image.detach().requires_grad_()
    return torch.autograd.grad((wrong * net(image)).sum(), image)[0].sign()


def pixel_gradient(net: nn.Module, image: Tensor) -> Tensor:
    """(B, 3, H, W) the gradient of each logit in its picture's pixels; zero where the net gives none."""
    with attackable(net):
        image = image.detach().clone().requires_grad_()
        logit = net(image)
        if not logit.requires_grad:
            return torch.zeros_like(image).detach()
        return torch.autograd.grad(logit.sum(), image, materialize_grads=True)[0]


def landed(attacked: Tensor, level: Tensor, eps: float, quantize: bool) -> Tensor:
    """Images in [0, 1]; where rounded, to the nearest level within the budget.

    `attacked`, `level` and `eps` are in 255ths.
    """
    if not quantize:
        return attacked / 255
    slack = 1e-3  # 255 * (k / 255) may miss k by a rounding error
    low, high = (level - eps - slack).ceil().clamp(min=0), (level + eps + slack).floor().clamp(max=255)
    return attacked.round().clamp(low, high) / 255


@contextmanager
def attackable(net: nn.Module) -> Iterator[None]:
    """Eval mode and gradients, also inside Lightning's validation."""
    with eval_mode(net), torch.inference_mode(False), torch.enable_grad():
        yield
