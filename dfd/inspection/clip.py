"""Examination of a video file: what its bytes say, and what only time shows of the largest face."""

from __future__ import annotations

import io
import time

import numpy as np

from dfd.forensics import Examination, Finding, examine
from dfd.forensics.face.clip import METHODS, clip_findings
from dfd.forensics.tools import Files, tools_with
from dfd.media.face_mesh import FaceMesh
from dfd.media.faces import FaceDetector, find_weights
from dfd.media.formats import Undecodable
from dfd.media.video import timed_frames

# of the tools that take a file's bytes, those to which a picture's format is all the same
_OF_ANY_FILE = ("file_structure", "provenance", "hashes")


def examine_clip(data: bytes, files: Files) -> Examination:
    """As `dfd.forensics.examine`; `pixels` are the first frame.

    Raises:
        ModuleNotFoundError: PyAV, the extra dfd[video], is not installed.
    """
    of_bytes = examine(data, [tool for tool in tools_with(files) if tool.name in _OF_ANY_FILE])
    start = time.perf_counter()
    pixels, refused, found = None, "", ()
    try:
        pixels = _first_frame(data)
        found = _over_time(data, files)
    except Undecodable as error:
        refused = str(error)
        found = tuple(method("abstained", "not_decoded", facts={"why": refused}) for method in METHODS)
    spent = (time.perf_counter() - start) / len(found)
    findings = (*of_bytes.findings, *found)
    return Examination(pixels, 1, refused, findings, (*of_bytes.seconds, *[spent] * len(found)))


def _first_frame(data: bytes) -> np.ndarray:
    return next(pixels for _, pixels in timed_frames(io.BytesIO(data)))


def _over_time(data: bytes, files: Files) -> tuple[Finding, ...]:
    weights = find_weights(files.faces)
    detector = None if weights is None else FaceDetector(weights)
    mesh = None if files.mesh is None else FaceMesh(files.mesh)
    return clip_findings(data, detector, mesh)
