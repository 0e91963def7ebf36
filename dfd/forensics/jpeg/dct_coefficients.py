"""Coefficients of a JPEG file: the quantized DCT of each component, as stored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from dfd.forensics.jpeg.headers import jpeg_facts
from dfd.media.decode import plain_jpeg, stored_luma
from dfd.media.formats import Undecodable
from dfd.media.headers import jpeg_size
from dfd.media.jpeg_segments import HEAD, segments

QUANTIZATION = 0xDB


@dataclass(frozen=True)
class Component:
    """One component of a JPEG.

    Args:
        plane: (8 * rows, 8 * columns) int16 quantized coefficients, a block of 8 x 8 where the block of the
            picture lies.
        table: (8, 8) int steps: coefficient times step is the DCT.
        sampling: horizontal and vertical factor.
    """

    plane: np.ndarray
    table: np.ndarray
    sampling: tuple[int, int]

    @property
    def blocks(self) -> np.ndarray:
        """(rows, columns, 8, 8) int16, a view: vertical frequency, then horizontal."""
        height, width = self.plane.shape
        return self.plane.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)

    def mode(self, vertical: int, horizontal: int) -> np.ndarray:
        """(rows, columns) int16 coefficients of one frequency, a view."""
        return self.plane[vertical::8, horizontal::8]


@dataclass(frozen=True)
class Coefficients:
    """The quantized DCT of a JPEG, as stored: not turned by EXIF.

    Args:
        components: luma first; luma alone where they are not exact.
        size: (H, W) of the picture as stored, in pixels.
        exact: as stored in the file; else made from decoded luma, and off by one in a few places.
    """

    components: tuple[Component, ...]
    size: tuple[int, int]
    exact: bool

    @property
    def luma(self) -> Component:
        return self.components[0]


@lru_cache(maxsize=1)
def coefficients(data: bytes) -> Coefficients:
    """The quantized DCT of a JPEG file. Those of the last file are kept: several tools ask for the same.

    By pyjpegio where it is installed and its copies fit in 12 bytes a pixel and 100 MB; else of luma alone,
    from decoded pixels.

    Raises:
        Undecodable: no JPEG, or one that `dfd.media.decode.plain_jpeg` refuses; pyjpegio never meets it.
    """
    clean = plain_jpeg(data)
    height, width = jpeg_size(clean)
    parts = _stored(clean, height * width)
    if parts is not None:
        _check_tables([part.table for part in parts])
        return Coefficients(parts, (height, width), True)
    facts = jpeg_facts(data)
    if facts is None:
        raise Undecodable("a JPEG without a quantization table")
    table = np.array(facts.tables[0]).reshape(8, 8)
    _check_tables([table])
    luma = stored_luma(clean)
    return Coefficients((Component(_quantized(luma, table), table, (1, 1)),), (height, width), False)


def _check_tables(tables: Sequence[np.ndarray]) -> None:
    """Raises Undecodable for a step of 0, by which libjpeg multiplies and tools divide."""
    if any((table == 0).any() for table in tables):
        raise Undecodable("a JPEG whose quantization table has a step of 0")


def _stored(clean: bytes, pixels: int) -> tuple[Component, ...] | None:
    """By pyjpegio; None where it is not there or would take too much memory."""
    try:
        import jpegio
    except ImportError:
        return None
    facts = jpeg_facts(clean)
    share = {"gray": 1.0, "4:2:0": 1.5, "4:2:2": 2.0, "4:4:0": 2.0, "4:1:1": 1.5}.get(
        facts.subsampling if facts else "", 3.0
    )
    # libjpeg holds 2 bytes a sample, pyjpegio 4 and the result 2
    if 8 * share * pixels > 12 * pixels + 100e6:
        return None
    with _named(clean) as path:
        try:
            read = jpegio.read(path)
        except Exception:  # whatever its libjpeg refuses that ours reads
            return None
    # pyjpegio gives the tables in the order of their numbers, without the numbers
    tables = dict(zip(_table_numbers(clean), read.quant_tables, strict=False))
    if any(info.quant_tbl_no not in tables for info in read.comp_info):
        return None
    parts = []
    for info, plane in zip(read.comp_info, read.coef_arrays, strict=True):
        table = np.array(tables[info.quant_tbl_no])
        sampling = int(info.h_samp_factor), int(info.v_samp_factor)
        parts.append(Component(plane.astype(np.int16), table, sampling))
    return tuple(parts)


def _table_numbers(clean: bytes) -> list[int]:
    """Numbers of the quantization tables before the first scan, in order."""
    numbers = set()
    for marker, whole in segments(clean):
        content = whole[HEAD:] if marker == QUANTIZATION else b""
        while content:
            numbers.add(content[0] & 15)
            content = content[1 + (128 if content[0] >> 4 else 64) :]
    return sorted(numbers)


@contextmanager
def _named(data: bytes) -> Iterator[str]:
    """A path of the bytes, for a reader that takes nothing else: in memory where the system can (Linux)."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.jpg"
            path.write_bytes(data)
            yield str(path)
        return
    with os.fdopen(os.memfd_create("picture.jpg"), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _quantized(luma: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(8 * rows, 8 * columns) int16: luma (H, W) uint8, its rim repeated to whole blocks, as encoders do."""
    height, width = luma.shape
    whole = cv2.copyMakeBorder(luma, 0, -height % 8, 0, -width % 8, cv2.BORDER_REPLICATE)
    plane = np.empty(whole.shape, np.int16)
    steps = np.tile(table.astype(np.float32), (1, whole.shape[1] // 8))
    for top in range(0, len(whole), STRIP):
        strip = block_dct(whole[top : top + STRIP])
        rows = strip.reshape(-1, 8, strip.shape[1])
        plane[top : top + STRIP] = np.rint(rows / steps).reshape(strip.shape)
    return plane


# rows that are transformed at a time: a multiple of 8 that keeps a strip in the cache of a core
STRIP = 64


def block_dct(luma: np.ndarray) -> np.ndarray:
    """(8 * rows, 8 * columns) float32 DCT of each block of 8 x 8, in JPEG's scale: 8 times the mean is DC.

    Args:
        luma: (8 * rows, 8 * columns), 0 to 255.
    """
    height, width = luma.shape
    centred = luma.astype(np.float32) - 128
    columns = np.matmul(BASIS, centred.reshape(height // 8, 8, width))
    return (columns.reshape(-1, 8) @ BASIS.T).reshape(height, width)


def unclipped(pixels: np.ndarray) -> np.ndarray:
    """(H // 8, W // 8) bool: blocks that hold, with their neighbours, no pixel at either end of the range.

    Clipping takes the multiples of a step away, of luma too where one colour alone is clipped; and a
    compression of the clipped picture spreads that over a block, and over two of subsampled chroma.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    red, green, blue = cv2.split(pixels[: 8 * rows, : 8 * columns])
    most, least = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    clipped = cv2.max(cv2.inRange(most, 250, 255), cv2.inRange(least, 0, 4))
    blocks = cv2.resize(clipped, (columns, rows), interpolation=cv2.INTER_AREA)
    # a pixel or two of 64 are noise
    return cv2.dilate((blocks > 8).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0


def block_pixels(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(8 * rows, 8 * columns) uint8 pixels of quantized coefficients, as a decoder makes them."""
    height, width = plane.shape
    steps = np.tile(table.astype(np.float32), (1, width // 8))
    dct = (plane.reshape(height // 8, 8, width) * steps).reshape(-1, 8)
    columns = (dct @ BASIS).reshape(height // 8, 8, width)
    pixels = np.matmul(BASIS.T, columns).reshape(height, width) + 128
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _basis() -> np.ndarray:
    """(8, 8) float32: the orthonormal DCT of 8 values, a frequency a row."""
    at = np.arange(8)
    cosines = np.cos(np.pi * (2 * at + 1) * at[:, None] / 16) / 2
    cosines[0] /= np.sqrt(2)
    return cosines.astype(np.float32)


BASIS = _basis()
