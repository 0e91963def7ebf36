"""The faces of one picture, or of videos that share their face boxes: found, cut, or told why not."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from dfd.batch import FAKE, REAL
from dfd.data.cut.track import box_at, find_track
from dfd.data.cut.video import count_frames, evenly_spaced, frames_at
from dfd.data.decode import Undecodable, decode
from dfd.data.faces import FaceDetector, crop_box
from dfd.data.look import open_inside, read_inside

MIN_SIDE = 32  # pixels of a cut square, below which no trace is left to learn from
Line = Mapping[str, Any]  # of a plan: one face of a picture, or one video


class Cut(NamedTuple):
    """A face, as it is in its frame or picture: nothing is resized."""

    number: int  # of the frame, or of the face in its picture
    image: np.ndarray  # (S, S, 3) uint8 RGB
    mask: np.ndarray | None  # (S, S) uint8, 255 where forged


class Missing(NamedTuple):
    """Why there is no face."""

    number: int | None  # None speaks of the whole file
    reason: str
    fault: bool  # of the source, as a damaged file is; a frame without a face is none


def cut_picture(root: str, lines: Sequence[Line], margin: float) -> Iterator[tuple[Line, Cut | Missing]]:
    """The faces of one picture, a line each.

    Of a forged face the mask shows all that is forged in the square. A real face into whose square a forged one reaches is left
    out: its label would be wrong.
    """
    faces = [json.loads(line["face"]) for line in lines]
    try:
        image = decode(read_inside(root, lines[0]["path"]))
        height, width = image.shape[:2]
        if [width, height] != (told := faces[0]["size"]):
            raise Undecodable(f"{width} x {height} pixels; its boxes are of {told[0]} x {told[1]}")
    except Undecodable as error:
        yield from ((line, Missing(None, str(error), True)) for line in lines[:1])
        return
    forged = np.zeros((height, width), np.uint8)
    for line, face in zip(lines, faces, strict=True):
        if line["label"] == FAKE:
            cv2.fillPoly(forged, _polygons(face), 255)
    for line, face in zip(lines, faces, strict=True):
        x, y, side, _ = crop_box(image.shape, face["box"], margin)
        square = np.s_[y : y + side, x : x + side]
        if side < MIN_SIDE:
            yield line, Missing(face["number"], _too_small(side), False)
        elif line["label"] == REAL and forged[square].any():
            yield line, Missing(face["number"], "real, and a forged face reaches into its square", False)
        else:
            mask = forged[square] if line["label"] == FAKE and face["forged"] else None
            yield line, Cut(face["number"], image[square], mask)


def _polygons(face: Mapping[str, Any]) -> list[np.ndarray]:
    """(P, 2) int32 each; of a face without any, its box."""
    x, y, w, h = face["box"]
    polygons = face["forged"] or [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return [np.round(np.reshape(points, (-1, 2))).astype(np.int32) for points in polygons]


def cut_videos(
    root: str, lines: Sequence[Line], num: int, margin: float, detector: FaceDetector
) -> Iterator[tuple[Line, Cut | Missing]]:
    """The faces of videos that share one track: that of the first, the original.

    Each video is looked at in `num` frames of its own; the forged ones are cut where the original's face is, so that the box
    tells nothing. Where the original cannot be read, the next one's track serves.
    """
    numbers: list[int] = []
    boxes: list[np.ndarray | None] = []
    for line in lines:
        try:
            if numbers:
                yield from ((line, made) for made in _cut_by(root, line, num, margin, numbers, boxes))
            else:
                found, numbers, boxes = _cut_own(root, line, num, margin, detector)
                yield from ((line, made) for made in found)
        except Undecodable as error:
            yield line, Missing(None, str(error), True)


def _cut_own(
    root: str, line: Line, num: int, margin: float, detector: FaceDetector
) -> tuple[list[Cut | Missing], list[int], list[np.ndarray | None]]:
    """The faces of a video by its own track; the frames looked at, and the track's boxes (4,) as shares of the frame."""
    numbers, faces, cuts, frame = [], [], [], np.ones(4)
    for number, image, mask in _frames(root, line, num):
        found = detector.find(image)
        numbers.append(number)
        faces.append(found)
        cuts.append([_square(number, image, mask, face.box, margin) for face in found])
        frame = np.array([image.shape[1], image.shape[0]] * 2)
    track = find_track(faces)
    boxes = [None if at is None else np.array(found[at].box) / frame for found, at in zip(faces, track, strict=True)]
    made = [
        Missing(number, "no face found", False) if at is None else squares[at]
        for number, squares, at in zip(numbers, cuts, track, strict=True)
    ]
    if not any(isinstance(one, Cut) for one in made):
        made.append(Missing(None, f"no face of {MIN_SIDE} pixels in any of the {len(numbers)} frames looked at", True))
    return made, numbers, boxes


def _cut_by(
    root: str, line: Line, num: int, margin: float, numbers: Sequence[int], boxes: Sequence[np.ndarray | None]
) -> Iterator[Cut | Missing]:
    """The faces of a video where another one's track is."""
    some = False
    for number, image, mask in _frames(root, line, num):
        box = box_at(numbers, boxes, number)
        if box is None:
            yield Missing(number, "no face found in the original", False)
            continue
        made = _square(number, image, mask, box * ([image.shape[1], image.shape[0]] * 2), margin)
        some = some or isinstance(made, Cut)
        yield made
    if not some:
        yield Missing(None, "no face found in the frames of the original", True)


def _frames(root: str, line: Line, num: int) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Number, pixels (H, W, 3) and mask (H, W), or None, of the frames that a video is looked at in."""
    with open_inside(root, line["path"]) as video:
        numbers = evenly_spaced(count_frames(video), num)
        if not line["mask"]:
            yield from ((number, image, None) for number, image in frames_at(video, numbers))
            return
        with open_inside(root, line["mask"]) as masks:
            for (number, image), (_, mask) in zip(frames_at(video, numbers), frames_at(masks, numbers), strict=True):
                if mask.shape != image.shape:
                    told = [f"{shape[1]} x {shape[0]}" for shape in (mask.shape, image.shape)]
                    raise Undecodable(f"mask {line['mask']}: {told[0]} pixels, the video has {told[1]}")
                yield number, image, np.where(mask.max(axis=2) > 127, 255, 0).astype(np.uint8)


def _square(
    number: int, image: np.ndarray, mask: np.ndarray | None, box: Sequence[float] | np.ndarray, margin: float
) -> Cut | Missing:
    x, y, side, _ = crop_box(image.shape, box, margin)
    if side < MIN_SIDE:
        return Missing(number, _too_small(side), False)
    square = np.s_[y : y + side, x : x + side]
    return Cut(number, image[square].copy(), None if mask is None else mask[square].copy())  # else the whole frame is kept


def _too_small(side: int) -> str:
    return f"{side} pixels with its margin, less than {MIN_SIDE}"
