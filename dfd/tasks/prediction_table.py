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
    """Rows, logits, labels and distances of the images that were judged, each once over all ranks, in the
    order of their rows.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("row", "logit", "label", "distance"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self, row: Tensor, logit: Tensor, label: Tensor, valid: Tensor, distance: Tensor | None = None
    ) -> None:
        """
        Args:
            row: (B,) int64.
            logit: (B,) raw.
            label: (B,) REAL, FAKE or -1 for unknown.
            valid: (B,) bool; the others stand for images that could not be decoded, and are left out.
            distance: (B,) how strange they are; None where that is not known.
        """
        # without a rank that waits for its device: what is not valid is marked, and left out at the end
        self.row.append(torch.where(valid, row, -1))
        # double holds each logit of any net as it is; MPS has none
        self.logit.append(logit.detach().to(torch.float32 if logit.device.type == "mps" else torch.float64))
        self.label.append(label.long())
        unknown = torch.full_like(self.logit[-1], torch.nan)
        self.distance.append(unknown if distance is None else distance.to(unknown))

    def compute(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """row (M,) int64 ascending, logit (M,) float64, label (M,) int64, distance (M,) float64, NaN where
        not known.
        """
        kinds = {"row": np.int64, "logit": np.float64, "label": np.int64, "distance": np.float64}
        columns = {
            name: dim_zero_cat(column).cpu().numpy().astype(kind) if len(column) else np.zeros(0, kind)
            for name, kind in kinds.items()
            for column in [getattr(self, name)]
        }
        order = np.argsort(columns["row"], kind="stable")
        order = order[columns["row"][order] >= 0]
        return tuple(columns[name][order] for name in kinds)
