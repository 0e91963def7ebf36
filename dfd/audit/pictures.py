"""Image statistics of the audit: encoding, colour and mean spectrum, each picture read and decoded once, by
several processes, in memory that does not grow.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dfd.batch import LUMA
from dfd.forensics import jpeg_facts
from dfd.forensics.spectrum import log_spectrum
from dfd.media.decode import decode
from dfd.media.headers import picture_header
from dfd.parallel import ProcessPool

SIDE = 128  # of the central square whose spectrum is averaged, in pixels
NO_JPEG = ("none", 0, "none", False, "none", False)
_CHUNK = 64  # pictures a task
COLORS = ("red", "green", "blue", "contrast", "saturation", "dark", "middle", "bright")


class Encoding(NamedTuple):
    """What the headers of a file say, where it is a JPEG; `table` is "none" elsewhere."""

    table: str  # JpegFacts.table_id
    quality: int
    subsampling: str
    progressive: bool
    exif: bool
    icc: bool


@dataclass
class Pictures:
    """What was found, in the order of the table's rows (M,)."""

    encoding: list[Encoding]
    color: np.ndarray  # (M, len(COLORS)) float32
    # (2, SIDE, SIDE // 2 + 1) float64: mean log amplitude of a class, frequency 0 in row SIDE // 2
    spectrum: np.ndarray
    counted: np.ndarray  # (2,) pictures of a class in `spectrum`; smaller ones than SIDE are in none
    tables: dict[str, tuple[tuple[int, ...], ...]]  # quantization tables by their id


@dataclass
class _Part:
    rows: np.ndarray
    encoding: list[Encoding] = field(default_factory=list)
    color: list[np.ndarray] = field(default_factory=list)
    spectrum: np.ndarray = field(default_factory=lambda: np.zeros((2, SIDE, SIDE // 2 + 1)))
    counted: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    tables: dict[str, tuple] = field(default_factory=dict)


def read_pictures(root: Path, table: pa.Table, workers: int, advance: Callable[[int], None]) -> Pictures:
    """Reads every picture of `table` (samples.parquet) once.

    Args:
        advance: is called with the number of pictures of each piece that is done.
    """
    total = len(table)
    encoding: list = [None] * total
    color = np.zeros((total, len(COLORS)), np.float32)
    found = Pictures(encoding, color, np.zeros((2, SIDE, SIDE // 2 + 1)), np.zeros(2, np.int64), {})
    with ProcessPool(workers, __name__) as pool:
        for part in pool.run(_inspect, _tasks(root, table)):
            for row, each in zip(part.rows, part.encoding, strict=True):
                encoding[row] = each
            color[part.rows] = part.color
            found.spectrum += part.spectrum
            found.counted += part.counted
            found.tables |= part.tables
            advance(len(part.rows))
    found.spectrum /= np.maximum(found.counted, 1)[:, None, None]
    return found


def _tasks(root: Path, table: pa.Table) -> Iterator[tuple]:
    """Rows of one shard in the order of their bytes, some at a time."""
    shard = table["shard"].combine_chunks()
    if not pa.types.is_dictionary(shard.type):
        shard = shard.dictionary_encode()
    names, place = shard.dictionary.to_pylist(), np.asarray(shard.indices)
    offset, length, label = (table[name].to_numpy() for name in ("offset", "length", "label"))
    order = np.lexsort((offset, place))
    for rows in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        for at in range(0, len(rows), _CHUNK):
            some = rows[at : at + _CHUNK]
            yield str(root / names[place[some[0]]]), some, offset[some], length[some], label[some]


def _inspect(task: tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> _Part:
    shard, rows, offsets, lengths, labels = task
    part = _Part(rows)
    # at the table's offsets, not by webdataset's iterator: dfd.shards.tar_reader says why
    with open(shard, "rb") as file:
        for offset, length, label in zip(offsets.tolist(), lengths.tolist(), labels.tolist(), strict=True):
            file.seek(offset)
            data = file.read(length)
            part.encoding.append(encoding_of(data, part.tables))
            image = decode(data)
            part.color.append(color_of(image))
            if min(image.shape[:2]) >= SIDE:
                part.spectrum[label] += log_spectrum(image, SIDE)
                part.counted[label] += 1
    return part


def encoding_of(data: bytes, tables: dict) -> Encoding:
    """What a file's headers say; its quantization tables join `tables` by their id."""
    facts = jpeg_facts(data)
    if facts is not None:
        tables[facts.table_id] = facts.tables
    header = picture_header(data)
    exif, icc = (header.exif, header.profile) if header is not None else (False, False)
    if facts is None:
        return Encoding("none", 0, "none", False, exif, icc)
    return Encoding(facts.table_id, facts.quality, facts.subsampling, facts.progressive, exif, icc)


def color_of(image: np.ndarray) -> np.ndarray:
    """COLORS of a picture (H, W, 3), each in [0, 1], from at most 64 x 64 of its pixels or a few more."""
    step = max(1, max(image.shape[:2]) // 64)
    red, green, blue = np.float32(1 / 255) * image[::step, ::step].reshape(-1, 3).T
    luma = np.sort(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)
    saturation = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    dark, middle, bright = luma[[round(share * (len(luma) - 1)) for share in (0.05, 0.5, 0.95)]]
    return np.float32(
        [red.mean(), green.mean(), blue.mean(), luma.std(), saturation.mean(), dark, middle, bright]
    )


def column(encodings: Sequence[Encoding], name: str) -> np.ndarray:
    """One fact of all pictures (M,)."""
    return np.array([getattr(each, name) for each in encodings])
