"""Shards of three splits for baselines: fakes are blurred, or written by another program, or neither."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfd.media.encode import encode_jpeg, encode_png
from dfd.shards.samples import NewSample, write_samples

SPLITS = ("train",) * 16 + ("val",) * 11 + ("test",) * 15


def make_shards(
    root: Path,
    *,
    blurred: bool = False,
    programs: bool = False,
    splits: Sequence[str] = SPLITS,
    labels: Sequence[int] = (0, 1),
    flip: bool = False,
) -> Path:
    """Pictures of 40 px in families of two, one of each class.

    Args:
        blurred: fakes are blurred.
        programs: fakes are JPEG files of quality 60, reals of 95; else all are PNG files.
        flip: each picture has the other label.
    """
    made = []
    for family, split in enumerate(splits):
        for label in labels:
            rng = np.random.default_rng((family, label))
            pixels = rng.integers(60, 190, (40, 40, 3), dtype=np.uint8)
            if label and blurred:
                pixels = cv2.GaussianBlur(pixels, (0, 0), 0.8)
            data = encode_jpeg(pixels, (95, 60)[label]) if programs else encode_png(pixels)
            shown = 1 - label if flip else label
            made.append(
                NewSample(
                    f"{family}_{label}",
                    data,
                    shown,
                    split,
                    "lab",
                    ("", "blur")[shown],
                    groups=(f"f{family}",),
                )
            )
    write_samples(made, root, {"what": "test"})
    return root


@pytest.fixture(scope="session")
def shards_of(tmp_path_factory) -> Callable[..., Path]:
    """Makes shards of a name, once a session; not to be changed."""
    folder, made = tmp_path_factory.mktemp("classical"), {}

    def make(name: str, **options) -> Path:
        if name not in made:
            made[name] = make_shards(folder / name, **options)
        return made[name]

    return make
