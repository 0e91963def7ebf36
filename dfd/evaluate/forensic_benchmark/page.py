"""Pages of the benchmark: which tool deserves trust, on what, and which does not; REPORT.md and
report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
from dfd.evaluate.forensic_benchmark.planted_edits import KINDS
from dfd.evaluate.forensic_benchmark.trust import EDITED, SAVED_WELL
from dfd.forensics import Catalogue
from dfd.forensics.measured import BySet, Figure, Measured
from dfd.html import Section, html_page, markdown

ORDER = ("localises", "detects", "weak", "none", "untested", "describes")
RULE = (
    "A tool localises where, for some kind of edit, the lower end of the interval of its pixel AUC is "
    "0.70 or more; it detects where that of its image AUROC is, for a kind of edit or on a set of fakes "
    "whose classes are saved alike; it is weak where one of them is 0.55 or more. It is none where none "
    'is, and where it says "found" on more than a tenth of the untouched camera photographs. Untested: '
    'these pictures hold nothing for it to look at. Describes: it only reports, and never says "found". '
    "Figures of fewer than ten families have no say, nor have drawings, nor sets as found, where a tool "
    "may tell how the two classes were saved instead of what was done to them. Such a word is the best of "
    "many figures: a tool of no use at all comes out as weak now and then by chance."
)


class Table(NamedTuple):
    """One table of the page, with what is said above it."""

    title: str
    text: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(measured: Mapping[str, Measured]) -> list[Table]:
    """All tables of the page; one without rows is left out."""
    edited = (
        (EDITED_ORIGINALS, "camera photographs"),
        (EDITED_SIMULATED, "a simulated camera's photographs"),
    )
    found = [
        verdicts(measured),
        *(_by_kind(measured, *each) for each in edited),
        *(_hits(measured, *each) for each in edited),
        _by_root(measured),
        _false_alarms(measured),
    ]
    return [each for each in found if each.rows]


def verdicts(measured: Mapping[str, Measured]) -> Table:
    """Which tool deserves trust, on what, and which does not."""
    header = (
        "Tool", "Trust", "On", "After JPEG 75", "On (JPEG 75)", "False alarms", "Photographs (cameras)",
        "Answers on", "Best pixel AUC", "Best AUROC", "Seconds",
    )  # fmt: skip
    rows = []
    for tool in sorted(measured.values(), key=lambda each: (ORDER.index(each.trust), each.tool)):
        alarms = tool.false_alarm_rate
        rows.append(
            (
                tool.tool,
                tool.trust,
                _listed(tool.trusted_on),
                tool.trust_jpeg75,
                _listed(tool.trusted_on_jpeg75),
                _percent(alarms),
                "" if alarms is None else f"{alarms.num_images} ({alarms.num_families})",
                _percent(tool.coverage, ends=False),
                _best(tool.pixel_auc),
                _best(tool.auroc),
                f"{tool.seconds:.2f}",
            )
        )
    return Table("Which tool deserves trust", RULE, header, rows)


def _by_kind(measured: Mapping[str, Measured], pictures: str, title: str) -> Table:
    rows = []
    for tool in measured.values():
        found = [tool.pixel_auc.get(f"{pictures}/{kind}", {}) for kind in KINDS]
        cells = [_figures(row, (PNG, JPEG90, JPEG75)) for row in found]
        if any(cells):
            rows.append((tool.tool, *cells))
    sizes = _sizes(measured, pictures, "pixel_auc")
    text = (
        f"Pixel AUC of the map against the mask, the mean over edited pictures{sizes}. Three figures a cell: "
        "saved as PNG, as JPEG 90, as JPEG 75. 0.5 is chance. Intervals and the other metrics are in "
        "metrics.csv."
    )
    return Table(f"Where the edit is: planted edits of {title}", text, ("Tool", *KINDS), rows)


def _hits(measured: Mapping[str, Measured], pictures: str, title: str) -> Table:
    rows = []
    for tool in measured.values():
        found = [tool.hit_rate.get(f"{pictures}/{kind}", {}) for kind in KINDS]
        if any(figure.value for row in found for figure in row.values()):
            rows.append((tool.tool, *(_shares(row, (PNG, JPEG90, JPEG75)) for row in found)))
    sizes = _sizes(measured, pictures, "hit_rate")
    text = (
        f'Share of the edited pictures on which a tool says "found"{sizes}; read it beside its false alarms. '
        "Three figures a cell: saved as PNG, as JPEG 90, as JPEG 75. Tools that never say it here are left "
        "out."
    )
    return Table(f"How often it is found: planted edits of {title}", text, ("Tool", *KINDS), rows)


def _by_root(measured: Mapping[str, Measured]) -> Table:
    roots = sorted(
        {
            name
            for tool in measured.values()
            for name in tool.auroc
            if "/" not in name and name not in (*EDITED, TOY)
        }
    )
    names = [TOY, *roots] if any(TOY in tool.auroc for tool in measured.values()) else roots
    rows = []
    for tool in measured.values():
        cells = [_figures(tool.auroc.get(name, {}), (AS_FOUND, MATCHED, JPEG75)) for name in names]
        if any(cells):
            rows.append((tool.tool, *cells))
    sizes = ", ".join(f"{name}{_sizes(measured, name, 'auroc')}" for name in names)
    text = (
        f"Image AUROC of the score, fake against real: {sizes}. Three figures a cell: as found, after "
        "matched re-encoding (one size, JPEG 90; not of drawings), after JPEG 75. 0.5 is chance. As found a "
        "tool may tell how the files were saved: read the second and third."
    )
    return Table("Real or fake: whole pictures", text, ("Tool", *names), rows)


def _false_alarms(measured: Mapping[str, Measured]) -> Table:
    names = sorted({name for tool in measured.values() for name in tool.false_alarms})
    conditions = (AS_FOUND, PNG, MATCHED, JPEG90, JPEG75)
    rows = []
    for tool in measured.values():
        if tool.trust == "describes":
            continue
        rows.append((tool.tool, *(_shares(tool.false_alarms.get(name, {}), conditions) for name in names)))
    sizes = ", ".join(f"{name}{_sizes(measured, name, 'false_alarms')}" for name in names)
    text = (
        f'Share of untouched or real pictures on which a tool says "found": {sizes}. From the best '
        "saved pictures to JPEG 75."
    )
    return Table("False alarms", text, ("Tool", *names), rows)


def report_markdown(record: Mapping[str, Any], measured: Mapping[str, Measured]) -> str:
    """REPORT.md."""
    lines = ["# Forensic tools, measured", "", made_by(record), ""]
    for table in tables(measured):
        lines += [f"## {table.title}", "", table.text, "", *markdown_table(table), ""]
    return "\n".join(lines)


def report_html(record: Mapping[str, Any], measured: Mapping[str, Measured]) -> str:
    """report.html, self-contained."""
    sections = [
        Section(each.title, [each.text], tables=[(each.header, each.rows)]) for each in tables(measured)
    ]
    made = Section("How it was made", [made_by(record)], commands=[("Command", record["command"])])
    return html_page("Forensic tools, measured", [*sections, made])


def made_by(record: Mapping[str, Any]) -> str:
    """One sentence: which pictures, how many, which seed, which version."""
    counts = ", ".join(f"{each['name']} {each['images']}" for each in record["sets"])
    return (
        f"dfd {record['dfd']} measured {len(record['tools'])} tools, seed {record['seed']}. Pictures: "
        f"{counts}. Intervals are 95%, from 1000 draws of whole families: pictures of one camera, one "
        "photograph, one person."
    )


def markdown_table(table: Table) -> list[str]:
    rows = [[markdown(cell) for cell in row] for row in table.rows]
    lines = [table.header, ["---"] * len(table.header), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _listed(names: Sequence[str]) -> str:
    words = Catalogue()
    return ", ".join(words.kind(name) for name in names)


def _best(figures: BySet) -> str:
    """The figure that is surest to be good, of pictures that are saved well; drawings and sets as found
    apart."""
    counted = [
        (figure.low, where, condition, figure)
        for where, row in figures.items()
        for condition, figure in row.items()
        if condition in SAVED_WELL and where not in (TOY, ORIGINALS, *EDITED)
    ]
    counted = [each for each in counted if each[0] == each[0]]
    if not counted:
        return ""
    _, where, condition, figure = max(counted, key=lambda each: each[0])
    kind = Catalogue().kind(where.rpartition("/")[2])
    return f"{_plain(figure)} {kind}, {condition}, {figure.num_images} pictures"


def _figures(row: Mapping[str, Figure], conditions: Sequence[str]) -> str:
    cells = [f"{row[condition].value:.2f}" if condition in row else "-" for condition in conditions]
    return " / ".join(cells) if row else ""


def _shares(row: Mapping[str, Figure], conditions: Sequence[str]) -> str:
    return " / ".join(f"{row[condition].value:.0%}" for condition in conditions if condition in row)


def _plain(figure: Figure) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def _percent(figure: Figure | None, ends: bool = True) -> str:
    if figure is None:
        return ""
    return f"{figure.value:.0%}" + (f" ({figure.low:.0%} to {figure.high:.0%})" if ends else "")


def _sizes(measured: Mapping[str, Measured], where: str, name: str) -> str:
    """How many pictures the figures of a set rest on, at most."""
    figures = [
        figure
        for tool in measured.values()
        for place, row in getattr(tool, name).items()
        if place == where or place.startswith(f"{where}/")
        for figure in row.values()
    ]
    if not figures:
        return ""
    most = max(figures, key=lambda each: each.num_images)
    return f" (up to {most.num_images} pictures in {most.num_families} families)"
