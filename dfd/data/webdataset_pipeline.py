"""A webdataset pipeline over a root's shards, for notebooks and other programs: `dfd.data.stream_webdataset`.

`dfd fit` reads its shards at the table's offsets (`dfd.data.ShardDataModule`): in any order, and the same one
at any number of ranks. A pipeline reads them from front to back, and goes into anything that takes one.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.media.decode import decode
from dfd.media.files import MAX_BYTES
from dfd.shards.cache import Cache
from dfd.shards.checksum import verify
from dfd.shards.fetch import Remote
from dfd.shards.remote import open_root, shards_of
from dfd.shards.splits import SPLITS
from dfd.shards.tar_reader import Member, key_and_extension, plain_members

if TYPE_CHECKING:
    from webdataset import FluidWrapper  # ty: ignore[missing-module-member]

Form = Literal["bytes", "rgb", "pil"]
_FACTS = ["key", "path", "split", "source", "method", "family", "label"]  # of the table, in every sample


def stream_webdataset(
    root: str | Path,
    split: str,
    *,
    rank: int = 0,
    world: int = 1,
    image: Form = "rgb",
    masks: bool = False,
    cache: Cache = Cache(),  # noqa: B008  frozen
) -> FluidWrapper:
    """The samples of one split as dictionaries, each once over all ranks and all workers of their loaders.

        for sample in stream_webdataset("shards/mine", "train"):
            print(sample["key"], sample["label"], sample["image"].shape)

    Whole shards are dealt out, to the ranks and then to the workers of a rank's loader. So ranks hold
    different numbers of samples, and none where there are fewer shards than ranks: what needs equal numbers
    (DDP) takes `dfd.data.ShardDataModule`.

    A sample has the keys `image`, `key`, `path`, `split`, `source`, `method`, `family` and `label` (1 is
    fake), and with `masks` also `mask`. Nothing but pictures and masks is read of a shard.

    Neither `pipe:` URLs nor pickles get as far as webdataset. Where webdataset was not imported before, it is
    with WDS_SECURE=1, for the whole program: it then refuses both from everybody, and also paths of local
    files that it should open itself, as in `webdataset.TarWriter("a.tar")`. A program that needs them imports
    webdataset first.

    Args:
        root: folder that `dfd prepare` or `dfd index` made, its URL (https://, s3://, gs://), or a pattern of
            some of its shards, such as "shards/train-{000000..000123}.tar".
        split: train, val or test.
        rank: of this process, in [0, world).
        world: processes that share the samples.
        image: "bytes" as they were prepared; "rgb" (H, W, 3) uint8, upright, as training decodes them; "pil"
            the same as a PIL image.
        masks: add `mask`, None where a picture has none: bytes of a PNG, (H, W) uint8 or a PIL image.
        cache: where shards of remote roots are kept while they are read.

    Raises:
        ValueError: an argument is out of its range, or `root` holds no finished shards or no sample of the
            split; while it is read: a shard is not the one that the table was made of, or no plain tar.
        Undecodable: while it is read: a picture cannot be decoded.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is none of {', '.join(SPLITS)}.")
    if not 0 <= rank < world:
        raise ValueError(f"rank={rank} of world={world}: a rank is at least 0 and below the number of ranks.")
    if image not in ("bytes", "rgb", "pil"):
        raise ValueError(f"image={image!r} is none of bytes, rgb, pil.")
    if str(root).startswith("pipe:"):
        raise ValueError(f"{root}: a root is a folder, a URL or a pattern of shards. Programs are not run.")
    shards = _open_shards(str(root), split, cache)
    webdataset = _import_webdataset()
    return webdataset.FluidWrapper(webdataset.SimpleShardList(list(shards.places))).compose(
        partial(_shards_of_rank, rank=rank, world=world),
        webdataset.split_by_worker,
        partial(_samples, shards=shards, image=image, masks=masks),
    )


def _import_webdataset() -> ModuleType:
    # webdataset reads it once, when it is imported
    if "webdataset" not in sys.modules:
        os.environ["WDS_SECURE"] = "1"
    import webdataset

    return webdataset


@dataclass
class _Shards:
    """The shards that hold samples of a split, and the table's lines of those samples."""

    places: dict[str, Path | Remote]  # by file name
    sha256: dict[str, str]
    table: pa.Table  # sorted by shard
    cache: Cache

    def open(self, name: str) -> int:
        """A descriptor of a shard, which is the one that the table was made of."""
        place = self.places[name]
        if isinstance(place, Remote):
            return self.cache.open(place)
        verify(place, self.sha256[place.name])
        return os.open(place, os.O_RDONLY)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The samples of a shard, in the order of their bytes."""
        return self.table.filter(pc.equal(self.table["shard"], name)).sort_by("offset").to_pylist()


def _open_shards(root: str, split: str, cache: Cache) -> _Shards:
    index, table = open_root(root, cache)
    table = table.filter(pc.equal(table["split"], split))
    if not len(table):
        held = ", ".join(f"{name} {sum(count.values())}" for name, count in index["splits"].items())
        raise ValueError(f"{root}: no image in the {split} split ({held}).")
    names = pc.unique(table["shard"].cast(pa.string())).to_pylist()
    places = dict(zip(names, shards_of(root, index, names), strict=True))
    sha256 = {shard["name"]: shard["sha256"] for shard in index["shards"]}
    return _Shards(places, sha256, table.select([*_FACTS, "shard", "offset", "length"]), cache)


def _shards_of_rank(sources: Iterator[dict[str, str]], rank: int, world: int) -> Iterator[dict[str, str]]:
    # not webdataset's split_by_node, which takes the rank from the environment
    return islice(sources, rank, None, world)


def _members(name: str, handle: int) -> list[Member]:
    """The files in a tar, in its order.

    Raises:
        ValueError: it is no whole tar, or holds a link, a device, a sparse or a far too large file: the table
            speaks of none of these.
    """

    def refuse(member: str, reason: str) -> None:
        if member:
            raise ValueError(f"{name}: {member!r:.100} is {reason}.")

    try:
        members = list(plain_members(handle, refuse))
    except tarfile.TarError as error:
        raise ValueError(f"{name} is no whole tar: {error}. Copy it again.") from error
    for member in members:
        if member.size > MAX_BYTES:
            raise ValueError(
                f"{name}: {member.name!r:.100} has {member.size} bytes, more than the {MAX_BYTES} that "
                "are read."
            )
    return members


def _samples(
    sources: Iterator[dict[str, str]], shards: _Shards, image: Form, masks: bool
) -> Iterator[dict[str, Any]]:
    """The samples of each shard (its name is `url`), at their places in it, with what the table says of them.

    Not by webdataset's iterator, which ends at a tar's first end mark and takes neighbours for a sample:
    `dfd index` does neither.
    """
    for source in sources:
        name = source["url"]
        with os.fdopen(shards.open(name), "rb", buffering=0) as file:
            members = _members(name, file.fileno())
            at = {member.offset: member for member in members}
            mask_of = {
                (key, member.part): member
                for member in members
                for key, extension in [key_and_extension(member.name)]
                if extension == "mask.png"
            }
            for line in shards.lines(name):
                member = at.get(line["offset"])
                if member is None or member.size != line["length"]:
                    raise ValueError(f"{name}: {line['key']} is not what the table says. Make it again.")
                sample = {
                    "image": _in_form(_read(file.fileno(), member), image),
                    **{fact: line[fact] for fact in _FACTS},
                }
                if masks:
                    mask = mask_of.get((key_and_extension(member.name)[0], member.part))
                    found = None if mask is None else _read(file.fileno(), mask)
                    sample["mask"] = None if found is None else _in_form(found, image, mask=True)
                yield sample


def _read(handle: int, member: Member) -> bytes:
    return os.pread(handle, member.size, member.offset)


def _in_form(data: bytes, form: Form, mask: bool = False) -> Any:
    if form == "bytes":
        return data
    pixels = decode(data)
    if mask:
        pixels = np.ascontiguousarray(pixels[..., 0])
    if form == "rgb":
        return pixels
    from PIL import Image

    return Image.fromarray(pixels)
