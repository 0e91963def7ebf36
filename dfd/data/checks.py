"""Checks of a data module: its options, roots and splits, so that a run is refused before it begins; and what
transforms make of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dfd.batch import LABELS, Sample, transform_name
from dfd.shards.cache import Cache
from dfd.shards.catalog import Catalog
from dfd.shards.remote import bytes_at_once, check_limit


def weighed(roots: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    """Roots with their weights, 1 where none is stated.

    Raises:
        ValueError: there is no root, or one whose weight is not positive.
    """
    if isinstance(roots, Mapping):
        weights = dict(roots)
    else:
        weights = dict.fromkeys([roots] if isinstance(roots, str) else roots, 1.0)
    if not weights:
        raise ValueError(
            "data.roots is empty. Name at least one folder that `dfd prepare SOURCE --out FOLDER` made."
        )
    bad = {root: weight for root, weight in weights.items() if not weight > 0}
    if bad:
        raise ValueError(
            f"data.roots has weights that are not positive: {bad}. Leave a root out instead of weighing it 0."
        )
    return weights


def check_numbers(batch_size: int, num_workers: int, window: int | None, seed: int) -> None:
    """ValueError where one of these options of `ShardDataModule` is out of its range."""
    if batch_size < 1:
        raise ValueError(f"data.batch_size={batch_size}: it takes at least one image.")
    if num_workers < 0:
        raise ValueError(
            f"data.num_workers={num_workers} is negative. Use 0 to decode in the training process."
        )
    if window is not None and window < 1:
        raise ValueError(
            f"data.window={window}: it takes at least one shard. null shuffles all of them together."
        )
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"data.seed={seed} is no number from 0 to 2^63 - 1. Use one of these.")


def fake_share(transform: Callable) -> float:
    """Share of the real images that a transform turns into fakes."""
    return getattr(transform, "fake_share", 0.0)


def check_unforged(name: str, transforms: Sequence[Callable]) -> None:
    """ValueError where a transform of evaluation, given as data.`name`, makes fakes."""
    if forging := [each for each in transforms if fake_share(each)]:
        raise ValueError(
            f"data.{name} has {forging[0]}, which turns real pictures into fakes: for training alone. Move "
            "it to data.augment."
        )


def check_distinct(catalog: Catalog, roots: Sequence[str]) -> None:
    """ValueError where a shard is in two roots, by whatever names: its images would be judged twice."""
    contents, home = catalog.contents, {}
    for digest, number, shard in zip(
        contents.sha256, catalog.root_of_shard.tolist(), contents.shards, strict=True
    ):
        other = home.setdefault(digest, number)
        if other != number:
            raise ValueError(
                f"data.roots: {roots[other]} and {roots[number]} hold the same images, first in "
                f"{str(shard).rpartition('/')[2]}: they would be shown and judged twice. Name one of "
                "the two. A weight shows a root more often in training: "
                f"--data.roots '{{{roots[other]}: 2}}'."
            )


def check_classes(
    stage: str,
    split: str,
    counts: tuple[int, int],
    roots: Sequence[str],
    rows: Mapping[str, np.ndarray],
    augment: Sequence[Callable],
    fakes: bool | list[str] = True,
) -> None:
    """ValueError where a split has nothing for a stage: no image, or for a fit none of one class.

    Args:
        counts: real and fake images of the split, as they are shown.
        rows: (R,) each, of every split.
        augment: what training does to the pictures, which may forge them.
        fakes: whose fakes are shown, as data.fakes has it.
    """
    names = ", ".join(roots)
    if not sum(counts):
        held = ", ".join(f"{name} {len(of_split)}" for name, of_split in rows.items())
        raise ValueError(
            f"{names}: no image in the {split} split ({held}). `dfd {getattr(stage, 'value', stage)}` needs "
            "one; prepare the source again or name another root."
        )
    if stage == "fit" and counts[1] == 0 and fakes is not True:
        raise ValueError(
            f"{names}: data.fakes={fakes} leaves the {split} split without a fake image; training needs both "
            "classes. Make fakes of the reals (--data.pairs dfd.augment.FaceBlend), or name more of them."
        )
    if stage == "fit" and min(counts) == 0:
        after = f" after {augment}" if split == "train" and augment else ""
        raise ValueError(
            f"{names}: the {split} split has {counts[0]} real and {counts[1]} fake images{after}; training "
            f"needs both classes. Add a root whose {split} split has {LABELS[counts.index(0)]} ones: "
            f"--data.roots '[{names}, OTHER]'. `dfd prepare` and `dfd index` make one of a single class too."
        )


def check_cache(
    catalog: Catalog, cache: Cache, splits: Sequence[str], window: int | None, in_flight: int, on_node: int
) -> None:
    """ValueError where the cache could not hold what loaders of these splits read at once.

    Args:
        window: shards that training shuffles together.
        in_flight: pictures whose shards a rank may hold beside those that it reads.
        on_node: ranks that share the cache.
    """
    needed = {}
    for split in splits:
        num = len(catalog.rows[split])
        shards = [catalog.contents.shards[shard] for shard in catalog.shards_of(split)]
        if split == "train":
            needed[split] = bytes_at_once(shards, num, window, in_flight)
        else:  # ranks do not wait for one another
            needed[split] = on_node * bytes_at_once(shards, num, 1, in_flight)
            needed[split] = min(needed[split], bytes_at_once(shards, num, None, 0))
    check_limit(cache, needed, window)


def checked_sample(made: Any, by: Callable, name_of: Callable[[int], str], row: int) -> Sample:
    """What a transform or a maker of pairs made of a sample.

    Raises:
        ValueError: it is no sample. Of floats in [0, 1], for one, a net would see black pictures.
    """
    image = made.get("image") if isinstance(made, dict) else made
    mask = made.get("mask") if isinstance(made, dict) else None
    if isinstance(made, dict) and not made.keys() >= {"label", "row"}:
        what, wanted = "a sample without its label or row", "the sample as it was given, but for its image"
    elif fault := _no_pixels(image, 3):
        what = f"an image that is {fault}" if isinstance(made, dict) else fault
        wanted = 'the sample with "image" (H, W, 3) uint8'
    elif mask is not None and ((fault := _no_pixels(mask)) or mask.shape != image.shape[:2]):
        what = f"a mask that is {fault or mask.shape} beside an image {image.shape}"
        wanted = '"mask" (H, W) uint8, moved with the image'
    else:
        return made
    raise ValueError(
        f"{transform_name(by)} returned {what} for sample {name_of(row)}, and has to return {wanted}."
    )


def _no_pixels(value: Any, *channels: int) -> str:
    """What a value is in place of pixels (H, W, *channels) uint8; "" where it is such."""
    if not isinstance(value, np.ndarray):
        return "None" if value is None else f"a {type(value).__name__}"
    right = value.ndim == 2 + len(channels) and value.shape[2:] == channels and value.dtype == np.uint8
    return "" if right else f"{value.shape} of {value.dtype}"
