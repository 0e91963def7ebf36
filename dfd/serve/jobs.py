"""Jobs: what a request asks of a worker process for one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["score", "clip", "inspect", "explain"]


@dataclass(frozen=True)
class Job:
    """One file to judge.

    Args:
        kind: "score" for verdicts, "clip" for those of a video, "inspect" for what the file says of itself,
            "explain" for a map.
        name: of the file, as its sender calls it.
        data: its bytes.
        whole: take it as a face crop like those in training, and look for no face.
        picture: also give the picture that was judged, small enough for a page.
        page: of an inspection, also give its page as HTML.
        face: which one to explain, from 1; of a whole picture 1.
        method: of the map; "" for the first that the net has.
    """

    kind: Kind
    name: str
    data: bytes
    whole: bool = False
    picture: bool = False
    page: bool = False
    face: int = 1
    method: str = ""


@dataclass(frozen=True)
class Setup:
    """What each worker loads before its first job; as of `dfd.load`.

    Args:
        mesh: weights of a face mesh, for the tools of an inspection that measure by it.
        threads: of torch, in each worker, where OMP_NUM_THREADS does not say.
        memory: megabytes that judging may take beyond the loaded detector, on the CPU under Linux.
    """

    checkpoint: Path
    faces: Path | None = None
    mesh: Path | None = None
    device: str = "cpu"
    allow: Sequence[str] = ("dfd.",)
    batch_size: int = 32
    drawings: bool = False
    threads: int = 1
    memory: int = 2000
