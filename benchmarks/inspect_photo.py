"""Time and memory of `dfd inspect` for one photograph of 12 megapixels, on one core: python benchmarks/inspect_photo.py

The photograph is drawn: a scene with texture through a simulated camera, saved as JPEG 92. Seconds are CPU time of the
process, so other work on the machine hardly moves them; the ratio is to decoding the same file.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dfd.forensics import Catalogue, examine
from dfd.forensics.tools import Files, tools_with
from dfd.inspection.evidence import in_order
from dfd.inspection.page import write_page
from dfd.media.decode import decode
from dfd.synthetic.camera import Camera
from dfd.synthetic.canvas import grain
from dfd.synthetic.setting import backdrop


def photograph(width: int, height: int) -> bytes:
    """A JPEG file of a drawn scene."""
    rng = np.random.default_rng(0)
    tile = 1500
    rows = []
    for _ in range(-(-height // tile)):
        row = []
        for _ in range(-(-width // tile)):
            light = backdrop(rng, tile) * np.exp(0.35 * grain(rng, tile, 3.0, 9.0, 30.0, 90.0))
            row.append(Camera.draw(np.random.default_rng(1)).photograph(light.astype(np.float32), tile, rng))
        rows.append(np.hstack(row))
    picture = np.vstack(rows)[:height, :width]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=92)
    return file.getvalue()


def peak() -> float:
    """Largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--file", type=Path, help="a photograph instead of the drawn one")
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--mesh", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    data = asked.file.read_bytes() if asked.file else photograph(asked.width, asked.height)
    tools = tools_with(Files(faces=asked.faces, mesh=asked.mesh))
    small = Image.new("RGB", (64, 64))
    warm = io.BytesIO()
    small.save(warm, "JPEG")
    examine(warm.getvalue(), tools)  # imports, tables
    start = time.process_time()
    height, width = decode(data).shape[:2]
    decoding = time.process_time() - start
    before, start = peak(), time.process_time()
    spent: dict[str, float] = {}
    last = [start, "decode"]

    def told(name: str) -> None:
        now = time.process_time()
        spent[last[1]] = now - last[0]
        last[:] = [now, name]

    examined = examine(data, tools, told)
    told("end")
    words = Catalogue()
    write_page("photo.jpg", examined, in_order(examined.findings, examined.seconds, words), [], words, None)
    told("end")
    spent["page"] = spent.pop("end")
    total = time.process_time() - start
    for name, seconds in sorted(spent.items(), key=lambda each: -each[1]):
        print(f"{seconds:6.2f} s  {name}")
    print(f"{width} x {height}, {len(data) / 1e6:.1f} MB, {len(tools)} tools: {total:.1f} s of CPU on one core, "
          f"{total / decoding:.0f} times decoding; {peak() - before:.0f} MB more than before")  # fmt: skip


if __name__ == "__main__":
    main()
