"""Examination: every forensic tool over one picture, each failure a status."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dfd.forensics.finding import Finding, Method
from dfd.media.decode import read_picture
from dfd.media.formats import Undecodable


@dataclass(frozen=True)
class Tool:
    """A forensic tool.

    Args:
        method: its name, source and version.
        run: the function itself, of the file's bytes or of its pixels.
        takes: "file" for bytes as found, "pixels" for (H, W, 3) uint8 RGB, upright.
    """

    method: Method
    run: Callable[..., Finding]
    takes: Literal["file", "pixels"]

    @property
    def name(self) -> str:
        return self.method.tool


@dataclass(frozen=True)
class Examination:
    """What the tools say of one file.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright; None where the file cannot be decoded.
        scale: the file's picture is so many times as wide and high as `pixels`.
        refused: why it cannot be decoded; "" where it can.
        findings: one a tool, in their order.
        seconds: that each tool took.
    """

    pixels: np.ndarray | None
    scale: int
    refused: str
    findings: Sequence[Finding]
    seconds: Sequence[float]


def examine(
    data: bytes, tools: Sequence[Tool], progress: Callable[[str], None] = lambda name: None
) -> Examination:
    """Runs tools over one file. None of them ends it: a tool that breaks has the status failed.

    Args:
        data: the file as found.
        tools: in the order of the findings.
        progress: is told each tool's name before it runs.
    """
    pixels, scale, refused = None, 1, ""
    try:
        picture = read_picture(data)
        pixels, scale = picture.pixels, picture.scale
    except Undecodable as error:
        refused = str(error)
    findings, seconds = [], []
    for tool in tools:
        progress(tool.name)
        start = time.perf_counter()
        findings.append(_run(tool, data, pixels, refused))
        seconds.append(time.perf_counter() - start)
    return Examination(pixels, scale, refused, tuple(findings), tuple(seconds))


def _run(tool: Tool, data: bytes, pixels: np.ndarray | None, refused: str) -> Finding:
    if tool.takes == "pixels" and pixels is None:
        return tool.method("abstained", "not_decoded", facts={"why": refused})
    try:
        return tool.run(data if tool.takes == "file" else pixels)
    except Undecodable as error:
        # a tool that reads what the file stores may meet a kind that only decoders read, as of CMYK
        answer = "not_decoded" if pixels is None else "not_read"
        return tool.method("abstained", answer, facts={"why": str(error)})
    except Exception as error:  # whatever a stranger's file does to one tool, the others are run
        return tool.method("failed", "failed", facts={"why": f"{type(error).__name__}: {error}"[:300]})
