"""Masked gradients and catastrophic overfitting, looked for at each validation of a fit."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn

from dfd.augment import FGSM, PGD
from dfd.augment.attack import pixel_gradient
from dfd.batch import FAKE
from dfd.callbacks.val_pictures import ValPictures

NOISES = 10  # random changes that are tried on a picture
FLAT = 0.01  # share of pictures whose gradient may be exactly zero
SLACK = 0.02  # of an accuracy: random starts make two runs of one attack differ by so much
_log = logging.getLogger(__name__)


class MaskingStats(ValPictures):
    """Attacks the same validation pictures in ways that an honest net ranks, and says where it does not.

    A net whose gradients say nothing looks robust and is not (Athalye, Carlini and Wagner, 1802.00420;
    Carlini et al., 1902.06705). And one that is trained with single steps may from one epoch to the next
    withstand nothing else (*catastrophic overfitting*, Wong, Rice and Kolter, 2001.03994). Logs, over all
    ranks, shares judged right (logit above zero means FAKE):

    - `val/fgsm_acc`: after one step; `val/pgd_acc`: after several; `val/pgd_half_acc`: after several with
      half of the budget; `val/noise_acc`: after the worst of 10 random changes of the whole budget, for which
      no gradient is needed;
    - `val/zero_gradients`: share of pictures in whose pixels the logit's gradient is exactly zero;
    - `val/masking`: how many of these were found, each also said in a line:
      several steps do less harm than one, the whole budget less than half of it, gradients less than noise
      (by more than .02 and two pictures); more than 1% of the gradients are zero; or `val/pgd_acc` fell by
      more than `drop` below its best while `val/fgsm_acc` stayed above it by that much. As its best counts
      what is above the accuracy of a constant answer.

    Nothing is rounded to the levels of a file: what is examined is the net.

    Args:
        eps: budget of the attacks in 255ths, above 0: that of the training.
        steps: of PGD.
        drop: of accuracy, in (0, 1): see above.
        stop: end the fit at catastrophic overfitting. Let `ModelCheckpoint` monitor `val/robust_acc`, and its
            best is of before.
        num_images: about how many pictures. Each costs 2 * steps + 2 forward and backward passes, and 13
            looks.
        every_n_epochs: 1 is after each validation of a fit; `dfd validate` always looks.
    """

    names = ("fgsm", "pgd", "pgd_half", "noise", "zero", "fake")

    def __init__(
        self,
        eps: float,
        steps: int = 10,
        drop: float = 0.2,
        stop: bool = False,
        num_images: int = 64,
        every_n_epochs: int = 1,
    ):
        super().__init__(num_images, every_n_epochs)
        if not 0 < drop < 1:
            raise ValueError(f"drop={drop} is a fall of accuracy, in (0, 1). Use .2 as a start.")
        self.eps, self.drop, self.stop = eps, drop, stop
        self.fgsm = FGSM(eps, quantize=False)
        self.pgd = PGD(eps, steps, quantize=False)
        self._best = 0.0  # pgd_acc of this run, of those above a constant answer's

    def state_dict(self) -> dict[str, float]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._best = float(state_dict["best"])

    def measure(self, net: nn.Module, image: Tensor, label: Tensor, seed: int) -> list[Tensor]:
        def right(pixels: Tensor) -> Tensor:
            return (net(pixels) > 0) == (label == FAKE)

        # on the CPU: the same on every device
        dice = torch.Generator().manual_seed(seed)
        withstood = torch.ones_like(label, dtype=torch.bool)
        for _ in range(NOISES):
            signs = torch.randint(0, 2, image.shape, generator=dice).to(image) * 2 - 1
            withstood &= right((image + self.eps / 255 * signs).clamp(0, 1))
        attacks: list[Any] = [self.fgsm, self.pgd, self.pgd.scaled(0.5)]
        return [
            *(right(attack(net, image, label, seed=seed)) for attack in attacks),
            withstood,
            pixel_gradient(net, image).flatten(1).abs().amax(1) == 0,
            label == FAKE,
        ]

    def report(self, trainer: Trainer, num: int, sums: dict[str, float]) -> None:
        share = {name: value / num for name, value in sums.items()}
        signs = find_signs(share, num)
        slack, constant = _slack(num), max(share["fake"], 1 - share["fake"])
        fell = self._best - share["pgd"] > self.drop and share["fgsm"] - share["pgd"] > self.drop
        if fell:
            signs.append(
                f"catastrophic overfitting: accuracy under PGD fell from {self._best:.3f} to "
                f"{share['pgd']:.3f}, while it is {share['fgsm']:.3f} under FGSM"
            )
        if trainer.state.fn == "fit" and share["pgd"] > constant + slack:
            self._best = max(self._best, share["pgd"])
        accuracies = {f"val/{name}_acc": share[name] for name in ("fgsm", "pgd", "pgd_half", "noise")}
        self.log_dict({**accuracies, "val/zero_gradients": share["zero"], "val/masking": float(len(signs))})
        if trainer.is_global_zero:
            for sign in signs:
                _log.warning("robust accuracy cannot be believed: %s", sign)
        if fell and self.stop and trainer.state.fn == "fit":
            trainer.should_stop = True


def find_signs(share: dict[str, float], num: int) -> list[str]:
    """What must not be, in words.

    Args:
        share: of the pictures that are judged right after `fgsm`, `pgd`, `pgd_half` and `noise`; and of those
            without a gradient, `zero`.
        num: of pictures.
    """
    pgd, slack = share["pgd"], _slack(num)
    signs = [
        f"PGD does less harm than {weaker} (accuracy {pgd:.3f} against {share[name]:.3f})"
        for name, weaker in (
            ("fgsm", "FGSM"),
            ("pgd_half", "with half of its budget"),
            ("noise", "random changes"),
        )
        if pgd > share[name] + slack
    ]
    if share["zero"] > FLAT:
        signs.append(f"the gradient is exactly zero in {share['zero']:.0%} of the pictures")
    return signs


def _slack(num: int) -> float:
    """Of an accuracy: two pictures, at least SLACK."""
    return max(SLACK, 2 / num)
