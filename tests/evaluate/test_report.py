"""`dfd report`: one page of an evaluation that says the worst first, whole, self-contained and small enough."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from grid_folder import drawn, grid_folder, root_of

from dfd.cli import main
from dfd.evaluate.report import curves, report, write
from dfd.evaluate.report.evidence import Place, read_evidence
from dfd.evaluate.report.gallery import gallery
from dfd.evaluate.report.loso import left_out
from dfd.evaluate.report.page import Part, number, percent, span
from dfd.evaluate.report.verdict_shares import share_interval
from dfd.html import markdown, svg
from dfd.plots import Figure


class Outline(HTMLParser):
    """Opened and closed tags, addresses, and the words below each heading."""

    void = ("meta", "img", "br", "path", "use", "image")

    def __init__(self, page: str):
        super().__init__()
        self.open, self.sources, self.tags, self.words = [], [], set(), {"": ""}
        self.place, self.heading, self.rows = "", None, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [
            value for name, value in attrs if name in ("src", "href", "xlink:href", "style", "srcset")
        ]
        if tag not in self.void:
            self.open.append(tag)
        if tag == "h2":
            self.heading = ""
        if tag == "tr":
            self.rows.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href", "style")]

    def handle_endtag(self, tag):
        if tag in self.void:
            return
        assert self.open.pop() == tag
        if tag == "h2":
            self.place, self.heading = self.heading, None
            self.words[self.place] = ""

    def handle_data(self, data):
        if self.heading is not None:
            self.heading += data
        elif self.open and self.open[-1] not in ("style", "title"):
            self.words[self.place] += f"{data} "
            if "tr" in self.open:
                self.rows[-1] += f"{data} "


SMALL = {"clean": (None,), "jpeg": (80, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A grid of two roots, the first with its shards at hand."""
    folder = tmp_path_factory.mktemp("report")
    root_of(folder / "near", "near")
    age = np.array(["young", "old", "old", "young"] * 12)
    grid_folder(folder / "grid", conditions=SMALL, extra={"age": age})
    told = json.loads((folder / "grid" / "grid.json").read_text())
    told["roots"][0]["path"] = str(folder / "near")
    (folder / "grid" / "grid.json").write_text(json.dumps(told))
    report(folder / "grid", folder / "out" / "report.html")
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(page) -> Outline:
    return Outline(page)


def test_the_page_is_whole_and_loads_nothing(page, outline):
    assert not outline.open
    assert not outline.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for source in outline.sources:
        outside = source.replace("data:image/jpeg;base64,", "")
        assert "//" not in outside.partition(",")[0][:300] or source.startswith("data:image/jpeg;base64,"), (
            source[:80]
        )
        assert source.startswith(("data:image/jpeg;base64,", "#")) or ":" in source, source[:80]
    without_pictures = re.sub(r"data:image/jpeg;base64,[\w+/=]*", "", page)
    assert "http" not in without_pictures and "@import" not in page and "javascript:" not in page
    assert all(match.startswith("#") for match in re.findall(r"url\(([^)]*)\)", without_pictures))


def test_every_part_is_there(outline):
    assert list(outline.words)[1:] == [
        "Summary", "Red marks", "Matrix", "All metrics", "Robustness", "Curves", "Pictures", "Slices", "Shortcut audit",
        "Failures and refusals", "Model card of home", "Run manifest",
    ]  # fmt: skip
    assert all(len(text) > 40 for text in list(outline.words.values())[1:])


def test_the_worst_cell_comes_first_in_words_and_in_the_matrix(folder, outline):
    lines = read_evidence(folder / "grid").whole
    worst = min(lines.values(), key=lambda line: line.number("auroc"))
    assert worst.place.root == "far"
    summary = outline.words["Summary"]
    assert f"home, at its worst: on far, {'after ' if worst.place.step != 'clean' else ''}" in summary
    assert f"AUROC {number(worst.number('auroc'))}, 95% interval {span(*worst.ends('auroc'))}" in summary
    assert "48 pictures of 24 families" in summary and "cannot be told from guessing" in summary
    mean = np.mean([lines[Place("home", root)].number("auroc") for root in ("near", "far")])
    row = next(row for row in outline.rows if "clean pictures" in row)
    assert number(mean) in row and "of 2 cells" in row
    matrix = [row for row in outline.rows if re.match(r"(near|far), ", row)]
    found = [float(re.search(r" (1?\.\d{3}) ", row)[1]) for row in matrix[: len(lines)]]
    assert found == sorted(found) and found[0] == float(number(worst.number("auroc")))


def test_its_numbers_are_those_of_another_implementation(outline):
    # not above: once scikit-learn is imported, jsonargparse reads a config's 2 as 2.0
    from sklearn.metrics import brier_score_loss, roc_auc_score

    drawn_near = drawn(48, 2.0, seed=0, source="near").judged
    prob = 1 / (1 + np.exp(-drawn_near.logit))
    metrics = outline.words["All metrics"]
    assert number(roc_auc_score(drawn_near.label, drawn_near.logit)) in metrics
    assert number(brier_score_loss(drawn_near.label, prob)) in metrics
    assert number(roc_auc_score(drawn_near.label, drawn_near.logit)) in outline.words["Matrix"]


def test_what_was_said_is_counted_by_truth(folder, outline):
    evidence = read_evidence(folder / "grid")
    worst = min(evidence.whole.values(), key=lambda line: line.number("auroc"))
    cell = evidence.cell(worst.place)
    accused = int(((cell.predictions.label == 0) & (cell.verdict == "fake")).sum())
    assert f'Of its 24 real pictures, {accused} got the verdict "fake"' in outline.words["Summary"]
    assert "no trace found" in outline.words["Summary"]
    row = next(row for row in outline.rows if row.startswith("far: is real"))
    clean = evidence.cell(Place("home", "far"))
    counts = [
        ((clean.predictions.label == 0) & (clean.verdict == word)).sum() for word in ("no_trace", "fake")
    ]
    assert [int(each) for each in row.split()[3:7:2]] == counts


def test_failures_are_coverage_with_their_reasons_and_no_score(outline):
    failures = outline.words["Failures and refusals"]
    assert (
        "97.9%" in failures and "unreadable: cut off in the middle" in failures and "unreadable 1" in failures
    )


def test_attributes_of_the_pictures_are_sliced(outline):
    slices = outline.words["Slices"]
    assert "By age" in slices and "young" in slices and "By method" in slices and "whole" in slices
    assert any(row.startswith("old ") and "12 / 12" in row for row in outline.rows)


def test_the_manifest_names_versions_data_seed_and_command(outline):
    manifest = outline.words["Run manifest"]
    for told in (
        "dfd evaluate home.ckpt --on near far",
        "torch 2.10",
        "0123456789abcdef",
        "cdcdcdcdcdcdcdcd",
        "abababab",
    ):
        assert told in manifest


def test_the_gallery_shows_the_surest_errors_first(folder, outline):
    evidence = read_evidence(folder / "grid")
    part = gallery(evidence, 3, ())
    accused = next(
        block for block in part.blocks if getattr(block, "caption", "").startswith("Real pictures")
    )
    cell = evidence.cell(Place("home", "near"))
    right = np.flatnonzero((cell.predictions.label == 0) & (cell.verdict == "no_trace"))
    surest = right[np.argsort(cell.prob[right])][:3]
    assert [shown.lines[-1] for shown in accused.pictures] == cell.key[surest].tolist()
    assert all(shown.original.startswith(b"\xff\xd8") for shown in accused.pictures)
    assert (
        "no such root" in outline.words["Pictures"]
        and "its checkpoint is not here" in outline.words["Pictures"]
    )


def test_the_same_evaluation_gives_the_same_bytes(folder, tmp_path, page):
    report(folder / "grid", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


@pytest.fixture
def quick(monkeypatch):
    """Without the curves, which take most of the time."""
    for name in ("curves", "robustness"):
        monkeypatch.setattr(write, name, lambda evidence: Part("Curves"))


def test_a_page_that_would_be_too_large_shows_fewer_pictures(folder, tmp_path, page, monkeypatch, quick):
    whole = report(folder / "grid", tmp_path / "whole.html")
    monkeypatch.setattr(write, "MOST_BYTES", whole.size - 15_000)
    made = report(folder / "grid", tmp_path / "small.html")
    assert 0 < (tmp_path / "small.html").read_text().count("data:image/jpeg") < page.count("data:image/jpeg")
    assert made.size <= whole.size - 15_000
    assert len(page) < 15_000_000


def test_a_half_finished_grid_names_what_is_missing(tmp_path, quick):
    grid_folder(tmp_path / "grid", conditions={"clean": (None,)}, left_out=("/1/clean",), finished=False)
    made = report(tmp_path / "grid", tmp_path / "report.html")
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert made.missing == 1 and "1 missing" in str(made)
    assert "Half finished: 1 of 2 cells are missing" in outline.words["Summary"]
    assert (
        "Missing: 0 on 1, clean." in outline.words["Summary"]
        and "Not judged: 0 on 1, clean." in outline.words["Matrix"]
    )
    # what is there is measured all the same
    from sklearn.metrics import roc_auc_score

    judged = drawn(48, 2.0, seed=0, source="near").judged
    assert number(roc_auc_score(judged.label, judged.logit)) in outline.words["Matrix"]


def test_nets_that_left_a_source_out_are_told_by_it_the_worst_first(tmp_path):
    (tmp_path / "loso.csv").write_text(
        "left_out,seed,root,condition,auroc,auroc_low,auroc_high,num_images,num_families\n"
        "near,0,near,clean,0.75,0.7,0.8,48,24\nfar,0,far,clean,0.5,0.4,0.6,48,24\nfar,0,far,jpeg,0.4,,,48,24\n"
    )
    text, table = left_out(read_evidence(grid_folder(tmp_path, conditions={"clean": (None,)}))).blocks
    assert "AUROC at worst .500, .625 in the mean of 2 fits" in text.text
    assert [row[0].text for row in table.rows] == ["far", "near"] and table.rows[0][1].small == ".40 to .60"


def test_the_risk_curve_ends_where_the_tidy_table_does_and_refuses_the_unfamiliar_first(tmp_path):
    evidence = read_evidence(grid_folder(tmp_path, roots=("near",), conditions={"clean": (None,)}))
    place = Place("home", "near")
    cell, line = evidence.cell(place), evidence.whole[place]
    coverage, risk = curves._risks({"near": cell})["near"]
    at = np.searchsorted(coverage, 0.8 - 1e-9)
    assert risk[at] == pytest.approx(line.number("risk@cov80"))
    # what is wrong is called unfamiliar: then only right answers come first
    wrong = (cell.predictions.logit > 0) != (cell.predictions.label == 1)
    predictions = replace(cell.predictions, familiarity=np.where(wrong, 0.01, 0.5))
    gated = replace(cell, predictions=predictions, verdict=np.where(wrong, "unfamiliar", cell.verdict))
    found = curves._risks({"near": gated})
    assert found["near"][1][: (~wrong).sum() - 1].max() == 0 < found["all, confidence alone"][1].max()


def test_a_damaged_cell_is_named_and_the_others_are_reported(tmp_path, quick):
    grid = grid_folder(tmp_path / "grid", conditions={"clean": (None,)})
    (grid / "cells/0/1/clean.parquet").write_bytes(b"PAR1 cut off")
    report(grid, tmp_path / "report.html")
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "cells/0/1/clean.parquet cannot be read" in outline.words["Summary"]
    assert "near, clean" in outline.words["Matrix"]


def test_what_is_no_evaluation_is_refused_in_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 1
    error = capsys.readouterr().err
    assert "neither a grid" in error and error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "told", ["{", "[]", '{"detectors": []}', '{"detectors": [7], "roots": [], "conditions": [], "cells": []}']
)
def test_a_strangers_grid_json_is_one_clear_error(tmp_path, told):
    (tmp_path / "grid.json").write_text(told)
    with pytest.raises(ValueError, match=r"grid\.json"):
        report(tmp_path, tmp_path / "report.html")


def test_somebody_elses_page_is_left_alone(folder, tmp_path, quick):
    (tmp_path / "report.html").write_text("<html>mine")
    with pytest.raises(ValueError, match="did not write it"):
        report(folder / "grid", tmp_path / "report.html")
    (tmp_path / "MODEL_CARD.md").write_text("# mine")
    with pytest.raises(ValueError, match="did not write it"):
        report(folder / "grid", tmp_path / "other.html")
    with pytest.raises(ValueError, match="web page"):
        report(folder / "grid", tmp_path / "report.pdf")


def test_svg_of_a_figure_stands_in_a_page_as_words_without_ids_of_its_own():
    figure = Figure(figsize=(2, 2))
    figure.subplots().set_title("<b> & $^$")
    text = svg(figure)
    assert (text.startswith("<svg") and text.endswith("</svg>\n")) or text.endswith("</svg>")
    assert (
        "&lt;b&gt; &amp; $^$" in text
        and "http" not in text
        and "<style" not in text
        and "figure_1" not in text
    )
    again = Figure(figsize=(2, 2))
    again.subplots().set_title("<b> & $^$")
    assert svg(again) == text


def test_words_for_markdown_stay_words():
    assert markdown("a|b *c* [x](y) <i> `z`\n# no") == r"a\|b \*c\* \[x\](y) &lt;i&gt; \`z\`\\n\# no"


@pytest.mark.parametrize(
    ("hits", "families", "low", "high"),
    [(np.zeros(40, bool), 20, 0.0, 1 - 0.05 ** (1 / 20)), (np.ones(10, bool), 10, 0.05 ** (1 / 10), 1.0)],
)
def test_a_share_of_none_or_all_is_not_certain(hits, families, low, high):
    family = np.arange(len(hits)) % families
    assert share_interval(hits, family) == pytest.approx((low, high))


def test_an_interval_of_a_share_is_a_bootstrap_over_families():
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(50), 4)
    hit = np.repeat(rng.random(50) < 0.3, 4)  # a family is one fact, told four times
    low, high = share_interval(hit, family)
    draws = [hit.reshape(50, 4)[rng.integers(0, 50, 50)].mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))), abs=0.02)
    assert high - low > 1.5 * (2 * 1.96 * math.sqrt(hit.mean() * (1 - hit.mean()) / 200))


def test_numbers_for_people():
    assert [number(value) for value in (0.4412, 1.0, -0.25, math.nan, math.inf)] == [
        ".441",
        "1.000",
        "-.250",
        "–",
        "–",
    ]
    assert [percent(share) for share in (0, 0.0042, 0.26, 0.999, 1, math.nan)] == [
        "0%",
        "0.4%",
        "26%",
        "99.9%",
        "100%",
        "–",
    ]
