"""The page of `dfd explain`, its pictures as PNG files, and its numbers as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfd import __version__, plots
from dfd.calibration import WORDS
from dfd.detector import Detector, Score
from dfd.detector.inputs import read_input
from dfd.explain import (
    METHODS,
    Faithfulness,
    FrequencyShares,
    StreamContributions,
    band_edges,
    filters,
    how_far,
)
from dfd.explain.faithfulness import ADVANTAGE, INCOMPLETE, SURVIVES, UNSTEADY
from dfd.html import png, render
from dfd.inference.explain import FACTS, PAGE, Explained
from dfd.inference.verdict_words import closing, no_verdict, sentences
from dfd.media.encode import encode_png
from dfd.media.formats import Undecodable
from dfd.terminal import printable

_LONGEST = 480  # pixels of the whole picture on the page
_FILTERS = 32  # of a layer are drawn
_BOX = (213, 94, 0)


@dataclass(frozen=True)
class Shown:
    """A face on the page.

    Args:
        title, word: of its section, and its verdict or status.
        verdict: sentences.
        pictures: (caption, PNG file) of the whole picture and of what was judged.
        maps: (caption, PNG file, whether it holds, sentence, numbers as (name, value)) each.
        refused: sentences on methods without a map.
        figures: (caption, PNG file) of curves, frequencies, streams and the layer.
    """

    title: str
    word: str
    verdict: Sequence[str]
    pictures: Sequence[tuple[str, bytes]]
    maps: Sequence[tuple[str, bytes, bool, str, Sequence[tuple[str, str]]]]
    refused: Sequence[str]
    figures: Sequence[tuple[str, bytes]]


def write_page(
    folder: Path,
    title: str,
    detector: Detector,
    found: Sequence[Explained],
    others: Sequence[Path],
    layer: str | None = None,
    cut_short: str = "",
) -> None:
    """Writes explain.html, a PNG file for each of its pictures, and explain.json into a folder that is there.

    Args:
        title: the checkpoint's name.
        found: the faces, and the files that gave none.
        others: files in the folders that were not tried.
        cut_short: that the work was interrupted, as a sentence.
    """
    drawn = [each for each in found if each.seen is not None]
    faces = [_shown(detector, each, layer) for each in drawn]
    for number, (each, face) in enumerate(zip(drawn, faces, strict=True), 1):
        start = f"{number:03d}-{_file_name(Path(each.score.path).stem)}"
        named = [*face.pictures, *((caption, data) for caption, data, *_ in face.maps), *face.figures]
        for caption, data in named:
            (folder / f"{start}-{_file_name(caption)}.png").write_bytes(data)
    section = {id(each.score): number for number, each in enumerate(drawn)}
    page = render(
        "explain.html.j2",
        title=f"Explanations by {title}",
        closing=closing(detector),
        cut_short=cut_short,
        listed=[
            (
                section.get(id(each.score)),
                each.score.path,
                f"{each.score.face} of {each.score.faces}" if each.score.face else "",
                word(each.score),
                _prob(each.score),
                each.score.reason,
            )
            for each in found
        ],
        others=[str(path) for path in others],
        faces=faces,
        meanings=[(kind.title, kind.meaning) for kind in METHODS.values()],
        advantage=f"{ADVANTAGE:.0%}",
        survives=f"{SURVIVES:.1f}",
        unsteady=f"{UNSTEADY:.0%}",
        version=__version__,
    )
    (folder / PAGE).write_text(page, encoding="utf-8", errors="backslashreplace")
    facts = {"dfd": __version__, "checkpoint": title, "faces": [_facts(each) for each in found]}
    text = json.dumps(facts, indent=2, ensure_ascii=True, allow_nan=False)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def word(score: Score) -> str:
    """The verdict as people read it; else the status."""
    if score.verdict is None:
        return score.status.replace("_", " ")
    return WORDS[score.verdict]


def in_words(score: Score, logit: float) -> list[str]:
    """The verdict with its uncertainty, and what its maps are of, as sentences."""
    said = sentences(score)
    said.append(
        f"The maps explain the logit {logit:+.2f}; above 0 speaks for fake. They show what moved this net, "
        "not where a forgery is."
    )
    return said


def _shown(detector: Detector, found: Explained, layer: str | None) -> Shown:
    score = found.score
    face = f", face {score.face} of {score.faces}" if score.face else ""
    assert found.seen is not None and found.logit is not None
    return Shown(
        title=f"{Path(score.path).name}{face}",
        word=word(score),
        verdict=in_words(score, found.logit),
        pictures=[
            *_whole(score),
            ("What was judged; white was not looked at", encode_png(found.seen)),
        ],
        maps=[
            (
                METHODS[each.method].title,
                encode_png(plots.overlay(found.seen, each.values)),
                each.measured.holds and not no_verdict(score),
                f"{no_verdict(score)} {how_far(each.measured)}".strip() + _one_stream(found, each.method),
                _numbers(each.measured),
            )
            for each in found.maps
        ],
        refused=[f"{METHODS[method].title}: {why}" for method, why in found.refused.items()],
        figures=_figures(detector, found, layer),
    )


def _whole(score: Score) -> list[tuple[str, bytes]]:
    """The file's picture with the face's box and the square that was judged, where it can still be read."""
    try:
        pixels = read_input(score.path).pixels
    except (OSError, Undecodable):
        return []
    scale = min(1.0, _LONGEST / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    # copies: OpenCV draws into what it is given
    small = np.ascontiguousarray(small)
    for box, width in ((score.box, 2), (score.crop, 1)):
        if box:
            x, y, w, h = (round(value * scale) for value in box)
            cv2.rectangle(small, (x, y), (x + w, y + h), _BOX, width)
    caption = "The picture" + (": the face, and the square that was judged" if score.box else "")
    return [(caption, encode_png(small))]


def _numbers(measured: Faithfulness) -> list[tuple[str, str]]:
    """The measurements of a map, those that have a value."""
    if measured.empty:
        return []
    rows = [
        ("deletion", f"{measured.deletion:+.3g} (random {measured.random:+.3g})"),
        ("insertion", f"{measured.insertion:+.3g}"),
        ("random orders beaten", f"{measured.beaten:.0%}"),
        ("infidelity", _number(measured.infidelity)),
        ("random maps beaten", _number(measured.maps_beaten)),
        ("likeness to shuffled weights", _number(measured.survival)),
        ("sensitivity to a grey level", _number(measured.sensitivity)),
    ]
    if measured.completeness is not None:
        rows.append(("completeness error", f"{measured.completeness:.1%}"))
    return rows


def _figures(detector: Detector, found: Explained, layer: str | None) -> list[tuple[str, bytes]]:
    assert found.falls is not None and found.random is not None
    figures = []
    curves = {
        METHODS[each.method].title: (each.measured.deletion_curve, each.measured.insertion_curve)
        for each in found.maps
        if each.measured.deletion_curve is not None and each.measured.insertion_curve is not None
    }
    if curves:
        figures.append(("Deletion and insertion", png(plots.removal_curves(curves, found.random))))
    shares = found.frequencies
    bands = None if shares is None else shares.bands.numpy()
    spectrum = None if shares is None else shares.spectrum.numpy()
    figure = plots.band_curves(band_edges(len(found.falls)).numpy(), found.falls, bands, spectrum)
    figures.append((f"Which frequencies move the logit{_left_out(shares)}", png(figure)))
    if found.streams is not None:
        streams = _stream_facts(found.streams)
        caption = (
            f"What each stream adds: {streams['decided']} decided. A stream is replaced by its mean features "
            "of the same crops without their detail"
        )
        figures.append((caption, png(plots.stream_bars(streams["replaced"], streams["shares"]))))
    return figures + _layer_figures(detector, found, layer)


def _one_stream(found: Explained, method: str) -> str:
    """What a map of one stream's layer leaves out."""
    if found.streams is None or "gradcam" not in method:
        return ""
    shares = {name: float(share.mean()) for name, share in found.streams.shares.items()}
    stream = (found.layer or next(iter(shares))).partition(".")[0]
    if stream not in shares:
        return ""
    others = ", ".join(f"{name} {share:+.2f}" for name, share in shares.items() if name != stream)
    return (
        f" It is a map of the stream {stream} alone, which adds {shares[stream]:+.2f} to the logit (beside "
        f"it: {others})."
    )


def _left_out(shares: FrequencyShares | None) -> str:
    if shares is None:
        return ""
    error = float(shares.error)
    warning = ", too much: do not read them" if error > INCOMPLETE else ""
    return f"; the shares leave out {error:.1%}{warning}"


def _layer_figures(detector: Detector, found: Explained, layer: str | None) -> list[tuple[str, bytes]]:
    """Filters and activations of a layer."""
    figures = []
    try:
        name, weight = filters(detector, layer)
    except ValueError:
        name, weight = "", None  # no convolution there
    if weight is not None:
        weight = weight[:_FILTERS]
        # of filters on many channels, the strongest one
        colored = weight.shape[1] == 3
        strongest = weight.abs().sum((2, 3)).argmax(1)
        tiles = weight.permute(0, 2, 3, 1) if colored else weight[range(len(weight)), strongest]
        captions = [str(number) for number in range(len(weight))]
        figures.append((f"Filters of {name}", png(plots.feature_tiles(tiles.numpy(), captions), 80)))
    if (active := found.activations) is not None:
        captions = [
            f"{int(channel)}\n{float(weight):+.2f}"
            for channel, weight in zip(active.channel[0], active.weight[0], strict=True)
        ]
        caption = f"Activations of {active.layer}: the channels that add most to the logit, central crop"
        figures.append((caption, png(plots.feature_tiles(active.maps[0].numpy(), captions), 80)))
    return figures


def _facts(found: Explained) -> dict[str, Any]:
    """The numbers of a face, in what JSON knows: NaN becomes null."""
    measured = {
        each.method: {
            field.name: _plain(getattr(each.measured, field.name)) for field in fields(Faithfulness)
        }
        | {"holds": each.measured.holds}
        for each in found.maps
    }
    facts: dict[str, Any] = {"score": _plain(asdict(found.score)), "word": word(found.score)}
    if found.logit is not None:
        facts |= {"logit": found.logit, "methods": measured, "refused": found.refused}
        facts["bands"] = {"falls": _plain(found.falls)}
        if found.frequencies is not None:
            facts["bands"]["shares"] = _plain(found.frequencies.bands.numpy())
        if found.streams is not None:
            facts["streams"] = _stream_facts(found.streams)
    return facts


def _stream_facts(streams: StreamContributions) -> dict[str, Any]:
    """What each stream adds to the logit of a face, the mean over its crops, and which one decided."""
    mean = streams.mean()
    replaced, shares = (
        {name: float(value) for name, value in each.items()} for each in (mean.replaced, mean.shares)
    )
    return {"replaced": replaced, "shares": shares, "decided": mean.decided[0]}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _prob(score: Score) -> str:
    """Never 0.00 or 1.00: no detector is certain."""
    if score.prob is None:
        return ""
    return "<0.01" if score.prob < 0.005 else ">0.99" if score.prob > 0.995 else f"{score.prob:.2f}"


def _number(value: float | None) -> str:
    return "not measured" if value is None or math.isnan(value) else f"{value:.2f}"


def _file_name(text: str) -> str:
    """A short name of plain letters for any text."""
    plain = printable(text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "picture"
