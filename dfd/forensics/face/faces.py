"""Faces of a picture: boxes, five points and, with a mesh, the outlines of their parts."""

from __future__ import annotations

import numpy as np

from dfd.forensics.face.geometry import FaceFinder
from dfd.forensics.finding import Finding, Method, Region, Table

METHOD = Method("faces", "Wu, Peng and Yu 2023 (YuNet); Kartynnik et al. 2019 (face mesh)", kind="describes")
PARTS = ("left_eye", "right_eye", "mouth")


def faces(pixels: np.ndarray, finder: FaceFinder) -> Finding:
    """The faces that were found, the largest first. It describes, and never says "found": a face is no trace.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        finder: of faces.
    """
    located = finder(pixels)
    if not located:
        return METHOD("absent", "no_face")
    regions = []
    for number, face in enumerate(located):
        regions.append(Region(face.box, "face", number))
        for part in PARTS:
            low, high = face.outline(part).min(0), face.outline(part).max(0)
            regions.append(Region((*map(float, low), *map(float, high - low)), part, number))
    rows = tuple(
        (
            number + 1,
            *(round(value) for value in face.box),
            round(face.score, 3),
            round(float(np.linalg.norm(face.points[1] - face.points[0])), 1),
            face.mesh is not None,
        )
        for number, face in enumerate(located)
    )
    columns = ("face", "x", "y", "width", "height", "confidence", "eye_distance", "mesh")
    largest = located[0]
    facts = {
        "count": len(located),
        "width": round(largest.box[2]),
        "height": round(largest.box[3]),
        "mesh": largest.mesh is not None,
    }
    answer = "one" if len(located) == 1 else "several"
    return METHOD("clear", answer, facts=facts, table=Table(columns, rows), regions=tuple(regions))
