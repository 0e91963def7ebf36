"""A table of models as Markdown, CSV and a page of HTML."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path

from dfd import __version__
from dfd.durable import atomic_write
from dfd.evaluate.compare import ALPHA
from dfd.evaluate.model_cost import ModelCost
from dfd.evaluate.model_table import METRICS, Figure, ModelTable
from dfd.html import Section, html_page, markdown
from dfd.metrics import format_metric

FILES = ("models.md", "models.csv", "models.html")
_MARK = "="  # behind a value that is not shown to be worse than the best
_COST = ("parameters", "GFLOP", "images/s", "training", "energy")


def write_model_table(table: ModelTable, out: Path) -> list[Path]:
    """Writes all three into a folder."""
    texts = (_markdown(table), _csv(table), _html(table))
    paths = [out / name for name in FILES]
    for path, text in zip(paths, texts, strict=True):
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8")
    return paths


def head_and_rows(table: ModelTable, metric: str) -> tuple[list[str], list[list[str]]]:
    """One metric as people read it: a line a model, the best first; beside the first stands the cost."""
    figures = [each for each in table.figures if each.metric == metric]
    places = list(dict.fromkeys((each.root, each.condition) for each in figures))
    several = len({condition for _, condition in places}) > 1
    head = [metric, *(f"{root} {condition}" if several else root for root, condition in places)]
    found = {(each.model, each.root, each.condition): each for each in figures}
    rows = [[model, *(_cell(found.get((model, *place))) for place in places)] for model in table.models]
    if metric != METRICS[0]:
        return head, rows
    return [*head, *_COST], [[*row, *_costs(table.costs[row[0]])] for row in rows]


def notes(table: ModelTable) -> list[str]:
    """What the figures rest on."""
    on = dict.fromkeys(
        f"{each.root}: {each.num_images} pictures, {each.num_families} families" for each in table.figures
    )
    seeds = sorted({each.num_seeds for each in table.figures})
    device = next(iter(table.costs.values())).device
    return [
        f"Test pictures. {'; '.join(on)}. Training seeds of a model: {', '.join(map(str, seeds))}.",
        "Intervals: 95%, bootstrap over families; they speak of other pictures, not of other seeds. "
        f"{_MARK}: best, or not shown to be worse than the best in its column "
        f"(paired bootstrap, Holm over all, p < {ALPHA:g}; the best is the one that these pictures "
        f"make it). Models are ordered by their worst {METRICS[0]}.",
        "ece: expected calibration error, of which resampling gives no interval. GFLOP: of all crops of one "
        f"picture, without FFTs. images/s: through the net on {device}, without decoding. Training: "
        "hours:minutes, with validation, over all starts, mean of the seeds. Energy: where the machine "
        "tells.",
    ]


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    value = format_metric(figure.value, 3)
    ends = "" if math.isnan(figure.low) else f" ({figure.low:.3f}, {figure.high:.3f})"
    level = figure.best or not figure.p_holm < ALPHA
    return f"{value}{ends}{f' {_MARK}' if level else ''}"


def _costs(cost: ModelCost) -> list[str]:
    minutes = None if cost.seconds is None else round(cost.seconds / 60)
    return [
        f"{cost.parameters / 1e6:.2f} M",
        f"{cost.flops / 1e9:.2f}",
        f"{cost.images_per_second:.0f}",
        "-" if minutes is None else f"{minutes // 60}:{minutes % 60:02}",
        "-" if cost.joules is None else f"{cost.joules / 3.6e6:.3g} kWh",
    ]


def _markdown(table: ModelTable) -> str:
    lines = ["# Models on the same pictures", "", f"{date.today().isoformat()}, dfd {__version__}.", ""]
    for metric in METRICS:
        head, rows = head_and_rows(table, metric)
        lines += [f"| {' | '.join(map(markdown, head))} |", "|" + "---|" * len(head)]
        lines += [f"| {' | '.join(map(markdown, row))} |" for row in rows] + [""]
    return "\n".join([*lines, *(f"{note}\n" for note in notes(table))])


def _csv(table: ModelTable) -> str:
    """A line a figure, and those of its model's cost."""
    text = io.StringIO()
    costs = [field.name for field in fields(ModelCost)]
    writer = csv.DictWriter(text, [*(field.name for field in fields(Figure)), *costs], lineterminator="\n")
    writer.writeheader()
    for each in table.figures:
        writer.writerow(asdict(each) | asdict(table.costs[each.model]))
    return text.getvalue()


def _html(table: ModelTable) -> str:
    tables = [head_and_rows(table, metric) for metric in METRICS]
    return html_page(
        "Models on the same pictures",
        [Section("Models", tables=tables), Section("What the figures rest on", text=notes(table))],
    )
