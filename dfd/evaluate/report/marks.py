"""Red marks: why a figure may not be quoted as it stands: seen pictures, leaks, choices, shortcuts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dfd.audit.shortcuts import Shortcut
from dfd.evaluate.report.evidence import Evidence, Line, Place, words_of
from dfd.evaluate.report.page import counted, number, span
from dfd.evaluate.shortcuts import matches
from dfd.evaluate.warnings import FLAGS, SPOILT

# columns of the tidy table, and what these small models see
SHORTCUTS = {"file_facts_auroc": "file facts", "color_auroc": "colour and brightness"}

KINDS = ("seen", "chosen", "leak", "flag", "shortcut")  # the worst first


@dataclass(frozen=True)
class Mark:
    """A reason why figures do not mean what they seem to.

    Args:
        kind: one of KINDS; a flag is what the evaluation itself marked.
        text: the reason, in words.
        places: the cells that it is about.
    """

    kind: str
    text: str
    places: tuple[Place, ...]


def find_marks(evidence: Evidence) -> list[Mark]:
    """All red marks of an evaluation, the same reason for several cells once."""
    found: dict[tuple[str, str], list[Place]] = {}
    for place, line in evidence.whole.items():
        for kind, text in _of(evidence, place, line):
            found.setdefault((kind, text), []).append(place)
    marks = [Mark(kind, text, tuple(places)) for (kind, text), places in found.items()]
    marks += [mark for name in SHORTCUTS for mark in _shortcuts(evidence, name)]
    return sorted(marks, key=lambda mark: KINDS.index(mark.kind))


def matches_shortcut(line: Line, name: str) -> bool:
    """Whether a model that sees no picture content can match the result of a line, see `shortcuts.matches`.

    Args:
        name: a key of SHORTCUTS.
    """
    low, high = line.ends(name)
    shortcut = Shortcut(name, line.number(name), low, high, 0, 0, {}, {})
    return name.replace("_auroc", "_match") in line.flags or matches(shortcut, line.number("auroc"))


def open_questions(evidence: Evidence) -> list[str]:
    """What could not be checked or is not known, which is no red mark and no acquittal either."""
    told: dict[str, None] = {}
    flagged: dict[str, dict[str, None]] = {}
    for place, line in evidence.whole.items():
        for flag in line.flags:
            if flag in FLAGS and flag not in SPOILT:
                flagged.setdefault(flag, {})[f"{place.detector} on {place.root}"] = None
        if math.isnan(line.number("num_seen")):
            told[
                f"Whether {place.detector} was trained on some of the pictures of {place.root} is not known: "
                f"its "
                "file does not say which pictures it has seen, or the pictures are not here."
            ] = None
        if math.isnan(line.number("file_facts_auroc")):
            told[
                f"What file facts alone would reach on {place.root} was not asked, or of too few families."
            ] = None
    flags = [f"{FLAGS[flag].capitalize()}: {', '.join(where)}." for flag, where in flagged.items()]
    return flags + list(told)


def _of(evidence: Evidence, place: Place, line: Line) -> Iterable[tuple[str, str]]:
    detector, root, flags = place.detector, place.root, line.flags
    seen = line.count("num_seen")
    if seen:
        yield (
            "seen",
            f"{detector} knows {seen:,} of the {counted(line.count('num_images'), 'picture')} of {root}, "
            f"byte for "
            "byte: they trained it or chose it. Its figures there do not hold for pictures that it has not "
            "seen.",
        )
    elif "seen" in flags:
        yield "seen", f"{detector} on {root}: {FLAGS['seen']}."
    split = str(evidence.grid.get("split") or "test")
    choices = {"chosen": line.text("selected_on"), "calibrated": line.text("calibrated_split")}
    named = {what: told for what, told in choices.items() if _names(told, split) and (split != "val" or seen)}
    for what, told in named.items():
        yield (
            "chosen",
            f"{detector} was {what} on {told}, and these are figures of the {split} split: whatever is "
            f"chosen on "
            "the pictures that judge it looks better than it is.",
        )
    if "chosen" in flags and not named:
        yield "chosen", f"{detector} on {root}: {FLAGS['chosen']}, so its figures look better than they are."
    leaks = words_of(evidence.facts("root", root).get("leaks") or "")
    if leaks != "unknown" or "leaks" in flags:
        yield (
            "leak",
            f"In {root} related pictures lie in different splits ({leaks}): a detector trained on it has met "
            "their relatives.",
        )
    if any(flag not in FLAGS for flag in flags):
        yield "flag", f"{detector} on {root}: {line.text('flags')}"


def _shortcuts(evidence: Evidence, name: str) -> Iterable[Mark]:
    """A mark for each detector and root whose results a small model can match, in whatever conditions."""
    found: dict[tuple[str, str], list[Line]] = {}
    for place, line in evidence.whole.items():
        if matches_shortcut(line, name):
            found.setdefault((place.detector, place.root), []).append(line)
    for (detector, root), lines in found.items():
        first, more = lines[0], len(lines) - 1
        yield Mark(
            "shortcut",
            f"{detector} on {root}, {first.place.step}: a small model that sees only {SHORTCUTS[name]} "
            f"reaches an AUROC of {number(first.number(name))} ({span(*first.ends(name))}) on the same "
            f"{counted(first.count('num_images'), 'picture')}; the detector's "
            f"{number(first.number('auroc'))} ({span(*first.ends('auroc'))}) may rest on nothing else."
            + (f" So may its results in {counted(more, 'other condition')} there." if more else ""),
            tuple(line.place for line in lines),
        )


def _names(told: str, split: str) -> bool:
    """Whether a split is among the words of what something was chosen on."""
    return re.search(rf"(?<![A-Za-z]){re.escape(split)}(?![A-Za-z])", told) is not None
