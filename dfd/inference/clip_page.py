"""Clip page: the verdicts on the faces of a video, their curves, and the moments that look most fake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dfd.calibration import WORDS
from dfd.detector import Detector
from dfd.html import Section, html_page, png
from dfd.inference.clip import ClipScore, Moment, clip_time, open_clip
from dfd.media.encode import encode_png
from dfd.media.faces import crop_box
from dfd.media.video import frames_at
from dfd.plots.clip_curve import clip_curve

FACES = 8  # that a page shows, the most prominent ones
WORST = 3  # moments of each that are shown
SIDE = 224  # pixels of their pictures
Key = tuple[int, tuple[float, float, float, float]]  # frame and box


def write_clip_page(detector: Detector, scores: Sequence[ClipScore], out: Path, said: Sequence[str]) -> None:
    """Writes the page of one video.

    Args:
        scores: as `score_clip` gives them.
        said: what P(fake) is, in sentences.

    Raises:
        OSError: disk full or unwritable.
    """
    path = Path(scores[0].path)
    shown = [score for score in scores if score.moments][:FACES]
    worst = [moment for score in shown for moment in worst_moments(score)]
    pictures = moment_pictures(path, worst, detector.view.margin)
    sections = [_verdicts(scores)]
    if any(moment.prob is not None for score in shown for moment in score.moments):
        sections.append(_curves(shown, detector.band))
    sections += [_face(score, pictures) for score in shown]
    sections.append(Section("What a verdict is worth", said))
    out.write_text(html_page(f"Faces of {path.name}", sections), encoding="utf-8")


def _verdicts(scores: Sequence[ClipScore]) -> Section:
    rows = []
    for score in scores:
        word = WORDS[score.verdict] if score.verdict else score.status.replace("_", " ")
        prob = "" if score.prob is None else f"{score.prob:.2f}"
        span = "" if score.interval is None else f"{score.interval[0]:.2f} to {score.interval[1]:.2f}"
        when = f"{clip_time(score.start)} to {clip_time(score.end)}" if score.moments else ""
        seen = f"{len(score.moments)} of {score.looked}"
        rows.append((score.face or "", word, prob, span, when, seen, score.reason))
    header = ("face", "verdict", "P(fake)", "by its moments, 95%", "seen", "frames", "mind")
    text = f"{scores[0].looked} frames were looked at, and not the sound."
    return Section("Verdicts", [text], tables=[(header, rows)])


def curve_png(scores: Sequence[ClipScore], band: tuple[float, float]) -> bytes:
    """P(fake) of each face over time, as a PNG file."""
    curves = {}
    for score in scores:
        seconds = [moment.seconds for moment in score.moments]
        curves[f"face {score.face}"] = (seconds, [moment.prob for moment in score.moments])
    return png(clip_curve(curves, band))


def _curves(scores: Sequence[ClipScore], band: tuple[float, float]) -> Section:
    text = (
        "Each point is one frame. Neighbouring frames are nearly the same picture: a long stretch above the "
        "band is one piece of evidence, not many."
    )
    caption = "P(fake) of each face over time; grey: no verdict"
    return Section("Over time", [text], figures=[(caption, curve_png(scores, band))])


def _face(score: ClipScore, pictures: dict[Key, bytes]) -> Section:
    words = Counter(WORDS.get(moment.verdict, moment.status) for moment in score.moments)
    agreed = ", ".join(f"{count} {word}" for word, count in words.most_common())
    text = [f"Of its {len(score.moments)} moments: {agreed}."]
    logits = [moment.logit for moment in score.moments if moment.logit is not None]
    if len(logits) > 1:
        text.append(f"Its logits vary by {np.std(logits):.2f} around {np.mean(logits):.2f}.")
    figures = []
    for moment in worst_moments(score):
        if (picture := pictures.get((moment.frame, moment.box))) is not None:
            prob = "no P(fake)" if moment.prob is None else f"P(fake) {moment.prob:.2f}"
            figures.append((f"{clip_time(moment.seconds)}, frame {moment.frame}: {prob}", picture))
    if figures:
        text.append("The moments that look most fake:")
    return Section(f"Face {score.face}", text, figures=figures)


def worst_moments(score: ClipScore) -> list[Moment]:
    """The moments with the highest P(fake), or else logits, apart in time where there are others."""
    judged = [moment for moment in score.moments if moment.logit is not None]
    ordered = sorted(judged, key=lambda moment: (-(moment.prob or 0.0), -moment.logit))
    apart = max(1.0, (score.end - score.start) / (3 * WORST))
    kept: list[Moment] = []
    for moment in ordered:
        if all(abs(moment.seconds - other.seconds) >= apart for other in kept):
            kept.append(moment)
    return (kept + [moment for moment in ordered if moment not in kept])[:WORST]


def moment_pictures(clip: str | Path | bytes, moments: Sequence[Moment], margin: float) -> dict[Key, bytes]:
    """PNG files of faces of a clip, by frame and box.

    Args:
        margin: side of a picture as a multiple of the face's longer side.
    """
    found: dict[Key, bytes] = {}
    if not moments:
        return found
    with open_clip(clip) as file:
        for number, pixels in frames_at(file, {moment.frame for moment in moments}):
            for moment in moments:
                if moment.frame == number:
                    x, y, side, _ = crop_box(pixels.shape, moment.box, margin)
                    size = min(side, SIDE)
                    face = cv2.resize(
                        pixels[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA
                    )
                    found[number, moment.box] = encode_png(face)
    return found
