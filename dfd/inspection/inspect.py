"""`dfd inspect`: files and folders in, a page and a JSON file each out, and an index of them."""

from __future__ import annotations

import json as json_format
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dfd.calibration import WORDS
from dfd.detector import Score
from dfd.forensics import Catalogue, Tool
from dfd.forensics.custody import CustodyLog, Entry, versions
from dfd.forensics.tools import Files, tools_with
from dfd.inference.clip import is_clip, score_clip
from dfd.inference.named_files import find_files, not_tried
from dfd.inference.verdict_words import closing, sentences, shown_prob
from dfd.inspection.index_page import index_page
from dfd.inspection.one_file import Inspected, Task, inspect_file, unreadable
from dfd.inspection.page import DetectorSays
from dfd.media.files import IMAGE_SUFFIXES
from dfd.outputs import check_new_folder, output_folder
from dfd.parallel import ProcessPool, num_processes
from dfd.progress import progress
from dfd.terminal import printable

INDEX = "index.html"


def inspect_files(
    paths: Sequence[str | Path],
    out: str | Path,
    checkpoint: str | Path | None = None,
    json: bool = False,
    files: Files | None = None,
    custody: str | Path | None = None,
    workers: int | None = None,
    language: str = "en",
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
) -> int:
    """Inspects files, and the pictures in folders, and prints what was found.

    Args:
        paths: files, tried whatever their names, and folders, walked down for pictures.
        out: new folder for the pages; it is there when it is whole.
        checkpoint: a trained detector, whose verdict stands beside the tools' findings.
        json: print JSON Lines instead of text, one object a file.
        files: weights and lists that some tools need.
        custody: append-only log, to which a line a file is added.
        workers: processes; by default one a core, and no more than files.
        language: of the words.
        device: where the detector runs, as torch names it.
        allow: packages whose nets the checkpoint may name.

    Returns the exit code: 0 if every file was read and decoded and no tool failed, else 1. A named file that
    is not there is a line among the others.

    Raises:
        KeyboardInterrupt: it was interrupted. The files that were done until then are in `out`, with an index
            that says so.
        ValueError: nothing that was named is there, no picture, an output that holds something, or an
            option's file that is none of its kind; before any work.
    """
    out = Path(out)
    check_new_folder(out)
    there, absent, others = _named(paths)
    found = [*there, *absent]
    words = Catalogue(language)
    files = files or Files()
    tools = tools_with(files)
    log = None if custody is None else _custody_log(Path(custody), tools)
    said = _detector(checkpoint, there, files, device, allow)
    names = _names(found)
    whole = INDEX if len(found) > 1 else f"{names[0]}.json"
    shared = os.path.commonpath([path.absolute().parent for path in there])
    stopped: KeyboardInterrupt | None = None
    with output_folder(out, whole) as part, progress(len(found), "inspecting") as advance:
        tasks = [
            Task(
                path, os.path.relpath(path, shared), part, name, files, language, *said.get(path, (None, ()))
            )
            for path, name in zip(found, names, strict=True)
        ]
        done: dict[Path, Inspected] = {}
        try:
            for inspected in _each(tasks, min(num_processes(workers), len(tasks))):
                done[inspected.task.path] = inspected
                advance(1)
        except KeyboardInterrupt as stop:
            if not done:
                raise
            stopped = stop
            _remove_unlisted([task for task in tasks if task.path not in done])
        results = [done[path] for path in found if path in done]
        cut_short = words.page("interrupted", done=len(done), files=len(found)) if stopped else ""
        if len(found) > 1:
            page = index_page(
                [each.line for each in results], [str(path) for path in others], words, cut_short
            )
            (part / INDEX).write_text(page, encoding="utf-8", errors="backslashreplace")
    # not before the pages are in their place: an entry of a page that nobody has would be a false record
    if log is not None:
        for each in results:
            log(each)
    for each in results:
        lines = [json_format.dumps(each.facts)] if json else each.text
        print(*lines, sep="\n")
    closing_lines = not_tried(others)
    if page_name := INDEX if len(found) > 1 else results[0].line.page:
        closing_lines.append(words.page("written", path=out / page_name))
    if closing_lines:
        print(*closing_lines, sep="\n", file=sys.stderr if json else sys.stdout)
    if stopped is not None:
        print(f"{cut_short} Those are in {out}; name another folder for the rest.", file=sys.stderr)
        raise stopped
    return 0 if all(each.is_whole for each in results) else 1


def _named(paths: Sequence[str | Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """The files to inspect, those that were named and are not there, and other files of the folders.

    What only has the name of a picture, such as a pipe, is tried, so that the reason is said.

    Raises:
        ValueError: as of `find_files`; of names that are not there, if no other was given.
    """
    absent = [Path(path) for path in paths if not os.path.exists(os.path.expanduser(path))]
    absent = list(dict.fromkeys(path for path in absent if not path.exists()))
    present = [path for path in paths if Path(path) not in absent]
    found, others = find_files(present or paths, "inspect")
    odd = [path for path in others if path.suffix.lower() in IMAGE_SUFFIXES]
    return [*found, *odd], absent, [path for path in others if path not in odd]


def _remove_unlisted(tasks: Iterable[Task]) -> None:
    """Removes what was written of files whose result did not arrive before the work was interrupted."""
    for task in tasks:
        for suffix in ("html", "json"):
            (task.folder / f"{task.name}.{suffix}").unlink(missing_ok=True)


def _each(tasks: Sequence[Task], workers: int) -> Iterator[Inspected]:
    """Every task's result, in the order in which they end.

    A file that ends the process that reads it costs itself alone: the files of a broken pool are read once
    more, each in a process of its own.
    """
    left = {task.path: task for task in tasks}
    try:
        with ProcessPool(workers, "dfd.inspection.one_file") as pool:
            for inspected in pool.run(inspect_file, tasks):
                left.pop(inspected.task.path)
                yield inspected
    except ChildProcessError:
        for task in left.values():
            yield _alone(task)


def _alone(task: Task) -> Inspected:
    try:
        with ProcessPool(1, "dfd.inspection.one_file") as pool:
            return next(iter(pool.run(inspect_file, [task])))
    except ChildProcessError:
        return unreadable(task, Catalogue(task.language).page("process_ended"))


def _detector(
    checkpoint: str | Path | None, paths: Sequence[Path], files: Files, device: str, allow: Iterable[str]
) -> dict[Path, tuple[DetectorSays, list[dict[str, Any]]]]:
    """What the detector says of each file: in words, and in numbers."""
    if checkpoint is None:
        return {}
    from dfd.inference.predictor import Predictor
    from dfd.media.file_kinds import refuse_lfs_pointer

    refuse_lfs_pointer(Path(checkpoint))
    predictor = Predictor(checkpoint, files.faces, device, tuple(allow))
    scores: dict[Path, Sequence[Score]] = {}
    with progress(len(paths), "detecting") as advance:
        for path in paths:
            if is_clip(path):
                scores[path] = score_clip(predictor.detector, path)
            else:
                scores[path] = predictor.score(path)
            advance(1)
    basis = closing(predictor.detector)
    return {
        path: (
            DetectorSays([(face_title(score), sentences(score)) for score in scores[path]], basis),
            [asdict(score) for score in scores[path]],
        )
        for path in paths
    }


def face_title(score: Score) -> str:
    """The verdict or status, and of which face."""
    word = score.status.replace("_", " ") if score.verdict is None else WORDS[score.verdict]
    if score.prob is not None:
        word = f"{word} (P(fake) {shown_prob(score.prob).strip()})"
    return f"{word}, face {score.face} of {score.faces}" if score.faces > 1 else word


def _names(paths: Sequence[Path]) -> list[str]:
    """A plain name for each file's page, none twice."""
    several = len(paths) > 1
    names = []
    for number, path in enumerate(paths, 1):
        plain = printable(path.stem).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:60] or "picture"
        names.append(f"{number:03d}-{plain}" if several else plain)
    return names


def _custody_log(path: Path, tools: Sequence[Tool]) -> Callable[[Inspected], None]:
    """Adds a line of each file to a custody log; ValueError, before any work, where it is none."""
    log, known = CustodyLog(path), versions({tool.name: tool.method.version for tool in tools})

    def add(inspected: Inspected) -> None:
        facts = inspected.facts
        traces = [each["tool"] for each in facts.get("findings", ()) if each["status"] == "found"]
        details = {
            "inspected_at": facts["inspected_at"],
            "status": facts["status"],
            "bytes": facts.get("bytes"),
            "traces": traces,
        }
        log.append(Entry("inspect", str(inspected.task.path), inspected.sha256, known, details))

    return add
