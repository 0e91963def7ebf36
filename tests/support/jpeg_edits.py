"""Edits with a JPEG history of their own, for tools that find such parts."""

import numpy as np
from photos import ellipse, jpeg, photo

from dfd.media.decode import decode


def spliced(
    host_quality: int | None, part_quality: int | None, seed: int = 1, size: int = 512, shift: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A photograph (size, size, 3) with a part of another history, and its mask (size, size) bool.

    Args:
        host_quality: of the JPEG that the photograph was; None for never.
        part_quality: of the JPEG that the part was.
        shift: rows and columns by which the part was moved; without a shift it is the same photograph.
    """
    host = photo(seed, size)
    part = np.roll(photo(seed + 50, size), shift, (0, 1)) if shift else host
    if shift and part_quality:
        part = np.roll(decode(jpeg(photo(seed + 50, size), part_quality)), shift, (0, 1))
    elif part_quality:
        part = decode(jpeg(host, part_quality))
    if host_quality:
        host = decode(jpeg(host, host_quality))
    mask = ellipse(size, (0.45, 0.55))
    return np.where(mask[..., None], part, host), mask


def pixel_auc(values: np.ndarray, mask: np.ndarray) -> float:
    """Area under the ROC of a map, of blocks or cells, against a mask of pixels."""
    import cv2
    from scipy.stats import rankdata

    spread = cv2.resize(values, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    ranks = rankdata(spread)[mask.ravel()]
    inside, outside = int(mask.sum()), int((~mask).sum())
    return float((ranks.sum() - inside * (inside + 1) / 2) / (inside * outside))
