"""Face tracks: which faces in the frames of a video belong to one person."""

from collections.abc import Sequence

import numpy as np

from dfd.media.faces import Face

# how far a face may move between two looked-at frames, which lie up to a second apart, in sides of it
NEAR = 2.0
GROWTH = 2.0  # by what factor it may grow or shrink
FORGOTTEN = 10.0  # seconds after which a track has ended, where frames go on coming


def find_tracks(
    frames: Sequence[Sequence[Face]], seconds: Sequence[float] | None = None
) -> list[list[int | None]]:
    """For each track, which face of each frame belongs to it; None where it has none there.

    Faces are linked, the nearest first, to the track that they continue. The track comes first that fills
    most pixels over the whole clip: the person whom it is about is large and there all the time.

    Args:
        seconds: when each frame is shown. After more than a second a face may be another's, so that it has
            to be the nearer to where the track ended the longer that is ago; None takes frames as they come.
    """
    tracks: list[dict[int, int]] = []  # frame -> which face in it
    for at, faces in enumerate(frames):
        ends = [frames[last][track[last]] for track, last in ((track, max(track)) for track in tracks)]
        away = [0.0 if seconds is None else seconds[at] - seconds[max(track)] for track in tracks]
        linked = _link(ends, away, faces)
        for f, t in linked.items():
            tracks[t][at] = f
        tracks += [{at: f} for f in range(len(faces)) if f not in linked]
    tracks.sort(key=lambda track: -sum(_area(frames[at][f]) for at, f in track.items()))
    return [[track.get(at) for at in range(len(frames))] for track in tracks]


class FaceFollower:
    """The same for a video that has no end: a number for each face of each frame, as the frames come.

    A track that has had no face for FORGOTTEN seconds is forgotten, so that memory stays bounded: who comes
    back later is somebody new.
    """

    def __init__(self) -> None:
        self._ends: dict[int, tuple[Face, float]] = {}  # track -> its last face, and when it was seen
        self._count = 0

    def follow(self, faces: Sequence[Face], seconds: float) -> list[int]:
        """The track of each face, numbered from 1 in order of appearance.

        Args:
            seconds: when the frame was shown; not before that of the last call.
        """
        self._ends = {
            track: (face, seen) for track, (face, seen) in self._ends.items() if seconds - seen <= FORGOTTEN
        }
        known = list(self._ends)
        ends = [face for face, _ in self._ends.values()]
        linked = _link(ends, [seconds - seen for _, seen in self._ends.values()], faces)
        tracks = []
        for at, face in enumerate(faces):
            if at in linked:
                track = known[linked[at]]
            else:
                self._count += 1
                track = self._count
            self._ends[track] = face, seconds
            tracks.append(track)
        return tracks

    @property
    def followed(self) -> frozenset[int]:
        """The tracks that are not forgotten."""
        return frozenset(self._ends)


def _link(ends: Sequence[Face], away: Sequence[float], faces: Sequence[Face]) -> dict[int, int]:
    """Which track each face of a frame continues, the nearest first; a face that continues none is left out.

    Args:
        ends: the last face of each track.
        away: seconds since then.
    """
    pairs = sorted((_distance(end, face), t, f) for t, end in enumerate(ends) for f, face in enumerate(faces))
    linked: dict[int, int] = {}
    grown: set[int] = set()
    for distance, t, f in pairs:
        if distance <= NEAR / max(1.0, away[t]) and t not in grown and f not in linked:
            linked[f] = t
            grown.add(t)
    return linked


def box_at(numbers: Sequence[int], boxes: Sequence[np.ndarray | None], number: int) -> np.ndarray | None:
    """The box (4,) of a track at frame `number`: between two looked-at frames in proportion, None where the
    nearer has none.

    Args:
        numbers: ascending, of the frames that were looked at.
        boxes: (4,) each, or None where the track has no face there.
    """
    nearest = min(range(len(numbers)), key=lambda at: abs(numbers[at] - number))
    if boxes[nearest] is None:
        return None
    known = [(n, box) for n, box in zip(numbers, boxes, strict=True) if box is not None]
    return np.array(
        [np.interp(number, [n for n, _ in known], [box[side] for _, box in known]) for side in range(4)]
    )


def _distance(one: Face, other: Face) -> float:
    """Between the centres, in sides of the larger; infinite where their sizes differ too much to be one
    person.
    """
    if max(one.side, other.side) > GROWTH * min(one.side, other.side):
        return float("inf")
    centres = [np.array(face.box[:2]) + np.array(face.box[2:]) / 2 for face in (one, other)]
    return float(np.linalg.norm(centres[0] - centres[1])) / max(one.side, other.side)


def _area(face: Face) -> float:
    return face.box[2] * face.box[3]
