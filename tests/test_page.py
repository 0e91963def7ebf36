import base64
from html.parser import HTMLParser

from matplotlib.figure import Figure

from dfd.page import Section, html_page, png


class Outline(HTMLParser):
    """Opened and closed tags, images, and text."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.sources, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_loads_nothing_and_escapes_what_it_shows():
    picture = png(Figure(figsize=(1, 1)))
    section = Section(
        "A <b>", ["<script>alert(1)</script>"], [(("name",), [("<i>",)])], [('a "quoted" caption', picture)], "bad"
    )
    page = html_page("Audit of <data>", [section, Section("Empty")])
    outline = Outline(page)
    assert not outline.open
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in outline.sources)
    inside = next(source for source in outline.sources if source.startswith("data:")).split(",")[1]
    assert base64.b64decode(inside) == picture and picture.startswith(b"\x89PNG")
    assert "<script>alert(1)</script>" in outline.words and "<i>" in outline.words
    assert '<p class="bad">' in page and "<script>" not in page
