"""Folder of a grid: grid.json, which says what it is to hold, and the names of its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfd.outputs import lies_within
from dfd.shards.fetch import is_remote
from dfd.text_files import read_object

GRID, CELLS = "grid.json", "cells"
METRICS_FILE, CSV_FILE = "metrics.parquet", "metrics.csv"
_LISTS = ("detectors", "roots", "conditions", "cells")


def read_grid(folder: str | Path) -> dict[str, Any]:
    """What grid.json says: detectors, roots, conditions, cells and so on.

    Raises:
        ValueError: the folder is no grid.
    """
    path = Path(folder) / GRID
    try:
        grid = read_object(path)
    except OSError as error:
        raise ValueError(
            f"{folder} is no grid: it has no {GRID}. `dfd evaluate CHECKPOINT --on ROOT --out {folder}` "
            "makes one."
        ) from error
    if not all(isinstance(grid.get(name), list) for name in _LISTS):
        raise ValueError(f"{path} is not as dfd writes it: it lacks one of {', '.join(_LISTS)}.")
    for cell in grid["cells"]:
        # grid.json may be a stranger's: nothing outside its folder is read
        parts = Path(cell).parts if isinstance(cell, str) else ()
        if parts[:1] != (CELLS,) or ".." in parts:
            raise ValueError(f"{path} is not as dfd writes it: it has the cell {cell!r}.")
    return grid


def missing_cells(folder: str | Path) -> list[str]:
    """The prediction files that a grid is to have and has not got yet."""
    return [cell for cell in read_grid(folder)["cells"] if not (Path(folder) / cell).is_file()]


def check_out(out: Path, roots: Iterable[str], begun: str = GRID) -> None:
    """ValueError where results cannot go there: what lies there is somebody else's.

    Args:
        begun: what is written first into a folder of ours.
    """
    for root in roots:
        if Path(root).is_file():
            raise ValueError(
                f"--on {root} is a file, and what is judged are finished shards: `dfd prepare {root} --out "
                "FOLDER` makes them of pictures, videos and lists of them."
            )
        if not is_remote(root) and lies_within(out, Path(root)):
            raise ValueError(f"--out {out} lies in {root}, which is only read. Choose a folder beside it.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file, where the folder of a grid is to be. Choose another name.")
    if out.is_dir() and any(out.iterdir()) and not (out / begun).exists():
        raise ValueError(
            f"--out {out} is not empty and no grid of dfd's. Choose a new folder; nothing was written."
        )
