"""Score: what is said of one face, or why nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from dfd.calibration import Verdict

Status = Literal["ok", "no_face", "too_small", "no_detector", "unreadable"]


@dataclass(frozen=True)
class Score:
    """What is said of one face, or why nothing is said.

    Args:
        path: the file; "" for pixels.
        face: number of the face in its picture, from 1, left to right; 0 where none was found or looked for.
        faces: how many faces the picture has.
        box: x, y, width, height of the face in the upright picture, in pixels.
        crop: the part of the picture that was judged, likewise.
        status: "ok" is a judged face; with the others there is no verdict and `reason` says why.
        verdict: "no_trace", "fake", "inconclusive" or "unfamiliar", where the status is "ok"; people read
            `dfd.calibration.WORDS`.
        expert: where the detector is a pair of experts and says "fake": the name of the one that spoke, such
            as "blend"; people read `dfd.calibration.EXPERTS`.
        prob: P(fake), the sigmoid of the calibrated log odds; None without a verdict or a calibration.
        logit: raw, the mean over the crops that the view takes.
        familiarity: share of the detector's own pictures that are at least as strange, in [0, 1]; None where
            it never learnt what they are like.
        threshold: the balanced threshold on the scale of `prob`.
        inconclusive: from where to where on the scale of `prob` no verdict is given.
        calibrated_on: where calibration and thresholds come from: split, data and number of images; "" if
            from nowhere.
        reason: why there is no verdict, or what to mind about this one.
        face_detector: what looked for faces, as `FaceDetector.identity`; "" where nothing did.
    """

    path: str
    status: Status
    face: int = 0
    faces: int = 0
    box: tuple[float, float, float, float] | None = None
    crop: tuple[int, int, int, int] | None = None
    verdict: Verdict | None = None
    expert: str = ""
    prob: float | None = None
    logit: float | None = None
    familiarity: float | None = None
    threshold: float | None = None
    inconclusive: tuple[float, float] | None = None
    calibrated_on: str = ""
    reason: str = ""
    face_detector: str = ""


@dataclass(frozen=True)
class FaceCrops:
    """A face on its way to the net.

    Args:
        score: what is known of it so far.
        crops: (N, size, size, 3) uint8; None where nothing can be judged.
        corners: top and left of each crop in the picture that they were cut from.
        again: crops of the same face after each re-delivery, by its name.
        cues: (C,) float32, the forensic cues of the file for a net that reads them; None where there is no
            file, or where a part of its picture is judged.
    """

    score: Score
    crops: np.ndarray | None = None
    corners: tuple[tuple[int, int], ...] = ()
    again: Mapping[str, np.ndarray] = field(default_factory=dict)
    cues: np.ndarray | None = None

    @property
    def crop_cues(self) -> np.ndarray | None:
        """(N, C): the same cues beside each crop."""
        return None if self.cues is None or self.crops is None else self.cues[None].repeat(len(self.crops), 0)


def unfamiliar(score: Score, reason: str) -> Score:
    """The score of a face that the detector must not judge: without P(fake), and why."""
    return replace(
        score,
        verdict="unfamiliar",
        prob=None,
        threshold=None,
        inconclusive=None,
        calibrated_on="",
        reason=f"{score.reason}; {reason}" if score.reason else reason,
    )
