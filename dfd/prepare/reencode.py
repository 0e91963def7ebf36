"""`dfd reencode`: every picture of some shards re-encoded alike, as a second set of shards.

Where real and fake came through different encoders or in different sizes, a detector may learn that instead
of forgery. The fair comparison trains and judges it on the second set, in which nothing but the pictures
differs (Grommelt et al., 2403.17608). Re-encoding costs traces, of both classes alike.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.media.decode import decode, image_info_and_luma
from dfd.media.encode import encode_jpeg
from dfd.media.perceptual_hash import perceptual_hash
from dfd.outputs import check_new_folder, output_folder
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.checks import MAX_REJECTED
from dfd.prepare.report import Report
from dfd.progress import progress
from dfd.shards.format import INDEX, SCHEMA, Shard, member_facts
from dfd.shards.pattern import parse_root
from dfd.shards.rejects import Reject, write_rejects
from dfd.shards.table import load_table, read_index
from dfd.shards.writer import ShardWriter, write_contents


@dataclass(frozen=True)
class Reencoding:
    """What every picture becomes: the central square, `size` pixels wide, as a JPEG with 4:2:0 chroma.

    Args:
        jpeg: quality, 1 to 100.
        size: pixels, 16 or more.

    Raises:
        ValueError: one of them is out of its range.
    """

    jpeg: int
    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.jpeg <= 100 or self.size < 16:
            raise ValueError(
                f"--jpeg {self.jpeg} --size {self.size}: jpeg is a quality from 1 to 100, size is 16 pixels "
                "or more."
            )

    def picture(self, image: np.ndarray) -> bytes:
        """A JPEG of the picture (H, W, 3) uint8 RGB."""
        return encode_jpeg(self._square(image, cv2.INTER_AREA), self.jpeg)

    def mask(self, mask: np.ndarray) -> bytes:
        """A PNG of the mask (H, W) uint8."""
        return cv2.imencode(".png", self._square(mask, cv2.INTER_NEAREST))[1].tobytes()

    def _square(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        side = min(pixels.shape[:2])
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        square = pixels[top : top + side, left : left + side]
        return cv2.resize(square, (self.size, self.size), interpolation=interpolation)


class Reencoded(NamedTuple):
    """A picture of the second set."""

    row: dict[str, Any]  # its line of the table; the place in the shard is still the old one
    picture: bytes  # JPEG
    mask: bytes | None  # PNG


class Written(NamedTuple):
    """What became of the samples of a shard, or of several."""

    rows: list[dict[str, Any]]
    rejects: list[Reject]
    shards: list[Shard]


def reencode(root: Path, out: Path, reencoding: Reencoding, workers: int | None = None) -> Report:
    """Writes the shards of `root` once more, every picture re-encoded; splits, families and names stay.

    Pictures smaller than `reencoding.size` are rejected: enlarged ones could be told from the rest. `out` is
    whole or not there.

    Raises:
        ValueError: `root` holds no finished shards, `out` is not empty, or more than 5% of the pictures are
            too small; says which size would do.
        OSError: disk full or unwritable, in words.
    """
    processes = num_processes(workers)
    check_new_folder(out, Path(parse_root(root).folder))
    table, index = load_table(root), read_index(root)
    _check_sizes(root, table, reencoding)
    with output_folder(out, whole=INDEX) as temporary:
        rows, rejects, shards = _write_all(root, temporary, table, reencoding, processes)
        write_rejects(temporary, rejects)
        made_by = {
            # what index.json calls such shards
            "command": "match",
            "source": str(root.resolve()),
            **asdict(reencoding),
            "of": index["made_by"],
        }
        made = pa.Table.from_pylist(sorted(rows, key=lambda row: (row["shard"], row["offset"])), SCHEMA)
        write_contents(temporary, made, shards, made_by, len(rejects), index.get("leaks"))
    return Report.of(out, read_index(out))


def _check_sizes(root: Path, table: pa.Table, reencoding: Reencoding) -> None:
    sides = np.sort(pc.min_element_wise(table["width"], table["height"]).to_numpy())
    small = int(np.searchsorted(sides, reencoding.size))
    if small > MAX_REJECTED * len(sides):
        raise ValueError(
            f"{root}: {small} of {len(sides)} pictures are smaller than size={reencoding.size} "
            f"({MAX_REJECTED:.0%} may be; enlarged, they could be told from the rest). Choose a smaller "
            f"size: the smallest side is {sides[0]}, and up to size={sides[int(MAX_REJECTED * len(sides))]} "
            f"no more than {MAX_REJECTED:.0%} are left out."
        )


def _write_all(root: Path, out: Path, table: pa.Table, reencoding: Reencoding, processes: int) -> Written:
    names = pc.unique(table["shard"]).to_pylist()
    folder = Path(parse_root(root).folder)
    tasks = (
        (folder, out, name, table.filter(pc.equal(table["shard"], name)).to_pylist(), reencoding)
        for name in names
    )
    rows, rejects, shards = [], [], []
    with (
        ProcessPool(min(processes, len(names)), __name__) as pool,
        progress(len(table), "re-encoding") as advance,
    ):
        for written in pool.run(write_reencoded, tasks):
            rows += written.rows
            rejects += written.rejects
            shards += written.shards
            advance(len(written.rows) + len(written.rejects))
    return Written(rows, rejects, shards)


def write_reencoded(task: tuple[Path, Path, str, list[dict[str, Any]], Reencoding]) -> Written:
    """Runs in a worker: one shard, its pictures re-encoded; no file where none of them is left."""
    folder, out, name, lines, reencoding = task
    rows, rejects = [], []
    writer = ShardWriter(out / name, name)
    try:
        with open(folder / name, "rb") as source:
            for line in lines:
                if min(line["width"], line["height"]) < reencoding.size:
                    reason = f"smaller than {reencoding.size} pixels; enlarged, it could be told apart"
                    rejects.append(Reject(line["path"], reason))
                    continue
                row, picture, mask = _reencoded(source.fileno(), line, reencoding)
                rows.append(row | asdict(writer.add(row["key"], picture, "jpg", member_facts(row), mask)))
        shard = writer.close()
    finally:
        writer.abandon()
    if not rows:
        (out / name).unlink()
    return Written(rows, rejects, [shard] if rows else [])


def _reencoded(handle: int, line: Mapping[str, Any], reencoding: Reencoding) -> Reencoded:
    picture = reencoding.picture(decode(os.pread(handle, line["length"], line["offset"])))
    mask = None
    if line["mask_offset"] >= 0:
        stored = os.pread(handle, line["mask_length"], line["mask_offset"])
        mask = reencoding.mask(np.ascontiguousarray(decode(stored)[..., 0]))
    info, luma = image_info_and_luma(picture)
    digest = hashlib.sha256(picture).hexdigest()
    row = {**line, **info._asdict(), "sha256": digest, "phash": perceptual_hash(luma)}
    return Reencoded(row, picture, mask)
