"""Clip: the faces of a video followed through it, each judged at moments evenly spaced in time.

A face gets one verdict, by the mean of its logits: neighbouring frames are nearly the same picture, so that a
hundred of them are no hundred witnesses. The sound is not looked at.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dfd.calibration import WORDS
from dfd.detector import Detector, Score
from dfd.media.face_tracks import find_tracks
from dfd.media.faces import NO_WEIGHTS, Face
from dfd.media.file_kinds import HEAD_BYTES, VIDEO, kind_of
from dfd.media.files import VIDEO_SUFFIXES, open_file
from dfd.media.formats import Undecodable
from dfd.media.video import NO_PYAV, evenly_timed, frames_at
from dfd.progress import progress

RATE = 2.0  # moments a second
LEAST, MOST = 12, 600  # moments of a clip: of a short one more a second, of one above five minutes fewer
RESAMPLES = 1000
FEWEST = 4  # moments from which an interval is drawn


@dataclass(frozen=True)
class Moment:
    """One face in one frame.

    Args:
        frame: its number, from 0.
        seconds: since the first frame.
        box: x, y, width, height in the upright frame, in pixels.
        status, verdict, prob, logit, familiarity, reason: as of a `Score`.
    """

    frame: int
    seconds: float
    box: tuple[float, float, float, float]
    status: str
    verdict: str | None
    prob: float | None
    logit: float | None
    familiarity: float | None
    reason: str


@dataclass(frozen=True)
class ClipScore(Score):
    """What is said of one face over a clip, by the mean logit and familiarity of its moments.

    Args:
        start, end: seconds between which the face was seen.
        looked: frames of the clip that were looked at.
        interval: ends of the 95% interval of `prob` over the clip's own moments, by a bootstrap of blocks of
            neighbours; None of few moments. It speaks of other moments, not of other clips.
        moments: of this face, in order.
    """

    start: float = 0.0
    end: float = 0.0
    looked: int = 0
    interval: tuple[float, float] | None = None
    moments: tuple[Moment, ...] = ()


def is_clip(path: Path, data: bytes | None = None) -> bool:
    """Whether a file is a video, by its first bytes or else by its name.

    Args:
        data: of the file, which is not opened then.
    """
    try:
        with open_clip(path if data is None else data) as file:
            kind = kind_of(file.read(HEAD_BYTES))
    except (OSError, Undecodable):
        return False  # what is said of it is said where pictures are read
    return kind is VIDEO or (kind is None and path.suffix.lower() in VIDEO_SUFFIXES)


def open_clip(clip: str | Path | bytes) -> BinaryIO:
    """A file by its path, or its bytes as one; raises as `open_file` does."""
    return io.BytesIO(clip) if isinstance(clip, bytes) else open_file(clip)


def score_clip(
    detector: Detector,
    clip: str | Path | bytes,
    whole: bool = False,
    rate: float = RATE,
    shown: bool = False,
) -> list[ClipScore]:
    """One score a face of a video, the most prominent first; one with a status where there is none.

    Frames are decoded one at a time; of each face numbers are kept, no pixels.

    Args:
        clip: path of the file, or its bytes.
        whole: each frame is a face crop like those in training, and no face is looked for.
        rate: moments a second; in all at least LEAST, where the clip has them, and at most MOST.
        shown: whether stderr says how far it is.

    Raises:
        ValueError: rate is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"rate={rate}: moments a second are a number above 0. Use {RATE:g} as a start.")
    score = ClipScore("" if isinstance(clip, bytes) else str(clip), "ok")
    if detector.faces is None and not whole:
        return [replace(score, status="no_detector", reason=NO_WEIGHTS)]
    if detector.faces is not None and not whole:
        score = replace(score, face_detector=detector.faces.identity)
    times: list[float] = []
    frames: list[list[Moment]] = []
    broken = ""
    try:
        with open_clip(clip) as file:
            numbers, seconds, broken = evenly_timed(file, rate, LEAST, MOST)
            watch = (
                progress(len(numbers), f"{Path(score.path).name}, frames") if shown else nullcontext(_nobody)
            )
            with watch as advance:
                for (number, pixels), second in zip(frames_at(file, numbers), seconds.tolist(), strict=True):
                    size = float(pixels.shape[1]), float(pixels.shape[0])
                    faces = [face for face in detector.score(pixels, whole) if face.face or whole]
                    times.append(second)
                    frames.append([_moment(number, second, face, (0.0, 0.0, *size)) for face in faces])
                    advance(1)
    except ModuleNotFoundError:
        return [replace(score, status="unreadable", reason=NO_PYAV)]
    except (Undecodable, OSError) as error:
        broken = getattr(error, "strerror", None) or str(error)
        if not times:
            return [replace(score, status="unreadable", reason=broken)]
        broken = f"{broken}: judged by what comes before it, {times[-1]:.1f} s"
    boxes = [[Face(moment.box, 1.0, np.empty((0, 2))) for moment in each] for each in frames]
    tracks = [
        [frames[at][face] for at, face in enumerate(track) if face is not None]
        for track in find_tracks(boxes, times)
    ]
    score = replace(score, looked=len(times), reason=broken)
    if not tracks:
        reason = f"no face was found in {len(times)} frames"
        return [replace(score, status="no_face", reason=f"{reason}; {broken}" if broken else reason)]
    return [
        _judged(detector, replace(score, face=number, faces=len(tracks)), track)
        for number, track in enumerate(tracks, 1)
    ]


def _nobody(count: int) -> None:
    """Is told how far it is."""


def _moment(number: int, seconds: float, score: Score, whole: tuple[float, float, float, float]) -> Moment:
    told = score.verdict, score.prob, score.logit, score.familiarity, score.reason
    return Moment(number, seconds, score.box or whole, score.status, *told)


def _judged(detector: Detector, shown: ClipScore, track: Sequence[Moment]) -> ClipScore:
    """The score of one face, by its moments."""
    shown = replace(
        shown, box=track[0].box, start=track[0].seconds, end=track[-1].seconds, moments=tuple(track)
    )
    if not any(moment.status == "ok" for moment in track):
        reason = "too small in every frame" if track[0].status == "too_small" else shown.reason
        return replace(shown, status=track[0].status, reason=reason)
    judged = [moment for moment in track if moment.logit is not None]
    if not judged:  # a detector that has no verdict on such pictures says why, whatever the logit
        return detector.decide(0.0, shown)
    logit = np.array([moment.logit for moment in judged])
    ranks = [moment.familiarity for moment in judged if moment.familiarity is not None]
    familiarity = float(np.mean(ranks)) if ranks else None
    score = detector.decide(float(logit.mean()), shown, familiarity)
    if score.prob is None or (ends := _ends(logit)) is None:
        return score
    low, high = (detector.prob(end, familiarity) for end in ends)
    score = replace(score, interval=(low, high))
    words = {detector.decide(end, shown, familiarity).verdict for end in ends}
    if score.verdict in ("fake", "no_trace") and words != {score.verdict}:
        said = Counter(WORDS[moment.verdict] for moment in judged)
        parts = ", ".join(f"{count} {word}" for word, count in said.most_common())
        reason = f"its moments do not agree ({parts}): other moments could give another word"
        reason = f"{score.reason}; {reason}" if score.reason else reason
        return replace(score, verdict="inconclusive", reason=reason)
    return score


def _ends(logit: np.ndarray) -> tuple[float, float] | None:
    """The 95% interval of the mean of logits (M,) in order of time, by a circular block bootstrap (Politis
    and Romano, 1992) with blocks of the square root of M.
    """
    num = len(logit)
    if num < FEWEST:
        return None
    size = int(np.ceil(np.sqrt(num)))
    begins = np.random.default_rng(0).integers(num, size=(RESAMPLES, -(-num // size)))
    rows = (begins[..., None] + np.arange(size)).reshape(RESAMPLES, -1)[:, :num] % num
    low, high = np.quantile(logit[rows].mean(1), (0.025, 0.975))
    return float(low), float(high)


def clip_time(seconds: float) -> str:
    """0:03.5"""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def in_words(score: ClipScore) -> str:
    """What a line says of a clip beside a picture's: when the face was seen, at how many moments, and the
    interval.
    """
    when = f"{clip_time(score.start)} to {clip_time(score.end)}"
    told = f"seen {when}, in {len(score.moments)} of {score.looked} frames"
    if score.interval is None:
        return told
    low, high = score.interval
    return f"{told}, P(fake) {low:.2f} to {high:.2f} by its moments"
