"""Nets of a few weights whose explanations have closed forms."""

import torch
from torch import nn

from dfd.models import Net

KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Linear(Net):
    """The logit is the sum of all values times a weight each; no layer, no ReLU."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, size, size) / size)

    def forward(self, image):
        return (self.weight * image).sum((1, 2, 3))


class Corner(Net):
    """Says FAKE by how red the lower right quarter is."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 2, 8, stride=8, bias=False)
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[0, 0] = 1 / 64

    @property
    def cam_layers(self):
        return {"look": self.look}

    def forward(self, image):
        return self.look(image)[:, 0, 4:, 4:].mean((1, 2)) * 3


def num_hooks(net: nn.Module) -> int:
    """Hooks on all modules of a net."""
    return sum(len(getattr(module, kind)) for module in net.modules() for kind in KINDS)


class Bright(Net):
    """Says FAKE by how bright one colour is: gain * (its mean - level)."""

    def __init__(self, channel: int = 0, gain: float = 40.0, level: float = 0.43):
        super().__init__()
        self.channel, self.level = channel, level
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, image):
        return self.gain * (image[:, self.channel].mean((1, 2)) - self.level)
