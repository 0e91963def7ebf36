"""Camera simulation: lens, Bayer mosaic, sensor noise, demosaicing, tone curve; light to an 8-bit picture."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

MOSAICS = (cv2.COLOR_BayerRG2RGB, cv2.COLOR_BayerGR2RGB, cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerGB2RGB)
EDGE_AWARE = (
    cv2.COLOR_BayerRG2RGB_EA,
    cv2.COLOR_BayerGR2RGB_EA,
    cv2.COLOR_BayerBG2RGB_EA,
    cv2.COLOR_BayerGB2RGB_EA,
)
QUALITIES = tuple(range(86, 98))  # of every JPEG here, real or fake


@dataclass(frozen=True)
class Camera:
    """One camera with the settings of one shot."""

    lens: float  # blur in sensor pixels, one standard deviation
    falloff: float  # light lost in the corners
    shot: float  # variance of the noise per unit of signal, of a sensor that saturates at 1
    read: float  # standard deviation of the noise in the dark
    red: float  # white balance: what the sensor's red and blue must be multiplied by
    blue: float
    phase: int  # where the mosaic starts
    edge_aware: bool  # which of OpenCV's demosaicing methods
    sharpen: float
    contrast: float
    exposure: float  # the picture's mean, in linear light

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Camera:
        grain = np.exp(rng.uniform(np.log(0.00006), np.log(0.0005)))  # from base ISO to a dim room
        return cls(
            lens=rng.uniform(0.3, 0.75),
            falloff=rng.uniform(0.0, 0.25),
            shot=float(grain),
            read=float(1.5 * grain),
            red=rng.uniform(1.5, 2.2),
            blue=rng.uniform(1.3, 1.9),
            phase=int(rng.integers(4)),
            edge_aware=bool(rng.uniform() < 0.5),
            sharpen=rng.uniform(0.2, 0.7),
            contrast=rng.uniform(0.2, 0.8),
            exposure=rng.uniform(0.14, 0.24),
        )

    def photograph(self, light: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """The picture (size, size, 3) uint8 RGB of a canvas of linear light (3, N, N), N >= size."""
        seen = np.ascontiguousarray(light.transpose(1, 2, 0))
        sigma = self.lens * seen.shape[0] / size
        seen = cv2.resize(cv2.GaussianBlur(seen, (0, 0), sigma), (size, size), interpolation=cv2.INTER_AREA)
        line = np.linspace(-1, 1, size, dtype=np.float32) ** 2
        seen *= (1.0 - 0.5 * self.falloff * (line[:, None] + line[None, :]))[..., None]
        # Exposed for the mean, but no further than keeps the brightest skin or wall from clipping.
        gain = min(
            self.exposure / max(float(seen.mean()), 1e-4),
            0.95 / max(float(np.percentile(seen[::4, ::4], 98)), 1e-4),
        )
        balance = np.array([self.red, 1.0, self.blue], np.float32)
        raw = self._mosaic(np.clip(seen * (gain / balance), 0.0, 1.0))
        raw += rng.standard_normal(raw.shape, dtype=np.float32) * np.sqrt(self.shot * raw + self.read**2)
        # Balanced before demosaicing, as raw converters do: colours then differ by content only.
        raw = np.clip(raw * self._mosaic(np.broadcast_to(balance, seen.shape)), 0.0, 1.0)
        code = (EDGE_AWARE if self.edge_aware else MOSAICS)[self.phase]
        picture = _srgb()[cv2.cvtColor((raw * 65535.0).astype(np.uint16), code)]
        picture += self.contrast * picture * (1.0 - picture) * (2.0 * picture - 1.0)
        picture += self.sharpen * (picture - cv2.GaussianBlur(picture, (0, 0), 1.0))
        return np.clip(picture * 255.0 + 0.5, 0, 255).astype(np.uint8)

    def _mosaic(self, colours: np.ndarray) -> np.ndarray:
        """One colour a pixel: (size, size) of (size, size, 3)."""
        # OpenCV names a pattern by its second row's second and third pixel: RG starts with blue in the
        # corner.
        red_row, red_column = ((1, 1), (1, 0), (0, 0), (0, 1))[self.phase]
        raw = np.ascontiguousarray(colours[..., 1])
        raw[red_row::2, red_column::2] = colours[red_row::2, red_column::2, 0]
        raw[1 - red_row :: 2, 1 - red_column :: 2] = colours[1 - red_row :: 2, 1 - red_column :: 2, 2]
        return raw


@functools.cache
def _srgb() -> np.ndarray:
    """(65536,) in [0, 1]: sRGB's curve of 16-bit linear light."""
    light = np.linspace(0, 1, 65536)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)
