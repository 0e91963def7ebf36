"""GenImage (Zhu et al., NeurIPS 2023): ImageNet against eight generators, a folder for each.

    imagenet_midjourney/{train,val}/{ai,nature}/*
    stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/{train,val}/{ai,nature}/*

`nature` is real. The method is the generator, as the folder around the splits is named: midjourney, sdv4. The
folder may be that of all generators or of one. The splits are GenImage's train and val; it has no test.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import listed, pictures
from dfd.shards.rejects import Reject

_SPLITS = ("train", "val")
_CLASSES = {"ai": FAKE, "nature": REAL}
_GENERATOR = re.compile(r"imagenet_(?:ai_\d+_)?(\w+)", re.IGNORECASE)
_DEPTH = 2  # folders of generators lie at most this deep


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    return "" if root.is_dir() and _generators(root) else str(root / "imagenet_midjourney/train/nature")


def rows(root: Path) -> Iterator[Row | Reject]:
    """The pictures of each generator, in the official splits.

    Raises:
        ValueError: the folder has another layout.
    """
    generators = _generators(root)
    if not generators:
        raise ValueError(f"{root} is not laid out as GenImage: {mismatch(root)} is missing.")
    for folder, method in generators.items():
        for split in _SPLITS:
            for name, label in _CLASSES.items():
                inside = posixpath.join(folder, split, name)
                for path in pictures(root, inside) if (root / inside).is_dir() else ():
                    if isinstance(path, Reject):
                        yield path
                    else:
                        yield Row(
                            path,
                            label,
                            split=split,
                            source="genimage",
                            method=method if label == FAKE else "",
                        )


def _generators(root: Path) -> dict[str, str]:
    """The folders of generators, and the method that each stands for."""
    names, level = {"": root.resolve().name}, [""]
    for _ in range(_DEPTH):
        level = [
            posixpath.join(folder, entry.name)
            for folder in level
            for entry in listed(root / folder)
            if entry.is_dir(follow_symlinks=False)
        ]
        names |= {folder: posixpath.basename(folder) for folder in level}
    found = {folder: _GENERATOR.fullmatch(name) for folder, name in names.items()}
    return {
        folder: named[1].lower() for folder, named in found.items() if named and _has_classes(root / folder)
    }


def _has_classes(folder: Path) -> bool:
    return any(all((folder / split / name).is_dir() for name in _CLASSES) for split in _SPLITS)
