"""Finding: what one forensic tool says of one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

# found: the trace is there. clear: it was looked for and is not there. absent: the file holds nothing to look
# at (no EXIF, no manifest), which speaks for nothing. abstained: the tool cannot judge such a picture.
# failed: it broke.
Status = Literal["found", "clear", "absent", "abstained", "failed"]
STATUSES: tuple[Status, ...] = ("found", "clear", "absent", "abstained", "failed")
# finds: says "found" or not. shows: a map or a number that a person may look at, and never "found", since it
# would accuse too many untouched pictures. describes: facts that speak neither for nor against a picture.
Kind = Literal["finds", "shows", "describes"]
Plain = str | int | float | bool | None


@dataclass(frozen=True)
class Map:
    """A value for each place of a picture; more is more of the trace.

    Args:
        values: (h, w) float32, finite; upright, spread over the whole picture: a pixel or a block each.
        low: value at the lower end of the colour scale, and
        high: at the upper end. Fixed for a tool: a scale that followed each picture would make a clean one
            look suspicious somewhere.
        unit: of the values, a key of the tool's words.
        overlay: whether its places are the picture's; False of a spectrum.
    """

    values: np.ndarray = field(compare=False)
    low: float
    high: float
    unit: str
    overlay: bool = True


@dataclass(frozen=True)
class Region:
    """A rectangle of the upright picture, in its pixels.

    Args:
        box: x, y, width, height.
        name: a key of the tool's words, said beside it.
        group: regions of one number belong together, as the two ends of a copy do.
    """

    box: tuple[float, float, float, float]
    name: str
    group: int = 0


@dataclass(frozen=True)
class Table:
    """Rows that a person may read one by one.

    Args:
        columns: keys of the tool's words.
        rows: of plain values. What comes out of the file is a stranger's: whoever shows it escapes it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Plain, ...], ...]


@dataclass(frozen=True)
class Finding:
    """What one tool says of one picture.

    Args:
        tool: its name, as in `dfd.forensics.TOOLS`.
        status: one of STATUSES.
        answer: key of the sentence, under the tool's answers in the catalogue of words.
        facts: what the sentence names, and what a program may want beside it; plain values.
        score: more is more of the trace; NaN where there is none. `found` is a threshold of it.
        unit: of the score, a key of the tool's words; "" without a score.
        map: where.
        table: rows.
        regions: rectangles to draw.
        source: paper or standard of the method.
        version: of the tool; a change of its numbers changes it.
        kind: of the tool; only one that finds says "found".
    """

    tool: str
    status: Status
    answer: str
    facts: Mapping[str, Plain] = field(default_factory=dict)
    score: float = math.nan
    unit: str = ""
    map: Map | None = None
    table: Table | None = None
    regions: Sequence[Region] = ()
    source: str = ""
    version: int = 1
    kind: Kind = "finds"

    def plain(self) -> dict[str, Any]:
        """As JSON knows it, without the map's values: NaN becomes null."""
        said: dict[str, Any] = {
            "tool": self.tool,
            "version": self.version,
            "kind": self.kind,
            "status": self.status,
            "answer": self.answer,
            "facts": {name: _finite(value) for name, value in self.facts.items()},
            "score": _finite(self.score),
            "unit": self.unit,
            "source": self.source,
        }
        if self.map is not None:
            height, width = self.map.values.shape
            said["map"] = {
                "height": height,
                "width": width,
                "low": self.map.low,
                "high": self.map.high,
                "unit": self.map.unit,
                "overlay": self.map.overlay,
            }
        if self.table is not None:
            rows = [[_finite(cell) for cell in row] for row in self.table.rows]
            said["table"] = {"columns": list(self.table.columns), "rows": rows}
        if self.regions:
            said["regions"] = [
                {"box": [round(side, 2) for side in each.box], "name": each.name, "group": each.group}
                for each in self.regions
            ]
        return said


@dataclass(frozen=True)
class Method:
    """The constant part of a tool's findings: its name, version and source.

    Each module begins with one, and makes its findings by calling it: `ELA("clear", "even", score=.2)`.

    Args:
        kind: whether it finds, shows or describes.
    """

    tool: str
    source: str
    version: int = 1
    kind: Kind = "finds"

    def __call__(self, status: Status, answer: str, **values: Any) -> Finding:
        fixed = {"source": self.source, "version": self.version, "kind": self.kind}
        return Finding(self.tool, status, answer, **fixed, **values)


def _finite(value: Plain) -> Plain:
    return None if isinstance(value, float) and not math.isfinite(value) else value
