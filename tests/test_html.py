import base64
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from dfd.html import Section, html_page, png, render


class Outline(HTMLParser):
    """Opened and closed tags, images, and text."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.sources, self.words, self.alternatives = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.alternatives += [value for name, value in attrs if name == "alt"]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_loads_nothing_and_escapes_what_it_shows():
    picture = png(Figure(figsize=(1, 1)))
    section = Section(
        "A <b>",
        ["<script>alert(1)</script>"],
        [(("name",), [("<i>",)])],
        [('a "quoted" caption', picture)],
        "bad",
    )
    page = html_page("Audit of <data>", [section, Section("Empty")])
    outline = Outline(page)
    assert not outline.open
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in outline.sources)
    inside = next(source for source in outline.sources if source.startswith("data:")).split(",")[1]
    assert base64.b64decode(inside) == picture and picture.startswith(b"\x89PNG")
    assert "<script>alert(1)</script>" in outline.words and "<i>" in outline.words
    assert '<p class="bad">' in page and "<script>" not in page


def test_no_place_of_a_page_lets_a_name_become_code():
    evil = """"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;{{ 7 * 7 }}"""
    section = Section(
        evil,
        [evil],
        [((evil,), [(evil,)])],
        [(evil, png(Figure(figsize=(1, 1))))],
        commands=[(evil, evil)],
    )
    page = html_page(evil, [section])
    outline = Outline(page)
    assert not outline.open and page.count("<img ") == 1 and "<script" not in page
    # title twice, heading, link, text, command twice, header, cell, caption
    assert outline.words.count(evil) == 10
    assert outline.alternatives == [evil]


def test_a_template_without_one_of_its_values_is_a_fault_and_no_gap():
    with pytest.raises(UndefinedError, match="sections"):
        render("sections.html.j2", title="No sections")


def test_columns_of_numbers_stand_below_one_another():
    page = html_page(
        "Numbers",
        [Section("One", tables=[(("name", "images", "share"), [("a", 7, "0.25"), ("8", 12000, ".5")])])],
    )
    assert (
        page.count('<td class="number">') == 4
        and "<td>8</td>" in page
        and '<th class="number">images</th>' in page
    )


def test_figures_may_come_first():
    section = Section(
        "One", tables=[(("x",), [("cell",)])], figures=[("a figure", png(Figure(figsize=(4, 1))))]
    )
    parts = ["cell</td>", "<figure>"]
    page = html_page("One", [section])
    assert [page.index(part) for part in parts] == sorted(page.index(part) for part in parts)
    first = html_page("One", [replace(section, figures_first=True)])
    assert first.index("<figure>") < first.index("cell</td>") and 'style="min-width: 198px"' in first
