"""Page of one inspected file: summary, detector, findings with their maps and words, facts of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfd.forensics import Catalogue, Examination, Finding, Table
from dfd.html import data_address, render, script
from dfd.inspection.drawings import map_png, scale_colours, small_photo
from dfd.inspection.evidence import Evidence

# what a summary says in any case, after what was found: what the file itself claims of its making
FIRST_HAND = ("provenance", "metadata")
GROUP_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
KIND_WORDS = {"shows": "shown", "describes": "described"}
# in the order of a page
WORDS = ("found", "clear", "shown", "described", "absent", "abstained", "failed")
# a map with fewer values than this on its longer side is drawn in blocks, not smoothed
_COARSE = 250
_PAGE_WORDS = (
    *WORDS, "summary", "detector", "detector_apart", "picture", "file", "reading", "look_at", "ignore",
    "slider", "map_over", "regions_over", "method", "version", "table_rows", "score_is",
)  # fmt: skip


@dataclass(frozen=True)
class DetectorSays:
    """What a trained detector says of the faces in a file, apart from the tools.

    Args:
        faces: (title, sentences) each.
        closing: what P(fake) is and is not.
    """

    faces: Sequence[tuple[str, Sequence[str]]]
    closing: str


def write_page(
    title: str,
    examination: Examination,
    evidence: Sequence[Evidence],
    facts: Sequence[tuple[str, object]],
    words: Catalogue,
    detector: DetectorSays | None,
) -> str:
    """The page as text.

    Args:
        evidence: in the order in which it is to be read.
        facts: (name, value) of the file and of the inspection.
    """
    tools = [_tool(each, examination, words) for each in evidence]
    by_status = {word: [tool for tool in tools if tool["status"] == word] for word in WORDS}
    first_hand = [tool for name in FIRST_HAND for tool in tools if tool["name"] == name]
    pixels = examination.pixels
    height, width = (1, 1) if pixels is None else pixels.shape[:2]
    return render(
        "inspect.html.j2",
        title=words.page("title", name=title),
        language=words.language,
        script=script("inspect.js"),
        words={key: words.page_words(key) for key in _PAGE_WORDS},
        photo="" if pixels is None else data_address(small_photo(pixels), "jpeg"),
        photo_width=min(1000, max(width, 320)),
        aspect=f"{width} / {height}",
        picture={"width": width, "height": height},
        colours=scale_colours(),
        summary=summary(examination, evidence, words),
        mood="bad" if by_status["found"] else "",
        strongest=by_status["found"],
        first_hand=[tool for tool in first_hand if tool["status"] != "found"],
        detector=None
        if detector is None
        else {
            "faces": [{"title": name, "sentences": sentences} for name, sentences in detector.faces],
            "closing": detector.closing,
        },
        parts=[(words.page(f"part_{status}"), of_status) for status, of_status in by_status.items()],
        facts=facts,
        reading=[words.page(f"reading_{number}") for number in range(1, 6)],
    )


def summary(examination: Examination, evidence: Sequence[Evidence], words: Catalogue) -> list[str]:
    """Sentences on the whole: what was found, what was not, and what that does not mean."""
    counts = {word: sum(_word(each.finding) == word for each in evidence) for word in WORDS}
    answer = "summary_found" if counts["found"] else "summary_silent"
    said = [words.page(answer, **counts, tools=len(evidence))]
    if examination.refused:
        said.append(words.page("summary_refused", why=examination.refused.rstrip(".")))
    if examination.scale > 1:
        said.append(words.page("summary_scaled", scale=examination.scale))
    said.append(words.page("summary_others", **counts))
    return said


def _tool(each: Evidence, examination: Examination, words: Catalogue) -> dict[str, Any]:
    """A finding as the template shows it."""
    finding = each.finding
    name = finding.tool
    return {
        "name": name,
        "title": each.title,
        "status": _word(finding),
        "badge": badge(finding, words),
        "sentence": each.sentence,
        "score": "" if finding.status == "absent" else number(finding.score),
        "unit": words.word(name, finding.unit) if finding.unit else "",
        "figure": each.figure,
        "look": each.look,
        "ignore": each.ignore,
        "map": _map(finding, words),
        "regions": _regions(finding, examination, words),
        **_table(finding.tool, finding.table, words),
        "source": finding.source,
        "version": finding.version,
    }


def _word(finding: Finding) -> str:
    """The word beside a tool: a tool that finds nothing, since it never does, is not said to have looked."""
    silent = finding.status == "clear" and finding.kind != "finds"
    return KIND_WORDS[finding.kind] if silent else finding.status


def badge(finding: Finding, words: Catalogue) -> str:
    """The word as people read it; a tool may have its own for a status."""
    word = _word(finding)
    own = words.own(finding.tool, f"word_{word}")
    return own or words.page(word)


def _table(tool: str, table: Table | None, words: Catalogue) -> dict[str, Any]:
    if table is None:
        return {"columns": [], "rows": []}
    return {
        "columns": [words.word(tool, column) for column in table.columns],
        "rows": [[_cell(cell, tool, words) for cell in row] for row in table.rows],
    }


def _map(finding: Finding, words: Catalogue) -> Mapping[str, object] | None:
    drawn = finding.map
    if drawn is None:
        return None
    return {
        "address": data_address(map_png(drawn), "png"),
        "overlay": drawn.overlay,
        "coarse": max(drawn.values.shape) < _COARSE,
        "low": number(drawn.low),
        "high": number(drawn.high),
        "unit": words.word(finding.tool, drawn.unit) if drawn.unit else "",
    }


def _regions(finding: Finding, examination: Examination, words: Catalogue) -> list[dict[str, object]]:
    """Rectangles in hundredths of the picture's width."""
    if examination.pixels is None:
        return []
    scale = 100 / examination.pixels.shape[1]
    return [
        {
            **{
                side: round(value * scale, 2)
                for side, value in zip(("x", "y", "width", "height"), region.box, strict=True)
            },
            "name": words.word(finding.tool, region.name),
            "colour": GROUP_COLOURS[region.group % len(GROUP_COLOURS)],
        }
        for region in finding.regions
    ]


def _cell(cell: object, tool: str, words: Catalogue) -> object:
    """A cell as people read it; a word of the tool in its own language."""
    if isinstance(cell, bool):
        return words.page("yes" if cell else "no")
    if isinstance(cell, float):
        return number(cell)
    return words.cell(tool, cell) if isinstance(cell, str) else ("" if cell is None else cell)


def number(value: float) -> str:
    """Three digits at most."""
    if value != value:
        return ""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"
