"""A net for what a service must survive: it judges by brightness, and some colours end, stop or fill its process."""

import os
import signal
import time

import torch
from torch import nn

from dfd.models import Net

ENDS, STOPS, FILLS = (255, 0, 0), (0, 255, 0), (0, 0, 255)  # RGB of a whole picture


class Unruly(Net):
    """The logit is the mean of all values, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def forward(self, image):
        for each in image.mean((2, 3)):
            colour = tuple(round(255 * value) for value in each.tolist())
            if colour == ENDS:
                os.kill(os.getpid(), signal.SIGKILL)
            if colour == STOPS:
                time.sleep(3600)
            if colour == FILLS:
                bytearray(4_000_000_000)
        return (image.mean((1, 2, 3)) - 0.5) * self.weight
