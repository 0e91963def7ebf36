"""Planted edits change what their mask says, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import photo

from dfd.evaluate.forensic_benchmark.planted_edits import KINDS, plant

SCENE, DONOR = photo(1, 256), photo(2, 200)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32), height=st.integers(96, 256), width=st.integers(96, 256))
@settings(max_examples=15, deadline=None)
def test_only_what_the_mask_covers_has_changed(kind, seed, height, width):
    before = SCENE[:height, :width]
    kept = before.copy()
    after, mask = plant(kind, before, DONOR, np.random.default_rng(seed))
    assert np.array_equal(before, kept)
    assert after.shape == before.shape and after.dtype == np.uint8
    assert mask.shape == before.shape[:2] and mask.dtype == bool
    changed = (after != before).any(axis=2)
    assert not (changed & ~mask).any()
    assert 0.005 < mask.mean() < 0.35


@pytest.mark.parametrize("kind", KINDS)
def test_most_of_what_an_edit_touches_has_changed(kind):
    shares = []
    for seed in range(8):
        after, mask = plant(kind, SCENE, DONOR, np.random.default_rng(seed))
        shares.append((after != SCENE).any(axis=2)[mask].mean())
    # of a copy-move one of the two ends is as it was
    assert np.mean(shares) > (0.4 if kind.startswith("copy_move") else 0.7)


def test_the_same_seed_plants_the_same_edit():
    for kind in KINDS:
        (first, mask), (again, mask_again) = (
            plant(kind, SCENE, DONOR, np.random.default_rng(7)) for _ in range(2)
        )
        assert np.array_equal(first, again) and np.array_equal(mask, mask_again)


def test_both_ends_of_a_copy_are_equal():
    """A second way to find the copy: the shift at which most pixels of the mask equal pixels of the picture before."""
    for seed in range(5):
        after, mask = plant("copy_move", SCENE, DONOR, np.random.default_rng(seed))
        changed = (after != SCENE).any(axis=2)
        # well inside the target: no soft edge
        inside = (
            changed
            & np.roll(changed, 3, 0)
            & np.roll(changed, -3, 0)
            & np.roll(changed, 3, 1)
            & np.roll(changed, -3, 1)
        )
        y, x = np.argwhere(inside)[len(np.argwhere(inside)) // 2]
        patch = after[y - 4 : y + 5, x - 4 : x + 5]
        windows = np.lib.stride_tricks.sliding_window_view(SCENE, (9, 9, 3))[:, :, 0]
        at = np.argwhere((windows == patch).all(axis=(2, 3, 4)))
        assert len(at) >= 1
        assert any(mask[row + 4, column + 4] for row, column in at)


def test_a_splice_comes_out_of_the_donor():
    donor = np.full_like(DONOR, 7)
    donor[::2] = 250
    after, mask = plant("splice", SCENE, donor, np.random.default_rng(3))
    assert np.isin(after[mask], (7, 250)).mean() > 0.8


def test_a_turned_copy_comes_from_inside_the_picture():
    for seed in range(20):
        after, mask = plant("copy_move_turned", SCENE, DONOR, np.random.default_rng(seed))
        changed = (after != SCENE).any(axis=2)
        assert (mask & ~changed).sum() > 0.3 * changed.sum(), "the source is in the mask too"


@pytest.mark.parametrize("size", [95, 1])
def test_too_small_a_picture_is_refused(size):
    with pytest.raises(ValueError, match="96 on each side"):
        plant("splice", SCENE[:size], DONOR, np.random.default_rng(0))
    with pytest.raises(ValueError, match="96 on each side"):
        plant("splice", SCENE, DONOR[:, :size], np.random.default_rng(0))


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(ValueError, match="inpaint"):
        plant("erase", SCENE, DONOR, np.random.default_rng(0))
