"""Runtime: what runs a detector's net, torch, onnxruntime or OpenVINO, asked in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dfd.familiarity import Gate


class Runtime(Protocol):
    """Pictures are uint8 RGB, cues float32.

    Attributes:
        gate: ranks of distances; None where the detector never learnt what its own pictures are like.
        cue_names, cue_version: the forensic cues that the net reads; () and 0 where it reads none.
    """

    cue_names: tuple[str, ...]
    cue_version: int

    @property
    def gate(self) -> Gate | None: ...

    @property
    def module(self) -> nn.Module:
        """The net as torch's: image (B, 3, size, size) in [0, 1] -> logits (B,)."""
        ...

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        """Logits (B,) of a loader's crops (B, 3, size, size) in [0, 1], on their device."""
        ...

    def logits(self, crops: np.ndarray, cues: np.ndarray | None = None) -> np.ndarray:
        """(B,) float64 of crops (B, size, size, 3), and cues (B, C) where their file has some."""
        ...

    def distance(self, middle: np.ndarray | Tensor) -> np.ndarray:
        """(B,) float64: how far middle crops (B, H, W, 3) lie from the detector's own pictures."""
        ...

    def expert(self, crops: np.ndarray, cues: np.ndarray | None = None) -> str:
        """Name of the expert that has the most to say of one face's crops; "" of any other detector."""
        ...
