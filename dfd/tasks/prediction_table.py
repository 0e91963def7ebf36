"""Prediction table of a pass as a torchmetrics Metric: gathered over ranks and reset by torchmetrics, under
any strategy.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PredictionTable(Metric):
    """Rows, logits and labels of the images that were judged, each once over all ranks, in the order of their
    rows.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("row", "logit", "label"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, row: Tensor, logit: Tensor, label: Tensor, valid: Tensor) -> None:
        """
        Args:
            row: (B,) int64.
            logit: (B,) raw.
            label: (B,) REAL, FAKE or -1 for unknown.
            valid: (B,) bool; the others stand for images that could not be decoded, and are left out.
        """
        # without a rank that waits for its device: what is not valid is marked, and left out at the end
        self.row.append(torch.where(valid, row, -1))
        # double holds each logit of any net as it is; MPS has none
        self.logit.append(logit.detach().to(torch.float32 if logit.device.type == "mps" else torch.float64))
        self.label.append(label.long())

    def compute(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """row (M,) int64 ascending, logit (M,) float64, label (M,) int64."""
        row, logit, label = (
            dim_zero_cat(column).cpu().numpy() if len(column) else np.zeros(0, kind)
            for column, kind in ((self.row, np.int64), (self.logit, np.float64), (self.label, np.int64))
        )
        order = np.argsort(row, kind="stable")
        order = order[row[order] >= 0]
        return row[order], logit[order].astype(np.float64), label[order]
