"""Names of strangers on the page, in its figures and in the card stay words."""

import pytest
from grid_folder import grid_folder, root_of
from test_report import Outline

from dfd.evaluate.report import report
from dfd.evaluate.report.evidence import read_evidence
from dfd.evaluate.report.marks import find_marks
from dfd.evaluate.report.model_card import model_card

EVIL = """"><script>alert(1)</script><img src=//evil.example onerror='x'>{{ 7*7 }}$^$_%\x1b[31m\u202e|`"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    near = root_of(folder / "near", "near")
    facts = {"selected_on": f"val/auroc {EVIL}", "num_seen": 3}
    grid = grid_folder(
        folder / "grid",
        detectors=(EVIL,),
        roots=(f"near{EVIL}",),
        conditions={"clean": (None,), EVIL: (1, 2)},
        facts=facts,
        root_facts={"leaks": EVIL, "path": str(near)},
        detector_facts={"net": EVIL, "trained_on": [EVIL]},
        columns={
            "file_facts_auroc": 0.9,
            "file_facts_auroc_low": 0.8,
            "file_facts_auroc_high": 0.95,
            "flags": EVIL,
        },
        extra={EVIL: ["a", EVIL] * 24},
    )
    report(grid, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_no_name_becomes_a_tag_an_address_or_a_command(page):
    outline = Outline(page)
    assert not outline.open and "script" not in outline.tags
    assert not any("evil.example" in source for source in outline.sources)
    assert "\x1b" not in page and "\u202e" not in page
    assert "{{ 7*7 }}" in page and "49$^$" not in page


def test_names_are_still_to_be_read(page):
    text = " ".join(Outline(page).words.values())
    assert text.count("<script>alert(1)</script>") > 10


def test_a_card_of_a_hostile_name_is_one_heading_and_valid_data(tmp_path):
    import yaml

    grid = grid_folder(
        tmp_path, detectors=(f"{EVIL}\n# Approved\n---\n",), roots=(EVIL,), conditions={"clean": (None,)}
    )
    evidence = read_evidence(grid)
    (detector,) = evidence.names("detector")
    text = model_card(evidence, detector, find_marks(evidence)).markdown("test")
    _, data, body = text.split("\n---\n" if text.startswith("\n") else "---\n", 2)
    assert yaml.safe_load(data)["library_name"] == "dfd"
    assert "<script" not in body and "\x1b" not in body
    assert [line for line in body.splitlines() if line.startswith("# ")] == [body.strip().splitlines()[0]]
