"""Face cutter: squares around the faces of a picture or of videos, or the reason why there is none."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from dfd.batch import FAKE, REAL
from dfd.media.decode import Undecodable, decode
from dfd.media.face_tracks import box_at, find_tracks
from dfd.media.faces import FaceDetector, crop_box
from dfd.media.files import open_inside, read_inside
from dfd.media.video import count_frames, evenly_spaced, frames_at
from dfd.prepare.cut.people import UNTOLD, People, forged_person, is_present

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

    Of a forged face the mask shows all that is forged in the square. A real face into whose square a forged
    one reaches is left out: its label would be wrong.
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
    """The faces of videos that share their tracks: those of the first, the original.

    Each video is looked at in `num` frames of its own; the forged ones are cut where the original's face is,
    so that the box tells nothing. Where the original cannot be read, the next one's tracks serve. A video
    gives one person's faces: a real one the most prominent person's, a forged one the forged person's. Where
    nothing says who that is, it gives none.
    """
    people: People | None = None
    original: str | None = None
    for line in lines:
        try:
            if people is None:
                people, squares = _detect_in_videos(root, line, num, margin, detector)
                original = line["path"] if line["label"] == REAL else None
                none = f"no face of {MIN_SIDE} pixels in any of the {len(people.numbers)} frames looked at"
            else:
                squares = _squares_by(root, line, num, margin, people)
                none = "no face found in the frames of the original"
            person = _person(root, line, num, people, squares, original)
            made = [Missing(None, UNTOLD, False)] if person is None else _faces(line, squares[person], none)
        except Undecodable as error:
            made = [Missing(None, str(error), True)]
        yield from ((line, one) for one in made)


def _detect_in_videos(
    root: str, line: Line, num: int, margin: float, detector: FaceDetector
) -> tuple[People, list[list[Cut | Missing]]]:
    """The people of a video, and of each the squares in the frames looked at."""
    numbers, faces, cuts, frame = [], [], [], np.ones(4)
    for number, image, mask in _frames(root, line, num):
        found = detector.find(image)
        numbers.append(number)
        faces.append(found)
        cuts.append([_square(number, image, mask, face.box, margin) for face in found])
        frame = np.array([image.shape[1], image.shape[0]] * 2)
    tracks, squares = [], []
    for track in find_tracks(faces) or [[None] * len(numbers)]:
        made = [
            Missing(number, "no face found", False) if at is None else here[at]
            for number, here, at in zip(numbers, cuts, track, strict=True)
        ]
        if not tracks or is_present(sum(isinstance(one, Cut) for one in made), len(numbers)):
            boxes = [
                None if at is None else np.array(here[at].box) / frame
                for here, at in zip(faces, track, strict=True)
            ]
            tracks.append(boxes)
            squares.append(made)
    return People(numbers, tracks), squares


def _squares_by(root: str, line: Line, num: int, margin: float, people: People) -> list[list[Cut | Missing]]:
    """The squares of a video where another one's people are, for each of them."""
    squares: list[list[Cut | Missing]] = [[] for _ in people.tracks]
    for number, image, mask in _frames(root, line, num):
        for made, track in zip(squares, people.tracks, strict=True):
            box = box_at(people.numbers, track, number)
            if box is None:
                made.append(Missing(number, "no face found in the original", False))
            else:
                made.append(
                    _square(number, image, mask, box * ([image.shape[1], image.shape[0]] * 2), margin)
                )
    return squares


def _person(
    root: str,
    line: Line,
    num: int,
    people: People,
    squares: Sequence[Sequence[Cut | Missing]],
    original: str | None,
) -> int | None:
    """Whose faces a video gives; None where it is forged and nothing says of whom."""
    if line["label"] == REAL or len(squares) == 1:
        return 0
    if line["mask"]:
        forged = [sum(one.mask.mean() for one in made if isinstance(one, Cut)) for made in squares]
        return int(np.argmax(forged))
    return None if original is None else forged_person(root, line["path"], original, people, num)


def _faces(line: Line, squares: Sequence[Cut | Missing], none: str) -> list[Cut | Missing]:
    """One person's squares, less those of a forged video that show nothing forged; `none` says why there are
    no squares.
    """
    made: list[Cut | Missing] = []
    for one in squares:
        if isinstance(one, Cut):
            none = "its mask video shows nothing forged where the face is" if line["mask"] else none
            if line["label"] == FAKE and one.mask is not None and not one.mask.any():
                one = Missing(one.number, "forged, and the mask of its square is empty", False)
        made.append(one)
    return made if any(isinstance(one, Cut) for one in made) else [*made, Missing(None, none, True)]


def _frames(root: str, line: Line, num: int) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Number, pixels (H, W, 3) and mask (H, W), or None, of the frames that a video is looked at in."""
    with open_inside(root, line["path"]) as video:
        numbers = evenly_spaced(count_frames(video, line["path"]), num)
        if not line["mask"]:
            yield from ((number, image, None) for number, image in frames_at(video, numbers))
            return
        with open_inside(root, line["mask"]) as masks:
            for (number, image), (_, mask) in zip(
                frames_at(video, numbers), frames_at(masks, numbers), strict=True
            ):
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
    # copies, else the whole frame stays in memory
    return Cut(number, image[square].copy(), None if mask is None else mask[square].copy())


def _too_small(side: int) -> str:
    return f"{side} pixels with its margin, less than {MIN_SIDE}"
