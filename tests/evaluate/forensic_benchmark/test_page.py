"""The tables of the benchmark's page, and the rule of trust."""

import pytest

from dfd.evaluate.forensic_benchmark.page import markdown_table, tables
from dfd.evaluate.forensic_benchmark.trust import Line, earned
from dfd.forensics.measured import Figure, Measured

GOOD, POOR = Figure(0.82, 0.74, 0.9, 40, 30), Figure(0.5, 0.4, 0.6, 40, 30)
WELL = ("png", "jpeg90", "matched")

ELA = Measured(
    "ela",
    1,
    trust="localises",
    trust_jpeg75="none",
    trusted_on=("splice", "inpaint"),
    false_alarm_rate=Figure(0.0, 0.0, 0.22, 15, 13),
    coverage=Figure(1.0, 0.78, 1.0, 15, 13),
    false_alarms={"camera_originals": {"as_found": Figure(0.0, 0.0, 0.22, 15, 13), "jpeg75": Figure(0.2, 0.1, 0.3, 15, 13)}},
    hit_rate={"edited_simulated/splice": {"png": Figure(0.5, 0.3, 0.7, 24, 24), "jpeg90": Figure(0.25, 0.1, 0.4, 24, 24)}},
    auroc={"casia": {"as_found": Figure(0.99, 0.98, 1.0, 80, 80), "matched": POOR, "jpeg75": POOR}, "edited_simulated": {"png": GOOD}},
    pixel_auc={"edited_simulated/splice": {"png": GOOD, "jpeg90": POOR}, "toy": {"as_found": GOOD}},
    seconds=0.123,
)  # fmt: skip
QUIET = Measured("table|reader", 1, trust="describes", trust_jpeg75="describes")


def test_each_table_says_its_figures():
    found = {table.title: table for table in tables({"table|reader": QUIET, "ela": ELA})}
    first = found["Which tool deserves trust"]
    assert [row[0] for row in first.rows] == ["ela", "table|reader"]
    row = dict(zip(first.header, first.rows[0], strict=True))
    assert row["On"] == "pieces of other photographs, filled holes" and row["After JPEG 75"] == "none"
    assert row["False alarms"] == "0% (0% to 22%)" and row["Photographs (cameras)"] == "15 (13)"
    assert row["Best pixel AUC"] == "0.82 (0.74 to 0.90) pieces of other photographs, png, 40 pictures"
    # not casia as found, where .99 is a fact of its files
    assert row["Best AUROC"].startswith("0.50 (0.40 to 0.60) splices and copies (CASIA 1), matched")
    by_kind = found["Where the edit is: planted edits of a simulated camera's photographs"]
    assert by_kind.rows == [("ela", "0.82 / 0.50 / -", "", "", "", "", "")]
    assert "up to 40 pictures in 30 families" in by_kind.text
    hits = found["How often it is found: planted edits of a simulated camera's photographs"]
    assert hits.rows[0][:2] == ("ela", "50% / 25%")
    assert found["Real or fake: whole pictures"].rows == [("ela", "0.99 / 0.50 / 0.50")]
    assert found["False alarms"].rows == [("ela", "0% / 20%")]
    assert not any("camera photographs" in title for title in found)


def test_a_name_cannot_break_the_table():
    lines = markdown_table(tables({"table|reader": QUIET})[0])
    assert lines[2].startswith("| table\\|reader | describes |")


def line(metric, figure, pictures="edited_simulated", condition="png", part="splice"):
    return Line(pictures, condition, part, metric, figure)


ALARMS = Line("camera_originals", "as_found", "all", "false_alarm_rate", Figure(0.2, 0.1, 0.3, 15, 13))


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ([line("pixel_auc", GOOD)], "localises"),
        ([line("auroc", GOOD)], "detects"),
        ([line("auroc", GOOD), line("pixel_auc", POOR)], "detects"),
        ([line("auroc", Figure(0.65, 0.56, 0.7, 40, 30))], "weak"),
        ([line("auroc", POOR)], "none"),
        ([line("pixel_auc", GOOD), ALARMS], "none"),
        # few families, drawings, sets as found, another condition, all kinds in one
        ([line("pixel_auc", Figure(1.0, 1.0, 1.0, 9, 9))], "untested"),
        ([line("pixel_auc", GOOD, "toy", "as_found", "warped")], "untested"),
        ([line("auroc", GOOD, "casia", "as_found", "all")], "untested"),
        ([line("pixel_auc", GOOD, condition="jpeg75")], "untested"),
        ([line("pixel_auc", GOOD, part="all")], "untested"),
        ([line("auroc", GOOD, "casia", "matched", "all")], "detects"),
        # a score that never changes
        ([line("auroc", Figure(0.5, 0.5, 0.5, 40, 30))], "untested"),
        ([line("coverage", Figure(0.0, 0.0, 0.1, 40, 30))], "untested"),
    ],
)  # fmt: skip
def test_the_rule(lines, word):
    found, on = earned(lines, WELL, "as_found")
    assert found == word
    assert bool(on) == (word in ("localises", "detects", "weak"))
