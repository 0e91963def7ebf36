"""Inspection of one file, in a process of its own: the tools, the page, the JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dfd import __version__
from dfd.forensics import Catalogue, Examination, examine
from dfd.forensics.tools import Files, tools_with
from dfd.inference.clip import is_clip
from dfd.inspection.clip import examine_clip
from dfd.inspection.drawings import small_photo
from dfd.inspection.evidence import Evidence, in_order
from dfd.inspection.index_page import Line
from dfd.inspection.page import DetectorSays, write_page
from dfd.media.files import elsewhere, read_file
from dfd.media.formats import Undecodable
from dfd.terminal import as_written

_THUMBNAIL = 120


@dataclass(frozen=True)
class Task:
    """A file to inspect.

    Args:
        path: of the file.
        shown: the same as the index shows it, without the folders that all files share.
        folder: where page and JSON go.
        name: of both, without suffix.
        files: weights and lists of the user's that some tools need.
        language: of the words.
        detector: what a trained detector says of it; None without one.
        detector_facts: the same for JSON.
    """

    path: Path
    shown: str
    folder: Path
    name: str
    files: Files
    language: str
    detector: DetectorSays | None
    detector_facts: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Inspected:
    """What became of a task.

    Args:
        line: of the index.
        text: lines for a terminal.
        facts: the JSON object.
        sha256: of the file; "" where it could not be read.
        is_whole: whether the file was read and decoded, and no tool failed.
    """

    task: Task
    line: Line
    text: Sequence[str]
    facts: dict[str, Any]
    sha256: str
    is_whole: bool


@dataclass(frozen=True)
class Examined:
    """What was found of a file.

    Args:
        evidence: in the order in which it is to be read.
        facts: the JSON object.
        page: HTML.
    """

    examination: Examination
    evidence: Sequence[Evidence]
    facts: dict[str, Any]
    page: str


def inspect_file(task: Task) -> Inspected:
    """Reads, examines, and writes the page and the JSON of one file. Whatever is wrong with it is told, not
    raised; OSError where the page cannot be written.
    """
    words = Catalogue(task.language)
    try:
        data = read_file(task.path)
    except (Undecodable, OSError) as error:
        return unreadable(task, words.page("unreadable", why=_why(task.path, error)))
    examined = inspect_bytes(task, data)
    examination, evidence, facts = examined.examination, examined.evidence, examined.facts
    (task.folder / f"{task.name}.html").write_text(examined.page, encoding="utf-8", errors="backslashreplace")
    _write_json(task, facts)
    failed = [each.title for each in evidence if each.finding.status == "failed"]
    problems = (
        [words.page("summary_refused", why=examination.refused.rstrip("."))] if examination.refused else []
    )
    problems += [words.page("tool_failed", title=title) for title in failed]
    line = Line(
        path=task.shown,
        page=f"{task.name}.html",
        photo=b"" if examination.pixels is None else small_photo(examination.pixels, _THUMBNAIL),
        traces=sum(each.is_found for each in evidence),
        strongest=evidence[0].title if evidence and evidence[0].is_found else "",
        metadata=_status(evidence, "metadata", words),
        provenance=_status(evidence, "provenance", words),
        detector="; ".join(title for title, _ in task.detector.faces) if task.detector else "",
        not_judged=" ".join(problems),
    )
    return Inspected(task, line, _text(task, line, evidence, words), facts, facts["sha256"], not problems)


def inspect_bytes(task: Task, data: bytes) -> Examined:
    """Examines the bytes of a task's file, and writes nothing."""
    words = Catalogue(task.language)
    if is_clip(task.path, data):
        examination = examine_clip(data, task.files)
    else:
        examination = examine(data, _tools(task.files))
    evidence = in_order(examination.findings, examination.seconds, words)
    sha256 = hashlib.sha256(data).hexdigest()
    now = _now()
    shown = [
        (words.page("fact_path"), task.path.name),
        (words.page("fact_sha256"), sha256),
        (words.page("fact_bytes"), f"{len(data):,}"),
        (words.page("fact_size"), _size(examination)),
        (words.page("fact_time"), now),
        (words.page("fact_program"), f"dfd {__version__}"),
    ]
    page = write_page(task.path.name, examination, evidence, shown, words, task.detector)
    facts = _facts(task, data, examination, evidence, sha256, now)
    return Examined(examination, evidence, facts, page)


def unreadable(task: Task, why: str) -> Inspected:
    """What became of a file that has no page: the JSON says why."""
    line = Line(task.shown, "", b"", 0, "", "", "", "", why)
    facts = {
        "dfd": __version__,
        "inspected_at": _now(),
        "path": str(task.path),
        "status": "unreadable",
        "reason": why,
    }
    _write_json(task, facts)
    return Inspected(task, line, [f"{as_written(task.path)}: {why}"], facts, "", False)


def _why(path: Path, error: Exception) -> str:
    """Why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        what = "No such file (a broken link)" if os.path.islink(path) else "No such file"
        return f"{what}. {elsewhere(as_written(path))}".removesuffix(". ")
    return getattr(error, "strerror", None) or str(error)


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def _write_json(task: Task, facts: dict[str, Any]) -> None:
    text = json.dumps(facts, indent=2, ensure_ascii=True, allow_nan=False)
    (task.folder / f"{task.name}.json").write_text(text + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def _tools(files: Files) -> tuple:
    return tools_with(files)


def _facts(
    task: Task, data: bytes, examination: Examination, evidence: Sequence[Evidence], sha256: str, now: str
) -> dict[str, Any]:
    """The JSON object of a file: what the page says, for a program."""
    pixels = examination.pixels
    return {
        "dfd": __version__,
        "inspected_at": now,
        "path": str(task.path),
        "status": "undecodable" if examination.refused else "ok",
        "reason": examination.refused,
        "sha256": sha256,
        "bytes": len(data),
        "width": None if pixels is None else pixels.shape[1],
        "height": None if pixels is None else pixels.shape[0],
        "scale": examination.scale,
        "findings": [
            each.finding.plain()
            | {
                "title": each.title,
                "sentence": each.sentence,
                "look_at": each.look,
                "ignore": each.ignore,
                "measured": None if each.measured is None else each.measured.plain(),
                "seconds": round(each.seconds, 3),
            }
            for each in evidence
        ],
        "detector": list(task.detector_facts),
    }


def _size(examination: Examination) -> str:
    pixels: np.ndarray | None = examination.pixels
    if pixels is None:
        return examination.refused
    height, width = (side * examination.scale for side in pixels.shape[:2])
    return f"{width} x {height}"


def _status(evidence: Sequence[Evidence], tool: str, words: Catalogue) -> str:
    return next((words.page(each.finding.status) for each in evidence if each.finding.tool == tool), "")


def _text(task: Task, line: Line, evidence: Sequence[Evidence], words: Catalogue) -> list[str]:
    """What a terminal shows of a file: the traces, the strongest first."""
    found = [each for each in evidence if each.is_found]
    count = "line_found" if found else "line_silent"
    if line.not_judged and not found:
        count = "line_unknown"
    said = [f"{task.path}: {words.page(count, count=len(found))}"]
    said += [f"  {each.title}: {each.sentence}" for each in found]
    if line.detector:
        said.append(f"  {words.page('line_detector', verdict=line.detector)}")
    return said + ([f"  {line.not_judged}"] if line.not_judged else [])
