"""Gallery of a report: originals with truth, verdict and map, the most confident errors first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.batch import FAKE, LABELS, REAL
from dfd.durable import sha256_of
from dfd.evaluate.report.evidence import Cell, Evidence, Place
from dfd.evaluate.report.originals import Originals
from dfd.evaluate.report.page import Block, Gallery, Part, Shown, Text, percent
from dfd.evaluate.report.verdict_shares import word_of
from dfd.media.crops import View
from dfd.media.encode import encode_jpeg
from dfd.media.formats import Undecodable

if TYPE_CHECKING:
    from dfd.detector import Detector

SIDE = 224  # longest side of a picture on the page, in pixels
# truth, verdict, and what the reader is to see in it; errors first
_KINDS = (
    (REAL, "fake", "False accusations: real pictures that were called fake"),
    (FAKE, "no_trace", "Misses: fakes in which no trace was found"),
    (FAKE, "fake", "Fakes that were found"),
    (REAL, "no_trace", "Real pictures in which no trace was found"),
)


@dataclass(frozen=True)
class _Pick:
    place: Place
    cell: Cell
    at: int

    @property
    def sureness(self) -> float:
        return abs(float(self.cell.prob[self.at]) - 0.5)


def gallery(evidence: Evidence, each: int, allow: Sequence[str], quality: int = 82) -> Part:
    """Pictures of each kind that the detectors judged as found, those of the surest verdicts first.

    Args:
        each: pictures of a kind.
        allow: packages whose code a checkpoint may name.
        quality: of the JPEG files in the page.
    """
    blocks: list[Block] = []
    roots = {name: Originals(_paths(evidence, name)) for name in evidence.names("root")}
    for detector in evidence.names("detector"):
        cells = {
            place: cell
            for place in evidence.whole
            if place.detector == detector and evidence.is_plain(place) and (cell := evidence.cell(place))
        }
        picks = {kind: _surest(cells, kind[0], kind[1], roots, each) for kind in _KINDS}
        if not any(picks.values()):
            continue
        judge, why = _judge(evidence.facts("detector", detector), allow)
        about = f"{detector}. Beside a picture stands what the net saw of it"
        if judge is None:
            blocks.append(Text(f"{detector}, without maps: {why}."))
        else:
            blocks.append(
                Text(
                    f"{about}, with its Grad-CAM: red is what moved the logit towards fake. A map shows what "
                    f"moved this net, not where a forgery is."
                )
            )
        for kind, chosen in picks.items():
            shown = [
                picture
                for pick in chosen
                if (picture := _shown(pick, roots[pick.place.root], judge, quality))
            ]
            if shown:
                blocks.append(Gallery(f"{kind[2]} ({detector}), the surest first", shown))
            else:
                blocks.append(Text(f"{kind[2]} ({detector}): none."))
    absent = {root: why for each in roots.values() for root, why in each.absent.items()}
    blocks += [Text(f"The pictures of {root} are not here: {why}") for root, why in absent.items()]
    return Part("Pictures", blocks)


def _paths(evidence: Evidence, root: str) -> list[str]:
    path = str(evidence.facts("root", root).get("path") or "")
    return [each for each in path.split(",") if each]


def _surest(
    cells: Mapping[Place, Cell], truth: int, verdict: str, roots: Mapping[str, Originals], most: int
) -> list[_Pick]:
    """The pictures of a kind whose P(fake) was the most extreme, over all roots whose originals are here."""
    picks = []
    for place, cell in cells.items():
        mine = np.flatnonzero(
            (cell.predictions.label == truth) & (cell.verdict == verdict) & np.isfinite(cell.prob)
        )
        order = mine[np.argsort(-np.abs(cell.prob[mine] - 0.5), kind="stable")]
        there = (at for at in order.tolist() if str(cell.key[at]) in roots[place.root])
        picks += [_Pick(place, cell, at) for at, _ in zip(there, range(most), strict=False)]
    return sorted(picks, key=lambda pick: -pick.sureness)[:most]


def _judge(facts: Mapping[str, Any], allow: Sequence[str]) -> tuple[Detector | None, str]:
    """The detector, where its checkpoint is at hand and is the one that judged; else why not."""
    from dfd.detector import load

    path = Path(str(facts.get("path") or ""))
    if not path.is_file():
        return None, "its checkpoint is not here"
    if facts.get("sha256") != sha256_of(path):
        return None, f"{path} is another file than the one that judged"
    try:
        judge = load(path, allow=("dfd.", *allow))
    except ValueError as error:
        return None, str(error).splitlines()[0].rstrip(".")
    if not getattr(judge.net, "cam_layers", None):
        return None, "its net has no layer with maps"
    return judge, ""


def _shown(pick: _Pick, originals: Originals, judge: Detector | None, quality: int) -> Shown | None:
    """A picture of the gallery; None where it cannot be read any more."""
    cell, at = pick.cell, pick.at
    try:
        pixels = originals.pixels(str(cell.key[at]))
    except (OSError, ValueError, Undecodable):
        return None
    made = cell.predictions.method[at] or cell.predictions.source[at]
    said = f"{word_of(str(cell.verdict[at]))}, P(fake) {percent(float(cell.prob[at]))}"
    lines = [
        f"is {LABELS[cell.predictions.label[at]]}; said: {said}",
        f"{pick.place.root}: {made}",
        str(cell.key[at]),
    ]
    heat = None if judge is None else _jpeg(_with_map(pixels, judge), quality)
    return Shown(lines, _jpeg(pixels, quality), heat)


def _with_map(pixels: np.ndarray, judge: Detector) -> np.ndarray:
    """(size, size, 3) uint8: the crop in the middle, grey, with its Grad-CAM over it in red."""
    import torch

    from dfd.explain import attribute

    crop = judge.view.eval_crops(judge.view.shrink(pixels))[-1]
    image = torch.from_numpy(crop).movedim(-1, 0)[None].float().div(255).to(judge.device)
    heat = attribute(judge.net, image, "gradcam").map[0].cpu().numpy()
    strength = np.clip(heat / max(float(np.quantile(heat, 0.99)), 1e-12), 0, 1)[..., None]
    grey = 0.3 * 255 + 0.7 * crop.mean(axis=2, keepdims=True)
    red = np.array([178.0, 24.0, 43.0])
    return np.rint(grey * (1 - 0.8 * strength) + red * 0.8 * strength).astype(np.uint8)


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """A JPEG file of a picture, shrunk to SIDE."""
    return encode_jpeg(View(SIDE, longest=SIDE).shrink(pixels), quality)
