"""MODEL_CARD.md: read back by huggingface_hub, with the results that were measured."""

import pytest
from grid_folder import grid_folder
from huggingface_hub import ModelCard

from dfd.evaluate.report import report
from dfd.evaluate.report.evidence import Place, read_evidence
from dfd.evaluate.report.model_card import model_card
from dfd.evaluate.report.page import Part


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return grid_folder(tmp_path_factory.mktemp("card") / "grid", conditions={"clean": (None,)})


def test_the_hub_reads_the_results_that_were_measured(grid):
    evidence = read_evidence(grid)
    card = ModelCard(model_card(evidence, "home", []).markdown("test"))
    results = {(each.dataset_name, each.metric_type): each for each in card.data.eval_results}
    line = evidence.whole[Place("home", "far")]
    found = results["far", "auroc"]
    assert found.metric_value == pytest.approx(line.number("auroc"), abs=1e-6)
    assert found.metric_args["low"] == pytest.approx(line.ends("auroc")[0], abs=1e-6)
    assert (found.metric_args["images"], found.metric_args["families"], found.dataset_split) == (
        48,
        24,
        "test",
    )
    assert card.data.library_name == "dfd" and card.data.model_name == "home"


def test_it_says_use_training_limits_and_the_price_of_an_accusation(grid):
    text = model_card(read_evidence(grid), "home", []).markdown("test")
    for title in (
        "Intended use",
        "What a false accusation costs",
        "Trained on",
        "Evaluation results",
        "Limits",
    ):
        assert f"\n## {title}\n" in text
    assert (
        "Pictures: near." in text
        and "It was not attacked here" in text
        and "cannot be told from guessing" in text
    )


def test_what_fake_is_worth_follows_bayes(grid):
    evidence = read_evidence(grid)
    cell = evidence.cell(Place("home", "far"))
    fake = cell.predictions.label == 1
    found, alarms = ((cell.verdict[mine] == "fake").mean() for mine in (fake, ~fake))
    assert 0 < alarms < 1
    sections = {each.title: each for each in model_card(evidence, "home", []).sections}
    row = next(row for row in sections["What a false accusation costs"].table.rows if row[0] == "far")
    for odds, cell_of_row in zip((2, 10, 1000), row[3:], strict=True):
        innocent = (1 - 1 / odds) * alarms
        share = innocent / (innocent + found / odds)
        assert float(cell_of_row.text.rstrip("%")) == pytest.approx(100 * share, abs=0.51)


def test_one_detector_has_model_card_md_and_several_have_one_each(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("dfd.evaluate.report.write.curves", lambda evidence: Part("Curves"))
    made = report(grid, tmp_path / "one.html")
    assert [path.name for path in made.cards] == ["MODEL_CARD.md"] and (tmp_path / "MODEL_CARD.md").is_file()
    two = grid_folder(
        tmp_path / "two", detectors=("a b", "a_b"), roots=("near",), conditions={"clean": (None,)}
    )
    made = report(two, tmp_path / "both" / "report.html")
    assert len({path.name for path in made.cards}) == 2 and all(path.is_file() for path in made.cards)
