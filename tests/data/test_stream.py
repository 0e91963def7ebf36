import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from dfd.data.collate import collate
from dfd.data.order import Windows, epoch_order
from dfd.data.stream import Contents, EvalSampler, ShardDataset, TrainSampler
from dfd.media.crops import View


def order_of(num_rows: int, weights=(1.0,), window=None, seed=0):
    rows = np.arange(num_rows) * 3 + 1  # rows are not positions
    shard = np.arange(num_rows) // 7
    root = np.arange(num_rows) * len(weights) // num_rows
    if window is None:
        return lambda epoch: epoch_order(rows, root, weights, seed, epoch)
    return lambda epoch: Windows(rows, shard, root, weights, seed, window)(epoch)[:]


@pytest.mark.parametrize("window", [None, 3])
def test_each_epoch_is_a_permutation_and_each_its_own(window):
    order = order_of(200, window=window)
    for epoch in range(3):
        assert sorted(order(epoch)) == list(np.arange(200) * 3 + 1)
        assert (order(epoch) == order(epoch)).all()
    assert (order(0) != order(1)).any()
    assert (order_of(200, window=window, seed=1)(0) != order(0)).any()


def test_a_window_keeps_its_shards_together():
    rows = order_of(210, window=3)(0)
    shards = ((rows - 1) // 3) // 7
    for at in range(0, 210, 21):
        assert len(set(shards[at : at + 21])) == 3
    assert any(len(set(shards[at : at + 3])) > 1 for at in range(0, 210, 21)), (
        "samples are mixed within a window"
    )


def test_weights_show_whole_permutations_and_a_fraction():
    rows = order_of(200, weights=(2.5, 0.25))(4)
    seen = np.bincount((rows - 1) // 3, minlength=200)
    assert set(seen[:100]) == {2, 3} and (seen[:100] == 3).sum() == 50
    assert set(seen[100:]) == {0, 1} and seen[100:].sum() == 25
    other = np.bincount((order_of(200, weights=(2.5, 0.25))(5) - 1) // 3, minlength=200)
    assert (seen != other).any(), "each epoch draws its own fraction"


@given(num_rows=st.integers(8, 90), world=st.sampled_from([1, 2, 4]), position=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_ranks_share_one_order_wherever_it_starts(num_rows, world, position):
    order = order_of(num_rows)
    per_rank = [
        list(TrainSampler(order, num_rows, 8, rank, world, lambda batches: divmod(position, batches)))
        for rank in range(world)
    ]
    whole = list(TrainSampler(order, num_rows, 8, 0, 1, lambda batches: divmod(position, batches)))
    assert len(whole) == num_rows // 8 - position % (num_rows // 8)
    for batch, parts in zip(whole, zip(*per_rank, strict=True), strict=True):
        assert sorted(batch) == sorted(at for part in parts for at in part)
        assert {epoch for epoch, _ in batch} == {position // (num_rows // 8)}


@given(num_rows=st.integers(8, 60), world=st.integers(1, 5), batch=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_evaluation_shows_each_row_once_at_any_world_size(num_rows, world, batch):
    rows = np.arange(num_rows) + 5
    samplers = [EvalSampler(rows, batch, rank, world) for rank in range(world)]
    assert sorted(row for sampler in samplers for step in sampler for _, row in step) == list(rows)
    assert all(len(list(sampler)) == len(sampler) >= 1 for sampler in samplers)
    alone = [tuple(step) for step in EvalSampler(rows, batch, 0, 1)]
    shared = [tuple(step) for sampler in samplers for step in sampler if step]
    assert set(shared) == set(alone), "the same batches, whoever judges them"


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    """Forty PNGs in one file, red telling the row."""
    blobs = []
    for row in range(40):
        buffer = io.BytesIO()
        image = np.random.default_rng(row).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        image[..., 0] = row
        Image.fromarray(image).save(buffer, "PNG")
        blobs.append(buffer.getvalue())
    (tmp_path / "blob").write_bytes(b"".join(blobs))
    length = np.array([len(blob) for blob in blobs])
    offset = np.concatenate([[0], length.cumsum()[:-1]])
    zeros = np.zeros(40, np.int64)
    return Contents(
        [tmp_path / "blob"],
        zeros.astype(np.int32),
        offset,
        length,
        (np.arange(40) % 2).astype(np.int8),
        zeros,
    )


def jitter(sample, rng):
    return {**sample, "image": sample["image"] + np.uint8([0, 1, 0]) * rng.integers(9, dtype=np.uint8)}


@pytest.mark.parametrize("workers", [0, 3])
def test_augmentation_is_the_same_at_any_number_of_workers(contents, workers):
    view = View(size=32, longest=None)
    dataset = ShardDataset(contents, view, [jitter], seed=3, training=True)

    def run(num_workers):
        sampler = TrainSampler(lambda epoch: np.arange(40), 40, 8, 0, 1, lambda batches: divmod(5, batches))
        return [
            batch
            for batch in DataLoader(
                dataset, batch_sampler=sampler, collate_fn=collate, num_workers=num_workers
            )
        ]

    for batch, expected in zip(run(workers), run(0), strict=True):
        assert (batch["image"] == expected["image"]).all()
        assert (batch["image"][:, 0, 0, 0] == batch["row"]).all()
        assert (batch["label"] == batch["row"] % 2).all()
        assert batch["image"].shape == (8, 32, 32, 3)


def forging(size):
    """A stage that marks a square in the picture's corner, pixel for pixel, and calls it a fake."""

    def stage(sample, rng):
        image, mask = sample["image"].copy(), np.zeros(sample["image"].shape[:2], np.uint8)
        image[:size, :size], mask[:size, :size] = 255, 255
        return {**sample, "image": image, "mask": mask, "label": 1}

    return stage


@pytest.mark.parametrize(
    "view", [View(size=32, longest=None), View(size=64, longest=None), View(size=16, resize=True)]
)
def test_a_mask_is_cut_with_its_picture(contents, view):
    for row in range(0, 40, 2):
        sample = ShardDataset(contents, view, [forging(24)], 0, True)[0, row]
        assert (
            sample["mask"].shape == sample["image"].shape[:2] == (view.size, view.size)
            and sample["mask"].dtype == np.uint8
        )
        assert (sample["image"][sample["mask"] == 255] == 255).all() and sample["label"] == 1
        assert sample["image"].flags.c_contiguous and sample["mask"].flags.c_contiguous
    assert collate([sample]).keys() == {"image", "label", "row", "valid"}


def test_a_crop_beside_the_forgery_is_as_real_as_it_was(contents):
    dataset = ShardDataset(contents, View(size=32, longest=None), [forging(4)], 0, True)
    samples = [dataset[epoch, row] for epoch in range(4) for row in range(40)]
    for sample in samples:
        assert sample["label"] == (1 if sample["mask"].any() else sample["row"] % 2)
    assert {bool(sample["mask"].any()) for sample in samples} == {True, False}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sample: {**sample, "image": sample["image"] / 255}, r"an image that is \(.*, 3\) of float64"),
        (
            lambda sample: {**sample, "image": sample["image"][..., 0]},
            r"an image that is \(\d+, \d+\) of uint8",
        ),
        (lambda sample: {**sample, "image": sample["image"].tolist()}, "an image that is a list"),
        (lambda sample: None, "None"),
        (lambda sample: sample["image"].tobytes(), "a bytes"),
        (lambda sample: {"image": sample["image"]}, "a sample without its label or row"),
        (
            lambda sample: {**sample, "mask": np.zeros((9, 9), np.uint8)},
            r"a mask that is \(9, 9\) beside an image .*",
        ),
    ],
)
def test_what_a_transform_returns_in_place_of_a_sample_is_said(contents, change, words, training):
    def mine(sample, rng):
        return change(sample)

    view = View(size=32, longest=None)
    dataset = ShardDataset(contents, view, [mine], 0, training, lambda row: f"no. {row}")
    with pytest.raises(ValueError, match=f"^mine returned {words} for sample no. 2, and has to return"):
        dataset[0, 2]


def test_evaluation_refuses_a_label_that_a_stage_changed(contents):
    dataset = ShardDataset(
        contents, View(size=32, longest=None), [forging(4)], 0, False, lambda row: f"no. {row}"
    )
    assert dataset[0, 3]["label"] == 1  # a fake stays one
    with pytest.raises(ValueError, match=r"changed the label of sample no. 2.*data.augment"):
        dataset[0, 2]


def test_a_shard_that_was_cut_is_named(contents):
    contents.shards[0].write_bytes(contents.shards[0].read_bytes()[:-100])
    with pytest.raises(ValueError, match="ends before sample 39"):
        ShardDataset(contents, View(size=32), [], 0, True)[0, 39]


def test_view_crops_native_pixels_and_averages_the_corners():
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    crops = View(size=40, crops=5).eval_crops(image)
    assert (crops[0] == image[:40, :40]).all() and (crops[3] == image[-40:, -40:]).all()
    assert (crops[-1] == image[10:50, 20:60]).all()
    assert View(size=40, crops=5, longest=50).eval_crops(image).shape == (5, 40, 40, 3)
    assert View(size=40, resize=True).eval_crops(image).shape == (1, 40, 40, 3)


def test_view_enlarges_nothing():
    image = np.random.default_rng(0).integers(0, 255, (20, 90, 3), dtype=np.uint8)
    crop = View(size=40, crops=1, longest=None).eval_crops(image)[0]
    assert (crop[10:30] == image[:, 25:65]).all(), "a small picture is mirrored at its edges, its pixels stay"
    assert View(size=40).train(image, np.random.default_rng(1)).shape == (40, 40, 3)


@pytest.mark.parametrize("wrong", [{"size": 8}, {"crops": 4}, {"size": 128, "longest": 100}])
def test_a_view_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="view"):
        View(**wrong)


def test_draws_depend_on_seed_epoch_and_row_alone(contents):
    def draws(seed, epoch, row, before=0):
        dataset = ShardDataset(contents, View(size=32, longest=None), [], seed, training=True)
        for _ in range(before):
            dataset._draw(1, 2).integers(9, dtype=np.uint8)  # half a word stays behind in the generator
        return tuple(dataset._draw(epoch, row).random(8))

    assert draws(3, 1, 5) == draws(3, 1, 5, before=3)
    places = [(seed, epoch, row) for seed in range(5) for epoch in range(8) for row in range(50)]
    drawn = np.array([draws(*place) for place in places])
    assert len({tuple(line) for line in drawn}) == len(places)
    assert (
        abs(drawn.mean() - 0.5) < 0.01
        and abs(np.corrcoef(drawn, rowvar=False)[np.triu_indices(8, 1)]).max() < 0.1
    )
