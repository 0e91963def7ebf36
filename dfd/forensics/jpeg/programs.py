"""Programs and cameras that a quantization table is known of. A small base: only what could be checked.

libjpeg's tables at 100 qualities are those of nearly every program (Pillow, OpenCV, GIMP, ImageMagick);
they name none. A table that is known of one program may be used by another.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dfd.forensics.jpeg.headers import scaled

# the default of mozjpeg since version 3 (N. Robidoux's for ImageMagick), which it scales as libjpeg does
MOZJPEG = np.array([
    16, 16, 16, 18, 25, 37, 56, 85,
    16, 17, 20, 27, 34, 40, 53, 75,
    16, 20, 24, 31, 43, 62, 91, 135,
    18, 27, 31, 40, 53, 74, 106, 156,
    25, 34, 43, 53, 69, 94, 131, 189,
    37, 40, 62, 74, 94, 124, 169, 238,
    56, 53, 91, 106, 131, 169, 226, 311,
    85, 75, 135, 156, 189, 238, 311, 418,
])  # fmt: skip

# by JpegFacts.table_id: tables that are not libjpeg's, each read from one file that names this device and no
# editor. Devices have several settings, and makers share tables.
DEVICES = {
    "3947faf7": "Casio QV-7000SX",
    "83a04a8c": "Fujifilm FinePix 1400Zoom",
    "89901244": "Fujifilm MX-1700ZOOM",
    "57075dcc": "Kodak CLAS Digital Film Scanner HR200",
    "b00dcbb5": "Kodak DC210 Zoom",
    "cb896ceb": "Konica Q-M100",
    "fa1b4daa": "Konica Q-M100",
    "cffb8996": "Sanyo VPC-SX550",
    "a172bfc1": "Sony DCR-PC100",
}


@lru_cache(maxsize=4096)
def program_of(luminance: tuple[int, ...], table_id: str) -> str:
    """Program and setting, or the device, that tables are known of; "" where they are libjpeg's or unknown.

    Args:
        luminance: 64 steps, row by row.
        table_id: as of JpegFacts.
    """
    if setting := _photoshop().get(luminance):
        return f"Adobe Photoshop, {setting}"
    limit = 255 if max(luminance) <= 255 else 32767
    match = np.flatnonzero((scaled(MOZJPEG, limit) == np.array(luminance)).all(axis=1))
    # of its coarsest and finest tables all steps are equal, which says nothing
    if len(match) and len(set(luminance)) > 1:
        return f"mozjpeg, quality {match[0] + 1}"
    if device := DEVICES.get(table_id):
        return f"a camera or scanner such as {device}"
    return ""


@lru_cache(maxsize=1)
def _photoshop() -> dict[tuple[int, ...], str]:
    """Luminance tables of Photoshop's settings, as Pillow has them as presets; some share a table."""
    from PIL.JpegPresets import presets

    names: dict[tuple[int, ...], list[str]] = {}
    for name, preset in presets.items():
        setting = name.replace("web_", "save for web ").replace("_", " ")
        names.setdefault(tuple(preset["quantization"][0]), []).append(setting)
    return {table: " or ".join(settings) for table, settings in names.items()}
