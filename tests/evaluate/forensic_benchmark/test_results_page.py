"""The table of trust in the docs is made of the figures that are shipped."""

from pathlib import Path

from dfd.evaluate.forensic_benchmark.page import markdown_table, tables
from dfd.forensics.measured import all_measured, measured
from dfd.forensics.tools import Files, tools_with

PAGE = Path(__file__).parents[3] / "docs" / "results" / "forensics.md"
AGAIN = "run `dfd bench-forensics`, and copy its measured.json and the tables of its REPORT.md"


def test_the_page_has_the_shipped_figures():
    text = PAGE.read_text(encoding="utf-8")
    for table in tables(all_measured()):
        assert "\n".join(markdown_table(table)) in text, f"{table.title}: {AGAIN}"


def test_every_tool_was_measured_as_it_is():
    tools = tools_with(Files())
    stale = [tool.name for tool in tools if measured(tool.name, tool.method.version) is None]
    assert not stale, f"{', '.join(stale)}: {AGAIN}"
