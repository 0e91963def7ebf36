"""Adversarial robustness of each validation: accuracy before and after an attack."""

from __future__ import annotations

from lightning import Trainer
from torch import Tensor, nn

from dfd.augment.attack import AnyAttack, attacked, pixel_gradient
from dfd.batch import FAKE
from dfd.callbacks.val_pictures import ValPictures


class AttackStats(ValPictures):
    """Attacks the same validation pictures each time and logs, over all ranks:

    - `val/clean_acc`, `val/robust_acc`: share judged right (logit above zero means FAKE) before and after the
      attack; `val/clean_gap`: the first less the second;
    - `val/attack_success_rate`: share of those judged right before that are judged wrong after, NaN where
      none was right;
    - `val/attack_linf` in 255ths, `val/attack_l2` over a picture with pixels in [0, 1]: mean norms of the
      perturbation;
    - `val/gradient_l2`: mean norm of the logit's gradient in the pixels of the clean picture. A net in which
      it falls to nothing is not robust, it gives an attack nothing to follow: see `MaskingStats`.

    Of pictures that are judged by several crops, the central one is attacked. What it draws never touches the
    generators that training draws from.

    Args:
        attack: `dfd.augment.PGD` or another.
        num_images: about how many pictures, from batches spread evenly over the split (a split may be sorted
            by label).
        every_n_epochs: 1 is after each validation of a fit; `dfd validate` always attacks.
    """

    names = ("before", "after", "turned", "linf", "l2", "gradient")

    def __init__(self, attack: AnyAttack, num_images: int = 128, every_n_epochs: int = 1):
        super().__init__(num_images, every_n_epochs)
        self.attack = attack

    def measure(self, net: nn.Module, image: Tensor, label: Tensor, seed: int) -> list[Tensor]:
        changed = attacked(self.attack, net, image, label, seed=seed)
        before, after = ((net(pixels) > 0) == (label == FAKE) for pixels in (image, changed))
        change = (changed - image).flatten(1)
        gradient = pixel_gradient(net, image).flatten(1).norm(dim=1)
        return [
            before,
            after,
            before & ~after,
            change.abs().amax(1) * 255,
            change.norm(dim=1),
            gradient,
        ]

    def report(self, trainer: Trainer, num: int, sums: dict[str, float]) -> None:
        before, after = sums["before"] / num, sums["after"] / num
        values = {
            "clean_acc": before,
            "robust_acc": after,
            "clean_gap": before - after,
            "attack_success_rate": sums["turned"] / sums["before"] if sums["before"] else float("nan"),
            "attack_linf": sums["linf"] / num,
            "attack_l2": sums["l2"] / num,
            "gradient_l2": sums["gradient"] / num,
        }
        self.log_dict({f"val/{name}": value for name, value in values.items()})
