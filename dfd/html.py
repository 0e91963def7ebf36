"""HTML pages from Jinja2 templates: self-contained, nothing to load, all text escaped.

A page runs no script, or one of dfd/templates, which the page's own policy names by its hash.

`dfd/templates/base.html.j2` is the frame and the style of every page, `sections.html.j2` a list of sections
with text, tables and figures.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from dfd.terminal import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def svg(figure: Figure) -> Markup:
    """The figure as an SVG element to stand in a page: words stay words, in the page's letters, and the same
    figure gives the same bytes. Names in it are escaped; commands to a terminal are the caller's to remove.
    """
    from markupsafe import Markup
    from matplotlib import rc_context

    buffer = io.StringIO()
    without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": "dfd", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata=without)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # a page of many figures: ids that nothing refers to would come many times, the style would be the page's
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"""(?:href="|url\()#([\w-]+)""", text))
    text = re.sub(r"<[^>]*>", lambda tag: _lean_tag(tag[0], used), text)
    return Markup(text)


def markdown(text: object) -> Markup:
    """A stranger's words for a Markdown file: one line, in which no sign formats, links or begins HTML."""
    from markupsafe import Markup

    line = printable(str(text), keep="").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"([\\`*_\[\]|#~$!])", r"\\\1", line))


def _lean_tag(tag: str, used: set[str]) -> str:
    """A tag of matplotlib's without what an HTML page does not need of it."""
    tag = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
    tag = re.sub(r' xmlns(:xlink)?="[^"]*"', "", tag).replace("xlink:href", "href")
    tag = re.sub(r"font-family: [^;\"]*; ?", "", tag)
    tag = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", tag)
    return re.sub(r"(\.\d\d)\d+", r"\1", tag).replace("\n", "")


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
    return render("sections.html.j2", title=title, sections=sections)


class Script(NamedTuple):
    """A script of dfd/templates, and the name by which a page's Content-Security-Policy lets it alone run."""

    text: Markup
    digest: str


@lru_cache(maxsize=4)
def script(name: str) -> Script:
    from markupsafe import Markup

    text = (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")


def data_address(data: bytes, kind: Literal["png", "jpeg"]) -> str:
    """The address by which a page holds the whole file of a picture."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def render(template: str, **values: object) -> str:
    """A template of dfd/templates as text. Every value is escaped, and one that is missing raises."""
    return _environment().get_template(template).render(values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dfd"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"image": _image, "numeric": _numeric, "svg": svg, "markdown": markdown}
    return environment


def _shown(value: object) -> object:
    """A value for a page: words of strangers without letters that reorder, hide or command."""
    return printable(value) if type(value) is str else value


class _Image(NamedTuple):
    source: str  # data: address of the whole file
    min_width: int  # in CSS pixels: its words stay legible on a phone, where it scrolls


def _image(data: bytes) -> _Image:
    """What a template says of a PNG file."""
    width = int.from_bytes(data[16:20], "big")
    return _Image(data_address(data, "png"), round(0.45 * width))


def _numeric(rows: Sequence[Sequence[object]], column: int) -> bool:
    """Whether a column holds numbers alone."""
    return bool(rows) and all(_is_number(row[column]) for row in rows)


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float)) or str(cell).replace(".", "", 1).isdecimal()
