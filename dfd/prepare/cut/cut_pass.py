"""Parallel pass of `dfd prepare` that cuts faces, over all cores or over the tasks of a job array.

A *piece* is what is done at once: videos that share their face boxes, or some pictures. Each leaves its faces
as PNG files in the state folder and then a note of them; pieces that have their note are not done again,
whichever task did them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.durable import atomic_write
from dfd.media.faces import NO_WEIGHTS, FaceDetector, find_weights
from dfd.media.files import VIDEO_SUFFIXES
from dfd.media.video import NO_PYAV
from dfd.parallel import ProcessPool
from dfd.prepare.cut.cutter import Cut, Line, Missing, cut_picture, cut_videos
from dfd.prepare.job_array import ArrayTask
from dfd.prepare.manifest import PLAN, key_of
from dfd.progress import progress
from dfd.shards.rejects import Reject

FACES = "faces"  # folder inside the state
MARGIN = 1.3  # of a cut square, where none is asked for
_PICTURES = 64  # a piece
_NOTE = pa.schema([*PLAN, pa.field("reason", pa.string()), pa.field("fault", pa.bool_())])


@dataclass(frozen=True)
class Cutting:
    """How faces are cut.

    Args:
        frames: of each video; None where there are none.
        margin: side of a cut square as a multiple of the longer side of the face's box.
        weights: YuNet's .onnx file; None where no face has to be found.
        face_detector: its `FaceDetector.identity`.
    """

    frames: int | None
    margin: float
    weights: str | None = None
    face_detector: str | None = None

    def facts(self) -> dict[str, Any]:
        """What index.json says of how the faces were cut."""
        found_by = {"face_detector": self.face_detector} if self.face_detector else {}
        return {"frames": self.frames, "margin": self.margin, **found_by}

    def settings(self) -> dict[str, str]:
        """What an interrupted run and the one that goes on must agree on."""
        return {name: str(value) for name, value in self.facts().items()}


class CutFaces(NamedTuple):
    """What all pieces together gave."""

    plan: pa.Table  # PLAN, a line a face, with paths below the folder of faces
    faults: list[Reject]  # files of the source that are at fault
    left_out: list[Reject]  # no fault of the source


def cutting_of(
    plan: pa.Table, frames: int | None, margin: float | None, faces: Path | None
) -> Cutting | None:
    """How the rows of a plan are to be cut; None where they are pictures to be taken whole.

    Raises:
        ValueError: videos and pictures are mixed; an option is missing, superfluous or out of range; PyAV or
            YuNet's weights are missing.
    """
    paths = pc.utf8_lower(plan["path"])
    is_video = [path.endswith(tuple(VIDEO_SUFFIXES)) for path in paths.to_pylist()]
    videos, boxes = sum(is_video), len(plan) - plan["face"].null_count
    if videos + boxes not in (0, len(plan)) or (videos and boxes):
        raise ValueError(
            f"the source holds {videos} videos and {len(plan) - videos} pictures. Prepare them apart, by two "
            "tables or of two folders; training takes several folders of shards: --data.roots."
        )
    if not videos and frames is not None:
        raise ValueError(
            "--frames is for videos, and the source has none that its reader knows. Leave it out."
        )
    if not videos + boxes and margin is not None:
        raise ValueError(
            "--margin is for faces that are cut out, and the source's pictures are taken whole. Leave it out."
        )
    if not videos + boxes:
        return None
    margin = MARGIN if margin is None else margin
    if not 1 <= margin <= 4:
        raise ValueError(
            f"--margin {margin:g}: a square of 1 to 4 times the face's longer side. {MARGIN} is usual."
        )
    if not videos:
        return Cutting(None, margin)
    if frames is None or frames < 1:
        raise ValueError(
            f"the source holds {videos} videos{'' if frames is None else f' and --frames is {frames}'}. Say "
            "how many frames of each are to be taken: --frames 16. They are spread evenly over the whole of "
            "it."
        )
    _check_pyav()
    weights = find_weights(faces)
    if weights is None:
        raise ValueError(f"{NO_WEIGHTS}.")
    detector = FaceDetector(weights)  # refuses a wrong file now, not in every worker
    return Cutting(frames, margin, str(weights.resolve()), detector.identity)


def _check_pyav() -> None:
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{NO_PYAV} ({error}).") from error


def _pieces(plan: pa.Table) -> list[list[int]]:
    """Lines of a plan that are cut at once; of videos, the one whose boxes all take comes first."""
    paths = plan["path"].to_pylist()
    if plan["face"].null_count == 0:
        pictures: dict[str, list[int]] = {}
        for line, path in enumerate(paths):
            pictures.setdefault(path, []).append(line)
        each = list(pictures.values())
        return [[*chain.from_iterable(each[at : at + _PICTURES])] for at in range(0, len(each), _PICTURES)]
    line_of = {path: line for line, path in enumerate(paths)}
    owners: dict[int, list[int]] = {}
    originals = [line_of.get(original, line) for line, original in enumerate(plan["original"].to_pylist())]
    for line, original in enumerate(originals):
        # an original that names an original itself is no original: no data set has such chains
        owner = original if originals[original] == original else line
        owners.setdefault(owner, [owner])
        if owner != line:
            owners[owner].append(line)
    return list(owners.values())


def num_pieces(plan: pa.Table) -> int:
    return len(_pieces(plan))


def cut_pass(
    root: str,
    state: Path,
    plan: pa.Table,
    cutting: Cutting,
    *,
    pool: ProcessPool,
    array_task: ArrayTask | None = None,
) -> None:
    """Cuts the pieces that have no note yet, those of an array task or all."""
    (state / FACES).mkdir(exist_ok=True)
    mine = [
        (_note(state, piece), lines)
        for piece, lines in enumerate(_pieces(plan))
        if array_task is None or array_task.has(piece)
    ]

    def tasks() -> Iterator[tuple]:
        for note, lines in mine:
            if not note.is_file():
                yield root, state / FACES, note, cutting, plan.take(lines).to_pylist()

    with progress(sum(len(lines) for _, lines in mine), "cutting") as advance:
        advance(sum(len(lines) for note, lines in mine if note.is_file()))
        for count in pool.run(cut_piece, tasks()):
            advance(count)


def cut_piece(task: tuple[str, Path, Path, Cutting, list[dict[str, Any]]]) -> int:
    """Runs in a worker: writes the faces of some lines of a plan, then a note of them; returns how many lines
    they were.
    """
    root, folder, note, cutting, lines = task
    cv2.setNumThreads(1)  # a worker is one process for one core
    with atomic_write(note) as temporary:
        made = [_kept(folder, line, one) for line, one in _cut(root, lines, cutting)]
        pq.write_table(pa.Table.from_pylist(made, _NOTE), temporary)
    return len(lines)


def _cut(root: str, lines: Sequence[Line], cutting: Cutting) -> Iterator[tuple[Line, Cut | Missing]]:
    usable = []
    for line in lines:
        if ".." in line["path"].split("/") or line["path"].startswith("/"):
            yield (
                line,
                Missing(
                    None,
                    "a path with '..' or from the root: faces are cut of files below the source alone",
                    True,
                ),
            )
        else:
            usable.append(line)
    if cutting.frames:
        yield from cut_videos(root, usable, cutting.frames, cutting.margin, _detector(cutting.weights))
        return
    pictures: dict[str, list[Line]] = {}
    for line in usable:
        pictures.setdefault(line["path"], []).append(line)
    for faces in pictures.values():
        yield from cut_picture(root, faces, cutting.margin)


@lru_cache(maxsize=1)
def _detector(weights: str) -> FaceDetector:
    return FaceDetector(weights)


def _kept(folder: Path, line: Line, made: Cut | Missing) -> dict[str, Any]:
    """A line of a note; the face of it is written."""
    video = line["face"] is None
    # a video, or a picture with several faces, is the identity that what is cut out of it shares
    groups = sorted({*line["groups"], f"cut from {line['original'] or line['path']}"})
    plain = {**line, "groups": groups, "mask": None, "face": None, "original": None}
    number = "" if made.number is None else f"/{made.number:06d}.png" if video else f"/{made.number}.png"
    path = f"{line['path']}{number}"
    if isinstance(made, Missing):
        return {**plain, "path": path, "key": key_of(path), "reason": made.reason, "fault": made.fault}
    _write_png(folder / path, cv2.cvtColor(made.image, cv2.COLOR_RGB2BGR))
    mask = None if made.mask is None else f"{path.removesuffix('.png')}.mask.png"
    if mask:
        _write_png(folder / mask, made.mask)
    return {**plain, "path": path, "key": key_of(path), "mask": mask, "reason": "", "fault": False}


def _write_png(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    path.write_bytes(data)


def _note(state: Path, piece: int) -> Path:
    return state / f"cut-{piece:06d}.parquet"


def cut_faces(source: Path, state: Path, plan: pa.Table) -> CutFaces:
    """What the pieces of a plan gave, all of which are done.

    Raises:
        ValueError: no face was cut; the error names the source.
    """
    notes = pa.concat_tables(
        pq.read_table(_note(state, piece), schema=_NOTE) for piece in range(num_pieces(plan))
    )
    faces = notes.filter(pc.equal(notes["reason"], "")).select(PLAN.names).sort_by("key")
    missing = notes.filter(pc.not_equal(notes["reason"], "")).select(["path", "reason", "fault"]).to_pylist()
    if not len(faces):
        first = missing[0]
        raise ValueError(f"{source}: not one face was cut. First {first['path']}: {first['reason']}.")
    # of a file that is at fault every line says so: it is rejected once
    faults = dict.fromkeys(Reject(line["path"], line["reason"]) for line in missing if line["fault"])
    left_out = [Reject(line["path"], line["reason"]) for line in missing if not line["fault"]]
    return CutFaces(faces, [*faults], left_out)
