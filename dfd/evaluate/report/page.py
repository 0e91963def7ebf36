"""Blocks of the report's page: texts, tables with shaded cells, drawings and galleries, in their order."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dfd.html import render

if TYPE_CHECKING:
    from dfd.plots import Figure

Mood = Literal["", "good", "bad"]
UNKNOWN = "–"
NO_SPREAD = "no spread seen"  # in place of an interval


@dataclass(frozen=True)
class Text:
    """A paragraph; a bad one is a red mark."""

    text: str
    mood: Mood = ""
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """A heading within a part."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Command:
    """A command line or another text that is to be copied as it is."""

    label: str
    text: str
    kind: str = "command"


@dataclass(frozen=True)
class Shaded:
    """A table's cell with its shade.

    Args:
        text: what it says.
        small: said below it, smaller, such as an interval.
        good: from 0 (vermilion) over 0.5 (none) to 1 (blue); NaN for none.
        marked: a red mark stands beside it.
    """

    text: str
    small: str = ""
    good: float = math.nan
    marked: bool = False

    @property
    def style(self) -> str:
        """Background, for a style attribute."""
        if math.isnan(self.good):
            return ""
        strength = min(1.0, abs(2 * self.good - 1))
        color = "0, 114, 178" if self.good > 0.5 else "213, 94, 0"
        return f"background: rgba({color}, {0.45 * strength:.2f})"


@dataclass(frozen=True)
class Table:
    """Header and rows of words, numbers or `Shaded` cells; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Drawings:
    """Figures side by side where the page is wide enough: (caption, figure) each."""

    figures: Sequence[tuple[str, Figure]]
    kind: str = "drawings"


@dataclass(frozen=True)
class Shown:
    """A picture of a gallery: its JPEG file, the same with its map, and lines below."""

    lines: Sequence[str]
    original: bytes
    heat: bytes | None = None

    @property
    def sources(self) -> list[tuple[str, str]]:
        """What it shows and its data: address, one or two."""
        both = (("picture", self.original), ("map", self.heat))
        return [
            (what, f"data:image/jpeg;base64,{base64.b64encode(data).decode()}") for what, data in both if data
        ]


@dataclass(frozen=True)
class Gallery:
    caption: str
    pictures: Sequence[Shown]
    kind: str = "gallery"


Block = Text | Heading | Command | Table | Drawings | Gallery


@dataclass(frozen=True)
class Part:
    """A part of the page, with a link to it at the top."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def page(title: str, parts: Sequence[Part]) -> str:
    """The page as HTML text: self-contained, no script, every word escaped."""
    return render("report.html.j2", title=title, parts=[part for part in parts if part.blocks])


def number(value: float, digits: int = 3) -> str:
    """A metric for people, without a leading zero; a dash where it is not defined."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text.replace("-0.", "-.", 1)


def span(low: float, high: float, digits: int = 2) -> str:
    """An interval for people; "" where there is none. One without width is no certainty: it is not shown."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return NO_SPREAD if low == high else f"{number(low, digits)} to {number(high, digits)}"


def percent(share: float) -> str:
    """A share for people: 0.5% and 3% and 41%."""
    if not math.isfinite(share):
        return UNKNOWN
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 < share < 1:
        return ">99.9%"
    return f"{share:.1%}" if 0 < share < 0.0995 or 0.9005 < share < 1 else f"{share:.0%}"


def counted(number: int, unit: str) -> str:
    """1 family, 2 families, 1 picture, 2,000 pictures."""
    if number == 1:
        return f"1 {unit}"
    return f"{number:,} {unit[:-1]}ies" if unit.endswith("y") else f"{number:,} {unit}s"
