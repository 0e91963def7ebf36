"""How often each rule of metadata fires: on untouched photographs, on those with an edit planted, and on data sets.

The untouched photographs are the camera originals of exif-samples, chosen by looking: no editor is named, no
program has written them anew (JFIF before the EXIF, tables or sizes of another program). An edit is planted as
many programs make it: the pixels are changed and saved again, and the metadata are copied with their preview.

    python benchmarks/metadata_rules.py ../shared/data
"""

import argparse
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dfd.forensics.metadata import metadata, read_metadata
from dfd.forensics.metadata.rules import RULES
from dfd.media.jpeg_segments import segments

ORIGINALS = (
    "exif-samples__jpg__exif-org__fujifilm-mx1700.jpg",
    "exif-samples__jpg__exif-org__kodak-dc210.jpg",
    "exif-samples__jpg__exif-org__kodak-dc240.jpg",
    "exif-samples__jpg__exif-org__sanyo-vpcsx550.jpg",
    "exif-samples__jpg__exif-org__sony-cybershot.jpg",
    "exif-samples__jpg__gps__DSCN0012.jpg",
    "exif-samples__jpg__gps__DSCN0027.jpg",
    "exif-samples__jpg__gps__DSCN0042.jpg",
    "metadata-extractor-images__jpg__Casio QV-7000SX.jpg",
    "metadata-extractor-images__jpg__FujiFilm FinePix1400Zoom (1).jpg",
    "metadata-extractor-images__jpg__Konica Q-M100 (1).jpg",
    "metadata-extractor-images__jpg__Nikon E900 (2).jpg",
    "metadata-extractor-images__jpg__Sony Cybershot (1).jpg",
    "metadata-extractor-images__jpg__Sony Cybershot (2).jpg",
    "metadata-extractor-images__jpg__Sony DCR-PC110.jpg",
)
SETS = {
    "140k": "140k-real-and-fake-faces",
    "ciplab": "real-and-fake-face-detection",
    "dagnelies": "deepfake-faces",
    "manjilkarki": "deepfake-and-real-images",
    "casia1": "casia1",
    "c2pa-samples": "c2pa-samples",
}
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def pasted(pixels: np.ndarray, rng: np.random.Generator, side: float) -> np.ndarray:
    """Another part of the picture laid over a square of it, its edges softened."""
    size = round(side * min(pixels.shape[:2]))
    source, target = ([int(rng.integers(0, each - size)) for each in pixels.shape[:2]] for _ in range(2))
    patch = pixels[source[0] : source[0] + size, source[1] : source[1] + size, ::1]
    alpha = cv2.GaussianBlur(np.pad(np.ones((size - 8, size - 8), np.float32), 4), (0, 0), 2)[..., None]
    changed = pixels.astype(np.float32)
    place = changed[target[0] : target[0] + size, target[1] : target[1] + size]
    place += alpha * (patch[::-1] - place)
    return np.rint(changed).astype(np.uint8)


def cropped(pixels: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """A part of the picture, of its own shape, as high and wide as this share."""
    height, width = (round(share * each) for each in pixels.shape[:2])
    top, left = (
        int(rng.integers(0, all - part + 1)) for all, part in zip(pixels.shape, (height, width), strict=False)
    )
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def saved_like(data: bytes, pixels: np.ndarray) -> bytes:
    """New pixels at quality 90 under the old file's metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    new = buffer.getvalue()
    old = b"".join(segment for marker, segment in segments(data) if 0xE1 <= marker <= 0xEF)
    return new[:20] + old + new[20:]


EDITS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "saved again": lambda pixels, rng: pixels,
    "half the size": lambda pixels, rng: cv2.resize(
        pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    ),
    "square of 1/5 pasted": lambda pixels, rng: pasted(pixels, rng, 0.2),
    "square of 1/3 pasted": lambda pixels, rng: pasted(pixels, rng, 0.33),
    "cropped to 3/4": lambda pixels, rng: cropped(pixels, rng, 0.75),
    "cropped to 1/2": lambda pixels, rng: cropped(pixels, rng, 0.5),
    "turned by 180": lambda pixels, rng: np.ascontiguousarray(pixels[::-1, ::-1]),
}


def fired(files: Iterable[bytes]) -> tuple[Counter[str], Counter[str], int]:
    """How often each rule fired, and each status was given, of how many files."""
    rules, statuses, num = Counter(), Counter(), 0
    for data in files:
        finding = metadata(data, NOW)
        rules.update(str(finding.facts["rules"]).split())
        statuses[f"{finding.status}: {finding.answer}"] += 1
        num += 1
    return rules, statuses, num


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def edited(originals: list[bytes], edit: Callable, draws: int) -> list[bytes]:
    return [
        saved_like(data, edit(pixels_of(data), np.random.default_rng(seed)))
        for data in originals
        for seed in range(draws)
    ]


def exchanged(originals: list[bytes], draws: int) -> list[bytes]:
    """The pixels of one photograph under the metadata of another."""
    return [
        saved_like(data, pixels_of(originals[(number + step) % len(originals)]))
        for number, data in enumerate(originals)
        for step in range(1, draws + 1)
    ]


def show(title: str, columns: dict[str, tuple[Counter[str], Counter[str], int]], console: Console) -> None:
    """Rules, then statuses, as rows; sets as columns, each with its number of files."""
    table = Table("", *(f"{name} ({num})" for name, (*_, num) in columns.items()), title=title)
    for rule in RULES:
        table.add_row(
            f"{rule.name} ({rule.weight:g})",
            *(str(rules[rule.name] or ".") for rules, *_ in columns.values()),
        )
    table.add_section()
    for status in sorted({status for _, statuses, _ in columns.values() for status in statuses}):
        table.add_row(status, *(str(statuses[status] or ".") for _, statuses, _ in columns.values()))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with exif-samples, 140k-real-and-fake-faces, ...")
    parser.add_argument("--draws", type=int, default=4, help="edits of a kind of each photograph")
    parser.add_argument("--limit", type=int, default=500, help="files of a set, evenly drawn")
    arguments = parser.parse_args()
    console = Console(width=240)
    samples = {path.name: path.read_bytes() for path in sorted((arguments.data / "exif-samples").iterdir())}
    originals = [samples[name] for name in ORIGINALS]
    others = [data for name, data in samples.items() if name not in ORIGINALS]
    show("exif-samples", {"untouched": fired(originals), "others": fired(others)}, console)

    previewed = [data for data in originals if read_metadata(data).thumbnails]
    columns = {name: fired(edited(previewed, edit, arguments.draws)) for name, edit in EDITS.items()}
    columns["another picture"] = fired(exchanged(previewed, arguments.draws))
    show(f"Edits planted in the {len(previewed)} untouched photographs that have a preview", columns, console)

    columns = {}
    for name, folder in SETS.items():
        paths = sorted(
            Path(top, file)
            for top, _, files in os.walk(arguments.data / folder)
            for file in files
            if file.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))
        )
        columns[name] = fired(path.read_bytes() for path in paths[:: max(1, len(paths) // arguments.limit)])
    show("Data sets", columns, console)


if __name__ == "__main__":
    main()
