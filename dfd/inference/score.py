"""`dfd score`: files and folders in, one line a face out, nothing left out without being counted."""

from __future__ import annotations

import csv as csv_format
import json as json_format
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from dfd.calibration import EXPERTS, UNFAMILIAR, WORDS, check_prior, in_words, worth_in_words
from dfd.detector import Detector, Score, load
from dfd.detector.selection import warning
from dfd.inference.clip import RATE, ClipScore, is_clip, score_clip
from dfd.inference.clip import in_words as in_words_of_clip
from dfd.inference.folders import FolderAlarm
from dfd.inference.predictor import Predictor
from dfd.inference.uncertified import never_speaks, with_shortage
from dfd.media.file_kinds import refuse_lfs_pointer
from dfd.media.files import IMAGE_SUFFIXES, READ_SUFFIXES, VIDEO_SUFFIXES
from dfd.outputs import (
    check_file,
    check_new_folder,
    is_stdout,
    is_stream,
    open_stream,
    output_file,
    table_heads,
)
from dfd.terminal import commanding, is_terminal, nobody_reads, printable

COLOURS = {"fake": "31", "no_trace": "32", "inconclusive": "33", "unfamiliar": "35"}  # the rest is grey
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
            score = with_shortage(detector, score)
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
    clips = ["Of clips the sound was not looked at."] if any(map(is_clip, files)) else []
    text = "\n".join([f"{counts}.", *clips, *raised, closing(detector)])
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
                write_clip_page(detector, scores, page, closing(detector).splitlines())
            yield from scores


def find_files(
    paths: Sequence[str | Path], command: str = "score CHECKPOINT"
) -> tuple[list[Path], list[Path]]:
    """The files to try, each once, and those in the folders that have no picture's suffix. A leading ~ is the
    home folder, also where the shell did not see it.

    Args:
        command: what stands before the files, for an error's advice.

    Raises ValueError where no path is given or one does not exist, a folder cannot be read, or nothing is
    left to try.
    """
    if not paths:
        raise ValueError(f"no picture was named. Name files or folders: dfd {command} photo.jpg folder/")
    files: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for path in map(Path, paths):
        if str(path).startswith("~") and not path.exists():
            path = Path(os.path.expanduser(path))
        if path.is_dir():
            for found in _walk(path):
                if found.suffix.lower() in IMAGE_SUFFIXES and (found.is_file() or found.is_symlink()):
                    files[found] = None
                else:
                    others[found] = None
        elif path.exists():
            files[path] = None
        else:
            raise ValueError(f"there is no file or folder {path}. {elsewhere(str(path))}Nothing was done.")
    if not files:
        what = count(0, 0, list(others), Counter()).partition("; ")[2]
        shards = any(path.suffix == ".tar" for path in others)
        more = "Shards are judged by dfd test CHECKPOINT --data.roots=FOLDER. " if shards else ""
        raise ValueError(
            f"no pictures in {', '.join(map(str, paths))}{f' ({what})' if what else ''}. {more}"
            f"Name files, or folders with files named {', '.join(sorted(READ_SUFFIXES))}."
        )
    return list(files), [path for path in others if path not in files]


def elsewhere(path: str) -> str:
    """What to do about a path that is written for something else."""
    if re.match(r"\w+:/", path):
        return (
            "Addresses are not opened: whoever runs that host would learn that you ask, and may hand out "
            "another file than others got. So download it first, and keep what you downloaded. "
        )
    if re.match(r"[A-Za-z]:\\|\\\\", path):
        return "That is a path of Windows: write it as this system does, in WSL as /mnt/c/... "
    return ""


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by name; links to folders are followed, each folder is entered once."""

    def stop(error: OSError) -> None:
        raise ValueError(f"cannot read the folder {error.filename}: {error.strerror}. Nothing was done.")

    entered: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        if os.path.realpath(root) in entered:
            folders.clear()
            continue
        entered.add(os.path.realpath(root))
        folders.sort()  # in place: os.walk goes down in this order
        yield from (Path(root, name) for name in sorted(names))


def line(score: Score, colour: bool = False) -> str:
    """One line for people: verdict or status, P(fake) with its threshold, file, face, and what to mind."""
    verdict = score.verdict or score.status
    start = f"{WORDS.get(verdict, verdict):<14}"
    parts = [f"\033[{COLOURS.get(verdict, '90')}m{start}\033[0m" if colour else start]
    if score.expert:
        parts.append(expert_words(score))
    if score.prob is not None:
        basis = printable(score.calibrated_on, keep="")
        parts.append(f"P(fake) {shown_prob(score.prob)}")
        # beside a threshold, P(fake) reads as a verdict
        never = score.inconclusive == (0.0, 1.0)
        threshold = "" if never else f"threshold {shown_prob(score.threshold).strip()} "
        parts.append(f"{threshold}({basis}{'' if never else ', balanced'})")
    parts.append(printable(score.path, keep=""))
    if score.box:
        sides = zip(("x", "y", "width", "height"), score.box, strict=True)
        where = " ".join(f"{side}={value:.0f}" for side, value in sides)
        parts.append(f"face {score.face}/{score.faces} at {where}")
    if isinstance(score, ClipScore) and score.moments:
        parts.append(in_words_of_clip(score))
    if score.reason:
        parts.append(f"({printable(score.reason, keep='')})")
    return "  ".join(parts)


def expert_words(score: Score) -> str:
    """What the expert that spoke looks for: "a pasted border"; of one without words its name."""
    return EXPERTS.get(score.expert, printable(score.expert, keep=""))


def count(num_files: int, num_faces: int, others: Sequence[Path], seen: Counter[str]) -> str:
    """What was seen in all: files as files, faces as faces."""
    verdicts = ", ".join(f"{seen[verdict]} {WORDS[verdict]}" for verdict in COLOURS)
    statuses = ", ".join(f"{number} {word}" for word, number in sorted(seen.items()) if word not in COLOURS)
    # with --whole a file is a face
    faces = f" with {_many(num_faces, 'face')}" if num_faces else ""
    text = f"{_many(num_files, 'file')}{faces}: {verdicts}{f'; no verdict: {statuses}' if statuses else ''}"
    return "; ".join([text, *not_tried(others)])


def not_tried(others: Sequence[Path], of_videos: str = "name a video itself") -> list[str]:
    """What was left out of the folders that were walked, in words; of videos also what to do."""
    said = []
    videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in others)
    if videos:
        said.append(f"{_many(videos, 'video')} not tried ({of_videos})")
    if rest := len(others) - videos:
        said.append(f"{_many(rest, 'other file')} not tried (no picture's suffix: {_kinds(others)})")
    return said


def sentences(score: Score) -> list[str]:
    """The verdict with its uncertainty, or why there is none, as sentences."""
    if score.verdict is None:
        return [f"No verdict: {score.reason or score.status.replace('_', ' ')}."]
    if score.verdict == "unfamiliar":
        said = [
            "Unfamiliar: this picture is unlike those that the detector was calibrated on, so it gives no "
            "P(fake)."
        ]
    elif score.prob is None:
        said = ["Inconclusive: there is no P(fake)."]
    else:
        told = f"P(fake) is {shown_prob(score.prob).strip()}, on data like {score.calibrated_on}"
        low, high = score.inconclusive or (0.0, 1.0)
        band = f"Between {low:.2f} and {high:.2f} the word would be inconclusive."
        if (low, high) == (0.0, 1.0):
            band = "No verdict is possible, whatever P(fake) is."
        if score.verdict == "fake":
            said = [f"Fake: {told}. {band} This is evidence, not proof."]
            if score.expert:
                said.append(f"Of its experts the one that looks for {expert_words(score)} spoke.")
        elif score.verdict == "inconclusive":
            said = [f"Inconclusive: {told}. {band}"]
        else:
            said = [f"No trace found: {told}. {band} This does not show that the picture is real."]
    if isinstance(score, ClipScore) and score.moments:
        seen = in_words_of_clip(score)
        said.append(f"{seen[0].upper()}{seen[1:]}. The sound was not looked at.")
    if score.reason:
        said.append(f"Mind: {score.reason}.")
    return said


def _kinds(others: Sequence[Path]) -> str:
    """The commonest endings of files that are no pictures: ".txt, .csv and more"."""
    endings = Counter(path.suffix.lower()[:10] or "none" for path in others)
    common = [ending for ending, _ in endings.most_common() if ending not in VIDEO_SUFFIXES]
    return printable(", ".join(common[:3]) + (" and more" if len(common) > 3 else ""), keep="")


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def closing(detector: Detector) -> str:
    """What P(fake) is and is not."""
    if not detector.speaks:
        return (
            "This detector was trained on the toy set, which is drawn: it knows nothing of photographs, and "
            "has no verdict on them. Train one on photographs: dfd prepare, then dfd fit --data "
            "data/140k.yaml. If these files are the toy set's own drawings: --drawings."
        )
    if not detector.card.calibrated_on:
        return "These weights were never calibrated on a validation set: their logits are no verdicts."
    low, high = detector.band
    where = (
        "No verdict is possible: every picture is inconclusive or unfamiliar, whatever its P(fake)."
        if never_speaks(detector)
        else f"From {shown_prob(low).strip()} to {shown_prob(high).strip()} the verdict is inconclusive."
    )
    lines = [
        f"P(fake) is calibrated on {detector.basis}, and is no proof: on generators, cameras and "
        f"uploads unlike those it can be sure and wrong. {where}",
        *in_words(detector.card.certificate),
        *worth_in_words(detector.card.certificate, detector.prior),
        _of_strange(detector),
    ]
    if chosen := warning("", detector.card.calibrated_on, detector.card.selected_on):
        lines.append(chosen)
    return "\n".join(lines)


def _of_strange(detector: Detector) -> str:
    """What is known of pictures that are unlike the detector's own."""
    if detector.gate is None:
        return "It never learnt what its own pictures are like: of strange ones it speaks as of others."
    facts = detector.gate.facts
    return (
        f"Unfamiliar are pictures stranger than {1 - UNFAMILIAR:.0%} of its own {facts['split']}, by "
        f"{facts['basis']}. A forgery of a kind it does not know, in a familiar picture, is not noticed."
    )


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


def shown_prob(prob: float) -> str:
    """Five letters; never 0.00 or 1.00, because no detector is certain."""
    if prob < 0.005:
        return "<0.01"
    return ">0.99" if prob > 0.995 else f" {prob:.2f}"
