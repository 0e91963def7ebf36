"""The tools of the face: they share one detection a picture, and abstain where weights are missing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dfd.forensics.examine import Tool
from dfd.forensics.face import boundary, eyes, faces, light, symmetry, teeth
from dfd.forensics.face.geometry import Detector, FaceFinder, Mesh
from dfd.forensics.finding import Finding, Method
from dfd.media.faces import NO_WEIGHTS

_TOOLS: tuple[tuple[Method, Callable[[np.ndarray, FaceFinder], Finding]], ...] = (
    (faces.METHOD, faces.faces),
    (boundary.METHOD, boundary.face_boundary),
    (eyes.METHOD, eyes.face_eyes),
    (teeth.METHOD, teeth.face_teeth),
    (symmetry.METHOD, symmetry.face_symmetry),
    (light.METHOD, light.face_light),
)


def face_tools(detector: Detector | None, mesh: Mesh | None = None) -> tuple[Tool, ...]:
    """The tools of the face, in the order in which a page shows them.

    Args:
        detector: of faces, as `dfd.media.FaceDetector`. Without one they abstain, and say what to install.
        mesh: as `dfd.media.face_mesh.FaceMesh`. Without one parts are ellipses by the detector's five points,
            and the tools that need more abstain.
    """
    if detector is None:
        return tuple(Tool(method, _without_detector(method), "pixels") for method, _ in _TOOLS)
    finder = FaceFinder(detector, mesh)
    return tuple(Tool(method, _with(run, finder), "pixels") for method, run in _TOOLS)


def _without_detector(method: Method) -> Callable[[np.ndarray], Finding]:
    return lambda pixels: method("abstained", "no_detector", facts={"why": NO_WEIGHTS})


def _with(
    run: Callable[[np.ndarray, FaceFinder], Finding], finder: FaceFinder
) -> Callable[[np.ndarray], Finding]:
    return lambda pixels: run(pixels, finder)
