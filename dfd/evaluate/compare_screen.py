"""What `dfd compare` prints, and its CSV."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from dfd.evaluate.compare import COVERAGE, Comparison, Test
from dfd.metrics import format_metric
from dfd.outputs import check_file, output_file, table_heads
from dfd.terminal import many, printable

COLUMNS = (
    "a", "b", "metric", "value_a", "value_b", "difference", "low", "high", "p", "p_holm",
    "delong_low", "delong_high", "delong_p", "delong_p_holm",
    "num_images", "num_families", "num_left_out", "num_seeds_a", "num_seeds_b",
)  # fmt: skip


def show(found: Comparison) -> None:
    """Prints a comparison."""
    console = Console(markup=False, highlight=False, emoji=False)
    several = len(found.tests) > 1
    asked = f"{many(found.num_images, 'picture')} in {many(found.num_families, 'family')}, the same for all"
    table = Table(
        title=asked, title_justify="left", box=SIMPLE,
        padding=0, pad_edge=False, collapse_padding=True,
    )  # fmt: skip
    with_delong = any(test.delong for test in found.tests)
    for name in ("a", "b"):
        table.add_column(name, overflow="fold")
    # a p that is corrected for several tests is a p of Holm's
    heads = ["metric", "of a", "of b", "a - b", "95% interval", "p Holm" if several else "p"]
    for name in [*heads, *["DeLong"] * with_delong]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("better", overflow="fold")
    for test in found.tests:
        low, high = (format_metric(end, 3) for end in test.difference[1:3])
        delong = "" if test.delong is None else _shown_p(test.delong_holm)
        table.add_row(
            printable(test.a.name, keep=""),
            printable(test.b.name, keep=""),
            test.metric,
            *(format_metric(value, 3) for value in test.values),
            f"{test.difference.value:+.3f}",
            f"{low}..{high}",
            _shown_p(test.p_holm),
            *[delong] * with_delong,
            printable(test.better, keep=""),
        )
    console.print(table)
    for line in _notes(found, with_delong):
        console.print(line, soft_wrap=True)


def _notes(found: Comparison, with_delong: bool) -> list[str]:
    notes = []
    sides = {side.name: side for test in found.tests for side in (test.a, test.b)}
    damages = {
        name: sorted({table.condition for table in side.tables if table.condition})
        for name, side in sides.items()
    }
    if len({tuple(damage) for damage in damages.values() if damage}) > 1:
        named = "; ".join(f"{name}: {', '.join(each)}" for name, each in damages.items() if each)
        told = f"The conditions differ ({named}), so a difference is not that of the detectors alone."
        notes.append(printable(told, keep=""))
    if with_delong and found.num_families != found.num_images:
        notes.append(
            "DeLong takes every picture for independent, and these are related: believe p, whose bootstrap "
            "draws families."
        )
    if len(found.tests) > 1:
        notes.append(f"p values are corrected for {len(found.tests)} tests (Holm).")
    if found.num_left_out:
        named = ", ".join(f"{file} {number}" for file, number in found.without.items())
        why = f" ({named} without a verdict)" if named else ""
        notes.append(f"{found.num_left_out} pictures are left out, so that all are judged on the same{why}.")
    if any(test.metric == COVERAGE for test in found.tests):
        notes.append(f"coverage is that of all {found.num_images + found.num_left_out} pictures.")
    seeds = {len(side.tables) for test in found.tests for side in (test.a, test.b)}
    if max(seeds) > 1:
        notes.append(
            "Of several seeds the mean is compared; the interval speaks of other pictures, not of seeds."
        )
    return notes


def check_csv(path: Path) -> None:
    """Refuses, before any work, a name to which the CSV may not be written."""
    check_file(path, f"--csv {path}", heads=table_heads(COLUMNS))


def write_csv(found: Comparison, path: Path) -> None:
    """Writes a comparison, one line a test."""
    with (
        output_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_line(test, found) for test in found.tests)


def _line(test: Test, found: Comparison) -> list[object]:
    delong = ["", "", "", ""]
    if test.delong is not None:
        delong = [test.delong.low, test.delong.high, test.delong.p, test.delong_holm]
    return [
        test.a.name, test.b.name, test.metric, *test.values, *test.difference, test.p_holm, *delong,
        test.num_images, test.num_families, found.num_images + found.num_left_out - test.num_images,
        len(test.a.tables), len(test.b.tables),
    ]  # fmt: skip


def _shown_p(p: float) -> str:
    if math.isnan(p):
        return "undefined"
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"
