"""A report as one self-contained HTML page: no script, nothing to load, pictures inside, all text escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from matplotlib.figure import Figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The page as text."""
    links = " ".join(f'<a href="#s{at}">{escape(section.title)}</a>' for at, section in enumerate(sections))
    body = "\n".join(
        f'<section id="s{at}"><h2>{escape(section.title)}</h2>\n{section.html()}\n</section>'
        for at, section in enumerate(sections)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, '
        f'initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


@dataclass(frozen=True)
class Section:
    """A part of a page: sentences, commands (label, text), then tables (header, rows) and figures (caption,
    PNG).
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[object]]]] = ()
    figures: Sequence[tuple[str, bytes]] = ()
    mood: Literal["", "good", "bad"] = ""  # of the first sentence
    figures_first: bool = False
    commands: Sequence[tuple[str, str]] = ()

    def html(self) -> str:
        marks = [f' class="{self.mood}"' if self.mood and not at else "" for at in range(len(self.text))]
        parts = [f"<p{mark}>{escape(line)}</p>" for mark, line in zip(marks, self.text, strict=True)]
        parts += [f"<p>{escape(label)}</p><pre>{escape(command)}</pre>" for label, command in self.commands]
        tables = [_html_table(header, rows) for header, rows in self.tables]
        figures = [_html_figure(caption, data) for caption, data in self.figures]
        return "\n".join([*parts, *(figures + tables if self.figures_first else tables + figures)])


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; border-bottom: 1px solid #8884; padding-bottom: .6rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8882; padding: .6rem .9rem; font-size: .9rem; }
figure { margin: 1.2rem 0; overflow-x: auto; }
img { max-width: 100%; height: auto; background: white; }
figcaption { font-size: .85rem; opacity: .75; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #8883; }
.number { text-align: right; }
.good, .bad { padding: .6rem .9rem; border-left: .35rem solid #0072B2; background: #0072B21a; font-weight: 600; }
.bad { border-color: #D55E00; background: #D55E001f; }
"""


def _html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    numeric = [bool(rows) and all(_is_number(row[at]) for row in rows) for at in range(len(header))]
    marks = [' class="number"' if each else "" for each in numeric]
    head = "".join(f"<th{mark}>{escape(name)}</th>" for mark, name in zip(marks, header, strict=True))
    lines = (
        "".join(f"<td{mark}>{escape(str(cell))}</td>" for mark, cell in zip(marks, row, strict=True))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float)) or str(cell).replace(".", "", 1).isdecimal()


def _html_figure(caption: str, data: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    least = 0.45 * int.from_bytes(
        data[16:20], "big"
    )  # of the PNG's width: its words stay legible on a phone, where it scrolls
    image = f'<img src="{source}" alt="{escape(caption)}" style="min-width: {least:.0f}px">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
