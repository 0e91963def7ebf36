"""The forensic benchmark, on tools whose worth is known."""

import json
import subprocess
import sys
from dataclasses import replace

import fake_tools
import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_tools import Painted
from killing import killed_at
from sklearn.metrics import roc_auc_score

from dfd.evaluate.folder import CSV_FILE, METRICS_FILE
from dfd.evaluate.forensic_benchmark import benchmark, metrics
from dfd.evaluate.forensic_benchmark.benchmark import MEASURED, PAGE, RECORD, REPORT, bench
from dfd.evaluate.forensic_benchmark.examined import read_cell
from dfd.evaluate.forensic_benchmark.pictures import EDITED_SIMULATED, ORIGINALS
from dfd.forensics.finding import Method
from dfd.forensics.measured import read_measured

# pictures that count as planted edits of photographs, and untouched ones of cameras
EDITED = Painted(48, EDITED_SIMULATED)
UNTOUCHED = Painted(40, ORIGINALS, ("as_found", "jpeg75"), seed=5)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """A quarter of the time: no test looks at the third digit of an interval."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "DRAWS", 150)
        metrics._weights.cache_clear()
        yield
    metrics._weights.cache_clear()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return bench(
        tmp_path_factory.mktemp("bench") / "out", [EDITED, UNTOUCHED], fake_tools.Toolbox(), workers=1
    )


def figures(done, tool, condition="png", part="all", pictures=EDITED_SIMULATED):
    return {
        row["metric"]: row
        for row in done.table.to_pylist()
        if (row["tool"], row["set"], row["condition"], row["part"]) == (tool, pictures, condition, part)
    }


def test_the_mask_itself_scores_one(done):
    found = figures(done, "oracle")
    for name in (
        "auroc",
        "hit_rate",
        "coverage",
        "pixel_auc",
        "f1_best",
        "f1_fixed",
        "iou_weighted",
        "mcc_fixed",
    ):
        assert found[name]["value"] == pytest.approx(1), name
    assert found["pooled_iou_fixed"]["value"] == found["pooled_pixel_auc"]["value"] == 1
    assert found["false_alarm_rate"]["value"] == found["failed"]["value"] == 0
    assert found["pixel_auc"]["num_images"] == 24 and found["auroc"]["num_images"] == 48
    assert found["auroc"]["num_families"] == 24


def test_chance_scores_half(done):
    found = figures(done, "coin")
    assert abs(found["pixel_auc"]["value"] - 0.5) < 0.02
    assert found["auroc"]["low"] < 0.5 < found["auroc"]["high"]
    assert (
        abs(found["mcc_fixed"]["value"]) < 0.05
        and found["f1_best"]["value"] > found["f1_fixed"]["value"] - 1e-9
    )


def test_the_area_is_sklearns(done):
    cell = read_cell(done.out / f"cells/{EDITED_SIMULATED}/png/coin.parquet")
    expected = roc_auc_score(cell["label"].to_numpy(), cell["score"].to_numpy())
    assert figures(done, "coin")["auroc"]["value"] == pytest.approx(expected)


def test_a_kind_of_edit_stands_against_all_untouched_pictures(done):
    for part in ("red", "scarlet"):
        found = figures(done, "oracle", part=part)
        assert found["auroc"]["num_images"] == 36 and found["pixel_auc"]["num_images"] == 12


def test_a_tool_that_breaks_or_abstains_is_counted_and_not_scored(done):
    broken, quiet = figures(done, "broken"), figures(done, "quiet")
    assert broken["failed"]["value"] == 1 and broken["failed"]["low"] > 0.85
    assert broken["coverage"]["value"] == quiet["coverage"]["value"] == quiet["failed"]["value"] == 0
    for found in (broken, quiet):
        assert not {"auroc", "pixel_auc", "pooled_f1_best"} & set(found)
    cell = read_cell(done.out / f"cells/{EDITED_SIMULATED}/png/broken.parquet")
    assert set(cell["why"].to_pylist()) == {"RuntimeError: out of ink"}
    half = figures(done, "half")
    assert 0.25 < half["coverage"]["value"] < 0.75 and half["auroc"]["value"] == 1
    assert half["auroc"]["num_images"] == round(48 * half["coverage"]["value"])


def test_a_rate_without_one_alarm_still_has_an_upper_end(done):
    rate = figures(done, "oracle", "as_found", pictures=ORIGINALS)["false_alarm_rate"]
    assert rate["value"] == 0 and rate["num_images"] == 20
    # Clopper and Pearson of 20 families
    assert rate["high"] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_rectangles_count_as_a_place_and_silence_finds_nothing(done):
    assert figures(done, "boxes")["pixel_auc"]["value"] == 1
    assert "pixel_auc" not in figures(done, "teller") and "pixel_auc" not in figures(done, "accuser")


def test_the_word_of_trust_follows_the_rule(done):
    found = read_measured(done.out / MEASURED)
    # half: too few families of each kind have a map for it to be said to localise
    words = {name: each.trust for name, each in found.items()}
    assert words == {
        "oracle": "localises", "coin": "none", "quiet": "untested", "half": "detects",
        "broken": "untested", "teller": "describes", "boxes": "localises", "accuser": "none",
    }  # fmt: skip
    assert found["oracle"].trusted_on == ("red", "scarlet") == found["oracle"].trusted_on_jpeg75
    assert found["accuser"].false_alarm_rate.value == 1
    assert found["oracle"].pixel_auc[f"{EDITED_SIMULATED}/red"]["png"].num_images == 12


def test_the_pages_say_it(done):
    text = (done.out / REPORT).read_text(encoding="utf-8")
    assert "| oracle | localises | red, scarlet | localises |" in text
    assert "| accuser | none |" in text and "100% (83% to 100%)" in text
    html = (done.out / PAGE).read_text(encoding="utf-8")
    assert "oracle" in html and "<script" not in html
    assert "oracle: localises (red, scarlet); after JPEG 75 localises" in str(done)
    record = json.loads((done.out / RECORD).read_text(encoding="utf-8"))
    assert [each["images"] for each in record["sets"]] == [48, 40]
    assert "command" not in json.loads((done.out / MEASURED).read_text(encoding="utf-8"))


def without_times(path) -> list[str]:
    # as text: NaN equals nothing
    return [str(row) for row in pq.read_table(path).to_pylist() if row["metric"] != "seconds"]


SMALL = [Painted(8, EDITED_SIMULATED), Painted(6, ORIGINALS, ("as_found",))]
FEW = fake_tools.Toolbox(("oracle", "coin"))


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_table(tmp_path):
    expected = without_times(bench(tmp_path / "whole", SMALL, FEW, workers=1).out / METRICS_FILE)
    out, number = tmp_path / "killed", 0
    while killed_at(number, lambda: bench(out, SMALL, FEW, workers=1)):
        number += 7
    assert number > 25
    bench(out, SMALL, FEW, workers=1)
    assert without_times(out / METRICS_FILE) == expected
    assert not [path for path in out.rglob("*") if ".part-" in path.name]


def test_what_is_there_is_not_examined_again(tmp_path, monkeypatch):
    out = tmp_path / "out"
    bench(out, SMALL, FEW, workers=1)
    seen = []

    def counted(task):
        seen.append((task.pictures.name, task.condition, task.tools))
        return examine_picture(task)

    examine_picture = benchmark.examine_picture
    monkeypatch.setattr(benchmark, "examine_picture", counted)
    bench(out, SMALL, FEW, workers=1)
    assert not seen
    bench(out, [*SMALL, Painted(4, "more", ("png",))], fake_tools.NewCoin(), workers=1)
    assert {(name, *tools) for name, _, tools in seen} == {
        (EDITED_SIMULATED, "coin", "teller"), (ORIGINALS, "coin", "teller"), ("more", "oracle", "coin", "teller"),
    }  # fmt: skip


@pytest.mark.slow
def test_several_processes_find_the_same(tmp_path):
    one, two = (bench(tmp_path / str(count), SMALL, FEW, workers=count).out for count in (1, 2))
    tables = [
        pq.read_table(out / METRICS_FILE).drop_columns(["low", "high"]).to_pylist() for out in (one, two)
    ]
    for left, right in zip(*tables, strict=True):
        assert left == right or left["metric"] == right["metric"] == "seconds"
    assert len((two / CSV_FILE).read_text(encoding="utf-8").splitlines()) > 50


def test_some_tools_may_be_named(tmp_path):
    found = bench(tmp_path / "out", SMALL, FEW, ["coin"], workers=1)
    assert [row[0] for row in found.verdicts] == ["coin"]
    with pytest.raises(ValueError, match="oracle, coin"):
        bench(tmp_path / "out", SMALL, FEW, ["ela"], workers=1)


def test_somebody_elses_folder_is_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="not empty"):
        bench(tmp_path, SMALL, FEW, workers=1)


def test_results_do_not_go_where_pictures_lie(tmp_path):
    pictures = replace(SMALL[0], folders=(str(tmp_path),))
    with pytest.raises(ValueError, match="only read"):
        bench(tmp_path / "out", [pictures], FEW, workers=1)


def test_a_damaged_cell_is_made_again(tmp_path):
    out = bench(tmp_path / "out", SMALL, FEW, workers=1).out
    expected = without_times(out / METRICS_FILE)
    (out / f"cells/{EDITED_SIMULATED}/png/coin.parquet").write_bytes(b"PAR1")
    bench(out, SMALL, FEW, workers=1)
    assert without_times(out / METRICS_FILE) == expected


@pytest.mark.slow
def test_it_needs_no_torch():
    code = (
        "import sys; import dfd.evaluate.forensic_benchmark, dfd.forensics.tools; "
        "print(sorted({'torch', 'lightning', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_method_of_a_fake_tool_is_a_method():
    assert all(isinstance(tool.method, Method) for tool in fake_tools.TOOLS)
    assert np.isfinite(fake_tools.oracle(np.zeros((9, 9, 3), np.uint8)).score)


def test_an_interval_of_paired_pictures_lies_about_its_figure():
    """Edited pictures that score a little more than their own originals, which differ far more from one another."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal(16)
    label, family = np.repeat([0, 1], 16), np.tile([str(n) for n in range(16)], 2)
    score = np.concatenate([base, base + 0.01])
    nothing = np.zeros(32)
    answers = metrics.Answers(family, label, label.astype(str), nothing, score, nothing, {}, nothing, nothing)
    figure = metrics.auroc(answers)
    assert figure.value == pytest.approx(roc_auc_score(label, score))
    assert figure.low < figure.value < figure.high
