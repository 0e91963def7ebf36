"""Sets of pictures that forensic tools are measured on, each saved in several ways, its conditions.

A set says what its pictures are and makes each of them by its number alone, so that any process can: the same
number and condition are the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.evaluate.forensic_benchmark.planted_edits import KINDS, SMALLEST, plant
from dfd.evaluate.forensic_benchmark.scenes import Scenes
from dfd.media.decode import decode, read_picture
from dfd.media.encode import encode_jpeg, encode_png
from dfd.media.exif import read_exif
from dfd.media.files import IMAGE_SUFFIXES, read_file
from dfd.media.formats import Undecodable
from dfd.prepare.reencode import Reencoding
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table
from dfd.synthetic.toy import FAMILY, draw_sample

# conditions: the file itself; both classes with one size and as JPEG 90; the pixels saved anew
AS_FOUND, MATCHED, PNG, JPEG90, JPEG75 = "as_found", "matched", "png", "jpeg90", "jpeg75"
QUALITY = {JPEG90: 90, JPEG75: 75}
ORIGINALS, EDITED_ORIGINALS, EDITED_SIMULATED, TOY = (
    "camera_originals", "edited_originals", "edited_simulated", "toy",
)  # fmt: skip
LARGEST = 1024  # sides of a photograph that is edited; a larger one is cropped
SMALL = 200  # a smaller photograph is not edited: most tools abstain there
VARIANTS = ("", *KINDS)  # of an edited photograph, the untouched one first


class Picture(NamedTuple):
    """One picture as a tool gets it."""

    key: str
    family: str  # related pictures share it
    label: int  # REAL: untouched; FAKE: edited, or generated
    method: str  # what was done to it; "" for nothing or unknown
    data: bytes
    mask: np.ndarray | None  # (H, W) bool, where it was edited; None where nobody knows


class PictureSet(Protocol):
    """A set of pictures; small enough to be sent to another process."""

    @property
    def name(self) -> str: ...

    @property
    def conditions(self) -> tuple[str, ...]: ...

    @property
    def folders(self) -> tuple[str, ...]:
        """That it reads."""
        ...

    def __len__(self) -> int: ...

    def identity(self) -> dict[str, Any]:
        """What its pictures depend on, for JSON."""
        ...

    def picture(self, number: int, condition: str) -> Picture: ...


@dataclass(frozen=True)
class Toy:
    """The toy set's drawings, with the masks of their forgeries."""

    num: int
    seed: int = 0
    size: int = 256
    name: str = TOY
    conditions: tuple[str, ...] = (AS_FOUND, JPEG75)
    folders: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.num

    def identity(self) -> dict[str, Any]:
        return {"toy": self.num, "seed": self.seed, "size": self.size}

    def picture(self, number: int, condition: str) -> Picture:
        made = draw_sample(number, self.num, self.size, self.seed)
        mask = np.zeros((self.size, self.size), bool)
        if made["mask_bytes"]:
            mask = decode(made["mask_bytes"])[..., 0] > 0
        data = _as(condition, made["image_bytes"])
        return Picture(made["key"], str(number // FAMILY), made["label"], made["method"], data, mask)


@dataclass(frozen=True)
class Files:
    """Untouched photographs, as their cameras wrote them: whatever is found in them is a false alarm.

    Args:
        paths: of the files.
        families: of each.
        digest: of all their bytes.
    """

    paths: tuple[str, ...]
    families: tuple[str, ...]
    digest: str
    name: str = ORIGINALS
    conditions: tuple[str, ...] = (AS_FOUND, JPEG75)
    folders: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def identity(self) -> dict[str, Any]:
        return {"files": len(self), "digest": self.digest}

    def picture(self, number: int, condition: str) -> Picture:
        path = Path(self.paths[number])
        data = _as(condition, read_file(path))
        return Picture(path.name, self.families[number], REAL, "", data, None)

    def photograph(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB: its middle, cut along the blocks of its JPEG."""
        pixels = read_picture(read_file(self.paths[number])).pixels
        top, left = (max(0, length - LARGEST) // 32 * 16 for length in pixels.shape[:2])
        return np.ascontiguousarray(pixels[top : top + LARGEST, left : left + LARGEST])


@dataclass(frozen=True)
class Edited:
    """Photographs, each untouched and once with every kind of planted edit; saved alike, without metadata.

    Args:
        photographs: at least two of different families: a splice needs a donor.
    """

    photographs: Files | Scenes
    name: str
    seed: int = 0
    conditions: tuple[str, ...] = (PNG, JPEG90, JPEG75)
    folders: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.photographs) * len(VARIANTS)

    def identity(self) -> dict[str, Any]:
        return {**self.photographs.identity(), "edit_seed": self.seed}

    def picture(self, number: int, condition: str) -> Picture:
        base, variant = divmod(number, len(VARIANTS))
        kind = VARIANTS[variant]
        pixels = self.photographs.photograph(base)
        mask = np.zeros(pixels.shape[:2], bool)
        if kind:
            rng = np.random.default_rng((self.seed, base, variant))
            donor = self.photographs.photograph(self._donor(base, rng))
            pixels, mask = plant(kind, pixels, donor, rng)
        label = FAKE if kind else REAL
        key = f"{base:04d}-{kind or 'untouched'}"
        return Picture(key, self.photographs.families[base], label, kind, _saved(condition, pixels), mask)

    def _donor(self, base: int, rng: np.random.Generator) -> int:
        families = self.photographs.families
        others = [number for number, family in enumerate(families) if family != families[base]]
        return int(rng.choice(others))


@dataclass(frozen=True)
class Shards:
    """Pictures of finished shards, real and fake.

    Args:
        folder: that the shards lie in.
        rows: of each picture: key, family, label, method, shard, offset, length.
        side: of the smallest picture, which "matched" brings all to.
        digest: of all their bytes.
    """

    name: str
    folder: str
    rows: tuple[tuple[str, str, int, str, str, int, int], ...]
    side: int
    digest: str
    conditions: tuple[str, ...] = (AS_FOUND, MATCHED, JPEG75)

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.folder,)

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self) -> dict[str, Any]:
        return {"images": len(self), "digest": self.digest, "side": self.side}

    def picture(self, number: int, condition: str) -> Picture:
        key, family, label, method, shard, offset, length = self.rows[number]
        with open(Path(self.folder, shard), "rb") as file:
            file.seek(offset)
            data = file.read(length)
        if condition == MATCHED:
            data = Reencoding(jpeg=90, size=self.side).picture(read_picture(data).pixels)
        else:
            data = _as(condition, data)
        return Picture(key, family, label, method, data, None)


def open_shards(name: str, root: str, limit: int) -> Shards:
    """At most `limit` pictures of each class of finished shards: of the test split first, then of val, then
    of train. The tools have learnt from none of them.

    Raises:
        ValueError: there are no finished shards, or no pictures of a known label.
    """
    columns = ["key", "family", "label", "method", "shard", "offset", "length"]
    table = load_table(root, [*columns, "split", "width", "height", "sha256"])
    lines = table.to_pylist()
    order = np.random.default_rng(0).permutation(len(lines)).tolist()
    order.sort(key=lambda at: ("test", "val", "train").index(lines[at]["split"]))
    taken: Counter[int] = Counter()
    kept = []
    for at in order:
        label = lines[at]["label"]
        if label in (REAL, FAKE) and taken[label] < limit:
            taken[label] += 1
            kept.append(lines[at])
    if not kept:
        raise ValueError(f"--on {root}: no picture there has a label. Name shards of real and fake pictures.")
    return Shards(
        name,
        parse_root(root).folder,
        tuple(tuple(line[name] for name in columns) for line in kept),
        min(min(line["width"], line["height"]) for line in kept),
        _digest(line["sha256"] for line in kept),
    )


def open_originals(places: Sequence[Path]) -> Files:
    """The photographs that can be decoded.

    Args:
        places: files, and folders that are walked for pictures.

    Raises:
        ValueError: no such file or folder, or no photograph in any.
    """
    named: list[Path] = []
    for place in places:
        if not place.exists():
            raise ValueError(f"--originals {place}: there is nothing. Name photographs, or folders of them.")
        below = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        named += below if place.is_dir() else [place]
    paths, families, digests = [], [], []
    for path in dict.fromkeys(named):
        try:
            data = read_file(path)
            read_picture(data)
        except Undecodable:
            continue
        paths.append(str(path))
        families.append(_camera(data) or path.name)
        digests.append(hashlib.sha256(data).hexdigest())
    if not paths:
        raise ValueError(f"--originals {', '.join(map(str, places))}: no picture there can be decoded.")
    folders = tuple(str(place) for place in places if place.is_dir())
    return Files(tuple(paths), tuple(families), _digest(digests), folders=folders)


def large_enough(files: Files, most: int) -> Files | None:
    """The first photographs of a folder that can be edited; None where there are not two cameras' left."""
    kept: list[int] = []
    for number, path in enumerate(files.paths):
        if len(kept) == most:
            break
        height, width = read_picture(read_file(path)).pixels.shape[:2]
        if min(height, width) >= max(SMALL, SMALLEST):
            kept.append(number)
    families = tuple(files.families[number] for number in kept)
    if len(set(families)) < 2:
        return None
    return Files(tuple(files.paths[number] for number in kept), families, files.digest)


def _as(condition: str, data: bytes) -> bytes:
    return data if condition == AS_FOUND else _saved(condition, read_picture(data).pixels)


def _saved(condition: str, pixels: np.ndarray) -> bytes:
    return encode_png(pixels) if condition == PNG else encode_jpeg(pixels, QUALITY[condition])


def _camera(data: bytes) -> str:
    """Maker and model, "" where the file does not say: pictures of one camera are one family."""
    told = read_exif(data).ifd0
    return " ".join(str(told.get(tag, "")).strip() for tag in ("Make", "Model")).strip()


def _digest(parts: Any) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()
