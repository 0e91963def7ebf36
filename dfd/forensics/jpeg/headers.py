"""JPEG settings from a file's headers: quantization tables, their quality, chroma subsampling, coding."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dfd.media.headers import jpeg_settings

# ITU-T T.81, annex K.1, row by row: what libjpeg scales by the quality
LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


class JpegFacts(NamedTuple):
    """What the headers of one JPEG say."""

    tables: tuple[tuple[int, ...], ...]  # each 64 steps, row by row, in the order of their numbers
    table_id: str  # 8 hex digits of the tables' hash: equal for one encoder at one setting
    quality: int  # 1 to 100: the libjpeg quality whose luminance table is nearest
    standard: bool  # whether the luminance table is exactly libjpeg's of that quality
    subsampling: str  # "4:4:4", "4:2:2", "4:2:0", "gray", or the factors as stored
    progressive: bool


def jpeg_facts(data: bytes) -> JpegFacts | None:
    """The encoding of a JPEG file; None where the bytes are no JPEG with headers that Pillow can read."""
    settings = jpeg_settings(data)
    if settings is None or not settings.tables:
        return None
    tables = settings.tables
    quality, standard = nearest_quality(tables[0])
    subsampling = _subsampling(settings.factors)
    return JpegFacts(tables, _name(tables), quality, standard, subsampling, settings.progressive)


@lru_cache(maxsize=4096)  # a data set has a handful of tables
def nearest_quality(luminance: tuple[int, ...]) -> tuple[int, bool]:
    """The libjpeg quality, 1 to 100, whose luminance table is nearest, and whether it is that table.

    Args:
        luminance: 64 steps, row by row.
    """
    # below quality 25 libjpeg can be asked for steps above 255, which only 16-bit tables hold
    tables = scaled_tables(255 if max(luminance) <= 255 else 32767)
    # by ratios: a difference of 2 is nothing at a step of 60 and doubles one of 2
    distance = np.abs(np.log(tables / np.maximum(luminance, 1))).sum(axis=1)
    best = int(distance.argmin())
    return best + 1, bool((tables[best] == luminance).all())


@lru_cache(maxsize=4)
def scaled_tables(limit: int = 255) -> np.ndarray:
    """(100, 64) luminance tables of libjpeg at the qualities 1 to 100, no step above `limit`."""
    return scaled(LUMINANCE, limit)


def scaled(table: np.ndarray, limit: int = 255) -> np.ndarray:
    """(100, 64) a table (64,) as libjpeg scales it for the qualities 1 to 100."""
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((table * percent[:, None] + 50) // 100, 1, limit)


@lru_cache(maxsize=4096)
def _name(tables: tuple[tuple[int, ...], ...]) -> str:
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:8]


def _subsampling(factors: Sequence[tuple[int, int]]) -> str:
    """The usual name of sampling factors (horizontal, vertical) of each component."""
    if len(factors) == 1:
        return "gray"
    (wide, high), *others = factors
    if len(factors) == 3 and all(each == (1, 1) for each in others):
        names = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}
        if (wide, high) in names:
            return names[wide, high]
    return " ".join(f"{a}x{b}" for a, b in factors)
