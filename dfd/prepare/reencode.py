"""A second set in which nothing but the picture itself differs: every picture of some shards cut, resized and
encoded alike.

Where real and fake came through different encoders or in different sizes, a detector may learn that instead
of forgery. The fair comparison trains and judges it on the matched set (Grommelt et al., 2403.17608).
Re-encoding costs traces, of both alike.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.media.decode import decode, image_info_and_luma
from dfd.media.encode import encode_jpeg
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.report import MAX_REJECTED, Report
from dfd.progress import progress
from dfd.shards.duplicates import perceptual_hash
from dfd.shards.format import SCHEMA, Shard, member_facts
from dfd.shards.pattern import parse_root
from dfd.shards.rejects import Reject, write_rejects
from dfd.shards.samples import atomic_root
from dfd.shards.table import load_table, read_index
from dfd.shards.writer import ShardWriter, write_contents


@dataclass(frozen=True)
class Reencoding:
    """What every picture becomes: the central square, `size` pixels wide, as a JPEG of this quality with
    4:2:0 chroma.
    """

    jpeg: int
    size: int

    @classmethod
    def parse(cls, text: str) -> "Reencoding":
        """Reads "jpeg=90,size=224".

        Raises:
            ValueError: another form, a quality outside 1 to 100, or a size under 16.
        """
        try:
            given = dict(part.split("=") for part in text.split(","))
            match = cls(**{name.strip(): int(value) for name, value in given.items()})
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"--match {text!r} is not understood. Write it so: --match jpeg=90,size=224"
            ) from error
        if not 1 <= match.jpeg <= 100 or match.size < 16:
            raise ValueError(f"--match {text!r}: jpeg is a quality from 1 to 100, size is 16 pixels or more.")
        return match

    def picture(self, image: np.ndarray) -> bytes:
        """A JPEG of the picture (H, W, 3) uint8 RGB."""
        return encode_jpeg(self._square(image, cv2.INTER_AREA), self.jpeg)

    def mask(self, mask: np.ndarray) -> bytes:
        """A PNG of the mask (H, W) uint8."""
        return cv2.imencode(".png", self._square(mask, cv2.INTER_NEAREST))[1].tobytes()

    def _square(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        side = min(pixels.shape[:2])
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        return cv2.resize(
            pixels[top : top + side, left : left + side], (self.size, self.size), interpolation=interpolation
        )


def reencode(root: Path, out: Path, match: Reencoding, workers: int | None = None) -> Report:
    """Writes the shards of `root` once more, every picture as `match` says; splits, families and names stay.

    Pictures smaller than `match.size` are rejected: enlarged ones could be told from the rest. `out` is whole
    or not there.

    Raises:
        ValueError: `root` holds no finished shards, `out` is not empty, or more than 5% of the pictures are
            too small; says which size would do.
        OSError: disk full or unwritable, in words.
    """
    processes = num_processes(workers)
    table, index = load_table(root), read_index(root)
    _check_sizes(root, table, match)
    with atomic_root(out) as temporary:
        rows, rejects, shards = _write_all(root, temporary, table, match, processes)
        write_rejects(temporary, rejects)
        facts = {"command": "match", "source": str(root.resolve()), **asdict(match), "of": index["made_by"]}
        made = pa.Table.from_pylist(sorted(rows, key=lambda row: (row["shard"], row["offset"])), SCHEMA)
        write_contents(temporary, made, shards, facts, len(rejects), index.get("leaks"))
    return Report.of(out, read_index(out))


def _check_sizes(root: Path, table: pa.Table, match: Reencoding) -> None:
    sides = np.sort(pc.min_element_wise(table["width"], table["height"]).to_numpy())
    small = int(np.searchsorted(sides, match.size))
    if small > MAX_REJECTED * len(sides):
        raise ValueError(
            f"{root}: {small} of {len(sides)} pictures are smaller than size={match.size} "
            f"({MAX_REJECTED:.0%} may be; "
            "enlarged, they could be told from the rest). Choose a smaller size: the smallest side is "
            f"{sides[0]}, and up to "
            f"size={sides[int(MAX_REJECTED * len(sides))]} no more than {MAX_REJECTED:.0%} are left out."
        )


def _write_all(
    root: Path, part: Path, table: pa.Table, match: Reencoding, processes: int
) -> tuple[list[dict[str, Any]], list[Reject], list[Shard]]:
    names = pc.unique(table["shard"]).to_pylist()
    rows, rejects, shards = [], [], []
    folder = Path(parse_root(root).folder)
    with (
        ProcessPool(min(processes, len(names)), __name__) as pool,
        progress(len(table), "matching") as advance,
    ):
        tasks = (
            (folder, part, name, table.filter(pc.equal(table["shard"], name)).to_pylist(), match)
            for name in names
        )
        for kept, dropped, shard in pool.run(write_reencoded, tasks):
            rows += kept
            rejects += dropped
            shards += [shard] if kept else []
            advance(len(kept) + len(dropped))
    return rows, rejects, shards


def write_reencoded(
    task: tuple[Path, Path, str, list[dict[str, Any]], Reencoding],
) -> tuple[list[dict[str, Any]], list[Reject], Shard]:
    """Runs in a worker: one shard, its pictures matched."""
    root, part, name, lines, match = task
    rows, rejects = [], []
    writer = ShardWriter(part / name, name)
    try:
        with open(root / name, "rb") as shard:
            for line in lines:
                if min(line["width"], line["height"]) < match.size:
                    rejects.append(
                        Reject(
                            line["path"],
                            f"smaller than {match.size} pixels; enlarged, it could be told apart",
                        )
                    )
                    continue
                row, picture, mask = _reencoded(shard.fileno(), line, match)
                rows.append(row | asdict(writer.add(row["key"], picture, "jpg", member_facts(row), mask)))
        written = writer.close()
    finally:
        writer.abandon()
    if not rows:
        (part / name).unlink()
    return rows, rejects, written


def _reencoded(
    handle: int, line: Mapping[str, Any], match: Reencoding
) -> tuple[dict[str, Any], bytes, bytes | None]:
    picture = match.picture(decode(os.pread(handle, line["length"], line["offset"])))
    mask = None
    if line["mask_offset"] >= 0:
        stored = np.frombuffer(os.pread(handle, line["mask_length"], line["mask_offset"]), np.uint8)
        mask = match.mask(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE))
    facts, luma = image_info_and_luma(picture)
    digest = hashlib.sha256(picture).hexdigest()
    return {**line, **facts._asdict(), "sha256": digest, "phash": perceptual_hash(luma)}, picture, mask
