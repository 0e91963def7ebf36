"""Pixel metrics against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, matthews_corrcoef, roc_auc_score

from dfd.evaluate.forensic_benchmark.localization import BINS, FIGURES, POOLED, locate, pooled
from dfd.forensics import Map

BY_SKLEARN = {"f1": f1_score, "iou": jaccard_score, "mcc": matthews_corrcoef}


def drawn(seed: int, levels: int, shape=(17, 23)) -> tuple[Map, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.uniform(0.05, 0.6)
    mask[0, 0], mask[0, 1] = True, False
    values = rng.integers(0, levels, shape) / levels + 0.3 * mask * rng.random()
    return Map(values.astype(np.float32), 0.1, 0.9, "x"), mask


@pytest.mark.parametrize("levels", [2, 5, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_figures_of_a_picture_are_those_of_sklearn(seed, levels):
    found, mask = drawn(seed, levels)
    figures = locate(found, mask)
    assert figures is not None
    truth, values = mask.ravel(), found.values.ravel()
    assert figures.pixel_auc == pytest.approx(roc_auc_score(truth, values))
    middle = found.values.ravel() >= np.float32(0.5)
    for name, metric in BY_SKLEARN.items():
        options = {} if name == "mcc" else {"zero_division": 0}
        of_all = [metric(truth, values >= each, **options) for each in np.unique(values)]
        assert getattr(figures, f"{name}_best") == pytest.approx(max(of_all))
        assert getattr(figures, f"{name}_fixed") == pytest.approx(metric(truth, middle, **options))
    assert figures.inside.sum() == mask.sum() and figures.outside.sum() == (~mask).sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_pooled_figures_are_those_of_all_pixels_together(seed):
    pictures = [drawn(seed + number, 4, (11, 13 + number)) for number in range(3)]
    each = [locate(found, mask) for found, mask in pictures]
    figures = pooled(sum(one.inside for one in each)[None], sum(one.outside for one in each)[None])
    assert tuple(figures) == POOLED
    scaled = np.concatenate([np.clip((found.values.ravel() - 0.1) / 0.8, 0, 1) for found, _ in pictures])
    place = np.minimum((scaled.astype(np.float32) * BINS).astype(int), BINS - 1)
    truth = np.concatenate([mask.ravel() for _, mask in pictures])
    assert figures["pooled_pixel_auc"][0] == pytest.approx(roc_auc_score(truth, place))
    for name, metric in BY_SKLEARN.items():
        options = {} if name == "mcc" else {"zero_division": 0}
        of_all = [metric(truth, place >= edge, **options) for edge in np.unique(place)]
        assert figures[f"pooled_{name}_best"][0] == pytest.approx(max(of_all))
        assert figures[f"pooled_{name}_fixed"][0] == pytest.approx(
            metric(truth, place >= BINS // 2, **options)
        )


def test_weighted_figures_of_a_map_of_noughts_and_ones_are_the_plain_ones():
    rng = np.random.default_rng(5)
    mask, called = rng.random((20, 30)) < 0.3, rng.random((20, 30)) < 0.4
    figures = locate(Map(called.astype(np.float32), 0.0, 1.0, "x"), mask)
    for name, metric in BY_SKLEARN.items():
        assert getattr(figures, f"{name}_weighted") == pytest.approx(metric(mask.ravel(), called.ravel()))


def test_the_mask_itself_is_perfect_and_its_opposite_is_worst():
    _, mask = drawn(1, 2)
    right = locate(Map(mask.astype(np.float32), 0.0, 1.0, "x"), mask)
    assert [getattr(right, name) for name in FIGURES] == pytest.approx([1.0] * len(FIGURES))
    wrong = locate(Map(1 - mask.astype(np.float32), 0.0, 1.0, "x"), mask)
    assert wrong.pixel_auc == 0 and wrong.f1_fixed == 0 and wrong.mcc_fixed == pytest.approx(-1)


def test_noise_is_chance():
    rng = np.random.default_rng(2)
    mask = np.zeros((300, 300), bool)
    mask[50:150, 60:200] = True
    noise = locate(Map(rng.random((300, 300), np.float32), 0.0, 1.0, "x"), mask)
    assert noise.pixel_auc == pytest.approx(0.5, abs=0.02) and abs(noise.mcc_fixed) < 0.03


def test_a_tool_without_a_map_finds_nothing():
    _, mask = drawn(3, 2)
    flat = locate(None, mask)
    assert flat.pixel_auc == 0.5 and flat.f1_fixed == 0 and flat.mcc_best == 0


@pytest.mark.parametrize("value", [True, False])
def test_where_all_or_nothing_was_edited_there_is_nothing_to_find(value):
    assert locate(None, np.full((9, 9), value)) is None


def test_a_map_of_blocks_is_spread_over_the_picture():
    mask = np.zeros((64, 96), bool)
    mask[16:32, 32:64] = True
    blocks = mask[::16, ::16].astype(np.float32)
    assert locate(Map(blocks, 0.0, 1.0, "x"), mask).iou_fixed == 1.0


def test_a_large_mask_is_thinned_alike():
    mask = np.zeros((1000, 1200), bool)
    mask[:500] = True
    values = np.linspace(1, 0, 1000, dtype=np.float32)[:, None].repeat(1200, 1)
    figures = locate(Map(values, 0.0, 1.0, "x"), mask)
    assert figures.pixel_auc == 1.0 and figures.inside.sum() == 500 * 1200 / 4


def test_counts_of_many_pixels_do_not_overflow():
    half = np.zeros((1, BINS))
    half[0, -1] = 5e12
    other = half[:, ::-1].copy()
    figures = pooled(half, other)
    assert figures["pooled_mcc_fixed"][0] == pytest.approx(1.0)
