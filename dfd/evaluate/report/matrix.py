"""Matrix of the report: AUROC of detectors x (roots, conditions), and of one source against another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from dfd.evaluate.report.evidence import Evidence, Line, Place
from dfd.evaluate.report.marks import Mark
from dfd.evaluate.report.page import Block, Part, Shaded, Table, Text, number, span

_MOST_POOLED = 20  # lines of the table across sources


def missing_words(files: Sequence[str], most: int) -> str:
    """The first cells of cells/DETECTOR/ROOT/CONDITION@STRENGTH.parquet in words."""
    parts = [PurePosixPath(file).parts[-3:] for file in files[:most]]
    words = [
        f"{detector} on {root}, {name.removesuffix('.parquet').replace('@', ' ')}"
        for detector, root, name in parts
    ]
    return "; ".join(words) + ("; ..." if len(files) > most else "")


def matrix(evidence: Evidence, marks: Sequence[Mark]) -> Part:
    """AUROC of detectors x (roots, conditions), the row with the worst cell first."""
    detectors = evidence.names("detector")
    marked = {place for mark in marks for place in mark.places}
    rows: dict[tuple[str, str], list[Line | None]] = {}
    for place in evidence.whole:
        rows.setdefault((place.root, place.step), [None] * len(detectors))
        rows[place.root, place.step][detectors.index(place.detector)] = evidence.whole[place]
    ordered = sorted(rows.items(), key=lambda item: _worst(item[1]))
    body = []
    for (root, step), lines in ordered:
        first = next(line for line in lines if line)
        body.append(
            (
                f"{root}, {step}",
                *(_auroc_cell(line, marked) for line in lines),
                f"{first.count('num_images'):,} / {first.count('num_families'):,}",
                Shaded(number(first.number("file_facts_auroc"), 2), span(*first.ends("file_facts_auroc"))),
            )
        )
    header = ("root, condition", *detectors, "pictures / families", "file facts alone")
    blocks: list[Block] = [
        Text(
            "AUROC with its 95% interval over families; .5 is guessing, and a score below it is left as it "
            "is. The row with the worst cell comes first. ▲ stands beside a cell with a red mark."
        )
    ]
    if body:
        blocks.append(Table(header, body))
    if evidence.missing:
        blocks.append(Text(f"Not judged: {missing_words(evidence.missing, 100)}.", "bad"))
    pooled = [line for line in evidence.lines if line.part.startswith("pooled:") and line.kind == "image"]
    if pooled:
        blocks += _pooled(pooled)
    return Part("Matrix", blocks if body else [])


def _pooled(lines: Sequence[Line]) -> list[Block]:
    rows = [
        (
            pooled_words(line.part),
            f"{line.place.detector}, {line.place.step}",
            Shaded(number(line.number("auroc")), span(*line.ends("auroc")), line.number("auroc")),
            f"{line.count('num_images'):,} / {line.count('num_families'):,}",
        )
        for line in sorted(lines, key=Line.by_auroc)[:_MOST_POOLED]
    ]
    text = (
        "Across sources: reals of one against fakes of the other. Scores shift between sources, which a mean "
        "of AUROCs hides; one threshold has to serve them all."
    )
    caption = f"The worst {len(rows)} of {len(lines)}" if len(rows) < len(lines) else ""
    return [Text(text), Table(("sources", "detector", "AUROC", "pictures / families"), rows, caption)]


def pooled_words(part: str) -> str:
    """What is compared in a part across sources; of roots with one source of their own name, the root."""
    reals, _, fakes = part.removeprefix("pooled:").partition("|")
    names = []
    for name in (reals, fakes):
        root, _, source = name.partition("/")
        names.append(root if root == source else name)
    return f"reals of {names[0]}, fakes of {names[1]}"


def _auroc_cell(line: Line | None, marked: set[Place]) -> Shaded:
    if line is None:
        return Shaded("missing")
    value = line.number("auroc")
    return Shaded(number(value), span(*line.ends("auroc")), value, line.place in marked)


def _worst(lines: Sequence[Line | None]) -> float:
    return min(line.by_auroc() for line in lines if line)
