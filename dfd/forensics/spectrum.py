"""Log-magnitude spectrum of an image's luma, in numpy: where up-sampling leaves lattices of bright points.

Durall et al., 2003.01826; Frank et al., 2003.08685. `dfd.models.LogSpectrum` is the same in torch.
"""

from functools import lru_cache

import cv2
import numpy as np


def log_spectrum(image: np.ndarray, side: int) -> np.ndarray:
    """log1p amplitude (side, side // 2 + 1) of the central square's luma in grey levels, under a Hann window.

    Rows run from -1/2 to 1/2 cycles a pixel, frequency 0 in row side // 2; columns from 0 to 1/2.

    Args:
        image: (H, W, 3) uint8 RGB, H and W from `side` up.
        side: of the square, in pixels.
    """
    top, left = ((length - side) // 2 for length in image.shape[:2])
    luma = cv2.cvtColor(image[top : top + side, left : left + side], cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = np.fft.rfft2((luma - luma.mean()) * _window(side))
    return np.log1p(np.abs(np.fft.fftshift(spectrum, axes=0)))


@lru_cache(maxsize=4)
def _window(side: int) -> np.ndarray:
    """Hann, periodic, of energy 1: (side, side). Noise then reads the same at any size."""
    window = np.hanning(side + 1)[:-1]
    return (np.outer(window, window) / (window**2).sum()).astype(np.float32)
