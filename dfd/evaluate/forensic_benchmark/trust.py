"""Trust: the one word that a tool has earned, by the rule that stands here.

- localises: for some kind of edit of photographs the lower end of the interval of its pixel AUC is .70 or
more. - detects: for some kind, or on some set of fakes whose classes are saved alike, that of its image AUROC
is. - weak: one of them is .55 or more.
- none: none of them is; or it says "found" on more than a tenth of untouched camera photographs.
- untested: there is no such figure, since these pictures hold nothing for it to look at.
- describes: it reports facts and never says "found" (`Method.kind`).

Sets as found have no say: there a tool may tell how the two classes were saved instead of what was done to
them. Nor have drawings, and figures of fewer than ten families. `trust` rests on what is saved as PNG or JPEG
90, `trust_jpeg75` on the same saved once more as JPEG 75.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from dfd.evaluate.forensic_benchmark.pictures import (
    AS_FOUND,
    EDITED_ORIGINALS,
    EDITED_SIMULATED,
    JPEG75,
    JPEG90,
    MATCHED,
    ORIGINALS,
    PNG,
    TOY,
)
from dfd.forensics.finding import Method
from dfd.forensics.measured import Figure, Measured, Trust

GOOD, WEAK = 0.70, 0.55
TOO_OFTEN = 0.10  # of untouched camera photographs
FEWEST = 10  # families
EDITED = (EDITED_ORIGINALS, EDITED_SIMULATED)
SAVED_WELL = (PNG, JPEG90, MATCHED)


class Line(NamedTuple):
    """A figure of one tool."""

    pictures: str
    condition: str
    part: str
    metric: str
    figure: Figure

    @property
    def what(self) -> str:
        """A kind of edit, or a set."""
        return self.part if self.pictures in EDITED else self.pictures

    @property
    def where(self) -> str:
        """Key of a table by set."""
        return self.pictures if self.part == "all" else f"{self.pictures}/{self.part}"


def measure(table: pa.Table, tools: Mapping[str, Method]) -> dict[str, Measured]:
    """What the benchmark's table says of each tool.

    Args:
        table: see `dfd.evaluate.forensic_benchmark.metrics`.
        tools: by name.
    """
    lines: dict[str, list[Line]] = {name: [] for name in tools}
    for row in table.to_pylist():
        figure = Figure(*(row[name] for name in ("value", "low", "high", "num_images", "num_families")))
        lines[row["tool"]].append(Line(row["set"], row["condition"], row["part"], row["metric"], figure))
    return {name: _measured(method, lines[name]) for name, method in tools.items()}


def _measured(method: Method, lines: Sequence[Line]) -> Measured:
    by_set = {
        name: _by_set(lines, metric)
        for name, metric in {
            "false_alarms": "false_alarm_rate",
            "hit_rate": "hit_rate",
            "auroc": "auroc",
            "pixel_auc": "pixel_auc",
        }.items()
    }
    well: Trust
    again: Trust
    if method.kind == "describes":
        (well, well_on), (again, again_on) = ("describes", ()), ("describes", ())
    else:
        well, well_on = earned(lines, SAVED_WELL, AS_FOUND)
        again, again_on = earned(lines, (JPEG75,), JPEG75)
    seconds = [line.figure for line in lines if line.metric == "seconds" and line.part == "all"]
    pictures = sum(each.num_images for each in seconds)
    return Measured(
        method.tool,
        method.version,
        trust=well,
        trust_jpeg75=again,
        trusted_on=well_on,
        trusted_on_jpeg75=again_on,
        false_alarm_rate=_one(lines, "false_alarm_rate", AS_FOUND),
        coverage=_one(lines, "coverage", AS_FOUND),
        seconds=round(sum(each.value * each.num_images for each in seconds) / max(pictures, 1), 4),
        **by_set,
    )


def earned(lines: Sequence[Line], conditions: Sequence[str], untouched: str) -> tuple[Trust, tuple[str, ...]]:
    """The word, and the kinds of edits and sets on which it was earned.

    Args:
        conditions: that count.
        untouched: condition of the camera photographs on which false alarms count.
    """
    scored = [line for line in lines if line.metric in ("auroc", "pixel_auc")]
    alarms = _one(lines, "false_alarm_rate", untouched)
    if alarms is not None and alarms.value > TOO_OFTEN:
        return "none", ()
    counted = [line for line in scored if line.condition in conditions and _counts(line)]
    if not counted:
        return "untested", ()
    places = [line for line in counted if line.metric == "pixel_auc"]
    for word, least, of in (("localises", GOOD, places), ("detects", GOOD, counted), ("weak", WEAK, counted)):
        if on := [line.what for line in of if line.figure.low >= least]:
            return word, tuple(dict.fromkeys(on))
    return "none", ()


def _counts(line: Line) -> bool:
    """Whether a figure has a say: of one kind of edit, or of a whole set of fakes."""
    if line.pictures in (TOY, ORIGINALS) or line.figure.num_families < FEWEST:
        return False
    if line.figure.low == line.figure.high == 0.5:  # its score is the same of all pictures: it saw nothing
        return False
    return (line.part != "all") == (line.pictures in EDITED)


def _by_set(lines: Sequence[Line], metric: str) -> dict[str, dict[str, Figure]]:
    found: dict[str, dict[str, Figure]] = {}
    for line in lines:
        if line.metric == metric and not (metric == "false_alarm_rate" and line.part != "all"):
            found.setdefault(line.where, {})[line.condition] = line.figure
    return found


def _one(lines: Sequence[Line], metric: str, condition: str) -> Figure | None:
    """A figure of the camera's originals."""
    wanted = (ORIGINALS, condition, metric)
    return next(
        (line.figure for line in lines if (line.pictures, line.condition, line.metric) == wanted), None
    )
