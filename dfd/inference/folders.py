"""Folder alarm of `dfd score`: the faces of one folder are judged together before a word is said of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfd.detector.score import Score, unfamiliar
from dfd.familiarity.alarm import strange_sources

if TYPE_CHECKING:
    from dfd.familiarity import Gate

HELD = 1000  # faces of a folder that are held back at most; of a larger one, each part is judged together


class FolderAlarm:
    """Scores in, scores out, in their order; those of a strange folder come out as unfamiliar.

    Args:
        gate: the detector's; without one all scores pass as they come.
        paths: as the user named them: each folder is a source, the files are one together.
    """

    def __init__(self, gate: Gate | None, paths: Sequence[Path]):
        self.gate = gate
        found = (path if path.exists() else path.expanduser() for path in paths)
        self.folders = [str(path) for path in found if path.is_dir()]
        self.raised: dict[str, str] = {}  # source -> what is said of it

    def __call__(self, scores: Iterable[Score]) -> Iterator[Score]:
        if self.gate is None:
            yield from scores
            return
        for source, group in groupby(scores, key=self.source):
            held: list[Score] = []
            for score in group:
                held.append(score)
                if len(held) == HELD:
                    yield from self._together(source, held)
                    held = []
            yield from self._together(source, held)

    def source(self, score: Score) -> str:
        """The folder, as it was named, that a score's file lies in; "" for a file that was named itself."""
        return next((folder for folder in self.folders if Path(score.path).is_relative_to(folder)), "")

    def _together(self, source: str, held: list[Score]) -> list[Score]:
        rank = np.array([np.nan if score.familiarity is None else score.familiarity for score in held])
        found = strange_sources(self.gate, rank, np.full(len(held), source))
        if source not in found:
            return held
        self.raised[source or "the files"] = found[source]
        return [unfamiliar(score, found[source]) if score.verdict else score for score in held]
