"""Maps of a verdict for the page: red speaks for fake, blue against it, over what was judged."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.html import data_address
from dfd.inference.verdict_words import closing, no_verdict, sentences
from dfd.inspection.drawings import small_photo
from dfd.serve.faults import Fault
from dfd.serve.jobs import Job
from dfd.serve.reader_words import for_reader

if TYPE_CHECKING:
    from dfd.detector import Detector
    from dfd.inference.explain import Explained

_NEEDED = ("torch", "captum")  # beside what every service has
# the first that the net has is drawn; the second needs no gradients
_METHODS = ("gradcam", "occlusion")
_FOR, _AGAINST = (213, 32, 0), (0, 90, 200)


def no_maps(detector: Detector) -> str:
    """Why this service makes no maps, without a full stop; "" where it does."""
    for name in _NEEDED:
        if find_spec(name) is None:
            return (
                f"maps need {name}, which is not installed where the service runs; whoever runs it adds it "
                "by pip install 'dfd[train]'"
            )
    return "" if detector.speaks else for_reader(closing(detector)).rstrip(".")


def explain(detector: Detector, job: Job) -> dict[str, Any]:
    """The map of one face's verdict, and how far to believe it.

    Raises:
        Fault: the file has no such face, nothing of it was judged, or the net has no such map.
    """
    from dfd.explain import METHODS, how_far

    faces = detector.crop_faces(job.data, job.whole)
    if not 1 <= job.face <= len(faces):
        raise Fault(
            422,
            "no_such_face",
            f"face {job.face} of {len(faces)}: name one from 1 to {len(faces)}, left to right.",
        )
    found = _explained(detector, faces[job.face - 1], job.method)
    if not found.maps:
        said = [for_reader(sentence) for sentence in sentences(found.score)]
        why = " ".join([*said, *found.refused.values()])
        raise Fault(422, "no_map", f"There is no map of this face. {why}")
    drawn = found.maps[0]
    kind = METHODS[drawn.method]
    return {
        "name": job.name,
        "face": job.face,
        "method": drawn.method,
        "title": kind.title,
        "meaning": kind.meaning,
        "signed": kind.signed,
        "no_verdict": no_verdict(found.score),
        "holds": drawn.measured.holds,
        "how_far": how_far(drawn.measured),
        "seen": data_address(small_photo(found.seen), "jpeg"),
        "map": data_address(map_png(drawn.values), "png"),
        "width": drawn.values.shape[1],
        "height": drawn.values.shape[0],
    }


def _explained(detector: Detector, face: Any, method: str) -> Explained:
    from dfd.explain import check_methods
    from dfd.inference.explain import explain as explain_face

    try:
        check_methods([method] if method else ())
    except ValueError as error:
        raise Fault(422, "no_such_method", str(error)) from error
    methods = (method,) if method else _METHODS
    for last, each in enumerate(methods, 1):
        try:
            return explain_face(detector, face, [each])
        except ValueError as error:
            if last == len(methods):
                raise Fault(422, "no_map", f"There is no map of this face: {error}") from error
    raise AssertionError("there is a method")


def map_png(values: np.ndarray) -> bytes:
    """A map (H, W) as a PNG file to lie over its picture: the stronger, the less transparent; a map of zeros
    is transparent.
    """
    from PIL import Image

    strength = np.abs(values) / (np.abs(values).max() or 1)
    colours = np.where(values[..., None] > 0, np.uint8(_FOR), np.uint8(_AGAINST))
    alpha = (255 * strength + 0.5).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.dstack([colours, alpha]), "RGBA").save(file, "PNG")
    return file.getvalue()
