"""`dfd report` of real runs and grids, as a browser shows it and as W&B gets it."""

import csv
import re
import shutil
from pathlib import Path

import browser
import pytest
import wandb_files
from grid_folder import grid_folder, root_of
from small import small_fit
from test_report import Outline

from dfd.cli import main
from dfd.durable import sha256_of
from dfd.evaluate.report import report
from dfd.evaluate.report.evidence import read_evidence
from dfd.evaluate.report.gallery import gallery
from dfd.run_record import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> Path:
    return small_fit(tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def judged(fit, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "test"
    assert main(["test", str(RunFolder(fit).best), "--run_folder", str(folder)]) == 0
    return folder


def words(path: Path) -> dict[str, str]:
    return Outline(path.read_text(encoding="utf-8")).words


def test_a_run_gets_the_same_page_with_maps_of_its_own_checkpoint(judged, tmp_path):
    assert main(["report", str(judged), "--out", str(tmp_path / "report.html")]) == 0
    found = words(tmp_path / "report.html")
    with RunFolder(judged).metrics.open(newline="") as file:
        auroc = float(list(csv.DictReader(file))[-1]["test/auroc"])
    assert f"{auroc:.3f}".lstrip("0") in found["All metrics"]
    assert "dfd.models.SingleStream" in found["Run manifest"] and (tmp_path / "MODEL_CARD.md").is_file()
    assert "It was trained on drawings" in found["Model card of test"]


def test_a_run_judged_on_what_chose_it_is_red(fit, tmp_path):
    folder = tmp_path / "val"
    assert main(["validate", str(RunFolder(fit).best), "--run_folder", str(folder)]) == 0
    made = report(folder, tmp_path / "report.html")
    assert {mark.kind for mark in made.marks} == {"seen", "chosen"}
    assert "byte for" in words(tmp_path / "report.html")["Red marks"]


def test_a_fit_that_judged_nothing_says_how_to_go_on(fit, tmp_path):
    made = report(fit, tmp_path / "report.html")
    assert made.num_cells == 0
    found = words(tmp_path / "report.html")
    assert "has judged no pictures yet" in found["Summary"] and "dfd test" in found["Summary"]
    assert "best val/auroc" in found["Run manifest"]


def test_a_run_whose_checkpoint_is_gone_is_reported_without_it(judged, tmp_path):
    run = shutil.copytree(judged, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"(?m)^ckpt_path: .*", "ckpt_path: /gone.ckpt", config))
    report(run, tmp_path / "report.html")
    found = words(tmp_path / "report.html")
    assert "/gone.ckpt" in found["Summary"] and "is not known" in found["Red marks"]


def test_a_grid_of_a_real_detector_has_pictures_and_maps(fit, judged, tmp_path):
    with RunFolder(judged).metrics.open(newline="") as file:
        root = list(csv.DictReader(file))[-1]["roots"]
    grid = tmp_path / "grid"
    best = str(RunFolder(fit).best)
    assert (
        main(["evaluate", f"toy={best}", "--on", f"drawn={root}", "--out", str(grid), "--workers", "0"]) == 0
    )
    made = report(grid, tmp_path / "report.html")
    assert made.num_cells >= 2 and not made.missing
    assert "toy on drawn" in words(tmp_path / "report.html")["Failures and refusals"]


def test_maps_are_of_the_checkpoint_that_judged_and_of_no_other(fit, tmp_path):
    near = root_of(tmp_path / "near", "near")
    best = RunFolder(fit).best
    facts = {"path": str(best), "sha256": sha256_of(best)}
    options = {"roots": ("near",), "conditions": {"clean": (None,)}, "root_facts": {"path": str(near)}}
    evidence = read_evidence(grid_folder(tmp_path / "grid", detector_facts=facts, **options))
    shown = [
        picture for block in gallery(evidence, 2, ()).blocks for picture in getattr(block, "pictures", [])
    ]
    assert shown and all(picture.heat is not None and picture.heat != picture.original for picture in shown)
    other = grid_folder(tmp_path / "other", detector_facts={**facts, "sha256": "ab" * 32}, **options)
    part = gallery(read_evidence(other), 2, ())
    assert "is another file than the one that judged" in part.blocks[0].text
    assert all(picture.heat is None for block in part.blocks for picture in getattr(block, "pictures", []))


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
@pytest.mark.parametrize("width", [390, 1400])
def test_a_browser_shows_it_without_scrolling_sideways(tmp_path, width):
    near = root_of(tmp_path / "near", "near")
    long = "a_source_with_a_name_that_is_much_longer_than_a_phone_is_wide_" * 2
    grid_folder(
        tmp_path / "grid", detectors=("home", long), roots=("near", long), root_facts={"path": str(near)}
    )
    report(tmp_path / "grid", tmp_path / "report.html")
    (tmp_path / "profile").mkdir()
    seen = browser.look_at(tmp_path / "report.html", tmp_path / "profile", width)
    assert seen.overflow <= 0
    assert len(seen.requests) == 1 and not seen.complaints
    assert seen.images and all(size > 0 for _, size in seen.images)
    assert "at its worst" in seen.text and "no trace found" in seen.text


def test_wandb_gets_page_table_and_figures_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    grid = grid_folder(tmp_path / "grid", roots=("near",), conditions={"clean": (None,)})
    out = tmp_path / "out" / "report.html"
    assert main(["report", str(grid), "--out", str(out), "--wandb"]) == 0
    (run,) = wandb_files.kind(out.parent, "run")
    assert (run.project, run.job_type) == ("dfd", "report")
    logged = wandb_files.files(out.parent)
    assert any(name.endswith(".html") for name in logged) and any(
        name.endswith(".table.json") for name in logged
    )
    assert sum(name.endswith(".png") for name in logged) >= 5
    (page,) = out.parent.glob("wandb/offline-run-*/files/**/*.html")
    assert page.read_bytes() == out.read_bytes()


def test_wandb_that_is_off_logs_nothing_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    grid = grid_folder(tmp_path / "grid", roots=("near",), conditions={"clean": (None,)})
    assert main(["report", str(grid), "--out", str(tmp_path / "report.html"), "--wandb"]) == 0
    assert "nothing was logged" in capsys.readouterr().out and not (tmp_path / "wandb").exists()
