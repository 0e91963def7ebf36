"""A net that is explained stays as it was: modes, hooks, gradients and in-place layers, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from dfd.eval_mode import eval_mode

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class _Wrapped(nn.Module):
    """A function that gives logits, as a module without weights."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)


def net_of(detector: Any) -> nn.Module:
    """The net whose logit a decision rests on: of a `dfd.Detector` its net, else the net itself.

    Any function from images (B, 3, H, W) to logits (B,) will do; one that is no torch module has no weights
    to look at.

    Raises:
        ValueError: it is neither.
    """
    net = detector if isinstance(detector, nn.Module) else getattr(detector, "net", detector)
    if isinstance(net, nn.Module):
        return net
    if callable(net):
        return _Wrapped(net)
    raise ValueError(
        f"a {type(detector).__name__} gives no logits: explain a dfd.Detector, a net, or a function of "
        "images."
    )


def device_of(net: nn.Module) -> torch.device | None:
    """Where its weights are; None where it has none."""
    weight = next(chain(net.parameters(), net.buffers()), None)
    return None if weight is None else weight.device


@contextmanager
def unchanged(detector: Any) -> Iterator[nn.Module]:
    """The net in eval mode, with gradients switched on, in full precision, and without in-place layers.

    A validation step runs in inference mode and perhaps in mixed precision; neither reaches in here. At the
    end, after an error or an interrupt too, each module has its own mode and its own hooks again, and each
    weight its own gradient.

    Raises:
        ValueError: the weights were made inside torch.inference_mode, where no gradient can pass them.
    """
    net = net_of(detector)
    if any(weight.is_inference() for weight in net.parameters()):
        raise ValueError(
            "the net was loaded inside torch.inference_mode(), so no gradient passes its weights. Load it "
            "outside; explaining may happen inside."
        )
    modules = list(net.modules())
    hooks = [(getattr(module, name), set(getattr(module, name))) for module in modules for name in _HOOKS]
    weights = [(weight, weight.requires_grad, weight.grad) for weight in net.parameters()]
    # a hook on a layer's gradient does not survive that the next layer overwrites its output
    in_place: list[Any] = [module for module in modules if getattr(module, "inplace", None) is True]
    device = device_of(net) or torch.device("cpu")
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        eval_mode(net),
    ):
        try:
            for module in in_place:
                module.inplace = False
            yield net
        finally:
            for module in in_place:
                module.inplace = True
            for registered, before in hooks:
                for added in [key for key in registered if key not in before]:
                    del registered[added]
            for weight, requires_grad, grad in weights:
                weight.requires_grad_(requires_grad)
                weight.grad = grad


def has_gradients(net: nn.Module, image: Tensor) -> bool:
    """Whether the logit can be followed back to the pixels. It is tried on the first of the images."""
    with torch.inference_mode(False), torch.enable_grad():
        image = image[:1].detach().clone().requires_grad_()
        try:
            return net(image).requires_grad
        except RuntimeError as error:
            # what leaves torch asks for the numbers of a tensor, which one with a gradient does not give
            if "requires grad" in str(error):
                return False
            raise


def check_gradients(net: nn.Module, image: Tensor, what: str) -> None:
    """ValueError where the net has no gradients, which `what` needs."""
    if not has_gradients(net, image):
        raise ValueError(
            f"{what} needs gradients, and this detector gives none (an exported net, as a rule). Use "
            "'occlusion', which only asks for logits."
        )


def ready(image: Tensor, net: nn.Module) -> Tensor:
    """The images as the net takes them: a float32 copy where its weights are, whose gradient is our own.

    Raises:
        ValueError: they are no images (B, 3, H, W) of floats.
    """
    if image.dim() != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(
            f"images of shape {tuple(image.shape)} and type {image.dtype}: give (B, 3, H, W) floats in "
            "[0, 1]."
        )
    return image.detach().clone().to(device_of(net) or image.device, torch.float32)


def coarse(image: Tensor) -> Tensor:
    """The images (B, 3, H, W) with nothing left but 8 x 8 soft patches of colour: brightness and colours
    stay, all detail goes.
    """
    small = nn.functional.adaptive_avg_pool2d(image, 8)
    return nn.functional.interpolate(small, image.shape[-2:], mode="bilinear", align_corners=False)
