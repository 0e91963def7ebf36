"""HTML pages from Jinja2 templates: self-contained, no script, nothing to load, all text escaped.

`dfd/templates/base.html.j2` is the frame and the style of every page, `report.html.j2` a list of sections
with text, tables and figures.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@dataclass(frozen=True)
class Section:
    """A part of a page: sentences, commands, then tables and figures.

    Args:
        title: its heading.
        text: a paragraph each.
        tables: (header, rows) each; a column of numbers is set to the right.
        figures: (caption, PNG file) each.
        mood: of the first paragraph.
        figures_first: figures before tables.
        commands: (label, command line) each.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[object]]]] = ()
    figures: Sequence[tuple[str, bytes]] = ()
    mood: Literal["", "good", "bad"] = ""
    figures_first: bool = False
    commands: Sequence[tuple[str, str]] = ()


def html_page(title: str, sections: Sequence[Section]) -> str:
    """A page of these sections, with a link to each, as text."""
    return render("report.html.j2", title=title, sections=sections)


def render(template: str, **values: object) -> str:
    """A template of dfd/templates as text. Every value is escaped, and one that is missing raises."""
    return _environment().get_template(template).render(values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dfd"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"image": _image, "numeric": _numeric}
    return environment


class _Image(NamedTuple):
    source: str  # data: address of the whole file
    min_width: int  # in CSS pixels: its words stay legible on a phone, where it scrolls


def _image(data: bytes) -> _Image:
    """What a template says of a PNG file."""
    width = int.from_bytes(data[16:20], "big")
    return _Image(f"data:image/png;base64,{base64.b64encode(data).decode()}", round(0.45 * width))


def _numeric(rows: Sequence[Sequence[object]], column: int) -> bool:
    """Whether a column holds numbers alone."""
    return bool(rows) and all(_is_number(row[column]) for row in rows)


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float)) or str(cell).replace(".", "", 1).isdecimal()
