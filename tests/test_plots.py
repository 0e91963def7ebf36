import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import confusion_matrix

from dfd.batch import Predictions
from dfd.plots import (
    boxes,
    class_bars,
    confusion,
    curves,
    det,
    histograms,
    image_grid,
    mean_spectra,
    precision_recall,
    quantization_tables,
    reliability,
    risk_coverage,
    roc,
    score_bars,
    shares,
    violins,
)


def drawn(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, size)
    return label, np.round(rng.normal(size=size) + 2 * label - 1, 1)


def points(axes) -> np.ndarray:
    return next(line.get_xydata() for line in axes.lines if line.get_linewidth() == 2)


def test_roc_and_precision_recall_pass_through_their_threshold():
    label, logit = drawn(200)
    called = logit > 0.3
    tpr, fpr, precision = called[label == 1].mean(), called[label == 0].mean(), label[called].mean()
    for figure, x, y in (
        (roc(label, logit, 0.3), fpr, tpr),
        (precision_recall(label, logit, 0.3), tpr, precision),
    ):
        (axes,) = figure.axes
        marker = next(line for line in axes.lines if line.get_marker() == "o")
        np.testing.assert_allclose(marker.get_xydata(), [[x, y]])
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title(loc="left")
    # vertices are thresholds: each share of fakes found comes with its share of false alarms
    fpr, tpr = points(roc(label, logit).axes[0]).T
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    area = ((tpr[1:] + tpr[:-1]) * np.diff(fpr)).sum() / 2
    pairs = logit[label == 1][:, None] - logit[label == 0]
    assert area == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_det_is_misses_over_false_alarms_on_normal_deviates():
    label, logit = drawn(400)
    (axes,) = det(label, logit, 0.3).axes
    alarms, misses = norm.cdf(points(axes)).T
    assert (np.diff(alarms) >= 0).all() and (np.diff(misses) <= 0).all()
    for threshold in (-1.0, 0.3, 1.2):
        called = logit > threshold
        expected = called[label == 0].mean(), 1 - called[label == 1].mean()
        assert np.abs(np.stack([alarms, misses], axis=1) - expected).sum(axis=1).min() < 1e-9
    marker = next(line for line in axes.lines if line.get_marker() == "o")
    called = logit > 0.3
    expected = called[label == 0].mean(), 1 - called[label == 1].mean()
    np.testing.assert_allclose(norm.cdf(marker.get_xydata()), [expected], atol=1e-9)
    assert [tick.get_text() for tick in axes.get_xticklabels()][:2] == ["0.01", "0.05"]


def test_risk_over_coverage_is_drawn_as_given():
    coverage, risk = np.array([0.25, 0.5, 1.0]), np.array([0.0, 0.1, 0.3])
    (axes,) = risk_coverage(coverage, risk, 0.1234).axes
    np.testing.assert_allclose(points(axes), np.stack([coverage, risk], axis=1))
    assert axes.get_legend().get_texts()[0].get_text() == "area 0.1234"
    assert next(line for line in axes.lines if line.get_linestyle() == "--").get_ydata()[0] == 0.3
    (empty,) = risk_coverage(np.zeros(0), np.zeros(0), np.nan).axes
    assert "undefined" in empty.texts[0].get_text()


def test_confusion_shows_counts_and_shares():
    label, logit = drawn(100)
    called = (logit > 0).astype(int)
    texts = {
        text.get_position(): text.get_text().split("\n") for text in confusion(label, called).axes[0].texts
    }
    counts = confusion_matrix(label, called)
    for (truth, word), count in np.ndenumerate(counts):
        assert texts[word, truth] == [str(count), f"{count / counts[truth].sum():.1%}"]


def test_reliability_shows_share_and_count_of_each_bin():
    prob = np.array([0.02, 0.03, 0.04, 0.97, 0.99, 1.0, 0.0])
    label = np.array([0, 0, 1, 1, 1, 0, 0])
    axes, below = reliability(label, prob).axes
    (low, high) = next(line.get_xydata() for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(low, [(0.02 + 0.03 + 0.04) / 4, 1 / 4])
    np.testing.assert_allclose(high, [(0.97 + 0.99 + 1.0) / 3, 2 / 3])
    heights = np.array([bar.get_height() for bar in below.patches]).reshape(2, 15)
    assert heights.sum() == 7 and heights[:, 0].tolist() == [3, 1] and heights[:, -1].tolist() == [1, 2]


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1], [-1, -1]])
def test_a_page_without_both_classes_says_undefined(labels):
    size = len(labels)
    names = np.full(size, "")
    page = curves(
        Predictions(np.arange(size), np.ones(size), np.array(labels, int), names, names, names, names),
        title="none",
    )
    texts = [
        text.get_text()
        for axes in page.findobj(lambda artist: hasattr(artist, "texts"))
        for text in axes.texts
    ]
    assert sum("undefined" in text for text in texts) == 3


def test_a_page_is_a_png_with_its_title(tmp_path):
    label, logit = drawn(300)
    names = np.full(300, "")
    page = curves(
        Predictions(np.arange(300), logit, label, names, names, names, names),
        lambda raw: raw / 1.5,
        0.2,
        "val: 300 images",
        (np.array([0.5, 1.0]), np.array([0.1, 0.2]), 0.1),
    )
    page.savefig(tmp_path / "page.png")
    assert page.get_suptitle() == "val: 300 images"
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_a_grid_lays_maps_over_grey_pictures():
    images = [np.random.default_rng(at).random((8, 8, 3)) for at in range(3)] + [
        np.full((8, 8, 3), 255, np.uint8)
    ]
    maps = [None, np.eye(8), -np.eye(8), np.zeros((8, 8))]
    figure = image_grid(images, list("abcd"), maps, columns=3, title="t")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", "d", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 2, 2, 2, 0, 0]
    fake, real = (
        figure.axes[at].images[1].to_rgba(figure.axes[at].images[1].get_array())[0, 0] for at in (1, 2)
    )
    assert fake[0] > fake[2] and real[2] > real[0]  # red for fake, blue for real
    assert not figure.axes[3].images[1].get_alpha().any()  # an empty map hides nothing
    figure.canvas.draw()


def test_pyplot_is_never_imported():
    code = [
        "import sys, numpy as np",
        "from dfd.plots import reliability",
        "reliability(np.eye(2)[0], np.eye(2)[0]).canvas.draw()",
        "assert 'matplotlib.pyplot' not in sys.modules",
    ]
    subprocess.run([sys.executable, "-c", "; ".join(code)], check=True)


def test_histograms_are_shares_of_their_class():
    value = np.array([1.0, 2.0, 2.0, 300.0])
    figure = histograms({"bytes": value, "same": np.ones(4)}, np.array([0, 0, 1, 1]), log=["bytes", "same"])
    spread, constant = figure.axes
    assert spread.get_xscale() == "log" and spread.get_legend()
    assert constant.texts[0].get_text() == "same:\n1 in every image" and not constant.containers
    heights = [sum(bar.get_height() for bar in bars) for bars in spread.containers]
    assert heights == pytest.approx([1, 1])


def test_a_few_images_are_counted_in_whole_ones():
    ticks = class_bars({"crawl": (0, 3), "camera": (1, 0)}).axes[0].get_xticks()
    assert len(ticks) > 2 and all(tick == int(tick) for tick in ticks), ticks


def test_bars_and_shares_show_their_counts():
    texts = [text.get_text() for text in class_bars({"gan": (0, 7), "ffhq": (5, 0)}).axes[0].texts]
    assert texts == ["0 + 7", "5 + 0"]
    labels = [text.get_text() for text in shares({"real": 3, "fake": 1, "none": 0}).axes[0].texts]
    assert labels == ["real\n3 (75.0%)", "fake\n1 (25.0%)"]


def test_boxes_and_violins_draw_real_and_fake_beside_each_other():
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    for draw in (boxes, violins):
        figure = draw({"red": rng.random(40), "blue": rng.random(40)}, label)
        assert [axes.get_ylabel() for axes in figure.axes] == ["red", "blue"]
        assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["real", "fake"]
        figure.canvas.draw()
    assert (
        boxes({"width": np.full(40, 28480.0)}, label).axes[0].texts[0].get_text()
        == "width:\n28480 in every image"
    )
    assert "two images" in violins({"red": np.ones(3)}, np.array([0, 0, 1])).axes[0].texts[0].get_text()


def test_spectra_tables_and_scores_are_drawn_as_they_are():
    spectra = np.random.default_rng(0).random((2, 16, 9))
    figure = mean_spectra(spectra, [5, 6])
    np.testing.assert_allclose(figure.axes[2].images[0].get_array(), spectra[1] - spectra[0])
    assert figure.axes[1].get_title() == "fake, 6 images"
    steps = [text.get_text() for text in quantization_tables({"one": range(1, 65)}).axes[0].texts]
    assert steps == [str(step) for step in range(1, 65)]
    shown = score_bars({"size": 0.91, "EXIF": 0.4, "none": np.nan}).axes[0]
    assert [text.get_text() for text in shown.texts] == ["0.91", "0.40", "0.50"]
    assert [round(bar.get_width(), 2) for bar in shown.patches] == [0.41, -0.1, 0]
