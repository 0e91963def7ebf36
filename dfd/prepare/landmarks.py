"""`dfd landmarks`: 468 points of the face in every picture of finished shards, in a file beside their table.

Killed at any moment it goes on, and the folder holds whole shards, with landmarks or without: index.json
names the file, and is replaced last.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from dfd.durable import atomic_write, sha256_of
from dfd.media.crops import DEFAULT_MARGIN
from dfd.media.decode import decode
from dfd.media.face_mesh import FaceMesh, face_of
from dfd.media.faces import Face, FaceDetector, find_weights
from dfd.media.mean_face import mean_face
from dfd.parallel import num_processes
from dfd.prepare.measure import Measurement, add_to_shards, make_way, measure
from dfd.shards.format import INDEX, recorded_margin
from dfd.shards.landmark_table import encode_landmarks, is_missing, landmark_file, remove_landmarks
from dfd.shards.table import load_table, read_index
from dfd.shards.validate import LANDMARK_FILE, LANDMARKS, NUM_LANDMARKS
from dfd.shards.writer import write_index

STATE = ".landmarks"
_VERSION = 1  # of how a face is found
# below what a face is by itself (.8): the mesh says as well whether it sees one
_THRESHOLD = 0.5
_BYTES = NUM_LANDMARKS * 4
# longer side of what is looked at, in pixels: the mesh sees a face in 128
_LONG = 512


class LandmarkFinder:
    """Finds the landmarks of the largest face of a picture; it travels to other processes.

    Args:
        mesh: MediaPipe's face_landmark.tflite of 468 points.
        faces: YuNet's .onnx file. Without one the face is looked for where face pictures have it, and then
            where the mesh saw it: right for pictures that one upright face fills.
        margin: side of the pictures as a multiple of the face box's longer side, without `faces`.
    """

    def __init__(self, mesh: Path, faces: Path | None, margin: float = DEFAULT_MARGIN):
        self.mesh = FaceMesh(mesh)
        self.detector = None if faces is None else FaceDetector(faces, _THRESHOLD)
        self.margin = margin

    def __call__(self, data: bytes) -> bytes:
        """The file of a picture -> its landmarks as they are stored."""
        cv2.setNumThreads(1)  # a worker is one process for one core
        image = decode(data)
        return encode_landmarks(self.find(image), image.shape).tobytes()

    def find(self, image: np.ndarray) -> np.ndarray | None:
        """(468, 2) x and y in pixels of the picture (H, W, 3) uint8 RGB; None where no face is found."""
        small, scale = image, _LONG / max(image.shape[:2])
        if scale < 1:
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if self.detector is None:
            points = self.mesh.find(small, face_of(mean_face(small.shape, self.margin)))
            if points is not None:
                points = self.mesh.find(small, face_of(points))
        else:
            found = self.detector.find(small)
            points = self.mesh.find(small, max(found, key=_prominence)) if found else None
        if points is None or not _is_plausible(points[:, :2], small.shape):
            return None
        # of sizes that were rounded
        return points[:, :2] * (image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])


def _prominence(face: Face) -> float:
    return face.side * face.score


def _is_plausible(points: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether most of the points lie in the picture, and none far away."""
    places = points / (shape[1], shape[0])
    inside = ((places >= 0) & (places <= 1)).all(1)
    return bool(inside.mean() > 0.5 and (np.abs(places - 0.5) < 1.4).all())


def add_landmarks(root: Path, mesh: Path, faces: Path | None = None, workers: int | None = None) -> str:
    """Finds the landmarks of all pictures of finished shards, writes them beside samples.parquet, and names
    their file in index.json; returns a sentence. Shards that have those of the same weights are left alone.

    Args:
        mesh: MediaPipe's face_landmark.tflite of 468 points.
        faces: YuNet's .onnx file; None looks for it as `find_weights` does, and without any the face is
            looked for where face pictures have it.
        workers: processes; None takes every core.

    Raises:
        ValueError: no finished shards, a part of them, a file that is not what the table says, or weights
            that are none.
        OSError: unwritable folder or full disk, in words.
    """
    processes, faces = num_processes(workers), check_weights(mesh, faces)
    return add_to_shards(root, lambda folder: _add(folder, mesh, faces, processes))


def check_weights(mesh: Path, faces: Path | None) -> Path | None:
    """YuNet's file, as `find_weights` finds it.

    Raises:
        ValueError: one of the two is no file of its kind.
    """
    faces = find_weights(faces)
    LandmarkFinder(mesh, faces)
    return faces


def _add(root: Path, mesh: Path, faces: Path | None, processes: int) -> str:
    index = read_index(root)
    weights = {"mesh": sha256_of(mesh), "faces": "" if faces is None else sha256_of(faces)}
    if _has(root, index, weights):
        shutil.rmtree(root / STATE, ignore_errors=True)
        return f"{root}: {_told(index[LANDMARKS], index['images'])} already."
    table = load_table(root)
    make_way(root, STATE, is_own)
    finder = LandmarkFinder(mesh, faces, recorded_margin(index) or DEFAULT_MARGIN)
    version = (_VERSION, *weights.values(), finder.margin)
    what = Measurement(STATE, "finding landmarks", version, finder, pa.binary(_BYTES))
    numbers = np.concatenate(
        [_numbers(chunk) for chunk in measure(root, table, what, processes).chunks]
        or [np.zeros((0, NUM_LANDMARKS, 2), np.uint16)]
    )
    facts = store(root, index, numbers, weights)
    shutil.rmtree(root / STATE, ignore_errors=True)
    return f"{root}: {_told(facts, len(numbers))} in {facts['file']}."


def is_own(name: str) -> bool:
    """Whether a file of shards is written here."""
    return name == INDEX or LANDMARK_FILE.fullmatch(name) is not None


def store(root: Path, index: dict[str, Any], numbers: np.ndarray, weights: dict[str, str]) -> dict[str, Any]:
    """Writes numbers (N, 468, 2) uint16, a line a sample of the table; returns what index.json says of them.

    The file's name is of its content, so that it replaces no other that index.json names.
    """
    name = f"landmarks-{hashlib.sha256(numbers.tobytes()).hexdigest()[:16]}.npy"
    with atomic_write(root / name) as temporary:
        with open(temporary, "wb") as file:
            np.save(file, numbers)
        facts = {"file": name, "bytes": temporary.stat().st_size, "sha256": sha256_of(temporary)}
    facts |= {"missing": int(is_missing(numbers).sum()), **weights}
    # before the list of shards, as the rest
    kept = {name: value for name, value in index.items() if name not in (LANDMARKS, "shards")}
    write_index(root, {**kept, LANDMARKS: facts, "shards": index["shards"]})
    remove_landmarks(root, but=name)
    return facts


def _has(root: Path, index: dict[str, Any], weights: dict[str, str]) -> bool:
    said = index.get(LANDMARKS)
    if said is None or any(said.get(name) != digest for name, digest in weights.items()):
        return False
    try:
        landmark_file(str(root), index)
    except ValueError:  # lost or damaged
        return False
    return True


def _told(facts: dict[str, Any], images: int) -> str:
    missing = f"; in {facts['missing']} no face was found" if facts["missing"] else ""
    return f"the landmarks of {images - facts['missing']} of {images} pictures are there{missing}"


def _numbers(chunk: pa.FixedSizeBinaryArray) -> np.ndarray:
    data = chunk.buffers()[1][chunk.offset * _BYTES :][: len(chunk) * _BYTES]
    return np.frombuffer(data, np.uint16).reshape(-1, NUM_LANDMARKS, 2)
