"""FaceCutter: from a picture to the crops of each face that a net will judge, as in training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dfd.detector.consistency import redelivered
from dfd.detector.inputs import bytes_of, path_of, read_input
from dfd.detector.score import FaceCrops, Score
from dfd.media.crops import View
from dfd.media.faces import NO_WEIGHTS, Face, FaceDetector, crop_box
from dfd.media.files import why_unopened
from dfd.media.formats import Undecodable
from dfd.media.picture import Picture

if TYPE_CHECKING:
    from dfd.detector.inputs import Input

# A face fills a picture as in training if the picture's longer side is at most this times the training margin
# times the face's. A margin is a median: 140K's pictures are 1.3 to 1.4 faces wide (two versions of YuNet),
# and 99% of them under 1.61.
FILLS = 1.25
# what to do with a file in which no face is found, or can be
OR_WHOLE = "or --whole if the files are face crops"
WITH_WHOLE = "may be judged with --whole"


@dataclass(frozen=True)
class FaceCutter:
    """
    Args:
        view: how the net's pictures are cut.
        faces: finds faces; without one only whole face crops are cut.
        cue_names, cue_version: which forensic cues the net reads of a file; () for none.
        speaks: whether the detector has verdicts on such pictures, by which advice differs.
        consistency: cut each face after a few mild re-deliveries too.
    """

    view: View
    faces: FaceDetector | None
    cue_names: tuple[str, ...] = ()
    cue_version: int = 0
    speaks: bool = True
    consistency: bool = False

    def cut(self, picture: Input, whole: bool = False) -> list[FaceCrops]:
        """The crops of each face, or why there are none.

        Args:
            whole: the picture is taken as a face crop like those in training, and no face is looked for.
        """
        path = path_of(picture)
        try:
            shown, cues = read_input(picture), self._cues(picture)
        except Undecodable as error:
            return [FaceCrops(Score(path, "unreadable", reason=str(error)))]
        except OSError as error:
            return [FaceCrops(Score(path, "unreadable", reason=why_unopened(path, error)))]
        if whole:
            return [self._without_cues(replace(self._crops(Score(path, "ok"), shown), cues=cues))]
        if self.faces is None:
            reason = f"{NO_WEIGHTS}; {OR_WHOLE}"
            return [FaceCrops(Score(path, "no_detector", reason=reason))]
        image, named = shown.pixels, self.faces.identity
        faces = self.faces.find(image)
        if not faces:
            crop = f"; only a file that is a crop of one face, as in training, {WITH_WHOLE}"
            reason = f"no face was found{crop if self.speaks else ''}"
            if shown.scale > 1:
                reason += f"; it was {_reduced(shown)}"
            return [FaceCrops(Score(path, "no_face", reason=reason, face_detector=named))]
        filling = [face for face in faces if max(image.shape[:2]) <= FILLS * self.view.margin * face.side]
        crops = []
        for number, face in enumerate(faces, 1):
            score = Score(path, "ok", number, len(faces), face.box, face_detector=named)
            where = None if filling == [face] else crop_box(image.shape, face.box, self.view.margin)
            cut = self._crops(score, shown, where, [other for other in faces if other is not face])
            # the file's cues say how a whole picture was made, not a part of it
            crops.append(replace(cut, cues=cues) if where is None else cut)
        return [self._without_cues(cut) for cut in crops]

    def _without_cues(self, cut: FaceCrops) -> FaceCrops:
        """Says of a net that reads cues where it was given none."""
        if cut.crops is None or cut.cues is not None or not self.cue_names:
            return cut
        mind = "judged without the cues of a file: the error rates are those of whole files"
        reason = f"{cut.score.reason}; {mind}" if cut.score.reason else mind
        return replace(cut, score=replace(cut.score, reason=reason))

    def _cues(self, picture: Input) -> np.ndarray | None:
        """The cues (C,) of a file that the net reads; None where it reads none, or there is no file."""
        names = self.cue_names
        data = bytes_of(picture) if names else None
        if data is None:
            return None
        from dfd.forensics.cues import CUES, CUES_VERSION, describe

        if self.cue_version != CUES_VERSION:
            raise ValueError(
                f"the net reads cues of version {self.cue_version}, and this dfd measures version "
                f"{CUES_VERSION}: numbers of two versions are not compared. Train it again."
            )
        return describe(data)[[CUES.index(name) for name in names]]

    def _crops(
        self,
        score: Score,
        shown: Picture,
        where: tuple[int, int, int, int] | None = None,
        others: Iterable[Face] = (),
    ) -> FaceCrops:
        """The crops of one face that the net will judge: of the square `where`, or of the whole picture."""
        x, y, w, h = where = where or (0, 0, shown.pixels.shape[1], shown.pixels.shape[0])
        image = shown.pixels[y : y + h, x : x + w]
        score = replace(score, crop=where)
        for part in self.view.parts:
            height, width = part.shrink(image).shape[:2]
            if min(height, width) < part.size:  # enlarged or padded pixels are none that the net knows
                shrunk = f", {width} x {height} when shrunk" if width < w else ""
                reason = f"{w} x {h} pixels{shrunk}, and the net needs {part.size}"
                return FaceCrops(replace(score, status="too_small", reason=reason))
        crops, mind = self.view.eval_crops(image), []
        corners = self.view.eval_places(image)[1]
        if shown.opaque is not None:
            opaque = self._opaque_crops(shown.opaque[y : y + h, x : x + w])
            if not opaque.any():
                reason = (
                    "transparent in parts of what would be judged: what is behind them is not in the file"
                )
                return FaceCrops(replace(score, status="unreadable", reason=reason))
            if not opaque.all():
                mind.append(
                    f"judged by {opaque.sum()} of {len(crops)} crops, the others are transparent in parts"
                )
            crops = crops[opaque]
            corners = [corner for corner, kept in zip(corners, opaque, strict=True) if kept]
        shared = sum(
            x <= face.box[0] + face.box[2] / 2 < x + w and y <= face.box[1] + face.box[3] / 2 < y + h
            for face in others
        )
        if shared:
            mind.append(f"{shared} other face{'s' * (shared > 1)} in what was judged")
        if shown.scale > 1:
            mind.append(_reduced(shown))
        again = {}
        if self.consistency:
            smallest = max(part.size for part in self.view.parts)
            again = {name: self.view.eval_crops(each) for name, each in redelivered(image, smallest).items()}
        return FaceCrops(replace(score, reason="; ".join(mind)), crops, tuple(corners), again)

    def _opaque_crops(self, opaque: np.ndarray) -> np.ndarray:
        """(N,) bool: which of the crops that the view takes of a picture are opaque, from where it is
        (H, W).
        """
        cover = self.view.eval_crops(np.where(opaque, np.uint8(255), np.uint8(0)))
        return (cover == 255).all(axis=(1, 2))


def _reduced(shown: Picture) -> str:
    return f"read at 1/{shown.scale} of its width and height, in whose pixels boxes are given"
