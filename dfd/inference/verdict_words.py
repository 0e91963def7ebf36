"""Verdicts in words: a line a face, sentences, what was seen in all, and what P(fake) is and is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dfd.calibration import EXPERTS, UNFAMILIAR, WORDS, in_words, worth_in_words
from dfd.detector import Detector, Score
from dfd.detector.selection import warning
from dfd.inference.clip import ClipScore
from dfd.inference.clip import in_words as in_words_of_clip
from dfd.inference.named_files import not_tried
from dfd.terminal import many, printable

COLOURS = {"fake": "31", "no_trace": "32", "inconclusive": "33", "unfamiliar": "35"}  # the rest is grey
OF_FACES = "Name that file with --faces."
OF_DRAWINGS = "If these files are the toy set's own drawings: --drawings."


def line(score: Score, colour: bool = False) -> str:
    """One line for people: verdict or status, P(fake) with its threshold, file, face, and what to mind."""
    verdict = score.verdict or score.status
    start = f"{WORDS.get(verdict, verdict):<14}"
    parts = [f"\033[{COLOURS.get(verdict, '90')}m{start}\033[0m" if colour else start]
    if score.expert:
        parts.append(expert_words(score))
    if score.prob is not None:
        basis = printable(score.calibrated_on, keep="")
        parts.append(f"P(fake) {_apart(score)}")
        # beside a threshold, P(fake) reads as a verdict
        never = score.inconclusive == (0.0, 1.0)
        threshold = "" if never else f"threshold {shown_prob(score.threshold).strip()} "
        parts.append(f"{threshold}({basis}{'' if never else ', balanced'})")
    parts.append(printable(score.path, keep=""))
    if score.box:
        sides = zip(("x", "y", "width", "height"), score.box, strict=True)
        where = " ".join(f"{side}={value:.0f}" for side, value in sides)
        parts.append(f"face {score.face}/{score.faces} at {where}")
    if isinstance(score, ClipScore) and score.moments:
        parts.append(in_words_of_clip(score))
    if score.reason:
        parts.append(f"({printable(score.reason, keep='')})")
    return "  ".join(parts)


def expert_words(score: Score) -> str:
    """What the expert that spoke looks for: "a pasted border"; of one without words its name."""
    return EXPERTS.get(score.expert, printable(score.expert, keep=""))


def count(num_files: int, num_faces: int, others: Sequence[Path], seen: Counter[str]) -> str:
    """What was seen in all: files as files, faces as faces."""
    verdicts = ", ".join(f"{seen[verdict]} {WORDS[verdict]}" for verdict in COLOURS)
    statuses = ", ".join(f"{number} {word}" for word, number in sorted(seen.items()) if word not in COLOURS)
    # with --whole a file is a face
    faces = f" with {many(num_faces, 'face')}" if num_faces else ""
    text = f"{many(num_files, 'file')}{faces}: {verdicts}{f'; no verdict: {statuses}' if statuses else ''}"
    return "; ".join([text, *not_tried(others)])


def sentences(score: Score) -> list[str]:
    """The verdict with its uncertainty, or why there is none, as sentences."""
    reason = score.reason.rstrip(".")
    if score.verdict is None:
        return [f"No verdict: {reason or score.status.replace('_', ' ')}."]
    if score.verdict == "unfamiliar":
        said = [
            "Unfamiliar: this picture is unlike those that the detector was calibrated on, so it gives no "
            "P(fake)."
        ]
    elif score.prob is None:
        said = ["Inconclusive: there is no P(fake)."]
    else:
        told = f"P(fake) is {_apart(score).strip()}, on data like {score.calibrated_on}"
        low, high = score.inconclusive or (0.0, 1.0)
        band = f"Between {low:.2f} and {high:.2f} the word would be inconclusive."
        if (low, high) == (0.0, 1.0):
            band = "No verdict is possible, whatever P(fake) is."
        if score.verdict == "fake":
            said = [f"Fake: {told}. {band} This is evidence, not proof."]
            if score.expert:
                said.append(f"Of its experts the one that looks for {expert_words(score)} spoke.")
        elif score.verdict == "inconclusive":
            said = [f"Inconclusive: {told}. {band}"]
        else:
            said = [f"No trace found: {told}. {band} This does not show that the picture is real."]
    if isinstance(score, ClipScore) and score.moments:
        seen = in_words_of_clip(score)
        said.append(f"{seen[0].upper()}{seen[1:]}. The sound was not looked at.")
    if reason:
        said.append(f"Mind: {reason}.")
    return said


def no_verdict(score: Score) -> str:
    """What a map of a face without a verdict of fake or no trace found begins with: that it explains none,
    and why there is none; "" of one with such a verdict.
    """
    if score.verdict in ("fake", "no_trace"):
        return ""
    low, high = score.inconclusive or (0.0, 1.0)
    if score.verdict == "unfamiliar":
        why = "this picture is unlike those that the detector was calibrated on"
    elif score.verdict is None or score.prob is None:
        why = score.reason.rstrip(".") or "the detector has no P(fake)"
    elif (low, high) == (0.0, 1.0):
        why = "this detector has none, whatever P(fake) is"
    elif low <= score.prob <= high:
        why = f"P(fake) lies between {low:.2f} and {high:.2f}, where the detector does not decide"
    else:
        why = score.reason.rstrip(".") or "the answer is inconclusive"
    return (
        f"This map explains no verdict, since there is none: {why}. It shows what moved the net all the "
        "same, and is evidence of nothing."
    )


def closing(detector: Detector, whole: bool = False) -> str:
    """What P(fake) is and is not.

    Args:
        whole: no face was looked for, so that nothing is said of what looks for faces.
    """
    if not detector.speaks:
        return (
            "This detector was trained on the toy set, which is drawn: it knows nothing of photographs, and "
            "has no verdict on them. Train one on photographs: dfd prepare, then dfd fit --data "
            f"data/140k.yaml. {OF_DRAWINGS}"
        )
    if not detector.card.calibrated_on:
        return "These weights were never calibrated on a validation set: their logits are no verdicts."
    low, high = detector.band
    where = (
        "No verdict is possible: every picture is inconclusive or unfamiliar, whatever its P(fake)."
        if detector.never_speaks
        else f"From {shown_prob(low).strip()} to {shown_prob(high).strip()} the verdict is inconclusive."
    )
    lines = [
        f"P(fake) is calibrated on {detector.basis}, and is no proof: on generators, cameras and "
        f"uploads unlike those it can be sure and wrong. {where}",
        *in_words(detector.card.certificate),
        *worth_in_words(detector.card.certificate, detector.prior),
        _of_strange(detector),
    ]
    if chosen := warning("", detector.card.calibrated_on, detector.card.selected_on):
        lines.append(chosen)
    if detector.faces is not None and not whole:
        lines.append(_of_faces(detector.faces.identity, detector.card.face_detector))
    return "\n".join(lines)


def _of_faces(here: str, home: str) -> str:
    """Which face detector frames the faces, and whether it framed those of the calibration.

    Args:
        home: of the calibration's faces; "" where the card does not say.
    """
    looks = f"What looks for faces here: {here}"
    # whatever the file is called
    if home and home.rpartition(" ")[2] != here.rpartition(" ")[2]:
        return (
            f"{looks}; the faces of the calibration were found by {home}. Two frame a face differently, so "
            f"that P(fake) may be off. {OF_FACES}"
        )
    also = ", as for the calibration" if home else ""
    return f"{looks}{also}. Compare only numbers of one face detector."


def _of_strange(detector: Detector) -> str:
    """What is known of pictures that are unlike the detector's own."""
    if detector.gate is None:
        return "It never learnt what its own pictures are like: of strange ones it speaks as of others."
    facts = detector.gate.facts
    return (
        f"Unfamiliar are pictures stranger than {1 - UNFAMILIAR:.0%} of its own {facts['split']}, by "
        f"{facts['basis']}. A forgery of a kind it does not know, in a familiar picture, is not noticed."
    )


def _apart(score: Score) -> str:
    """P(fake) as `shown_prob`, with a third digit where it would look like the end of the band beside it."""
    text = shown_prob(score.prob)
    beside = [shown_prob(end) for end in score.inconclusive or ()]
    return f" {score.prob:.3f}" if text in beside and text.startswith(" ") else text


def shown_prob(prob: float) -> str:
    """Five letters; never 0.00 or 1.00, because no detector is certain."""
    if prob < 0.005:
        return "<0.01"
    return ">0.99" if prob > 0.995 else f" {prob:.2f}"
