"""Masks of training samples: 255 where a picture is forged, out of the table or from the maker of a pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from dfd.batch import REAL, Sample
from dfd.media.decode import Undecodable, decode
from dfd.shards.catalog import Catalog


class Masks:
    """The masks of a table's rows. Nothing of a real is forged; of a fake without a mask it is not known."""

    def __init__(self, catalog: Catalog):
        self._offset, self._length = catalog.mask_places(np.arange(len(catalog.contents)))

    def of(self, row: int, sample: Sample, read: Callable[[int, int, int], bytes]) -> dict[str, Any]:
        """ "mask" (H, W) uint8 at the size of the sample's picture, where a fake has one.

        Args:
            read: (row, offset, length) -> bytes of the row's shard.
        """
        height, width = sample["image"].shape[:2]
        if sample["label"] == REAL or self._offset[row] < 0:
            return {}
        try:
            mask = decode(read(row, int(self._offset[row]), int(self._length[row])))[..., 0]
        except Undecodable:
            return {}
        if mask.shape != (height, width):
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        return {"mask": np.ascontiguousarray(mask)}
