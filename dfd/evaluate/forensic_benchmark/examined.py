"""What the tools say of one set's pictures under one condition: one file a tool, a line a picture.

CELLS/SET/CONDITION/TOOL.parquet. A file is whole or not there, and says of itself what it was made of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd.evaluate.forensic_benchmark.localization import FIGURES, locate
from dfd.evaluate.forensic_benchmark.pictures import PictureSet
from dfd.forensics import Finding, Map, Tool, examine
from dfd.forensics.tools import Files, tools_with
from dfd.outputs import output_file

CELLS = "cells"
META = b"dfd"
ANSWERED = ("found", "clear")
COUNTS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "family": pa.string(),
        "label": pa.int8(),
        "method": pa.string(),
        "status": pa.string(),
        "why": pa.string(),  # of a tool that failed
        "score": pa.float64(),
        "seconds": pa.float64(),  # of one core
        "mapped": pa.bool_(),  # whether it shows a place
        # of an answer on a picture whose mask is known, see `Located`
        **dict.fromkeys(FIGURES, pa.float64()),
        "inside": COUNTS,
        "outside": COUNTS,
    }
)


# makes the tools in each process, since some hold what cannot be sent; equal ones make the same
Toolbox = Callable[[], Sequence[Tool]]


@dataclass(frozen=True)
class ToolsOf:
    """The toolbox of what the user's files allow."""

    files: Files

    def __call__(self) -> Sequence[Tool]:
        return tools_with(self.files)


class Task(NamedTuple):
    """One picture, for a worker.

    Args:
        tools: the names of those that are wanted of the toolbox.
    """

    pictures: PictureSet
    condition: str
    number: int
    toolbox: Toolbox
    tools: tuple[str, ...]


class Examined(NamedTuple):
    number: int
    lines: list[dict[str, Any]]  # one a tool, as in SCHEMA


def examine_picture(task: Task) -> Examined:
    """Runs in a worker: every tool over one picture."""
    cv2.setNumThreads(1)
    known = _tools(task.toolbox)
    picture = task.pictures.picture(task.number, task.condition)
    # of this process: other work on the machine does not count
    begun: list[float] = []
    tools = [known[name] for name in task.tools]
    examined = examine(picture.data, tools, lambda name: begun.append(time.process_time()))
    spent = np.diff([*begun, time.process_time()]).tolist()
    lines = []
    for finding, seconds in zip(examined.findings, spent, strict=True):
        line: dict[str, Any] = {
            "key": picture.key,
            "family": picture.family,
            "label": picture.label,
            "method": picture.method,
            "status": finding.status,
            "why": str(finding.facts.get("why", "")) if finding.status == "failed" else "",
            "score": float(finding.score),
            "seconds": seconds,
            "mapped": False,
        }
        if picture.mask is not None and finding.status in ANSWERED:
            found = place_of(finding, picture.mask.shape)
            line["mapped"] = found is not None
            located = locate(found, picture.mask)
            line |= {} if located is None else located._asdict()
        lines.append(line)
    return Examined(task.number, lines)


@lru_cache(maxsize=4)
def _tools(toolbox: Toolbox) -> dict[str, Tool]:
    return {tool.name: tool for tool in toolbox()}


def place_of(finding: Finding, shape: tuple[int, ...]) -> Map | None:
    """The map of a finding, else its rectangles drawn as one; None where it shows no place.

    Args:
        shape: height and width of the picture.
    """
    if finding.map is not None:
        return finding.map if finding.map.overlay else None
    if not finding.regions:
        return None
    drawn = np.zeros(shape, np.float32)
    for region in finding.regions:
        x, y, width, height = (max(0, round(each)) for each in region.box)
        drawn[y : y + height, x : x + width] = 1
    return Map(drawn, 0.0, 1.0, "")


def cell_file(pictures: str, condition: str, tool: str) -> str:
    """Where the lines of a cell lie, below the benchmark's folder."""
    return f"{CELLS}/{pictures}/{condition}/{tool}.parquet"


def cell_identity(pictures: PictureSet, condition: str, tool: Tool) -> dict[str, Any]:
    """What a cell depends on: one that was made of anything else is made again."""
    return {
        "set": pictures.name,
        "of": pictures.identity(),
        "condition": condition,
        "tool": tool.name,
        "version": tool.method.version,
    }


def is_done(path: Path, identity: dict[str, Any]) -> bool:
    try:
        told = (pq.read_schema(path).metadata or {}).get(META, b"")
    except (OSError, pa.ArrowException):
        return False
    return told == json.dumps(identity).encode()


def write_cell(path: Path, lines: Iterable[dict[str, Any]], identity: dict[str, Any]) -> None:
    table = pa.Table.from_pylist(list(lines), SCHEMA)
    with output_file(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata({META: json.dumps(identity).encode()}),
            temporary,
            compression="zstd",
        )


def read_cell(path: Path) -> pa.Table:
    """The lines of a cell.

    Raises:
        ValueError: it is not as `write_cell` writes it.
    """
    try:
        table = pq.read_table(path, partitioning=None).replace_schema_metadata()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: run the same command again, it makes it anew.") from error
    if not table.schema.equals(SCHEMA):
        raise ValueError(
            f"{path} is of another version of dfd: run the same command again, it makes it anew."
        )
    return table
