"""What `dfd evaluate` prints: the worst cells first, the minimum beside the mean, what spoils a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from dfd.evaluate.cue_baseline import CUES_AUROC
from dfd.evaluate.tidy import EVERY_ROOT
from dfd.evaluate.warnings import FLAGS, SPOILT
from dfd.metrics import format_metric
from dfd.terminal import printable

# beside detector, pictures and condition, as many as 80 columns hold
COLUMNS = ("auroc", "95% interval", "coverage", "spoken", "images")
SHOWN = 15  # lines on the screen; the table in the folder has all


def show(folder: Path, table: pa.Table, limit: int | None) -> None:
    """Prints a finished grid.

    Args:
        limit: of pictures of each class and source, where not all were judged.
    """
    console = Console(markup=False, highlight=False, emoji=False)
    lines = [line for line in table.to_pylist() if line["kind"] == "image"]
    cells = [line for line in lines if line["part"] == "all" and line["root"] != EVERY_ROOT]
    ranked = sorted(
        (
            line
            for line in lines
            if not math.isnan(line["auroc"]) and not line["part"].startswith(("source:", "method:"))
        ),
        key=lambda line: line["auroc"],
    )
    if ranked:
        console.print(_table(ranked[:SHOWN], len(ranked)))
    for name in dict.fromkeys(line["detector"] for line in cells):
        for text in summary(name, [line for line in cells if line["detector"] == name]):
            console.print(text, soft_wrap=True)
    for text in baselines(cells):
        console.print(text, soft_wrap=True)
    together = [line for line in lines if line["part"] == "all" and line["root"] == EVERY_ROOT]
    for text, bad in warnings([*cells, *map(_matches_alone, together)]):
        console.print(text, style="bold red" if bad else None, soft_wrap=True)
    if limit is not None:
        console.print(
            f"A QUICK LOOK: at most {limit} pictures of each class and source. No figure to quote.",
            soft_wrap=True,
        )
    console.print(
        f"{_cells(len(cells))}, every metric with its 95% interval: {folder / 'metrics.csv'}", soft_wrap=True
    )


def _cells(number: int) -> str:
    return f"{number} cell{'s' * (number != 1)}"


def summary(detector: str, cells: Sequence[dict[str, Any]]) -> list[str]:
    """A detector in a line or two: its worst cell, its mean, and what has no AUROC."""
    defined = [line for line in cells if not math.isnan(line["auroc"])]
    name, texts = printable(detector, keep=""), []
    if defined:
        worst = min(defined, key=lambda line: line["auroc"])
        mean = sum(line["auroc"] for line in defined) / len(defined)
        texts.append(
            f"{name}: AUROC at worst {worst['auroc']:.3f} ({_title(worst)}), {mean:.3f} in the mean of "
            f"{_cells(len(defined))}, each of one root"
        )
    for line in cells:
        if not math.isnan(line["auroc"]):
            continue
        if not (line["num_real"] and line["num_fake"]) and line["coverage"]:
            kind = "real" if line["num_real"] else "fake"
            texts.append(
                f"{name} on {_title(line)}: all {line['num_images']} pictures are {kind}, so that no metric "
                f"of both classes is defined; {format_metric(line['acc'], 3)} of them are called {kind}"
            )
        else:
            texts.append(f"{name} on {_title(line)}: no AUROC, {_refusals(line)}")
    return texts


def baselines(cells: Iterable[dict[str, Any]]) -> list[str]:
    """What forensic cues alone reach, a line a root; detectors judge the same pictures but for those that
    they cannot."""
    told = {line["root"]: line for line in cells if not math.isnan(line[CUES_AUROC])}
    return [
        printable(
            f"a logistic model of forensic cues alone on {root}, clean: AUROC {line[CUES_AUROC]:.3f} "
            f"({line[f'{CUES_AUROC}_low']:.3f} .. {line[f'{CUES_AUROC}_high']:.3f})",
            keep="",
        )
        for root, line in told.items()
    ]


def warnings(cells: Iterable[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Each warning with the cells that it is of, and whether it spoils their figures."""
    of: dict[str, list[str]] = {}
    for line in cells:
        for flag in line["flags"].split():
            place = f"{line['detector']} on {_pictures(line)}"
            if flag.endswith("_match"):
                place += f": {line[flag.replace('_match', '_auroc')]:.3f} against {line['auroc']:.3f}"
            if place not in of.setdefault(flag, []):
                of[flag].append(place)
    texts = []
    for flag in FLAGS:
        if flag in of and flag != "limited":
            named = ", ".join(of[flag][:4]) + (" and more" if len(of[flag]) > 4 else "")
            word = "WARNING: " if flag in SPOILT else ""
            texts.append((printable(f"{word}{FLAGS[flag]} ({named})", keep=""), flag in SPOILT))
    return texts


def _matches_alone(line: dict[str, Any]) -> dict[str, Any]:
    """The line of all roots together with the warnings that are not those of its cells."""
    flags = [flag for flag in line["flags"].split() if flag.endswith("_match")]
    return {**line, "flags": " ".join(flags)}


def _table(lines: Sequence[dict[str, Any]], total: int) -> Table:
    rest = f", {len(lines)} of {total}; the others are better" if total > len(lines) else ""
    table = Table(
        title=f"worst first{rest}",
        title_justify="left",
        box=SIMPLE,
        padding=0,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("detector", "pictures", "condition"):
        table.add_column(name, overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        low, high = (format_metric(line[f"auroc_{end}"], 3) for end in ("low", "high"))
        table.add_row(
            printable(line["detector"], keep=""),
            printable(_pictures(line), keep=""),
            _condition(line),
            format_metric(line["auroc"], 3),
            " no spread seen" if low == high else f" {low}..{high}",
            f" {line['coverage']:.2f}",
            f" {line['spoken']:.2f}",
            f" {line['num_images']}",
        )
    return table


def _pictures(line: dict[str, Any]) -> str:
    if line["part"].startswith("pooled:"):
        reals, fakes = line["part"].removeprefix("pooled:").split("|", 1)
        return f"{_once(reals)} real, {_once(fakes)} fake"
    return "all roots" if line["root"] == EVERY_ROOT else line["root"]


def _once(place: str) -> str:
    """A source of a root that is called as the root: "140k" for "140k/140k"."""
    root, _, source = place.partition("/")
    return root if root == source else place


def _condition(line: dict[str, Any]) -> str:
    severity = line["severity"]
    return line["condition"] if math.isnan(severity) else f"{line['condition']}@{severity:g}"


def _title(line: dict[str, Any]) -> str:
    return printable(f"{_pictures(line)}, {_condition(line)}", keep="")


def _refusals(line: dict[str, Any]) -> str:
    judged = f"{line['coverage']:.0%} of {line['num_images']} pictures could be judged"
    return f"{judged} ({line['refused_by_reason']})"
