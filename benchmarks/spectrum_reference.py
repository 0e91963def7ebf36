"""Reference profiles of the forensic tool `spectrum`: its mean and deviation over real pictures, to be put into
dfd/forensics/spectrum/reference.py.

    python benchmarks/spectrum_reference.py FOLDER... [--most 100]

Each folder holds real pictures of one source; at most so many of each are taken, evenly spaced by name.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from dfd.forensics.spectrum.power import power_spectrum
from dfd.forensics.spectrum.reference import LARGEST, SIDE, departure
from dfd.media.decode import Undecodable, decode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=100)
    options = parser.parse_args()
    found = []
    for folder in options.folders:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        places = np.linspace(0, len(files) - 1, min(len(files), options.most)).astype(int)
        levels = [level for place in places if (level := of_file(files[place])) is not None]
        print(f"{folder}: {len(levels)} pictures")
        found += levels
    levels = np.array(found)
    for name, values in (("mean", levels.mean(axis=0)), ("deviation", levels.std(axis=0, ddof=1))):
        print(f"    {name}=({', '.join(f'{value:.2f}' for value in values)}),")
    print(f"    pictures={len(levels)},")


def of_file(path: Path) -> np.ndarray | None:
    """The departure of one picture; None where it is none, or too small."""
    try:
        pixels = decode(path.read_bytes())
    except Undecodable:
        return None
    if min(pixels.shape[:2]) < SIDE:
        return None
    top, left = (max(0, length - LARGEST) // 2 for length in pixels.shape[:2])
    gray = cv2.cvtColor(pixels[top : top + LARGEST, left : left + LARGEST], cv2.COLOR_RGB2GRAY)
    return departure(power_spectrum(gray, SIDE))


if __name__ == "__main__":
    main()
