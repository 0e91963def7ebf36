"""How well a map of a forensic tool tells the pixels of a mask from the others."""

import cv2
import numpy as np
from scipy.stats import rankdata

from dfd.forensics.finding import Map


def pixel_auc(map: Map, mask: np.ndarray) -> float:
    """Area under the ROC curve; the mask is (H, W) bool."""
    height, width = mask.shape
    ranks = rankdata(cv2.resize(map.values, (width, height), interpolation=cv2.INTER_NEAREST))
    inside = ranks.reshape(mask.shape)[mask]
    num = len(inside)
    return float((inside.sum() - num * (num + 1) / 2) / (num * (mask.size - num)))
