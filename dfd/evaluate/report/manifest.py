"""Sections of the report on what its figures rest on: failures and refusals, and the run's manifest."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import Any

from dfd.evaluate.report.evidence import Evidence, certified_words, without_sources, words_of
from dfd.evaluate.report.page import Block, Command, Part, Table, Text, percent
from dfd.evaluate.report.verdict_shares import word_of

_MOST_ROWS = 60  # of the table of failures
_OF_DETECTOR = {
    "net": "net",
    "sha256": "SHA-256",
    "trained_on": "trained on",
    "selected_on": "chosen by",
    "calibrated_on": "calibrated on",
    "calibration": "calibration",
    "thresholds": "thresholds",
    "seed": "seed",
    "version": "dfd version",
}


def failures(evidence: Evidence) -> Part:
    """Coverage, what could not be judged and why, and what was refused by which reason."""
    rows, reasons = [], Counter[str]()
    for place, line in sorted(evidence.whole.items(), key=lambda item: item[1].number("spoken")):
        refused = _counts(line.values.get("refused_by_reason"))
        if not refused and not evidence.is_plain(place):
            continue
        told = ", ".join(f"{word_of(why)} {count:,}" for why, count in refused.items()) or "none"
        coverage, spoken = percent(line.number("coverage")), percent(line.number("spoken"))
        rows.append((str(place), coverage, spoken, f"{line.count('num_images'):,}", told))
        cell = evidence.cell(place) if line.number("coverage") < 1 else None
        if cell is not None:
            failed = cell.predictions.status != "ok"
            reasons.update(
                f"{status}: {why}"
                for status, why in zip(cell.predictions.status[failed], cell.reason[failed], strict=True)
            )
    caption = f"The {_MOST_ROWS} of {len(rows)} cells with the fewest words" if len(rows) > _MOST_ROWS else ""
    header = ("", "coverage", "spoken", "pictures", "without a word, by reason")
    blocks: list[Block] = [
        Text(
            "A failure is a status and never a score. Coverage is the share of pictures that got a score; "
            "spoken is the share that got a word other than inconclusive and unfamiliar. Every metric on "
            "this page is of the pictures that got a score."
        ),
        Table(header, rows[:_MOST_ROWS], caption),
    ]
    if reasons:
        most = [(why, f"{count:,}") for why, count in reasons.most_common(20)]
        blocks.append(Table(("why there is no score", "times"), most))
    return Part("Failures and refusals", blocks if rows else [])


def manifest(evidence: Evidence) -> Part:
    """What the figures were made from: versions, data, seeds, checkpoints, command."""
    grid = evidence.grid
    command = grid.get("command")
    line = shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")
    blocks: list[Block] = [Command("Made by", line)] if line else []
    detectors = grid["detectors"]
    facts = [
        (title, *(words_of(without_sources(each.get(name))) for each in detectors))
        for name, title in _OF_DETECTOR.items()
    ]
    facts.append(("certified", *(" ".join(certified_words(each)) or "unknown" for each in detectors)))
    blocks.append(Table(("detector", *(each["name"] for each in detectors)), facts))
    roots = [
        (
            each["name"],
            words_of(each.get("images")),
            str(each.get("digest") or "unknown")[:16],
            words_of(each.get("leaks") or "none"),
        )
        for each in grid["roots"]
    ]
    blocks.append(Table(("root", "pictures", "fingerprint of its shards", "leaks between splits"), roots))
    known = ("command", "detectors", "roots", "cells", "conditions")
    others = [
        (name, words_of(value))
        for name, value in grid.items()
        if name not in known and value not in (None, {}, [])
    ]
    conditions = [(each["name"], words_of(each.get("severities"))) for each in grid["conditions"]]
    blocks += [Table(("condition", "severities"), conditions), Table(("recorded", ""), others)]
    return Part("Run manifest", blocks)


def _counts(told: Any) -> dict[str, int]:
    """What refused_by_reason says."""
    try:
        found = json.loads(told or "{}")
        return {str(why): int(count) for why, count in found.items() if count}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
