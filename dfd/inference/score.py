"""`dfd score`: files and folders in, one line a face out, nothing left out without being counted."""

from __future__ import annotations

import csv as csv_format
import json as json_format
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from dfd.calibration import check_prior
from dfd.detector import Detector, Score, load
from dfd.inference.clip import RATE, is_clip, score_clip
from dfd.inference.folders import FolderAlarm
from dfd.inference.named_files import find_files
from dfd.inference.predictor import Predictor
from dfd.inference.verdict_words import COLOURS, closing, count, line
from dfd.media.file_kinds import refuse_lfs_pointer
from dfd.media.files import IMAGE_SUFFIXES
from dfd.outputs import (
    check_file,
    check_new_folder,
    is_stdout,
    is_stream,
    open_stream,
    output_file,
    table_heads,
)
from dfd.terminal import commanding, is_terminal, many, nobody_reads, printable

COLUMNS = [field.name for field in fields(Score)]


def score_files(
    checkpoint: str | Path,
    paths: Sequence[str | Path],
    whole: bool = False,
    faces: str | Path | None = None,
    json: bool = False,
    csv: str | Path | None = None,
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
    batch_size: int = 32,
    threads: int | None = None,
    drawings: bool = False,
    prior: float | None = None,
    consistency: bool = False,
    rate: float = RATE,
    pages: Path | None = None,
) -> int:
    """Judges every face in files and folders, prints one line a face and a closing line.

    Args:
        checkpoint: file that `dfd fit` wrote.
        paths: files, tried whatever their names, and folders, walked down in order of name for files with a
            picture's suffix.
        whole: take each file as a face crop like those in training instead of looking for faces.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        json: print JSON Lines instead of text, one object a face; the closing lines go to stderr then.
        csv: also write a table to this file, in place of an earlier one with the same header line; or print
            it instead of the text where it is "-" or names the standard output in another way. Pipes and
            devices get its lines as they come.
        device: where the net runs, as torch names it.
        allow: packages whose nets the checkpoint may name.
        batch_size: crops that go through the net at once.
        threads: how many decode and find faces; by default up to four.
        drawings: the pictures are the toy set's drawings, see `dfd.load`.
        prior: share of fakes among the pictures, see `dfd.load`.
        consistency: judge each face after a few mild re-deliveries too, see `dfd.load`.
        rate: of a video, how many frames a second are judged.
        pages: new folder for a page a video, with its curve over time and its worst moments.

    The faces of a folder, up to a thousand at a time, are judged together before their lines are printed,
    since many of them may show what one does not: that they come from a world the detector has not seen.

    Returns the exit code: 0 if at least one face got a verdict (inconclusive is one), 1 if none did.
    """
    printed = csv is not None and is_stdout(csv)
    if json and printed:
        raise ValueError(
            f"--json and --csv {csv} both want the standard output. Give --csv a file, or leave one of them "
            "out."
        )
    if prior is not None:
        check_prior(prior)
    refuse_lfs_pointer(Path(checkpoint))
    files, others = find_files(paths)
    if pages is not None:
        check_new_folder(pages, *map(Path, paths))
    machine = json or printed
    with _table(csv) as table:
        detector = load(checkpoint, faces, device, allow, batch_size, drawings, prior, consistency)
        alarm = FolderAlarm(detector.gate, list(map(Path, paths)))
        colour = is_terminal(sys.stdout) and "NO_COLOR" not in os.environ
        screen = commanding(sys.stdout) if colour else sys.stdout
        seen: Counter[str] = Counter()
        faces_seen = 0
        if table:
            table.writerow(COLUMNS)
        for score in alarm(_scores(detector, files, whole, threads, rate, pages)):
            # a table of its own is finished all the same
            if nobody_reads(sys.stdout) and (csv is None or printed):
                break
            seen[score.verdict or score.status] += 1
            faces_seen += score.face > 0
            if table:
                table.writerow(_cell(getattr(score, name)) for name in COLUMNS)
            if json:
                print(json_format.dumps(asdict(score)))
            elif not machine:
                print(line(score, colour), file=screen)
    counts = count(len(files), faces_seen, others, seen)
    raised = [f"{printable(source, keep='')}: {said}." for source, said in alarm.raised.items()]
    num_clips = sum(map(is_clip, files))
    clips = ["Of clips the sound was not looked at."] if num_clips else []
    if pages is not None:
        clips += _pages_in_words(pages, len(files) - num_clips)
    text = "\n".join([f"{counts}.", *clips, *raised, closing(detector, whole)])
    print(text, file=sys.stderr if machine else sys.stdout)
    return 0 if seen.keys() & COLOURS.keys() else 1


def _scores(
    detector: Detector,
    files: Sequence[Path],
    whole: bool,
    threads: int | None,
    rate: float,
    pages: Path | None,
) -> Iterator[Score]:
    """Scores of pictures and clips in their order; a page of each clip where there is a folder for them."""
    for of_clips, some in groupby(files, key=is_clip):
        if not of_clips:
            yield from Predictor(detector).score_all(some, whole, threads)
            continue
        for path in some:
            scores = score_clip(detector, path, whole, rate, shown=True)
            if pages is not None:
                from dfd.inference.clip_page import write_clip_page  # matplotlib

                pages.mkdir(parents=True, exist_ok=True)
                page = pages / f"{len(list(pages.iterdir())) + 1:03d}-{path.stem}.html"
                write_clip_page(detector, scores, page, closing(detector, whole).splitlines())
            yield from scores


def _pages_in_words(pages: Path, num_pictures: int) -> list[str]:
    """Where each page lies, a line each, and that pictures have none."""
    said = [f"page: {printable(str(page), keep='')}" for page in sorted(pages.glob("*.html"))]
    if num_pictures:
        none = f"{many(num_pictures, 'picture')} {'has' if num_pictures == 1 else 'have'} none"
        said.append(f"Pages are of videos, and {none}: dfd explain makes one of pictures.")
    return said


@contextmanager
def _table(csv: str | Path | None) -> Iterator[Any]:
    """A csv writer, or None. A file appears under its name when it is complete, not before."""
    if csv is None:
        yield None
        return
    path = Path(csv)
    if is_stdout(csv) or is_stream(path):
        with open_stream(csv) as file:
            yield csv_format.writer(file, lineterminator="\n")
        return
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else f"{path.parent} is no folder"
        raise ValueError(f"cannot write {path}: {what}. Give --csv a file in a folder that exists.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(
            f"--csv {path} has the name of a picture. Give --csv a new file, such as scores.csv; nothing was "
            "written."
        )
    check_file(path, f"--csv {path}", heads=table_heads(COLUMNS))
    with (
        output_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        yield csv_format.writer(file)


def _cell(value: object) -> object:
    """A box as four numbers with spaces between them; None as an empty cell, which csv does itself."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
