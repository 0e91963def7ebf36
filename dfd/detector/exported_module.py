"""ExportedModule: an export as a torch module, for what asks a net in tensors: evaluation, maps of black
boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from dfd.detector.exported_net import ExportedNet


class ExportedModule(nn.Module):
    """image (B, 3, size, size) in [0, 1], cues (B, C) -> logits (B,) on the image's device.

    There are no gradients, and images are rounded to the 8 bits that the file takes.
    """

    def __init__(self, net: ExportedNet):
        super().__init__()
        self.asked, self.cue_names, self.cue_version = net, net.cue_names, net.cue_version

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        crops = image.detach().mul(255).round().clamp(0, 255).byte().movedim(1, -1)
        beside = None if cues is None else cues.cpu().numpy()
        logit = self.asked.logits(crops.contiguous().cpu().numpy(), beside)
        return torch.from_numpy(logit).float().to(image.device)
