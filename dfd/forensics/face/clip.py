"""Faces in a clip: one face followed from frame to frame, and what only time shows of it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dfd.forensics.face.clip_blinks import METHOD as BLINKS
from dfd.forensics.face.clip_blinks import clip_blinks, openness
from dfd.forensics.face.clip_motion import JITTER, WARPING, clip_jitter, clip_warping, square
from dfd.forensics.face.geometry import Detector, FaceFinder, FaceGeometry, Mesh
from dfd.forensics.finding import Finding
from dfd.media.face_mesh import BY_MESH
from dfd.media.faces import NO_WEIGHTS
from dfd.media.video import timed_frames

METHODS = (BLINKS, JITTER, WARPING)
MAX_SECONDS = 60.0  # of a clip that are looked at: blinks are rare, and each frame costs some 30 ms
MAX_GAP = 0.5  # seconds without the face after which its following ends
NO_MESH = f"a face is followed by the mesh of 468 points: {BY_MESH}"


def clip_findings(
    clip: str | Path | bytes, detector: Detector | None, mesh: Mesh | None
) -> tuple[Finding, ...]:
    """Blinks, jitter and warping over time of the largest face in a video file.

    Args:
        clip: path of the file, or its bytes: mp4, mov, avi, mkv or webm; read with PyAV (the extra
            dfd[video]).
        detector: of faces, as `dfd.media.FaceDetector`; without one all abstain.
        mesh: as `dfd.media.face_mesh.FaceMesh`; without one all abstain.

    Raises:
        Undecodable: no video, or a damaged one.
        OSError: the file cannot be read.
    """
    if detector is None or mesh is None:
        return clip_cues((), detector, mesh)
    with io.BytesIO(clip) if isinstance(clip, bytes) else open(clip, "rb") as file:
        return clip_cues(timed_frames(file), detector, mesh)


def clip_cues(
    frames: Iterable[tuple[float, np.ndarray]], detector: Detector | None, mesh: Mesh | None
) -> tuple[Finding, ...]:
    """As `clip_findings`, of frames in order: seconds, and pixels (H, W, 3) uint8 RGB.

    The first minute is looked at, and of that the longest stretch in which the face that was largest at its
    beginning is seen without a gap of half a second. Frames are not kept.
    """
    if detector is None:
        return tuple(method("abstained", "no_detector", facts={"why": NO_WEIGHTS}) for method in METHODS)
    if mesh is None:
        return tuple(method("abstained", "no_mesh", facts={"why": NO_MESH}) for method in METHODS)
    seen = _followed(frames, FaceFinder(detector, mesh))
    if not seen:
        return tuple(method("abstained", "no_face") for method in METHODS)
    times = np.array([each.seconds for each in seen])
    unit = float(np.median([each.face.unit for each in seen]))
    eye = float(np.median([np.ptp(each.face.outline("left_eye"), axis=0).max() for each in seen]))
    return (
        clip_blinks(times, np.array([each.openness for each in seen]), eye),
        clip_jitter(times, np.array([each.face.mesh for each in seen]), unit),
        clip_warping(times, np.array([each.square for each in seen]), unit),
    )


class _Seen(NamedTuple):
    """What is kept of a frame."""

    seconds: float
    face: FaceGeometry
    openness: float
    square: np.ndarray  # (96, 96) uint8


def _followed(frames: Iterable[tuple[float, np.ndarray]], finder: FaceFinder) -> list[_Seen]:
    """The longest stretch of frames in which one face is followed."""
    longest: list[_Seen] = []
    stretch: list[_Seen] = []
    for seconds, pixels in frames:
        if seconds > MAX_SECONDS:
            break
        if stretch and seconds - stretch[-1].seconds > MAX_GAP:
            stretch = []
        face = _next(stretch[-1].face if stretch else None, finder(pixels))
        if face is not None:
            stretch.append(_Seen(seconds, face, openness(pixels, face), square(pixels, face.points)))
        if len(stretch) > len(longest):
            longest = stretch
    return longest


def _next(last: FaceGeometry | None, found: tuple[FaceGeometry, ...]) -> FaceGeometry | None:
    """The face of a frame that goes on from the last one; the largest where there is none yet."""
    with_mesh = [face for face in found if face.mesh is not None]
    if last is None:
        return with_mesh[0] if with_mesh else None

    def distance(face: FaceGeometry) -> float:
        return float(np.linalg.norm(face.points.mean(0) - last.points.mean(0)))

    nearest = min(with_mesh, key=distance, default=None)
    # a face moves by less than half of its width from one frame to the next, and keeps its size
    if nearest is None or distance(nearest) > last.unit or not 0.7 < nearest.unit / last.unit < 1.4:
        return None
    return nearest
