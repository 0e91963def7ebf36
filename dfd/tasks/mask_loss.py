"""Mask loss: a map of logits against where a picture is forged."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits

from dfd.models import Net


class MaskLoss(nn.Module):
    """Binary cross-entropy of each place, and the Dice loss of the map (Milletari et al., 1606.04797), which
    small forgeries need: map (B, 1, h, w) and mask (B, H, W) -> a scalar.

    A place of the map stands for a square of the picture; its target is the share that is forged. A picture
    whose mask is not known (NaN) counts for nothing.
    """

    def forward(self, logit: Tensor, mask: Tensor) -> Tensor:
        known = ~mask.isnan().flatten(1).any(1)  # (B,)
        logit = logit.float()
        target = adaptive_avg_pool2d(mask.nan_to_num(0.0)[:, None], logit.shape[-2:])
        entropy = binary_cross_entropy_with_logits(logit, target, reduction="none").mean((1, 2, 3))
        prob = logit.sigmoid()
        # one more in both: a real picture, with nothing to find, has no loss once nothing is found
        both, either = (prob * target).sum((1, 2, 3)), (prob + target).sum((1, 2, 3))
        dice = 1 - (2 * both + 1) / (either + 1)
        return ((entropy + dice) * known).sum() / known.sum().clamp_min(1)


class KeptMap:
    """Keeps the map that a mask head gave last in training, as its forward hook."""

    map: Tensor

    def __call__(self, head: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
        if head.training:
            self.map = found


def mask_head_of(net: nn.Module) -> nn.Module | None:
    """The mask head of a net, or of the net that it wraps."""
    return next((each.mask_head for each in net.modules() if hasattr(each, "mask_head")), None)


def check_mask_loss(weight: float, net: Net) -> None:
    """ValueError unless the weight of the mask loss and the net fit one another."""
    if weight < 0:
        raise ValueError(f"model.mask_loss={weight} is below 0. Use 1 as a start.")
    if weight and mask_head_of(net) is None:
        raise ValueError(
            f"model.mask_loss={weight:g}: a {type(net).__name__} has no mask head to train. Use "
            "--model.net dfd.models.MaskStream, or leave it out."
        )


def check_mask_head_learns(weight: float, net: nn.Module) -> None:
    """ValueError where a fit would leave a mask head as it was drawn."""
    if mask_head_of(net) is not None and not weight:
        raise ValueError(
            f"a {type(net).__name__} has a mask head that nothing would train. Use --model.mask_loss 1 with "
            "--data.masks true, or take dfd.models.SingleStream."
        )
