"""Forensic cues of the tables' rows, for nets that read them beside the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfd.shards.cue_table import pick, read_cues


def cues_of(roots: Sequence[str], names: Sequence[str], version: int) -> np.ndarray:
    """(M, C) float32, a line a row of the roots' tables one after another, in the order of `names`.

    Raises:
        ValueError: a root lies elsewhere, has no cues or not these, or they are of another version.
    """
    found = []
    for root in roots:
        if "://" in root:
            raise ValueError(
                f"{root}: forensic cues are read from shards on disk alone. Copy them here first."
            )
        cues = read_cues(Path(root))
        if cues.version != version:
            raise ValueError(
                f"{root} has cues of version {cues.version}, and the net reads version {version}: numbers of "
                f"two versions are not compared. `dfd cues {root}` measures this version's."
            )
        found.append(cues.values[:, pick(cues.names, names)])
    return np.concatenate(found)
