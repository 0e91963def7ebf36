"""Shards of noisy pictures for a grid: two sources, two methods, families and clips."""

import io

import numpy as np
from PIL import Image

from dfd.media.crops import View
from dfd.shards.samples import NewSample

VIEW = dict(vars(View(size=32, crops=5, longest=64, margin=1.35)))
BAND = {"balanced": 1.98, "fpr5": 2.06, "fnr5": 1.92}
CALIBRATED = {"split": "val", "images": 300, "groups": 120, "data": "faces"}


def pixels(rng: np.random.Generator, label: int, size: tuple[int, int] = (40, 48)) -> bytes:
    """A noisy picture, brighter where it is fake."""
    image = rng.integers(0, 200, (*size, 3)) + 20 * label
    buffer = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def samples(seed: int = 0, num: int = 24, flip: bool = False) -> list[NewSample]:
    """`num` pictures of two sources, in families of two and clips of three, half of them fake by two methods."""
    rng, made = np.random.default_rng(seed), []
    for at in range(num):
        label = at // 6 % 2
        source = ("cam", "phone")[at // 12 % 2]
        data = pixels(rng, label)
        shown = 1 - label if flip else label
        made.append(
            NewSample(
                key=f"images/{source}{at // 3}/{at:04d}",
                image_bytes=data,
                label=shown,
                split="test",
                source=source,
                method=("", ("swap", "gan")[at // 3 % 2])[shown],
                groups=(f"{source}{at // 2}",),
            )
        )
    return made
