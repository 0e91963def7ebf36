"""Albumentations pipelines from YAML, drawn from the sample's own generator.

Buslaev et al., "Albumentations: fast and flexible image augmentations", Information 2020 (1809.06839).
albumentations 2.0.8 seeds a pipeline by itself from the process, so that every loader worker would show the
same changes, and a resumed run others. Here each call is seeded from the sample, which costs 6 us.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.batch import Sample

if TYPE_CHECKING:
    import albumentations

SERIALIZED = "__class_fullname__"  # what albumentations.to_dict calls a transform's name
TRIAL_SIDES = ((256, 320), (2048, 2560))  # of the images that each transform is tried on: a crop may be large


class Albumentations:
    """A transform made of albumentations' own: uint8 RGB in and out, a mask goes along, the label stays.

    A transform may change the size of an image. What is smaller than a net's crop is then mirrored at its
    edges, as every small image is. Inside `OneOf` and `SomeOf`, `p` is a weight among the others.

    Args:
        transforms: in the order in which they are applied: [{name: HorizontalFlip, p: 0.5}, {name: OneOf, p:
            0.3, transforms: [{name: GaussianBlur}, {name: ImageCompression, quality_range: [40, 90]}]}], or
            what `albumentations.to_dict` gives of a pipeline.

    Raises:
        ValueError: albumentations has no such transform, it does not take the arguments, or it gives
            something else than a uint8 RGB image and its mask.
    """

    def __init__(self, transforms: list[dict[str, Any]] | dict[str, Any]):
        import albumentations as A  # here: importing it costs seconds, and most runs do without

        listed = [transforms.get("transform", transforms)] if isinstance(transforms, Mapping) else transforms
        if not listed:
            raise ValueError("transforms is empty. Name one at least: [{name: HorizontalFlip, p: 0.5}].")
        self.compose = A.Compose([_made(each) for each in listed])

    def __repr__(self) -> str:
        return f"Albumentations({', '.join(map(_words, self.compose.transforms))})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        try:
            return apply(self.compose, sample, rng)
        except Exception as error:  # on an image that is too small for them, transforms raise what they like
            height, width = sample["image"].shape[:2]
            row = f" (row {sample['row']} of the table)" if "row" in sample else ""
            raise ValueError(
                f"{self} failed on an image of {width} x {height} pixels{row}: {error}"
            ) from error


def apply(compose: albumentations.Compose, sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with its image, and its mask where it has one, sent through a pipeline seeded from `rng`."""
    # not set_random_seed(): it gives every transform the same stream, so that flip, blur and colour always
    # fire together
    compose.set_random_state(rng, random.Random(int(rng.integers(2**32))))
    pixels = {name: sample[name] for name in ("image", "mask") if name in sample}
    changed = compose(**pixels)
    return {**sample, **{name: np.ascontiguousarray(changed[name]) for name in pixels}}


def _made(spec: Any) -> Any:
    """The transform that a mapping of the YAML names, with those inside it, each tried once."""
    key = SERIALIZED if isinstance(spec, Mapping) and SERIALIZED in spec else "name"
    if not isinstance(spec, Mapping) or not isinstance(spec.get(key), str):
        raise ValueError(
            f"transforms has {str(spec)[:80]}, which names no transform. "
            "Write {name: HorizontalFlip, p: 0.5}."
        )
    cls = _class_named(spec[key])
    arguments = {name: value for name, value in spec.items() if name != key}
    _check_arguments(cls, arguments)
    if "transforms" not in arguments:
        _try(cls.__name__, _call(cls, arguments | {"p": 1.0}))
        return _call(cls, arguments)
    inside = arguments["transforms"]
    if not isinstance(inside, (list, tuple)) or not inside:
        raise ValueError(f"albumentations' {spec[key]} needs a list of transforms, not {str(inside)[:80]}.")
    return _call(cls, arguments | {"transforms": [_made(each) for each in inside]})


def _class_named(name: str) -> type:
    """A transform of albumentations, and nothing else: a checkpoint may name one."""
    import albumentations as A

    kinds = (A.BasicTransform, A.BaseCompose)
    bases = {*kinds, A.DualTransform, A.ImageOnlyTransform, A.Transform3D}
    found = {each: getattr(A, each) for each in dir(A)}
    known = {
        each: cls
        for each, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, kinds) and cls not in bases
    }
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"albumentations {A.__version__} has no transform {name!r}.{hint}")


def _check_arguments(cls: type, arguments: Mapping[str, Any]) -> None:
    """Raises on names that `cls` does not take: albumentations only warns of them."""
    takes = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    for name in arguments:
        if name not in takes:
            near = get_close_matches(name, takes, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"albumentations' {cls.__name__} has no argument {name!r}.{hint} "
                f"It takes: {', '.join(takes)}."
            )


def _call(cls: type, arguments: Mapping[str, Any]) -> Any:
    try:
        return cls(**arguments)
    except Exception as error:  # pydantic's, albumentations' own, and what their code runs into
        # of pydantic's page: the argument, and what is wrong with it
        found = re.search(r"\n(?:(\w+).*\n)?  (.+?) \[type=", str(error))
        reason = ": ".join(filter(None, found.groups())) if found else str(error)
        raise ValueError(f"albumentations' {cls.__name__} was not made: {reason}") from error


def _try(name: str, transform: Any) -> None:
    """Raises unless the transform makes uint8 RGB images, and masks of the same size, of such."""
    import albumentations as A

    compose = A.Compose([transform])
    for sides in TRIAL_SIDES:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (*sides, 3), np.uint8)
        mask = np.zeros(sides, np.uint8)
        mask[: sides[0] // 2] = 255
        try:
            changed = apply(compose, {"image": image, "mask": mask}, rng)
            break
        except Exception as error:
            fault = error
    else:
        raise ValueError(f"albumentations' {name} cannot be applied to an image alone: {fault}") from fault
    image, mask = changed["image"], changed["mask"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"albumentations' {name} gives {image.dtype} of shape {image.shape}, where (H, W, 3) uint8 is "
            "needed. Leave it out: nets take pixels and normalize by themselves."
        )
    if mask.shape != image.shape[:2]:
        raise ValueError(f"albumentations' {name} gives a mask of another size than the image. Leave it out.")


def _words(transform: Any) -> str:
    inside = getattr(transform, "transforms", ())
    name = type(transform).__name__
    return f"{name}({', '.join(map(_words, inside))})" if inside else name
