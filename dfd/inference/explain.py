"""`dfd explain`: where each verdict on a file comes from, and how far to believe each map of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.detector import Detector, Score, load
from dfd.detector.published import detector_file
from dfd.detector.score import FaceCrops
from dfd.inference.clip import is_clip
from dfd.inference.named_files import find_files
from dfd.inference.verdict_words import COLOURS, closing, count, line
from dfd.media.file_kinds import refuse_lfs_pointer
from dfd.outputs import check_new_folder, output_folder
from dfd.progress import progress
from dfd.terminal import many

if TYPE_CHECKING:
    from torch import Tensor

    from dfd.explain import (
        Activations,
        Decision,
        Faithfulness,
        FrequencyShares,
        RandomOrders,
        Removals,
        StreamContributions,
    )

PAGE, FACTS = "explain.html", "explain.json"
NO_MAP_OF_VIDEO = "a video, and videos have no map: a map is of one picture"
# where no crop looks, any value does
UNSEEN = 0.5


@dataclass
class Map:
    """A method's map (H, W) of what was judged, and what was measured of it."""

    method: str
    values: np.ndarray
    measured: Faithfulness


@dataclass
class Explained:
    """A face with everything that was found out about its verdict.

    Args:
        score: what was decided, or why nothing was.
        logit: of the decision; None where nothing was judged or nothing may be said.
        seen: (H, W, 3) uint8, what the crops show, each in its place; white where none reaches.
        maps: one a method.
        refused: methods that this net has no map for, with the reason.
        random: (R, K) curves of random orders.
        falls: (K,) of the logit without a band of frequencies.
        layer: of Grad-CAM and of the activations; None for the net's first.
        frequencies, streams, activations: where the net has them.
    """

    score: Score
    logit: float | None = None
    seen: np.ndarray | None = None
    maps: list[Map] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    random: np.ndarray | None = None
    falls: np.ndarray | None = None
    layer: str | None = None
    frequencies: FrequencyShares | None = None
    streams: StreamContributions | None = None
    activations: Activations | None = None


def explain_files(
    checkpoint: str | Path,
    paths: Sequence[str | Path],
    out: str | Path,
    methods: Sequence[str] = (),
    layer: str | None = None,
    whole: bool = False,
    faces: str | Path | None = None,
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
    batch_size: int = 32,
    drawings: bool = False,
) -> int:
    """Judges every face in files and folders as `score_files` does, and writes a page with maps of each
    verdict.

    Args:
        checkpoint, paths, whole, faces, device, allow, batch_size, drawings: as of `score_files`.
        out: new folder for the page, its pictures as PNG files, and explain.json with the numbers. It is
            there when it is whole, or when the work was interrupted: then it has the faces that were
            explained until then, and says so.
        methods: names of `dfd.explain.METHODS`; by default all that the net has a map for.
        layer: a layer of the net, for Grad-CAM and to have its filters and activations drawn.

    Returns the exit code: 0 if at least one face got a verdict, 1 if none did. Files that cannot be judged
    stand on the page with the reason.

    Raises:
        KeyboardInterrupt: it was interrupted.
        ValueError: an unknown method or layer, one that this net has no map for, or what `score_files`
            refuses.
    """
    out = Path(out)
    check_new_folder(out)
    refuse_lfs_pointer(Path(checkpoint))
    files, others = find_files(paths, "explain CHECKPOINT")
    checkpoint = detector_file(checkpoint)
    # the checks above answer at once
    from torch import OutOfMemoryError

    from dfd.explain import check_methods
    from dfd.inference.explain_page import write_page

    check_methods(methods)
    detector = load(checkpoint, faces, device, allow, batch_size, drawings)
    _check_layer(detector, layer)
    found: list[Explained] = []
    num_done, stopped, cut_short = 0, None, ""
    with progress(len(files), "explaining") as advance, output_folder(out, PAGE) as part:
        try:
            for path in files:
                for each in _explain_file(detector, path, methods, layer, whole):
                    found.append(each)
                    print(line(each.score))
                num_done += 1
                advance(1)
        except OutOfMemoryError as error:
            raise ValueError(f"out of memory on {device}. Use a batch size below {batch_size}.") from error
        except KeyboardInterrupt as stop:
            if not found:
                raise
            stopped, cut_short = stop, f"Interrupted after {num_done} of {many(len(files), 'file')}."
        write_page(part, str(checkpoint), detector, found, others, layer, cut_short)
    seen = Counter(each.score.verdict or each.score.status for each in found)
    faces_seen = sum(each.score.face > 0 for each in found)
    num_files = len({each.score.path for each in found})
    print(f"{count(num_files, faces_seen, others, seen)}.\n{closing(detector, whole)}\npage: {out / PAGE}")
    if stopped is not None:
        print(
            f"{cut_short} The page has what was explained until then; name another folder for the rest.",
            file=sys.stderr,
        )
        raise stopped
    return 0 if seen.keys() & COLOURS.keys() else 1


def _explain_file(
    detector: Detector, path: Path, methods: Sequence[str], layer: str | None, whole: bool
) -> Iterator[Explained]:
    """A file's faces, each when it is explained; of a video, that it has no map."""
    if is_clip(path):
        yield Explained(Score(str(path), "unreadable", reason=NO_MAP_OF_VIDEO))
        return
    for face in detector.crop_faces(path, whole):
        yield explain(detector, face, methods, layer)


def explain(
    detector: Detector, face: FaceCrops, methods: Sequence[str] = (), layer: str | None = None
) -> Explained:
    """Everything about the verdict on one face, as `Detector.crop_faces` gives it.

    Args:
        methods: names of `dfd.explain.METHODS`; by default all that the net has a map for.
        layer: for Grad-CAM and for activations; by default, of several streams the one that moves the logit
            most.

    Raises:
        ValueError: a method was named that this net has no map for.
    """
    import torch

    from dfd.explain import (
        METHODS,
        Decision,
        band_occlusion,
        random_orders,
        removals,
        stream_contributions,
    )
    from dfd.explain.streams import has_streams
    from dfd.explain.unchanged import check_gradients, coarse, has_gradients

    if face.cues is not None:  # maps are of pixels: the cues of the file have no place in the picture
        mind = "explained without the cues of the file, with which the verdict may be another"
        reason = f"{face.score.reason}; {mind}" if face.score.reason else mind
        face = replace(face, cues=None, score=replace(face.score, reason=reason))
    if face.crops is None or not detector.speaks:
        return Explained(*detector.judge([face]))
    crops = torch.from_numpy(face.crops).movedim(-1, -3).float().div(255)  # (N, 3, h, w)
    # before anything is judged: the measurements take seconds
    for method in methods:
        if METHODS[method].gradients:
            check_gradients(detector.net, crops.to(detector.device), method)
    (score,) = detector.judge([face])
    decision = Decision(detector.net, face.corners, crops.shape[-2:], detector.batch_size)
    canvas = decision.picture(crops)
    picture = canvas.nan_to_num(UNSEEN)
    orders, removed = random_orders(decision, picture), removals(decision, picture)
    shown = (canvas.nan_to_num(1.0) * 255).round().byte().movedim(0, -1).numpy()
    found = Explained(score, float(orders.curves[0, 0]), shown, random=orders.curves)
    gradients = has_gradients(detector.net, crops.to(detector.device))
    if gradients and has_streams(detector) and not getattr(detector.net, "cue_names", ()):
        found.streams = stream_contributions(detector, crops, coarse(crops))
    found.layer = layer = layer or _strongest_stream(detector, found.streams)
    # of nets without a mask head nobody asks for its map
    known = [name for name in METHODS if name != "mask_head" or hasattr(detector.net, "localize")]
    for method in methods or known:
        try:
            found.maps.append(measure_map(detector, decision, crops, orders, removed, method, layer))
        except ValueError as error:
            if methods:
                raise
            found.refused[method] = str(error)
    found.falls = band_occlusion(detector, crops, batch_size=detector.batch_size).mean(0).numpy()
    if gradients:
        found.frequencies = _frequencies(detector, crops)
    found.activations = _activations(detector, crops, layer)
    return found


def measure_map(
    detector: Detector,
    decision: Decision,
    crops: Tensor,
    orders: RandomOrders,
    removed: Removals,
    method: str,
    layer: str | None = None,
) -> Map:
    """A method's map of a decision, measured: deletion, insertion and infidelity on the whole of what was
    judged, shuffled weights and sensitivity on its central crop.

    Args:
        decision: of the detector's net, with the places of the crops.
        crops: (N, 3, h, w) in [0, 1].
        orders, removed: of the same decision and picture.

    Raises:
        ValueError: the net has no such map.
    """
    import torch

    from dfd.explain import attribute, faithfulness, sensitivity, survival

    def explained(net: Any, image: Tensor) -> Tensor:
        return attribute(net, image, method, layer, batch_size=detector.batch_size).map

    picture = decision.picture(crops).nan_to_num(UNSEEN)
    of_crops = attribute(detector, crops, method, layer, batch_size=detector.batch_size)
    values = decision.place(of_crops.map)
    error = None
    if of_crops.error is not None:
        with torch.inference_mode():
            image = picture.to(detector.device)
            distance = float(decision(image[None]) - decision(torch.zeros_like(image)[None]))
        error = abs(float(values.sum()) - distance) / max(abs(distance), 0.01)
    measured = faithfulness(decision, picture, values, orders, error, removed)
    if not measured.empty:
        center = crops[-1:]
        learnt = any(True for _ in detector.net.parameters())
        measured = replace(
            measured,
            survival=survival(detector, center, explained, of_crops.map[-1:]) if learnt else None,
            sensitivity=sensitivity(detector, center, explained),
        )
    return Map(method, values.numpy(), measured)


def _strongest_stream(detector: Detector, streams: StreamContributions | None) -> str | None:
    """The stream that moves the logit most, of those that keep places of the picture; None where there are
    none.
    """
    layers = getattr(detector.net, "cam_layers", {})
    shares = {} if streams is None else streams.shares
    return max(
        (name for name in shares if name in layers), key=lambda name: abs(shares[name].mean()), default=None
    )


def _frequencies(detector: Detector, crops: Tensor) -> FrequencyShares:
    """The mean over the crops."""
    from dfd.explain import FrequencyShares, frequency_attribution

    shares = frequency_attribution(detector, crops, batch_size=detector.batch_size)
    return FrequencyShares(shares.spectrum.mean(0), shares.bands.mean(0), shares.distance.mean(0))


def _activations(detector: Detector, crops: Tensor, layer: str | None) -> Activations | None:
    """Of the central crop; None where no layer was named and the net's own has no map."""
    from dfd.explain import activations

    try:
        return activations(detector, crops[-1:], layer)
    except ValueError:
        if layer is not None:
            raise
        return None


def _check_layer(detector: Detector, layer: str | None) -> None:
    """ValueError before any work where the net has no such layer."""
    if layer is not None:
        from dfd.explain.layers import find_layer

        find_layer(detector.net, layer)
