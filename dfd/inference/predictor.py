"""Predictor: scores of many files, decoded and cropped by threads while the net judges."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.detector import Detector, Score, load
from dfd.detector.score import FaceCrops

if TYPE_CHECKING:
    from dfd.detector.inputs import Input


class Predictor:
    """A detector for many files.

    Args:
        detector: a loaded one, or the file that `dfd.load` loads.
        faces: YuNet's .onnx file; None takes the one of DFD_YUNET or dfd[faces]. Without any, only whole face
            crops are judged. For a file alone, as are the others.
        device: where the net runs, as torch names it.
        allow: packages whose nets a checkpoint may name, such as ("dfd.", "my_package.").
        batch_size: crops that go through the net at once.
        drawings: the pictures are the toy set's drawings, see `dfd.load`.
        prior: share of fakes among the pictures, see `dfd.load`.
    """

    def __init__(
        self,
        detector: Detector | str | Path,
        faces: str | Path | None = None,
        device: str = "cpu",
        allow: Iterable[str] = ("dfd.",),
        batch_size: int = 32,
        drawings: bool = False,
        prior: float | None = None,
    ):
        if not isinstance(detector, Detector):
            # checked here: what a file of this name would be is no answer
            if not isinstance(detector, (str, os.PathLike)):
                raise ValueError(
                    f"a {type(detector).__name__} is no detector: give a checkpoint's path, or a Detector."
                )
            detector = load(detector, faces, device, allow, batch_size, drawings, prior)
        self.detector = detector

    def score(self, picture: Input, whole: bool = False) -> list[Score]:
        """The scores of a file, its bytes, a Pillow image or pixels, as `Detector.score` gives them."""
        return self.detector.score(picture, whole)

    def score_all(
        self, paths: Iterable[Input], whole: bool = False, threads: int | None = None
    ) -> Iterator[Score]:
        """The scores of many files, or whatever else `score` takes, in their order.

        `threads` (by default up to 4) decode and find faces while the net judges; each holds one picture at
        most.
        """
        threads = threads or min(4, os.cpu_count() or 1)
        detector = self.detector
        waiting: deque[Future[list[FaceCrops]]] = deque()
        faces: list[FaceCrops] = []
        with ThreadPoolExecutor(threads, thread_name_prefix="dfd-score") as pool:
            for path in paths:
                waiting.append(pool.submit(detector.crop_faces, path, whole))
                if len(waiting) > 2 * threads:
                    faces += waiting.popleft().result()
                if sum(len(face.crops) for face in faces if face.crops is not None) >= detector.batch_size:
                    yield from detector.judge(faces)
                    faces = []
            while waiting:
                faces += waiting.popleft().result()
        yield from detector.judge(faces)
