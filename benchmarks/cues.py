"""Milliseconds of CPU that `dfd.forensics.cues.describe` takes a picture, on one core, by size and format.

The yardstick is decoding the same file once by `dfd.media.decode.decode`; the ratio is the time of describing,
its own decoding included, over that. Pictures are photographs of a simulated camera, or those of --pictures,
scaled. Rounds take turns; each figure is the median of the rounds' means.

    python benchmarks/cues.py
    python benchmarks/cues.py --pictures real_vs_fake/real-vs-fake
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dfd.forensics.cues import CUES, describe
from dfd.media.decode import decode
from dfd.synthetic.camera import Camera
from dfd.synthetic.canvas import grain
from dfd.synthetic.setting import backdrop

TARGET = 60.0  # ms of a JPEG of 256 px
SIDES = (256, 512, 1024, 2048)
FORMATS = ("JPEG", "PNG", "WEBP")


def photograph(seed: int) -> np.ndarray:
    """(768, 768, 3) uint8."""
    rng = np.random.default_rng(seed)
    light = backdrop(rng, 960) * np.exp(0.35 * grain(rng, 960, 3.0, 9.0, 30.0, 90.0))
    return Camera.draw(rng).photograph(light.astype(np.float32), 768, rng)


def encoded(pixels: np.ndarray, side: int, format: str) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
    picture.save(buffer, format, **({} if format == "PNG" else {"quality": 92}))
    return buffer.getvalue()


def milliseconds(run: Callable[[bytes], object], files: Sequence[bytes]) -> float:
    start = time.process_time()
    for data in files:
        run(data)
    return 1e3 * (time.process_time() - start) / len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder; the first pictures in it are taken")
    parser.add_argument("--num", type=int, default=20, help="pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    options = parser.parse_args()

    cv2.setNumThreads(1)
    if options.pictures:
        paths = sorted(options.pictures.rglob("*.jp*g"))[: options.num]
        pictures = [decode(path.read_bytes()) for path in paths]
    else:
        pictures = [photograph(seed) for seed in range(min(options.num, 8))]
    table = Table("picture", "describe, ms", "decode, ms", "ratio", title=f"{len(CUES)} cues on one core")
    for side in options.sides:
        for format in FORMATS:
            files = [encoded(pixels, side, format) for pixels in pictures]
            describe(files[0])
            rounds = [
                (milliseconds(describe, files), milliseconds(decode, files)) for _ in range(options.rounds)
            ]
            described, decoded = (statistics.median(times) for times in zip(*rounds, strict=True))
            note = f" (target {TARGET:.0f})" if (side, format) == (256, "JPEG") else ""
            table.add_row(
                f"{format} {side} px{note}",
                f"{described:.1f}",
                f"{decoded:.2f}",
                f"{described / decoded:.0f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
