"""File structure: bytes behind the picture or between its parts, and files that are two things at once."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Method, Table
from dfd.media.decode import image_info_and_luma
from dfd.media.formats import Undecodable
from dfd.media.structure import FileStructure, structure
from dfd.media.structure.part import Part

METHOD = Method("file_structure", "ITU-T T.81, CIPA DC-007, W3C PNG, RFC 9649, TIFF 6.0, ISO/IEC 14496-12")
# bytes between segments that a careless writer leaves
_FEW = 16
# correlation of a picture with its own preview, both shrunk; strangers are below 0.8
_SAME = 0.95


def file_structure(data: bytes) -> Finding:
    """What lies where in a picture file; found where something does not belong to it.

    The score counts these things: stretches that nothing in the file accounts for, and formats as which the
    file opens beside a picture's.
    """
    file = structure(data)
    if not file.format:
        return METHOD("absent", "no_picture")
    unaccounted = [part for part in file.parts if _is_strange(part)]
    second = [part for part in unaccounted if _shows_the_same(data, file, part)]
    strange = [part for part in unaccounted if part not in second]
    score = float(len(strange) + len(file.also))
    facts = {
        "format": file.format,
        "bytes": file.size,
        "pictures": file.pictures,
        "also": ", ".join(file.also),
        "strange_bytes": sum(part.length for part in strange),
        "what": strange[0].what if strange else "",
        "second_bytes": sum(part.length for part in second),
        "behind": file.size - file.end,
        "named": ", ".join(dict.fromkeys(part.what or part.kind for part in file.parts if _is_beside(part))),
        "problems": "; ".join(file.problems),
    }
    answer = _answer(file, strange, second)
    said = {"facts": facts, "score": score, "unit": "things", "table": _table(file)}
    return METHOD("found" if score else "clear", answer, **said)


def _answer(file: FileStructure, strange: list[Part], second: list[Part]) -> str:
    if file.also:
        return "polyglot"
    if any(part.what == "rest of a PNG" for part in strange):
        return "cropped"
    if strange:
        return "appended" if any(part.kind == "appended" for part in strange) else "between"
    if second:
        return "second"
    if any(part.kind == "slack" for part in file.parts):
        return "slack"
    if any(_is_beside(part) for part in file.parts):
        return "beside"
    return "padded" if file.size > file.end else "whole"


def _is_strange(part: Part) -> bool:
    return part.kind == "appended" or (part.kind == "gap" and part.length >= _FEW)


def _is_beside(part: Part) -> bool:
    """Whether it is something known that lies beside the picture."""
    return part.kind in ("further picture", "video", "trailer")


def _shows_the_same(data: bytes, file: FileStructure, part: Part) -> bool:
    """Whether an appended JPEG shows the same: cameras of the 2000s put a preview there, listed nowhere. One
    that is as large is strange, but hides nothing.
    """
    if part.kind != "appended" or part.what != "jpeg":
        return False
    try:
        pictures = [image_info_and_luma(each)[1] for each in (data[: file.end], data[part.start : part.end])]
    except Undecodable:
        return False
    small = [
        cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).ravel().astype(float) for each in pictures
    ]
    if min(each.std() for each in small) < 1:
        return False
    return bool(np.corrcoef(*small)[0, 1] >= _SAME)


def _table(file: FileStructure) -> Table:
    rows = tuple((part.kind, part.what, part.start, part.length) for part in file.parts)
    return Table(("part", "what", "start", "length"), rows)
