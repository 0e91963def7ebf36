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
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


@dataclass(frozen=True)
class Section:
    """A part of a page: sentences, then tables (a header and rows), then figures (a caption and a PNG)."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[object]]]] = ()
    figures: Sequence[tuple[str, bytes]] = ()
    mood: Literal["", "good", "bad"] = ""  # of the first sentence

    def html(self) -> str:
        marks = [f' class="{self.mood}"' if self.mood and not at else "" for at in range(len(self.text))]
        parts = [f"<p{mark}>{escape(line)}</p>" for mark, line in zip(marks, self.text, strict=True)]
        parts += [_html_table(header, rows) for header, rows in self.tables]
        for caption, data in self.figures:
            source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            parts.append(
                f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
            )
        return "\n".join(parts)


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; border-bottom: 1px solid #8884; padding-bottom: .6rem; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; background: white; }
figcaption { font-size: .85rem; opacity: .75; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #8883; overflow-wrap: anywhere; }
.good, .bad { padding: .6rem .9rem; border-left: .35rem solid #0072B2; background: #0072B21a; font-weight: 600; }
.bad { border-color: #D55E00; background: #D55E001f; }
"""


def _html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
