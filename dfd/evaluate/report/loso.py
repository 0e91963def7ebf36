"""Section of the report on leave-one-source-out: what nets are worth on the source that they never saw."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping

from dfd.evaluate.loso_table import LOSO_FILE
from dfd.evaluate.report.evidence import CLEAN, Evidence
from dfd.evaluate.report.page import Part, Shaded, Table, Text, counted, number, span
from dfd.text_files import read_text


def left_out(evidence: Evidence) -> Part:
    """Each net on the source that it was trained without, the worst first; nothing for other grids.

    Raises:
        ValueError: loso.csv is no text.
    """
    path = evidence.folder / LOSO_FILE
    if not path.is_file():
        return Part("Leave one source out")
    lines = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    clean = [line for line in lines if line.get("condition") == CLEAN]
    clean.sort(key=lambda line: (math.isnan(_value(line, "auroc")), _value(line, "auroc")))
    rows = [
        (
            Shaded(str(line.get("left_out")), f"seed {line.get('seed')}, on {line.get('root')}"),
            _cell(line, "auroc", shaded=True),
            _cell(line, "balanced_acc"),
            number(_value(line, "acc_real")),
            number(_value(line, "acc_fake")),
            number(_value(line, "ece")),
            f"{line.get('num_images')} / {line.get('num_families')}",
        )
        for line in clean
    ]
    values = [value for line in clean if math.isfinite(value := _value(line, "auroc"))]
    if not values:
        return Part("Leave one source out")
    header = (
        "left out",
        "AUROC",
        "balanced accuracy",
        "reals right",
        "fakes right",
        "ECE",
        "pictures / families",
    )
    text = (
        "The headline of a detector of several sources: each net on the source that it was trained without, "
        f"clean pictures. AUROC at worst {number(min(values))}, {number(sum(values) / len(values))} in the "
        f"mean of "
        f"{counted(len(values), 'fit')}."
    )
    return Part("Leave one source out", [Text(text), Table(header, rows)])


def _cell(line: Mapping[str, str], name: str, shaded: bool = False) -> Shaded:
    value = _value(line, name)
    return Shaded(
        number(value),
        span(_value(line, f"{name}_low"), _value(line, f"{name}_high")),
        value if shaded else math.nan,
    )


def _value(line: Mapping[str, str], name: str) -> float:
    try:
        return float(line.get(name) or "nan")
    except ValueError:
        return math.nan
