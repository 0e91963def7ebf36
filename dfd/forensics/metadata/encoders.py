"""Rules on the encoder of a JPEG: tables that the named camera or program does not write, and platforms.

A small base of facts: what is not known is not judged.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dfd.forensics.metadata.file import File
from dfd.forensics.metadata.makers import is_sold_as
from dfd.forensics.metadata.program_names import ADOBE_DESKTOP
from dfd.forensics.metadata.programs import last_program


class Coding(NamedTuple):
    standard: bool  # libjpeg's tables of some quality, or the camera's own
    subsampling: str


# by Model, as one untouched photograph of each shows it
CAMERAS = {
    "MX-1700ZOOM": Coding(False, "4:2:2"),
    "FinePix1400Zoom": Coding(False, "4:2:2"),
    "DC210 Zoom (V05.00)": Coding(False, "4:2:0"),
    "Konica Digital Camera Q-M100": Coding(False, "4:2:0"),
    "SX113": Coding(False, "4:2:2"),
    "DCR-PC100": Coding(False, "4:2:2"),
    "E900": Coding(True, "4:2:2"),
    "CYBERSHOT": Coding(True, "4:2:2"),
    "COOLPIX P6000": Coding(True, "4:2:2"),
}
# Lengths of the longer side to which networks and messengers reduce.
_PLATFORM_SIDES = (960, 1080, 1200, 1280, 1440, 1600, 2048, 2560, 4096)
_FACEBOOK = re.compile(r"^FBMD[0-9a-f]{4}")


def tables_not_of_camera(file: File) -> str:
    """Tables or subsampling that the camera which the file names does not write."""
    model = file.metadata.get("EXIF", "Model")
    known = CAMERAS.get(model)
    if known is None or file.jpeg is None:
        return ""
    found = Coding(file.jpeg.standard, file.jpeg.subsampling)
    return "" if found == known else f"{model}: {_coding(known)}; {_coding(found)}"


def tables_not_of_program(file: File) -> str:
    """Photoshop or Lightroom is named as the last program, and the tables are libjpeg's."""
    program = last_program(file.metadata)
    if file.jpeg is None or not ADOBE_DESKTOP.match(program) or not file.jpeg.standard:
        return ""
    # at the highest quality all steps are 1 in any program
    return "" if max(file.jpeg.tables[0]) == 1 else f"{program}: libjpeg {file.jpeg.quality}"


def saved_again(file: File) -> str:
    """A camera is named, and the file is written as libjpeg writes it by default: JFIF, its tables, 4:2:0."""
    jpeg = file.jpeg
    if jpeg is None or not file.make or not file.metadata.jfif or not jpeg.standard:
        return ""
    return f"JFIF, libjpeg {jpeg.quality}, {jpeg.subsampling}" if jpeg.subsampling == "4:2:0" else ""


def note_of_another_maker(file: File) -> str:
    """The maker note is that of another maker than the camera's."""
    maker, make = file.metadata.maker, file.make
    return f"{maker}, Make {make}" if maker and make and not is_sold_as(maker, make) else ""


def saved_by_platform(file: File) -> str:
    """Marks that networks and messengers leave when they take the metadata out."""
    for origin, name in (("IPTC", "SpecialInstructions"), ("XMP", "photoshop:Instructions")):
        if _FACEBOOK.match(file.metadata.get(origin, name)):
            return "Facebook, Instagram: FBMD"
    jpeg = file.jpeg
    if jpeg is None or file.size is None or file.metadata.is_told or not file.metadata.jfif:
        return ""
    marks = ["progressive"] if jpeg.progressive else []
    marks += [f"{max(file.size)} px"] if max(file.size) in _PLATFORM_SIDES else []
    return ", ".join(["JFIF", jpeg.subsampling, *marks]) if marks and jpeg.subsampling == "4:2:0" else ""


def _coding(coding: Coding) -> str:
    return f"{'libjpeg' if coding.standard else 'own'} tables, {coding.subsampling}"
