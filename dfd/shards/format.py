"""Shard format and table schema: WebDataset tars of original bytes, with a table of contents beside them.

ROOT/train-000000.tar   <key>.jpg (bytes as found), <key>.json, <key>.mask.png; one split a shard
ROOT/samples.parquet    one line a sample: SCHEMA, and `cues` where they were measured
ROOT/index.json         shards with counts and sha256, totals, what made them; written last: finished
ROOT/rejected.csv       path, reason
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfd.batch import LABELS
from dfd.media.files import VIDEO_SUFFIXES
from dfd.shards.splits import SPLITS

INDEX, SAMPLES_FILE = "index.json", "samples.parquet"
EXTENSIONS = {
    "JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif",
    "GIF": "gif", "AVIF": "avif", "JPEG2000": "jp2", "PPM": "ppm", "HEIF": "heic",
}  # fmt: skip
SCHEMA = pa.schema(
    {
        "key": pa.string(),  # unique, without dots
        "path": pa.string(),  # as found, relative to the source
        "shard": pa.dictionary(pa.int32(), pa.string()),  # file name
        "offset": pa.int64(),  # of the picture's bytes in the tar
        "length": pa.int64(),
        "mask_offset": pa.int64(),  # -1 without a mask
        "mask_length": pa.int64(),
        "label": pa.int8(),
        "split": pa.dictionary(pa.int8(), pa.string()),
        "source": pa.dictionary(pa.int32(), pa.string()),
        "method": pa.dictionary(pa.int32(), pa.string()),  # "" for real or unknown
        "groups": pa.list_(pa.string()),
        "family": pa.string(),
        "width": pa.int32(),  # upright
        "height": pa.int32(),
        "format": pa.dictionary(pa.int8(), pa.string()),
        "sha256": pa.string(),  # hex
        "phash": pa.binary(),  # perceptual hash, 32 bytes: near duplicates
    }
)
SHARD_BYTES, SHARD_IMAGES = 64_000_000, 5000
WRITER = "dfd"  # the owner that a tar names: by it we know our own


@dataclass(frozen=True)
class Place:
    """Where a sample's members lie in their tar, in bytes."""

    offset: int
    length: int
    mask_offset: int = -1
    mask_length: int = 0


@dataclass(frozen=True)
class Shard:
    """What index.json says of one tar."""

    name: str
    split: str
    images: int
    bytes: int
    sha256: str


def shard_name(split: str, number: int) -> str:
    return f"{split}-{number:06d}.tar"


def member_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a sample's json says, of a line of the table."""
    names = ("label", "source", "method", "groups", "width", "height", "format", "sha256", "path", "split")
    return {name: row[name] for name in names}


def totals(table: pa.Table) -> dict[str, Any]:
    """What index.json says of all samples: their number, by class, by split and class, and their families."""
    return {
        "images": len(table),
        "classes": count_classes(table),
        "splits": {split: count_classes(table.filter(pc.equal(table["split"], split))) for split in SPLITS},
        "families": len(pc.unique(table["family"])),
    }


def recorded_margin(index: Mapping[str, Any]) -> float | None:
    """Side of the pictures as a multiple of the longer side of the face's box in them, by index.json.

    `dfd prepare` records it of faces that it cut, and a re-encoded set has it from those; None for others.
    """
    return _cut(index).get("margin")


def recorded_face_detector(index: Mapping[str, Any]) -> str:
    """What found the faces that `dfd prepare` cut out, as `FaceDetector.identity`, by index.json; "" where it
    does not say: for pictures that were taken whole or whose boxes the data set brought.
    """
    return _cut(index).get("face_detector", "")


def _cut(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """How faces were cut out, of a re-encoded set those of its first; empty where they were not."""
    maker = index.get("made_by")
    while isinstance(maker, Mapping):
        if isinstance(maker.get("cut"), Mapping):
            return maker["cut"]
        maker = maker.get("of")
    return {}


def count_classes(table: pa.Table) -> dict[str, int]:
    return {name: pc.sum(pc.equal(table["label"], value)).as_py() or 0 for value, name in enumerate(LABELS)}


def clip_of(path: str) -> str:
    """The video that an image was cut from, by the path of the image, which lies below the video's; "" for
    none.

    Frames that a data set brings as pictures name their video by their folder, as FaceForensics++ has them:
    `images/071_054/0000.png`.
    """
    parts = path.split("/")
    for end, part in enumerate(parts[:-1], 1):
        if part.lower().endswith(tuple(VIDEO_SUFFIXES)):
            return "/".join(parts[:end])
    in_frames = len(parts) > 2 and parts[-3] == "images" and parts[-1].partition(".")[0].isdigit()
    return "/".join(parts[:-1]) if in_frames else ""
