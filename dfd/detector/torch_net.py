"""TorchNet: a detector's net, run by torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dfd.detector.card import Card
from dfd.familiarity import Familiarity, Gate
from dfd.models import Net
from dfd.models.ensemble import OF_EXPERTS, Ensemble


class TorchNet:
    """A `Runtime`.

    Args:
        net: image (B, 3, H, W) in [0, 1] -> logits (B,).
        card: of this net.
        device: where it runs, as torch names it.

    Raises:
        ValueError: the card's familiarity is none that dfd wrote.
    """

    def __init__(self, net: Net, card: Card, device: str):
        self.module, self.device = net.to(device).eval(), device
        self.size = card.made_view("the card").size
        self.cue_names: tuple[str, ...] = getattr(net, "cue_names", ())
        self.cue_version: int = getattr(net, "cue_version", 0)
        self.familiarity: Familiarity | None = None
        if card.familiarity is not None:
            self.familiarity = Familiarity.of(card.familiarity, self.module, "the card")

    @property
    def gate(self) -> Gate | None:
        return self.familiarity

    @torch.inference_mode()
    def logits(self, crops: np.ndarray, cues: np.ndarray | None = None) -> np.ndarray:
        return self.forward(*self._tensors(crops, cues)).double().cpu().numpy()

    @torch.inference_mode()
    def distance(self, middle: np.ndarray | Tensor) -> np.ndarray:
        assert self.familiarity is not None, "ask only where there is a gate"
        return self.familiarity.distance(as_images(torch.as_tensor(middle, device=self.device)))

    @torch.inference_mode()
    def expert(self, crops: np.ndarray, cues: np.ndarray | None = None) -> str:
        net = self.module
        if not isinstance(net, Ensemble) or net.how not in OF_EXPERTS:
            return ""
        parts = net.parts(net.member_logits(*self._tensors(crops, cues))).mean(0)
        return net.names[int(parts.argmax())]

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        """Logits (B,) of images (B, 3, size, size) in [0, 1] on the device.

        Raises:
            ValueError: out of memory, a net that does not take such pictures, or one with other answers than
                a logit each.
        """
        try:
            logit = self.module(image) if cues is None else self.module(image, cues)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"out of memory on {self.device}. Use a batch size below {len(image)}."
            ) from error
        except (RuntimeError, TypeError, IndexError) as error:
            why = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"the net cannot judge crops of {self.size} px: {why}. Its checkpoint has the recipe or "
                "the view of another net."
            ) from error
        if logit.shape != image.shape[:1]:
            raise ValueError(
                f"the net answers {tuple(logit.shape)} for {len(image)} crops: a detector gives a logit each."
            )
        return logit

    def _tensors(self, crops: np.ndarray, cues: np.ndarray | None) -> tuple[Tensor, Tensor | None]:
        image = as_images(torch.from_numpy(crops).to(self.device))
        return image, None if cues is None else torch.from_numpy(cues).to(self.device)


def as_images(crops: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in [0, 1]"""
    return crops.movedim(-1, -3).float().div_(255)
