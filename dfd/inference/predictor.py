"""From a checkpoint and a picture to one score a face: find, cut out, judge; and no verdict where there is no
face to judge.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.special import expit

from dfd.calibration import decide
from dfd.media.crops import View
from dfd.media.decode import Undecodable, decode
from dfd.media.faces import NO_WEIGHTS, Face, FaceDetector, crop_box, find_weights

Status = Literal["ok", "no_face", "too_small", "no_detector", "unreadable"]

# A face fills a picture as in training if the picture's longer side is at most this times the training margin
# times the face's. A margin is a median: 140K's pictures are 1.3 to 1.4 faces wide (two versions of YuNet),
# and 99% of them under 1.61.
FILLS = 1.25


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
        verdict: "real", "fake" or "inconclusive", where the status is "ok".
        prob: P(fake), sigmoid(logit / temperature); None without a verdict or without a calibration.
        logit: raw, the mean over the crops that the view takes.
        threshold: the balanced threshold on the scale of `prob`.
        inconclusive: from where to where on the scale of `prob` no verdict is given.
        calibrated_on: where temperature and thresholds come from: split, data and number of images; "" if
            from nowhere.
        reason: why there is no verdict, or what to mind about this one.
    """

    path: str
    status: Status
    face: int = 0
    faces: int = 0
    box: tuple[float, float, float, float] | None = None
    crop: tuple[int, int, int, int] | None = None
    verdict: str | None = None
    prob: float | None = None
    logit: float | None = None
    threshold: float | None = None
    inconclusive: tuple[float, float] | None = None
    calibrated_on: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Cut:
    """A face on its way to the net: its crops are (N, size, size, 3), None where nothing can be judged."""

    score: Score
    crops: np.ndarray | None = None


class Predictor:
    """A trained detector with all that it needs to answer for a file: net, view, calibration and face
    detector.

    Args:
        checkpoint: file that `dfd fit` wrote; nothing else is read and no network is needed.
        faces: YuNet's .onnx file; None takes the one of DFD_YUNET or dfd[faces]. Without any, only whole face
            crops are judged.
        device: where the net runs, as torch names it.
        allow: packages whose nets a checkpoint may name, such as ("dfd.", "my_package.").
        batch_size: crops that go through the net at once.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        faces: str | Path | None = None,
        device: str = "cpu",
        allow: Iterable[str] = ("dfd.",),
        batch_size: int = 32,
    ):
        from dfd.models import load_net

        if batch_size < 1:
            raise ValueError(
                f"batch_size={batch_size}: at least one crop must go through the net. Use 32 as a start."
            )
        _check_device(device)
        weights = find_weights(faces)  # the cheap checks first: loading a net takes seconds
        self.detector = FaceDetector(weights) if weights else None
        self.net, facts = load_net(checkpoint, map_location=device, allow=allow)
        if not facts.get("view"):
            raise ValueError(
                f"{checkpoint} does not say how its pictures were cut, so a file cannot be shown to its net "
                "as in training. "
                "Fit with a ShardDataModule, which stores its view, or judge your own tensors with "
                "dfd.models.load_net."
            )
        self.view = View(**facts["view"])
        self.device, self.batch_size = device, batch_size
        self.temperature: float = facts["temperature"]
        self.thresholds: dict[str, float] = facts["thresholds"]
        calibration = facts.get("calibrated_on") or {}
        self.calibrated_on = ""
        if calibration:
            data = (
                f" of {calibration['data']}" if "data" in calibration else ""
            )  # a task without a data module knows none
            self.calibrated_on = f"{calibration['split']}{data}, {calibration['images']} images"

    @property
    def threshold(self) -> float:
        """The balanced threshold on the scale of P(fake)."""
        return self._prob(self.thresholds["balanced"])

    @property
    def band(self) -> tuple[float, float]:
        """P(fake) from where to where the verdict is "inconclusive"."""
        low, high = sorted(self._prob(self.thresholds[name]) for name in ("fpr5", "fnr5"))
        return low, high

    def score(self, picture: str | Path | np.ndarray, whole: bool = False) -> list[Score]:
        """One score a face of a file, or of pixels (H, W, 3) uint8 RGB; one with a status where there is no
        face to judge.

        With `whole` the picture is taken as a face crop like those in training, and no face is looked for.
        """
        return self._judge(self._cut(picture, whole))

    def score_all(
        self, paths: Iterable[str | Path], whole: bool = False, workers: int | None = None
    ) -> Iterator[Score]:
        """The scores of many files, in their order.

        `workers` threads (by default up to 4) decode and find faces while the net judges; each holds one
        picture at most.
        """
        workers = workers or min(4, os.cpu_count() or 1)
        waiting: deque[Future[list[_Cut]]] = deque()
        cuts: list[_Cut] = []
        with ThreadPoolExecutor(workers, thread_name_prefix="dfd-score") as pool:
            for path in paths:
                waiting.append(pool.submit(self._cut, path, whole))
                if len(waiting) > 2 * workers:
                    cuts += waiting.popleft().result()
                if sum(len(cut.crops) for cut in cuts if cut.crops is not None) >= self.batch_size:
                    yield from self._judge(cuts)
                    cuts = []
            while waiting:
                cuts += waiting.popleft().result()
        yield from self._judge(cuts)

    def _cut(self, picture: str | Path | np.ndarray, whole: bool) -> list[_Cut]:
        """Everything up to the net; may run in any thread."""
        path = "" if isinstance(picture, np.ndarray) else str(picture)
        try:
            image = picture if isinstance(picture, np.ndarray) else decode(Path(picture).read_bytes())
        except Undecodable as error:
            return [_Cut(Score(path, "unreadable", reason=str(error)))]
        except OSError as error:
            return [_Cut(Score(path, "unreadable", reason=error.strerror or str(error)))]
        if whole:
            return [self._see(Score(path, "ok"), image)]
        if self.detector is None:
            return [
                _Cut(
                    Score(path, "no_detector", reason=f"{NO_WEIGHTS}; or --whole if the files are face crops")
                )
            ]
        faces = self.detector.find(image)
        if not faces:
            return [
                _Cut(
                    Score(
                        path,
                        "no_face",
                        reason="no face was found; if the file is a face crop, judge it with --whole",
                    )
                )
            ]
        filling = [face for face in faces if max(image.shape[:2]) <= FILLS * self.view.margin * face.side]
        cuts = []
        for number, face in enumerate(faces, 1):
            score = Score(path, "ok", number, len(faces), face.box)
            where = None if filling == [face] else crop_box(image.shape, face.box, self.view.margin)
            cuts.append(self._see(score, image, where, [other for other in faces if other is not face]))
        return cuts

    def _see(
        self,
        score: Score,
        image: np.ndarray,
        where: tuple[int, int, int, int] | None = None,
        others: Iterable[Face] = (),
    ) -> _Cut:
        """The crops that the net will judge of one face: from the square `where`, or from the whole picture."""
        x, y, w, h = where = where or (0, 0, image.shape[1], image.shape[0])
        image = self.view.shrink(image[y : y + h, x : x + w])
        score = replace(score, crop=where)
        if min(image.shape[:2]) < self.view.size:  # enlarged or padded pixels are none that the net knows
            what = f"{w} x {h} pixels" + (
                f", {image.shape[1]} x {image.shape[0]} when shrunk" if image.shape[1] < w else ""
            )
            return _Cut(
                replace(score, status="too_small", reason=f"{what}, and the net needs {self.view.size}")
            )
        shared = sum(
            x <= face.box[0] + face.box[2] / 2 < x + w and y <= face.box[1] + face.box[3] / 2 < y + h
            for face in others
        )
        if shared:
            score = replace(score, reason=f"{shared} other face{'s' * (shared > 1)} in what was judged")
        return _Cut(score, self.view.eval_crops(image))

    def _judge(self, cuts: list[_Cut]) -> list[Score]:
        crops = [cut.crops for cut in cuts if cut.crops is not None]
        logits = iter(self._logits(crops))
        return [cut.score if cut.crops is None else self._speak(cut.score, next(logits)) for cut in cuts]

    def _logits(self, crops: list[np.ndarray]) -> list[float]:
        """The mean logit of each stack of crops (N, size, size, 3) uint8."""
        if not crops:
            return []
        import torch

        images = np.concatenate(crops)
        logits = []
        with torch.inference_mode():
            for start in range(0, len(images), self.batch_size):
                image = torch.from_numpy(images[start : start + self.batch_size]).to(self.device)
                logits.append(self.net(image.movedim(-1, -3).float().div_(255)).double().cpu())
        parts = torch.cat(logits).split([len(stack) for stack in crops])
        return [float(part.mean()) for part in parts]

    def _speak(self, score: Score, logit: float) -> Score:
        if not math.isfinite(logit):
            raise ValueError(
                f"the net answers {logit} for {score.path or 'these pixels'}: its weights are broken. Train "
                "it again."
            )
        if not self.calibrated_on:
            # the bare sigmoid of a net is no probability, and zero no threshold
            return replace(
                score,
                logit=logit,
                verdict="inconclusive",
                reason="the checkpoint was never calibrated on a validation set",
            )
        if math.isinf(self.thresholds["fpr5"]) and not score.reason:
            score = replace(
                score,
                reason="the validation set had under 20 real or fake images, so nothing is known of this detector's errors",
            )
        return replace(
            score,
            logit=logit,
            prob=self._prob(logit),
            verdict=decide(logit, self.thresholds),
            threshold=self.threshold,
            inconclusive=self.band,
            calibrated_on=self.calibrated_on,
        )

    def _prob(self, logit: float) -> float:
        """P(fake) of a raw logit."""
        return float(expit(logit / self.temperature))


def _check_device(name: str) -> None:
    """ValueError unless a tensor can be put there and read again."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # unknown; not compiled in; not there
        here = ["cpu"]
        if torch.accelerator.is_available():
            kind = torch.accelerator.current_accelerator().type
            here = [
                kind,
                *(f"{kind}:{number}" for number in range(1, torch.accelerator.device_count())),
                "cpu",
            ]
        raise ValueError(
            f"device={name!r}: torch {torch.__version__} finds no such device here. Use {' or '.join(here)}."
        ) from error
