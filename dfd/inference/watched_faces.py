"""Watched faces: each frame's faces judged and followed, and each track decided by its smoothed logit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dfd.detector import Detector, Score
from dfd.inference.frame_queue import Frame
from dfd.media.face_tracks import FaceFollower
from dfd.media.faces import Face


@dataclass(frozen=True)
class Sighting:
    """One face in one frame; or a frame without a face, whose track is None.

    Args:
        score: of this frame alone.
        track: number of the face, the same for as long as it is followed.
        smoothed: decided by the means of the track's logits and familiarities; None where nothing of the
            track was judged.
    """

    score: Score
    track: int | None = None
    smoothed: Score | None = None


class SmoothedMean:
    """A mean that forgets: what came t seconds ago counts exp(-t / seconds).

    The weights sum to 1 from the first value on, so that the first one has no more than its share.

    Args:
        seconds: the time constant; with 0 only the newest value counts.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.total, self.weight, self.at = 0.0, 0.0, 0.0

    def add(self, value: float, at: float) -> None:
        """Adds a value of the time `at`, in seconds, not before that of the last one."""
        kept = math.exp((self.at - at) / self.seconds) if self.seconds and self.weight else 0.0
        self.total, self.weight, self.at = kept * self.total + value, kept * self.weight + 1.0, at

    @property
    def mean(self) -> float | None:
        return self.total / self.weight if self.weight else None


def check_smoothing(seconds: float) -> None:
    """ValueError unless it is a time constant."""
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"smooth={seconds}: the time constant is a number of seconds, 0 for none. Use 1 as a start."
        )


class WatchedFaces:
    """Frames in, in order of time, and what is said of their faces out.

    Args:
        detector: judges them.
        seconds: time constant of the smoothing.
        whole: each frame is a face crop like those in training, and no face is looked for.
        name: what the scores call their source.

    Raises:
        ValueError: seconds is below 0 or no number.
    """

    def __init__(self, detector: Detector, seconds: float, whole: bool = False, name: str = ""):
        check_smoothing(seconds)
        self.detector, self.seconds, self.whole, self.name = detector, seconds, whole, name
        self._follower = FaceFollower()
        self._means: dict[int, tuple[SmoothedMean, SmoothedMean]] = {}  # track -> logit, familiarity

    def see(self, frame: Frame) -> list[Sighting]:
        """What is said of a frame: of each face from left to right, or of the frame that has none."""
        height, width = frame.pixels.shape[:2]
        scores = [replace(score, path=self.name) for score in self.detector.score(frame.pixels, self.whole)]
        seen = [score for score in scores if score.face or self.whole]
        boxes = [score.box or (0.0, 0.0, float(width), float(height)) for score in seen]
        faces = [Face(box, 1.0, np.empty((0, 2))) for box in boxes]
        tracks = self._follower.follow(faces, frame.seconds)
        self._means = {track: self._means[track] for track in self._follower.followed & self._means.keys()}
        if not seen:
            return [Sighting(score) for score in scores]
        return [
            Sighting(score, track, self._smoothed(score, track, frame.seconds))
            for score, track in zip(seen, tracks, strict=True)
        ]

    def follows(self, track: int) -> bool:
        """Whether a face of this number may still come back."""
        return track in self._follower.followed

    def _smoothed(self, score: Score, track: int, at: float) -> Score | None:
        """The score of a track, once this frame's counts too."""
        logits, ranks = self._means.setdefault(
            track, (SmoothedMean(self.seconds), SmoothedMean(self.seconds))
        )
        if score.logit is not None:
            logits.add(score.logit, at)
        if score.familiarity is not None:
            ranks.add(score.familiarity, at)
        if logits.mean is None:
            # nothing was judged, or nothing may be said of anything
            return score if score.verdict else None
        shown = Score(score.path, "ok", track, score.faces, score.box, face_detector=score.face_detector)
        return self.detector.decide(logits.mean, shown, ranks.mean)
