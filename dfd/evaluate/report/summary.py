"""Summary of the report in plain words: the worst cell first, and what a verdict meant there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.evaluate.report.evidence import CLEAN, Cell, Evidence, Line, Place
from dfd.evaluate.report.marks import Mark, open_questions
from dfd.evaluate.report.matrix import missing_words, pooled_words
from dfd.evaluate.report.page import (
    NO_SPREAD,
    Block,
    Part,
    Shaded,
    Table,
    Text,
    counted,
    number,
    percent,
    span,
)
from dfd.evaluate.report.verdict_shares import share_interval, verdict_table, word_of
from dfd.evaluate.warnings import FLAGS

_GOOD = 0.95  # lower end of the interval of an AUROC that is called good
_KINDS = ("clean pictures", "damaged pictures", "attacked pictures")


def summary(evidence: Evidence, marks: Sequence[Mark]) -> Part:
    """What a journalist needs to know, before any curve."""
    blocks: list[Block] = [Text(note) for note in evidence.notes]
    scored = [line for line in evidence.whole.values() if not math.isnan(line.number("auroc"))]
    if not scored:
        nothing = "Nothing here can be scored: it takes real and fake pictures that were judged."
        return Part("Summary", [Text(nothing, "bad"), *blocks])
    if evidence.missing:
        blocks.append(_missing(evidence))
    for detector in evidence.names("detector"):
        own = [line for line in scored if line.place.detector == detector]
        if own:
            blocks += _of_detector(evidence, detector, own)
    blocks.append(_minima(evidence, scored))
    if any("limited" in line.flags for line in evidence.whole.values()):
        blocks.insert(0, Text(f"{FLAGS['limited'].capitalize()}.", "bad"))
    if marks:
        blocks.insert(
            0,
            Text(
                f"{counted(len(marks), 'red mark')} below: some of these figures must not be quoted alone.",
                "bad",
            ),
        )
    return Part("Summary", blocks)


def red_marks(evidence: Evidence, marks: Sequence[Mark]) -> Part:
    """The reasons why figures do not mean what they seem to, and what could not be checked."""
    blocks: list[Block] = [Text(mark.text, "bad") for mark in marks]
    unknown = open_questions(evidence)
    if not marks and evidence.whole:
        everything = (
            "no picture here trained or chose a detector, no split leaks, and file facts match no result"
        )
        checked = "None of those that were checked. What limits these figures:"
        blocks.append(Text(checked) if unknown else Text(f"None: {everything}.", "good"))
    return Part("Red marks", [*blocks, *map(Text, unknown)])


def _missing(evidence: Evidence) -> Text:
    shown = missing_words(evidence.missing, 20)
    total = len(evidence.grid["cells"])
    return Text(
        f"Half finished: {len(evidence.missing)} of {total} cells are missing, and the worst result may be "
        f"among them. `dfd evaluate` with the same --out goes on. Missing: {shown}.",
        "bad",
    )


def _of_detector(evidence: Evidence, detector: str, lines: Sequence[Line]) -> list[Block]:
    """The worst result of a detector on pictures that nobody attacked, in sentences and counts."""
    honest = [line for line in lines if not evidence.is_attack(line.place.condition)] or lines
    worst = min(honest, key=lambda line: line.number("auroc"))
    value, (low, high) = worst.number("auroc"), worst.ends("auroc")
    pairs = round(100 * value)
    text = (
        f"{detector}, at its worst: on {worst.place.root}{_after(worst.place)} it rates the fake as more "
        f"suspicious than "
        f"the real picture in {pairs} of 100 pairs, where guessing gives 50 (AUROC {number(value)}"
        + (f", {_interval(low, high)}" if span(low, high) else ", too few families for an interval")
        + f"; {_rests_on(worst)}). {_meaning(low, high)}"
    )
    mood = "good" if _GOOD <= low < high else "bad" if math.isnan(low) or low < 0.8 else ""
    blocks: list[Block] = [Text(text, mood)]
    cell = evidence.cell(worst.place)
    if cell is not None:
        blocks += [
            Text(_accusations(cell)),
            verdict_table({"": cell}, f"{detector}: what it said in this worst case"),
        ]
    if across := _across_sources(evidence, detector, value):
        blocks.append(across)
    return blocks


def _across_sources(evidence: Evidence, detector: str, worst: float) -> Text | None:
    """The worst result with reals of one source and fakes of another, where it is below every cell's."""
    lines = [
        line
        for line in evidence.lines
        if line.place.detector == detector and line.part.startswith("pooled:") and line.kind == "image"
        if not evidence.is_attack(line.place.condition) and line.number("auroc") < worst
    ]
    if not lines:
        return None
    line = min(lines, key=lambda line: line.number("auroc"))
    may = "says" if line.ends("auroc")[1] < 0.5 else "may say"
    return Text(
        f"Worse still across sources: {pooled_words(line.part)}{_after(line.place)} AUROC "
        f"{number(line.number('auroc'))} ({span(*line.ends('auroc')) or 'no interval'}; {_rests_on(line)}). "
        f"The score {may} more of where a picture comes from than of whether it was forged.",
        "bad",
    )


def _after(place: Place) -> str:
    step = place.step
    return ", pictures as found," if step == CLEAN else f", after {step},"


def _rests_on(line: Line) -> str:
    return (
        f"{counted(line.count('num_images'), 'picture')} of {counted(line.count('num_families'), 'family')}"
    )


def _interval(low: float, high: float) -> str:
    return NO_SPREAD if low == high else f"95% interval {span(low, high)}"


def _meaning(low: float, high: float) -> str:
    if math.isnan(low):
        return "So few families say nothing of other pictures."
    if low == high:
        return "Each draw of these pictures gives the same, so how far it holds for others is not known."
    if high < 0.5:
        return "That is worse than guessing: what it calls fake there is more often real."
    if low <= 0.5:
        return "That cannot be told from guessing: nothing here shows that its verdicts are worth anything."
    if low < 0.8:
        return "That is better than guessing, and far from what an accusation needs."
    return (
        "That is good, on pictures like these."
        if low >= _GOOD
        else "That is usable with other evidence beside it."
    )


def _accusations(cell: Cell) -> str:
    """How often an innocent picture was called fake, and how often a fake got away, in a sentence each."""
    said = []
    for truth, word, what in ((REAL, "fake", "false accusation"), (FAKE, "no_trace", "miss")):
        mine = cell.predictions.label == truth
        if not mine.any():
            continue
        hit = cell.verdict[mine] == word
        low, high = share_interval(hit, cell.predictions.family[mine])
        kind = "real" if truth == REAL else "fake"
        said.append(
            f"Of its {counted(int(mine.sum()), f'{kind} picture')}, {int(hit.sum()):,} got the verdict "
            f'"{word_of(word)}" '
            f"({what}: {percent(hit.mean())}, 95% interval {percent(low)} to {percent(high)})."
        )
    return " ".join(said)


def _minima(evidence: Evidence, lines: Sequence[Line]) -> Table:
    """The minimum beside the mean, for each detector and kind of condition."""
    rows = []
    for detector in evidence.names("detector"):
        for kind in _KINDS:
            own = [
                line for line in lines if line.place.detector == detector and _kind(evidence, line) == kind
            ]
            if not own:
                continue
            worst = min(own, key=lambda line: line.number("auroc"))
            value = worst.number("auroc")
            mean = float(np.mean([line.number("auroc") for line in own]))
            rows.append(
                (
                    Shaded(detector, kind),
                    Shaded(number(value), span(*worst.ends("auroc")), value),
                    f"{worst.place.root}, {worst.place.step}",
                    Shaded(number(mean), f"of {counted(len(own), 'cell')}", mean),
                    f"{worst.count('num_images'):,} / {worst.count('num_families'):,}",
                )
            )
    header = ("", "worst AUROC", "where", "mean AUROC", "pictures / families")
    return Table(header, rows, "The minimum beside the mean: a mean hides the place where a detector fails.")


def _kind(evidence: Evidence, line: Line) -> str:
    if evidence.is_attack(line.place.condition):
        return _KINDS[2]
    return _KINDS[0] if line.place.condition == CLEAN else _KINDS[1]
