"""A pass over a root under one condition: each picture is decoded once, for all detectors of a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit

from dfd.batch import LoadedBatch, Predictions, Sample
from dfd.data import ShardDataModule
from dfd.detector import Detector
from dfd.detector.card import Card
from dfd.familiarity import Gate
from dfd.familiarity.alarm import table_verdicts
from dfd.media.crops import View
from dfd.weighing import weighed

# what stands before the reason where a transform leaves a picture out, see `ShardDataset`
TOO_SMALL = "too_small: "


@dataclass(frozen=True)
class Judged:
    """What one detector says of the pictures of a pass: (M,) each, in the order of the rows."""

    predictions: Predictions
    reason: np.ndarray  # str, why there is no logit


class EnoughPixels:
    """Transform that leaves a picture out where the net would see enlarged or mirrored pixels: there `dfd
    score` has no verdict either.
    """

    def __init__(self, view: View):
        self.view = view

    def __repr__(self) -> str:
        return f"EnoughPixels({', '.join(str(part.size) for part in self.view.parts)})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for part in self.view.parts:
            height, width = part.shrink(sample["image"]).shape[:2]
            if min(height, width) < part.size:
                fault = f"{TOO_SMALL}{width} x {height} pixels, and the net needs {part.size}"
                return {**sample, "fault": fault}
        return sample


def judge(
    detectors: Sequence[Detector],
    loader: Iterable[LoadedBatch],
    rows: np.ndarray,
    data: ShardDataModule,
    advance: Callable[[int], None],
) -> list[Judged]:
    """What each detector says of `rows` (M,), in their order.

    Args:
        detectors: of one view, which cut the loader's pictures.
        loader: gives `LoadedBatch`es of these rows, each once.
        data: describes the rows.
        advance: told how many pictures are done.
    """
    shown: list[torch.Tensor] = []
    logits: list[list[torch.Tensor]] = [[] for _ in detectors]
    ranks: list[list[np.ndarray]] = [[] for _ in detectors]
    faults: dict[int, str] = {}
    with torch.inference_mode():
        for batch in loader:
            faults.update(batch.get("faults", []))
            valid = batch["valid"]
            if valid.any():
                shown.append(batch["row"])
                for detector, found, familiar in zip(detectors, logits, ranks, strict=True):
                    image = batch["image"].to(detector.device, non_blocking=True)
                    cues = batch["cues"].to(detector.device) if "cues" in batch else None
                    found.append(detector.batch_logits(image, cues))
                    familiar.append(detector.batch_familiarity(image))
            advance(int(valid.sum()) + len(batch.get("faults", [])))
    nothing = torch.zeros(0)
    row = torch.cat([nothing.long(), *shown]).numpy()
    # once for a pass: a device that is asked for each batch waits for each
    of_row = [torch.cat([nothing, *found]).double().cpu().numpy() for found in logits]
    ranked = [np.concatenate([np.zeros(0), *familiar]) for familiar in ranks]
    return [
        collected(rows, row, logit, rank, faults, data) for logit, rank in zip(of_row, ranked, strict=True)
    ]


def collected(
    rows: np.ndarray,
    row: np.ndarray,
    logit: np.ndarray,
    rank: np.ndarray,
    faults: dict[int, str],
    data: ShardDataModule,
) -> Judged:
    """Every row exactly once, with its logit or why it has none."""
    place = {number: at for at, number in enumerate(rows.tolist())}
    found, familiarity = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    status = np.full(len(rows), "missing", "U16")
    reason = np.full(len(rows), "", object)
    at = np.array([place[number] for number in row.tolist()], np.int64)
    assert len(np.unique(at)) == len(at), "a picture was judged twice"
    finite = np.isfinite(logit)
    found[at[finite]], familiarity[at[finite]] = logit[finite], rank[finite]
    status[at] = np.where(finite, "ok", "not_finite")
    reason[at[~finite]] = "the net answers NaN or infinity"
    for number, why in faults.items():
        status[place[number]] = "too_small" if why.startswith(TOO_SMALL) else "unreadable"
        reason[place[number]] = why.removeprefix(TOO_SMALL)
    assert not (status == "missing").any(), "a picture was not judged"
    facts = data.describe(rows)
    predictions = Predictions(
        row=rows,
        logit=found,
        label=data.contents.label[rows].astype(np.int64),
        status=status,
        familiarity=familiarity,
        **{name: facts[name] for name in ("source", "method", "family", "clip")},
    )
    return Judged(predictions, reason.astype(str))


def verdicts(
    card: Card, gate: Gate | None, predictions: Predictions, speaks: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """P(fake) (M,) and the words (M,) for each row: NaN and "" where there is no logit; no P(fake) of what is
    unfamiliar, alone or as one of many. And what is said of sources that are strange as a whole.

    Args:
        card: the detector's.
        gate: the detector's; None where it has none.
        speaks: whether the detector knows anything of such pictures, see `Detector`; where not, every word is
            "inconclusive".
    """
    ok = predictions.status == "ok"
    balanced = card.thresholds["balanced"]
    prob = expit(card.calibration(weighed(predictions.logit, predictions.familiarity, balanced)))
    word = np.full(len(ok), "", "U16")
    if not speaks or not card.calibrated_on:
        word[ok] = "inconclusive"
        return np.full(len(ok), np.nan), word, {}
    judged = predictions.judged
    word[ok], strange = table_verdicts(judged.logit, judged.familiarity, judged.source, card.thresholds, gate)
    return np.where(word == "unfamiliar", np.nan, prob), word, strange
