"""Red marks: whatever forbids to quote a figure as it stands is planted, and found."""

import json
from pathlib import Path

import pytest
from grid_folder import grid_folder

from dfd.evaluate.report.evidence import Evidence, read_evidence
from dfd.evaluate.report.marks import find_marks
from dfd.evaluate.report.matrix import matrix
from dfd.evaluate.report.model_card import model_card
from dfd.evaluate.report.shortcut_audit import shortcuts
from dfd.evaluate.report.summary import red_marks, summary

FACTS = ("file_facts_auroc", "file_facts_auroc_low", "file_facts_auroc_high")


def planted(folder: Path, **options) -> Evidence:
    return read_evidence(grid_folder(folder, conditions={"clean": (None,)}, **options))


def kinds(evidence: Evidence) -> set[str]:
    return {mark.kind for mark in find_marks(evidence)}


def words(part) -> str:
    return " ".join(
        getattr(block, "text", "") for block in part.blocks if getattr(block, "mood", "") == "bad"
    )


def test_an_honest_evaluation_has_none(tmp_path):
    evidence = planted(tmp_path, columns=dict(zip(FACTS, (0.5, 0.44, 0.56), strict=True)))
    assert find_marks(evidence) == []
    (told,) = red_marks(evidence, []).blocks
    assert told.mood == "good" and "no picture here trained" in told.text


def test_what_was_not_checked_is_no_acquittal(tmp_path):
    evidence = planted(tmp_path, facts={"num_seen": None, "num_trained_on": None})
    assert find_marks(evidence) == []
    blocks = red_marks(evidence, []).blocks
    assert not any(block.mood == "good" for block in blocks)
    assert any("is not known" in block.text for block in blocks) and any(
        "was not asked" in block.text for block in blocks
    )


def test_pictures_that_the_net_has_seen_are_red_on_the_page_and_in_the_card(tmp_path):
    evidence = planted(tmp_path, facts={"num_seen": 7})
    marks = find_marks(evidence)
    assert {mark.kind for mark in marks} == {"seen"} and len(marks) == 2
    assert "home knows 7 of the 48 pictures of near, byte for byte" in words(red_marks(evidence, marks))
    assert "2 red marks" in words(summary(evidence, marks))
    assert "RED MARK: home knows 7" in model_card(evidence, "home", marks).markdown("test")
    table = next(block for block in matrix(evidence, marks).blocks if block.kind == "table")
    assert all(row[1].marked for row in table.rows)


@pytest.mark.parametrize(
    "facts",
    [
        {"selected_on": "test/auroc (best epoch so far, split: test)"},
        {"calibrated_on": {"split": "test", "images": 48, "groups": 24}},
    ],
    ids=["checkpoint", "threshold"],
)
def test_a_choice_made_on_the_judged_split_is_red(tmp_path, facts):
    evidence = planted(tmp_path, facts=facts)
    marks = find_marks(evidence)
    assert {mark.kind for mark in marks} == {"chosen"}
    assert "looks better than it is" in words(red_marks(evidence, marks))


def test_val_of_other_pictures_is_no_choice_on_the_judged_ones(tmp_path):
    grid = grid_folder(tmp_path, conditions={"clean": (None,)}, facts={"split": "val"})
    told = json.loads((grid / "grid.json").read_text())
    (grid / "grid.json").write_text(json.dumps({**told, "split": "val"}))
    assert kinds(read_evidence(grid)) == set()


def test_val_that_chose_the_net_is_red(tmp_path):
    grid = grid_folder(tmp_path, conditions={"clean": (None,)}, facts={"split": "val", "num_seen": 48})
    told = json.loads((grid / "grid.json").read_text())
    (grid / "grid.json").write_text(json.dumps({**told, "split": "val"}))
    assert kinds(read_evidence(grid)) == {"seen", "chosen"}


def test_an_attack_is_not_taken_for_the_worst_of_the_worlds_pictures(tmp_path):
    apart, conditions = {"near": 3.0}, {"clean": (None,), "pgd10": (2, 4, 8)}
    evidence = read_evidence(grid_folder(tmp_path, roots=("near",), apart=apart, conditions=conditions))
    told = summary(evidence, [])
    first = next(block.text for block in told.blocks if "at its worst" in getattr(block, "text", ""))
    assert "pictures as found" in first
    table = next(
        block for block in told.blocks if getattr(block, "header", ("",))[-1] == "pictures / families"
    )
    assert [row[0].small for row in table.rows] == ["clean pictures", "attacked pictures"]
    assert "It was not attacked here" not in model_card(evidence, "home", []).markdown("test")


def test_a_planted_leak_is_red(tmp_path):
    evidence = planted(tmp_path, root_facts={"leaks": "3 in groups"})
    marks = find_marks(evidence)
    assert {mark.kind for mark in marks} == {"leak"}
    assert "In near related pictures lie in different splits (3 in groups)" in words(
        red_marks(evidence, marks)
    )


def test_a_planted_shortcut_is_red_in_the_table_and_in_the_plot(tmp_path):
    evidence = planted(tmp_path, columns=dict(zip(FACTS, (0.97, 0.93, 0.99), strict=True)))
    marks = find_marks(evidence)
    assert {mark.kind for mark in marks} == {"shortcut"}
    assert "a small model that sees only file facts reaches an AUROC of .970 (.93 to .99)" in words(
        red_marks(evidence, marks)
    )
    drawings, table = shortcuts(evidence).blocks
    assert all(row[2].marked and row[3] == "may explain the result" for row in table.rows)
    ((_, figure),) = drawings.figures
    colors = {line.get_color() for line in figure.axes[0].get_lines() if len(line.get_xdata())}
    assert "#D55E00" in colors


def test_file_facts_that_reach_less_than_the_detector_are_no_mark(tmp_path):
    columns = dict(zip(FACTS, (0.62, 0.55, 0.68), strict=True))
    evidence = planted(tmp_path, roots=("near",), apart={"near": 4.0}, columns=columns)
    assert kinds(evidence) == set()
    table = shortcuts(evidence).blocks[1]
    assert table.rows[0][3] == "does not explain it"


def test_a_shortcut_by_chance_is_no_mark(tmp_path):
    """Its interval reaches the detector's, but chance as well."""
    columns = dict(zip(FACTS, (0.55, 0.41, 0.69), strict=True))
    evidence = planted(tmp_path, columns=columns)
    assert kinds(evidence) == set()
    # and is not said to explain nothing
    assert shortcuts(evidence).blocks[1].rows[0][3] == "not shown, and not excluded: too few pictures"


def test_what_the_evaluation_itself_marked_is_shown(tmp_path):
    evidence = planted(tmp_path, columns={"flags": "gradient masking: square does worse than pgd"})
    marks = find_marks(evidence)
    assert {mark.kind for mark in marks} == {"flag"} and "gradient masking" in marks[0].text


def test_a_quick_look_is_called_one_at_the_top_of_the_page_and_in_the_card(tmp_path):
    evidence = planted(tmp_path, columns={"flags": "limited"})
    assert "no figure to quote" in words(summary(evidence, []))
    sections = {each.title: each for each in model_card(evidence, "home", []).sections}
    assert "no figure to quote" in " ".join(sections["Evaluation results"].text)


def test_an_interval_without_width_is_no_certainty(tmp_path):
    same = dict.fromkeys(("auroc", "auroc_low", "auroc_high"), 1.0)
    evidence = planted(tmp_path, columns=same)
    (first, *_) = summary(evidence, []).blocks
    assert "no spread seen" in first.text and "is not known" in first.text and first.mood != "good"
    assert "1.00 to 1.00" not in model_card(evidence, "home", []).markdown("test")
