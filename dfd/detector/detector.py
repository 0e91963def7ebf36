"""Detector: images in, decisions out: faces found, cropped as in training, judged, and calibrated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from dfd.calibration import WORDS, band, check_prior, decide, shortage, with_prior
from dfd.detector.card import Card, load_net
from dfd.detector.exported_net import ExportedNet
from dfd.detector.face_cutter import FaceCutter
from dfd.detector.onnx_net import SUFFIX as ONNX
from dfd.detector.onnx_net import read_onnx
from dfd.detector.openvino_net import SUFFIX as OPENVINO
from dfd.detector.openvino_net import read_openvino
from dfd.detector.published import detector_file, find_published, published_card, write_published
from dfd.detector.runtime import Runtime
from dfd.detector.score import FaceCrops, Score, unfamiliar
from dfd.media.faces import FaceDetector, find_weights
from dfd.weighing import FULL, weighed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from dfd.detector.inputs import Input
    from dfd.models import Net

TOO_FEW = "the validation set had too few real or fake images to certify any error rate"
# by suffix: of exports to other programs than torch, which are judged on the CPU
EXPORTS = {ONNX: read_onnx, OPENVINO: read_openvino}


class Detector:
    """A trained net with its card: from pixels to a decision.

    Args:
        net: image (B, 3, H, W) in [0, 1] -> logits (B,), or an export to ONNX or OpenVINO.
        card: what is known of the net; it must have a view.
        faces: finds faces; without one, only whole face crops are judged.
        device: where the net runs, as torch names it.
        batch_size: crops that go through the net at once.
        drawings: the pictures are the toy set's drawings, the only ones that a detector trained on it has a
            verdict on.
        prior: share of fakes among the pictures to judge, in (0, 1), which P(fake) is corrected to; None
            leaves that of the calibration. No verdict depends on it.
        consistency: judge each face after a few mild re-deliveries too; a verdict that does not survive them
            is inconclusive.

    Raises:
        ValueError: batch_size is below 1, prior outside (0, 1) or of no use to this card, or the card's
            familiarity is none that dfd wrote.
    """

    def __init__(
        self,
        net: Net | ExportedNet,
        card: Card,
        faces: FaceDetector | None = None,
        device: str = "cpu",
        batch_size: int = 32,
        drawings: bool = False,
        prior: float | None = None,
        consistency: bool = False,
    ):
        if batch_size < 1:
            raise ValueError(
                f"batch_size={batch_size}: at least one crop must go through the net. Use 32 as a start."
            )
        assert card.view, "a detector needs to know how its images were cut"
        self.card, self.faces = card, faces
        self.prior, self.calibration = prior, card.calibration
        if prior is not None:
            self.calibration = with_prior(card.calibration, prior, card.certificate)
        if isinstance(net, ExportedNet):
            self.runtime: Runtime = net
        else:
            from dfd.detector.torch_net import TorchNet

            self.runtime = TorchNet(net, card, device)
        self.gate, self.consistency = self.runtime.gate, consistency
        # a data module of one's own may have stored a view that states no margin
        self.view = card.made_view("the card").resolved()
        self.device, self.batch_size = device, batch_size
        # a drawing's detector says "fake" of photographs, and is sure
        self.speaks = drawings or not card.of_drawings

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], revision: str | None = None, **options: Any
    ) -> Detector:
        """A detector that `save_pretrained` or `dfd export` wrote.

        Args:
            name: its folder, or OWNER/NAME on the Hugging Face Hub, whose cache is asked first.
            revision: branch, tag or commit on the Hub.
            options: as of `dfd.load`.

        Raises:
            ValueError: there is none of this name, or what is wrong with its file.
        """
        return load(find_published(name, revision), **options)

    def save_pretrained(self, folder: str | os.PathLike[str], model_card: str | None = None) -> None:
        """Writes the detector into a folder of the Hub's layout: model.safetensors, config.json, README.md.

        Args:
            folder: a new one.
            model_card: text of README.md, such as the MODEL_CARD.md of `dfd report`; None writes what the
                detector knows of itself.

        Raises:
            ValueError: the folder exists with something in it, or this is an export to ONNX or
                OpenVINO.
            OSError: disk full or unwritable, in words.
        """
        if isinstance(self.runtime, ExportedNet):
            raise ValueError(f"an export to {self.runtime.kind} has no weights to save: load its checkpoint.")
        write_published(self.net, published_card(self.card), Path(folder), model_card)

    @property
    def net(self) -> nn.Module:
        """The net as torch's; an export to ONNX or OpenVINO has no gradients, layers or weights."""
        return self.runtime.module

    @property
    def basis(self) -> str:
        """What P(fake) rests on, in a few words."""
        return self.card.basis if self.prior is None else f"{self.card.basis}, at {self.prior:g} fakes"

    @property
    def threshold(self) -> float:
        """The balanced threshold on the scale of P(fake)."""
        return self.prob(self.card.thresholds["balanced"])

    @property
    def never_speaks(self) -> bool:
        """Whether every familiar picture is inconclusive, whatever its P(fake): nothing is certified."""
        return all(math.isinf(self.card.thresholds[name]) for name in ("fpr5", "fnr5"))

    @property
    def band(self) -> tuple[float, float]:
        """P(fake) from where to where the verdict is "inconclusive"."""
        low, high = (self.prob(end) for end in band(self.card.thresholds))
        return low, high

    def prob(self, logit: float, familiarity: float | None = None) -> float:
        """P(fake) of a raw logit; of a strange picture nearer to that of the balanced threshold."""
        if familiarity is not None:
            logit = float(weighed(logit, familiarity, self.card.thresholds["balanced"]))
        return float(expit(self.calibration(logit)))

    def logits(
        self, crops: Sequence[np.ndarray], cues: Sequence[np.ndarray | None] | None = None
    ) -> list[float]:
        """The mean logit of each stack of crops (N, size, size, 3) uint8 RGB.

        Args:
            cues: of each stack the cues (C,) of its file, or None.
        """
        found = np.empty(len(crops))
        told = [each is not None for each in cues or [None] * len(crops)]
        for number, having in enumerate([np.flatnonzero(np.logical_not(told)), np.flatnonzero(told)]):
            stacks = [crops[at] for at in having]
            beside = [cues[at] for at in having] if cues and number else None
            found[having] = self._mean_logits(stacks, beside)
        return found.tolist()

    def _mean_logits(self, crops: Sequence[np.ndarray], cues: Sequence[np.ndarray] | None) -> list[float]:
        """Of stacks that all have cues, or none of which has."""
        if not crops:
            return []
        images, lengths = np.concatenate(crops), [len(stack) for stack in crops]
        beside = None if cues is None else np.stack(cues).repeat(lengths, axis=0)
        parts = [slice(start, start + self.batch_size) for start in range(0, len(images), self.batch_size)]
        logits = np.concatenate(
            [self.runtime.logits(images[part], None if beside is None else beside[part]) for part in parts]
        )
        return [float(each.mean()) for each in np.split(logits, np.cumsum(lengths)[:-1])]

    def batch_logits(self, image: torch.Tensor, cues: torch.Tensor | None = None) -> torch.Tensor:
        """The logits (B,) of a loader's pictures (B, N, size, size, 3) uint8 on the net's device, each the
        mean over its N crops.

        Args:
            cues: (B, C) float32, of the pictures' files, for a net that reads them.
        """
        crops = image.flatten(0, 1).movedim(-1, -3).float().div_(255)
        if cues is not None:
            cues = cues.repeat_interleave(image.shape[1], dim=0)
        return self.runtime.forward(crops, cues).view(image.shape[:2]).mean(1)

    def familiarity(self, crops: Sequence[np.ndarray]) -> list[float | None]:
        """For each stack of crops (N, size, size, 3) uint8 RGB the share of the detector's own pictures that
        are at least as strange, in [0, 1]; None where it never learnt what they are like.
        """
        if self.gate is None or not crops:
            return [None] * len(crops)
        return self._ranks(np.stack([stack[-1] for stack in crops])).tolist()

    def batch_familiarity(self, image: torch.Tensor) -> np.ndarray:
        """The same (B,) of a loader's pictures (B, N, size, size, 3) uint8 on the net's device; NaN where the
        detector never learnt it.
        """
        if self.gate is None:
            return np.full(len(image), np.nan)
        return self._ranks(image[:, -1])

    def _ranks(self, last: np.ndarray | torch.Tensor) -> np.ndarray:
        """(B,) familiarity of the last crops (B, size, size, 3) uint8."""
        return self.gate.rank(self.runtime.distance(last[:, *self.view.middle]))

    def score(self, picture: Input, whole: bool = False) -> list[Score]:
        """One score a face of a file, of a file's bytes, of a Pillow image, or of pixels (H, W, 3) uint8 RGB;
        one with a status where there is no face to judge.

        With `whole` the picture is taken as a face crop like those in training, and no face is looked for.
        """
        return self.judge(self.crop_faces(picture, whole))

    def crop_faces(self, picture: Input, whole: bool = False) -> list[FaceCrops]:
        """Everything up to the net, face by face; may run in any thread."""
        return self._cutter.cut(picture, whole)

    @property
    def _cutter(self) -> FaceCutter:
        cues = self.runtime.cue_names, self.runtime.cue_version
        return FaceCutter(self.view, self.faces, *cues, self.speaks, self.consistency)

    def judge(self, faces: Sequence[FaceCrops]) -> list[Score]:
        """The scores of cropped faces, in their order."""
        shown = [face for face in faces if face.crops is not None]
        stacks = [face.crops for face in shown]
        ranks = iter(self.familiarity(stacks))
        # a re-delivery is another file, whose cues nobody has measured
        both = [
            pair
            for face in shown
            for pair in ((face.crops, face.cues), *((stack, None) for stack in face.again.values()))
        ]
        logits = iter(self.logits([stack for stack, _ in both], [cues for _, cues in both]))
        scores = []
        for face in faces:
            if face.crops is None:
                scores.append(face.score)
                continue
            score = self.decide(next(logits), face.score, next(ranks))
            score = self._consistent(score, {name: next(logits) for name in face.again})
            if score.verdict == "fake" and (expert := self.expert(face)):
                score = replace(score, expert=expert)
            scores.append(score)
        return scores

    def expert(self, face: FaceCrops) -> str:
        """Which of a pair of experts has the most to say of a face that was cropped, by its name; "" of any
        other detector.
        """
        return self.runtime.expert(face.crops, face.crop_cues)

    def _consistent(self, score: Score, logits: Mapping[str, float]) -> Score:
        """The score of a face that was judged after re-deliveries too: a word that does not survive them is
        not said.
        """
        if score.verdict not in ("fake", "no_trace"):
            return score
        words = {
            name: decide(logit, self.card.thresholds, score.familiarity) for name, logit in logits.items()
        }
        other = [f"{WORDS[word]} after {name}" for name, word in words.items() if word != score.verdict]
        if not other:
            return score
        reason = f"does not survive mild re-deliveries: {WORDS[score.verdict]} as it is, {', '.join(other)}"
        reason = f"{score.reason}; {reason}" if score.reason else reason
        return replace(score, verdict="inconclusive", reason=reason)

    def decide(self, logit: float, score: Score, familiarity: float | None = None) -> Score:
        """The score of a face, with the decision that its logit gives.

        Args:
            familiarity: share of the detector's own pictures that are at least as strange; None where that is
                not known.

        Raises:
            ValueError: the logit is NaN or infinite, which is a failure and no verdict.
        """
        if not math.isfinite(logit):
            raise ValueError(
                f"the net answers {logit} for {score.path or 'these pixels'}: its weights are broken. Train "
                "it again."
            )
        if not self.speaks:
            reason = "no verdict: this detector has seen drawings only, and knows nothing of photographs"
            return replace(score, verdict="inconclusive", reason=reason)
        if not self.card.calibrated_on:
            # the bare sigmoid of a net is no probability, and zero no threshold
            reason = "these weights were never calibrated on a validation set"
            return replace(score, logit=logit, verdict="inconclusive", reason=reason)
        score = replace(score, logit=logit, familiarity=familiarity)
        verdict = decide(logit, self.card.thresholds, familiarity)
        if verdict == "unfamiliar":
            return unfamiliar(score, self.gate.reason(familiarity))
        silent = any(math.isinf(self.card.thresholds[name]) for name in ("fpr5", "fnr5"))
        if verdict == "inconclusive" and silent:
            reason = "; ".join(shortage(self.card.certificate)) or TOO_FEW
            if self.never_speaks:
                reason = f"no verdict is possible: {reason}"
            score = replace(score, reason=f"{reason}; {score.reason}" if score.reason else reason)
        if verdict == "inconclusive" and decide(logit, self.card.thresholds) != verdict:
            # the word that its logit alone would get is not said
            reason = (
                f"somewhat strange: {familiarity:.0%} of the detector's own pictures are as strange, so that "
                f"the logit counts for {familiarity / FULL:.0%}, which is too little for a verdict"
            )
            score = replace(score, reason=f"{score.reason}; {reason}" if score.reason else reason)
        return replace(
            score,
            prob=self.prob(logit, familiarity),
            verdict=verdict,
            threshold=self.threshold,
            inconclusive=self.band,
            calibrated_on=self.basis,
        )


def load(
    path: str | os.PathLike[str],
    faces: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
    batch_size: int = 32,
    drawings: bool = False,
    prior: float | None = None,
    consistency: bool = False,
) -> Detector:
    """The detector of a file that `dfd fit` or `dfd export` wrote. Nothing else is read, and no network is
    needed.

    Args:
        path: a checkpoint (.ckpt), an export (.safetensors, or .onnx or .xml, which need no torch), a folder
            that `Detector.save_pretrained` wrote, or the name of a released detector that lies here (see
            `dfd models`).
        faces: YuNet's .onnx file; None takes the one of DFD_YUNET or dfd[faces]. Without any, only whole face
            crops are judged.
        device: where the net runs, as torch names it.
        allow: packages whose nets a checkpoint may name, such as ("dfd.", "my_package.").
        batch_size: crops that go through the net at once.
        drawings: the pictures are the toy set's drawings. Of other pictures a detector that was trained on
            the toy set has no verdict.
        prior: share of fakes among the pictures to judge, in (0, 1), which P(fake) is corrected to.
        consistency: judge each face after a few mild re-deliveries too; a verdict that does not survive them
            is inconclusive.

    Raises:
        ValueError: what is wrong with the file, the prior, the device or the face detector's weights.
    """
    # the cheap checks first: loading a net takes seconds
    if prior is not None:
        check_prior(prior)
    path = detector_file(path)
    read = EXPORTS.get(path.suffix)
    if read is None:
        check_device(device)
    elif device != "cpu":
        raise ValueError(
            f"device={device!r}: an export to ONNX or OpenVINO is judged on the CPU here. Leave device out."
        )
    weights = find_weights(faces)
    finder = FaceDetector(weights) if weights else None
    net, card = read(path) if read else load_net(path, map_location=device, allow=allow)
    if not card.view:
        raise ValueError(
            f"{path} does not say how its pictures were cut, so a file cannot be shown to its net as in "
            "training. Fit with a ShardDataModule, which stores its view, or judge your own tensors with the "
            "net that dfd.detector.load_net gives."
        )
    card.made_view(str(path))
    return Detector(net, card, finder, device, batch_size, drawings, prior, consistency)


def check_device(name: str) -> None:
    """ValueError unless a tensor can be put there and read again."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    # unknown; not compiled in; not there
    except (RuntimeError, AssertionError, NotImplementedError) as error:
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
