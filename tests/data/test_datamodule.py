import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from noise_shards import VIEW, make, shards
from pictures import noise

from dfd.augment import CutMix, FaceBlend, MixUp
from dfd.batch import FAKE, REAL
from dfd.data import ShardDataModule
from dfd.data.resume import check_same
from dfd.detector.card import TOY
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table
from dfd.signals import ASKS


def on_ranks(data, world, rank=0):
    data.trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world,
        overfit_batches=0,
        state=SimpleNamespace(fn="validate"),
        fit_loop=SimpleNamespace(
            epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(ready=0)))
        ),
    )
    return data


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roots")
    return [shards(folder, "first"), shards(folder, "second", train=10)]


def test_pixels_become_floats_in_the_unit_interval_on_the_device(roots):
    data = make(roots)
    raw = next(iter(data.train_dataloader()))
    batch = data.on_after_batch_transfer(raw, 0)
    assert raw["image"].dtype == torch.uint8 and batch["image"].shape == (4, 3, 32, 32)
    assert torch.equal((batch["image"] * 255).round().byte(), raw["image"].permute(0, 3, 1, 2))
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    crops = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)["image"]
    assert crops.shape[1:] == (5, 3, 32, 32)


def test_fingerprints_are_the_heads_of_the_files_digests(roots):
    data = make(roots)
    digests = [row["sha256"] for root in roots for row in load_table(root).to_pylist()]
    rows = np.array([3, 0, 50, 17])
    assert data.fingerprints(rows).tolist() == [int(digests[row][:15], 16) for row in rows]
    assert data.fingerprints(rows[:0]).tolist() == []


def test_roots_are_mixed_by_weight_in_training_only(roots):
    data = make(dict(zip(roots, (0.5, 2), strict=True)))
    rows = torch.cat([batch["row"] for batch in data.train_dataloader()]).numpy()
    source = data.describe(rows)["source"]
    # 10 of the first root's 20, the second's 10 twice: 30 samples, of which 28 fill whole batches
    assert len(rows) == 28 and 18 <= (source == "second").sum() <= 20
    judged = torch.cat([batch["row"] for batch in data.val_dataloader()]).numpy()
    assert sorted(data.describe(judged)["source"]) == ["first"] * 6 + ["second"] * 6


@pytest.mark.parametrize("window", [None, 1])
def test_balanced_roots_are_shown_equally_often_whatever_they_hold(tmp_path, roots, window):
    nothing = shards(tmp_path, "nothing", train=0)
    data = make([*roots, nothing], window=window, balance="root")
    assert list(data.strata.weights) == [0.75, 1.5, 1]  # 15 of 20, and of 10
    assert data.label_counts("train") in [(15, 15), (14, 16), (16, 14)]
    rows = torch.cat([batch["row"] for batch in data.train_dataloader()]).numpy()
    source = data.describe(rows)["source"]
    assert len(rows) == 28 and set(source) == {"first", "second"} and 13 <= (source == "first").sum() <= 15
    twice = make({roots[0]: 2, roots[1]: 1}, balance="root")
    assert list(twice.strata.weights) == [1.5, 1.5]  # 30 of the first, 15 of the second
    plain = make(roots)
    twice.trainer = plain.trainer = SimpleNamespace(limit_train_batches=1.0)
    with pytest.raises(
        ValueError, match=r"weight of .* is 1, was 2"
    ):  # a run does not go on with another mixture
        check_same(twice.state_dict()["data"], plain.state_dict()["data"])


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 1])
def test_a_root_that_holds_train_rows_alone_changes_no_judgement(tmp_path, roots, window):
    generated = shards(tmp_path, "generated", train=30, val=0, test=0, labels=(FAKE,))
    mixed, alone = make({roots[0]: 1.0, generated: 0.4}, window=window), make(roots[0])
    sources = set()
    for epoch in range(4):
        loader = mixed.train_dataloader()
        loader.batch_sampler.position = lambda batches, epoch=epoch: (epoch, 0)
        rows = torch.cat([batch["row"] for batch in loader]).numpy()
        sources |= set(mixed.describe(rows)["source"])
        assert len(rows) == 32 and (mixed.describe(rows)["source"] == "generated").sum() <= 12
    assert sources == {"first", "generated"} and mixed.label_counts("train") == (10, 10 + 12)
    for split in ("val", "test"):
        assert mixed.label_counts(split) == alone.label_counts(split)
        np.testing.assert_array_equal(_pixels(mixed, split), _pixels(alone, split))
        judged = mixed.describe(mixed.rows(split))
        assert set(judged["split"]) == {split} and set(judged["source"]) == {"first"}
    for stage in ("validate", "test", "predict"):
        mixed.setup(stage)


def test_weights_change_neither_validation_nor_test(roots):
    plain, weighed = make(roots), make(dict(zip(roots, (0.3, 7), strict=True)))
    for split in ("val", "test"):
        np.testing.assert_array_equal(_pixels(plain, split), _pixels(weighed, split))
        assert plain.label_counts(split) == weighed.label_counts(split)
        weighed.check_ledger(split, weighed.rows(split))


def test_the_table_describes_what_was_read(roots):
    data = make(roots)
    for batch in data.val_dataloader():
        facts = data.describe(batch["row"].numpy())
        assert set(facts["split"]) == {"val"}
        assert [int(key.split("-")[1]) % 2 for key in facts["key"]] == batch["label"].tolist()


@pytest.mark.parametrize("world", [1, 2, 5])
def test_evaluation_judges_each_image_once_on_any_number_of_ranks(roots, world):
    rows = []
    for rank in range(world):
        data = on_ranks(make(roots), world, rank)
        rows += [int(row) for batch in data.val_dataloader() for row in batch["row"]]
    data.check_ledger("val", np.array(rows))
    with pytest.raises(RuntimeError, match="judged twice, first val-"):
        data.check_ledger("val", np.array([*rows, rows[0]]))
    with pytest.raises(RuntimeError, match="1 of 12 images of the val split were not judged"):
        data.check_ledger("val", np.array(rows[1:]))


def test_a_batch_that_does_not_divide_by_the_ranks_says_what_would(roots):
    with pytest.raises(ValueError, match=r"batch_size=10 .* 4 ranks. Use 8 or 12"):
        on_ranks(make(roots, batch_size=10), 4).train_dataloader()


def test_a_rank_without_anything_to_judge_gets_one_empty_batch(roots):
    data = on_ranks(make(roots[0]), world=8, rank=7)  # six images, one a batch
    (batch,) = data.val_dataloader()
    assert not len(data.on_after_batch_transfer(batch, 0)["image"]) and not len(batch["row"])


def test_a_batch_larger_than_the_set_is_refused(roots):
    with pytest.raises(ValueError, match=r"20 images an epoch, fewer than data.batch_size=64"):
        make(roots[0], batch_size=64).train_dataloader()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"val": 0}, "no image in the val split"),
        ({"labels": (REAL,)}, "20 real and 0 fake"),
        ({"labels": (FAKE,)}, "0 real and 20 fake"),
    ],
)
def test_a_set_that_cannot_train_says_why(tmp_path, counts, message):
    with pytest.raises(ValueError, match=message):
        make(shards(tmp_path, "odd", **counts))


@pytest.mark.parametrize("val", [0, 1])  # of one class
def test_a_fit_without_validation_asks_for_no_validation_split(tmp_path, val):
    root = shards(tmp_path, "whole", val=val)
    data = ShardDataModule(root)
    data.trainer = SimpleNamespace(limit_val_batches=0, global_rank=0, world_size=1)
    data.setup("fit")
    assert len(data.rows("val")) == val and sum(data.label_counts("train")) == 20


@pytest.mark.parametrize("wrong", [[], {"somewhere": 0}, {"somewhere": -1.0}])
def test_roots_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"data.roots"):
        ShardDataModule(wrong)


def test_a_missing_root_says_what_makes_one(tmp_path):
    with pytest.raises(ValueError, match="dfd prepare"):
        make(str(tmp_path / "nowhere"))


def darker(sample, rng):
    return {**sample, "image": sample["image"] // 2}


def shifted(sample, rng):
    return {**sample, "image": sample["image"] // 2 + np.uint8(rng.integers(100))}


def _pixels(data, loader):
    return np.concatenate([batch["image"].numpy() for batch in getattr(data, f"{loader}_dataloader")()])


def test_validation_pictures_go_through_val_augment_alike_in_every_run(roots):
    plain, one, other = (
        make(roots),
        make(roots, val_augment=shifted),
        make(roots, val_augment=shifted, seed=7),
    )
    assert (_pixels(one, "val") == _pixels(one, "val")).all(), "drawn once for all epochs"
    assert (_pixels(one, "val") == _pixels(other, "val")).all(), "and for all seeds"
    assert (_pixels(one, "val") != _pixels(plain, "val")).any()
    assert (_pixels(one, "test") == _pixels(plain, "test")).all()
    judged = make(roots, val_augment=shifted, corruption=darker)
    assert (_pixels(judged, "val") == _pixels(make(roots, corruption=darker), "val")).all()


def test_forged_pictures_count_as_the_fakes_that_they_are_shown_as(roots):
    data = make(roots, augment=[FaceBlend(p=0.4), FaceBlend(p=0.5)])
    assert data.label_counts("train") == (round(15 * 0.6 * 0.5), 30 - round(15 * 0.6 * 0.5))
    assert data.label_counts("val") == make(roots).label_counts("val") == (6, 6)
    shown = np.concatenate([batch["label"].numpy() for batch in data.train_dataloader()])
    assert shown.mean() > 0.6


def test_real_pictures_alone_can_be_trained_on_where_some_are_forged(tmp_path, roots):
    real = shards(tmp_path, "real", val=0, test=0, labels=(REAL,))
    judged = shards(tmp_path, "judged", train=0)
    assert make([real, judged], augment=FaceBlend(p=0.5)).label_counts("train") == (10, 10)
    with pytest.raises(ValueError, match=r"0 real and 20 fake images after \[FaceBlend\(p=1, weak=0.5\)\]"):
        make([real, judged], augment=FaceBlend(p=1))


@pytest.mark.parametrize("name", ["val_augment", "corruption"])
def test_evaluation_refuses_what_forges(roots, name):
    with pytest.raises(
        ValueError, match=rf"data.{name} has FaceBlend\(p=1, weak=0.5\).*Move it to data.augment"
    ):
        make(roots, **{name: [FaceBlend()]})


def as_lightning_does(data, batch, training):
    data.trainer = SimpleNamespace(training=training)
    return data.on_after_batch_transfer(data.on_before_batch_transfer(batch, 0), 0)


@pytest.mark.parametrize("mix", [MixUp(1.0), CutMix()])
def test_training_batches_are_mixed_alike_whatever_the_workers(roots, mix):
    data = make(roots, mix=mix)
    batches = [batch for workers in (0, 2) for batch in _with_workers(data, workers)]
    mixed = [as_lightning_does(data, batch, training=True) for batch in batches]
    half = len(mixed) // 2
    for one, same, batch in zip(mixed[:half], mixed[half:], batches, strict=False):
        assert one.keys() == same.keys() == {"image", "label", "row", "valid"}
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert one["label"].dtype == torch.float32 and torch.equal(one["row"], batch["row"])
    assert any(0 < label < 1 for batch in mixed for label in batch["label"])
    other = make(roots, mix=mix, seed=1)
    again = as_lightning_does(other, batches[0], training=True)
    assert not torch.equal(again["label"], mixed[0]["label"])  # the seed's own mixture of the same rows


def _with_workers(data, workers):
    data.num_workers = workers
    data.trainer = None
    return list(data.train_dataloader())


def test_what_is_judged_is_never_mixed(roots):
    plain, mixing = make(roots), make(roots, mix=MixUp(1.0))
    for batch, same in zip(plain.val_dataloader(), mixing.val_dataloader(), strict=True):
        expected, judged = (
            plain.on_after_batch_transfer(batch, 0),
            as_lightning_does(mixing, same, training=False),
        )
        assert torch.equal(judged["image"], expected["image"]) and judged["label"].dtype == torch.int64


@pytest.mark.parametrize(
    ("wrong", "says"), [({"seed": -1}, "data.seed=-1"), ({"num_workers": -2}, "data.num_workers=-2")]
)
def test_negative_numbers_are_refused(roots, wrong, says):
    with pytest.raises(ValueError, match=says):
        ShardDataModule(roots, VIEW, **wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize("split", ["train", "val"])
def test_no_thread_of_a_loading_process_takes_a_signal_that_is_meant_for_the_run(roots, split):
    data = make(roots, num_workers=1)
    batches = iter(getattr(data, f"{split}_dataloader")())
    next(batches)
    tasks = Path(f"/proc/{batches._workers[0].pid}/task").iterdir()
    masks = [int(re.search(r"SigBlk:\s+(\w+)", (task / "status").read_text())[1], 16) for task in tasks]
    open_to = {number: sum(not mask >> number - 1 & 1 for mask in masks) for number in ASKS}
    # Linux shows it as not blocked in the thread that waits for the parent's
    assert open_to == {**dict.fromkeys(ASKS, 0), signal.SIGTERM: 1}
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process takes them again"


def test_shards_of_the_toy_set_are_told_to_be_drawings_by_whatever_module(toy_shards):
    data = ShardDataModule(str(toy_shards))
    data.setup("fit")
    assert data.title == TOY


def mixed_sources(root, same):
    """A root of the sources a, b and c; a family joins the first two, and c has the file `same`."""
    made = [NewSample("c-same", same, 0, "train", "c")]
    for split, count in {"train": 8, "val": 4, "test": 4}.items():
        for number, source in enumerate("abc" * count):
            key = f"{source}-{split}-{number // 3}"
            groups = ("joined",) if key in ("a-train-0", "b-train-0") else ()
            made.append(
                NewSample(key, noise(hash(key) % 2**32), number // 3 % 2, split, source, groups=groups)
            )
    write_samples(made, root, {"test": "mixed"})
    return str(root)


@pytest.mark.parametrize("window", [None, 1])
def test_a_source_that_is_left_out_neither_trains_nor_chooses(tmp_path, window):
    same = noise(99)
    other = [
        NewSample(f"o-{i}", noise(500 + i), i % 2, ("train", "val", "test")[i % 3], "o") for i in range(12)
    ]
    write_samples([NewSample("o-same", same, 0, "train", "o"), *other], tmp_path / "other", {"test": "other"})
    both = [mixed_sources(tmp_path / "mixed", same), str(tmp_path / "other")]
    whole, data = make(both, window=window), make(both, window=window, leave_out=["c"])
    for split in ("train", "val"):
        kept, before = (set(each.describe(each.rows(split))["key"]) for each in (data, whole))
        of_c = {key for key in before if key.startswith("c-")}
        assert before - kept == of_c | ({"o-same"} if split == "train" else set()), (
            "and what is the same file"
        )
        assert sum(data.label_counts(split)) == len(kept)
    assert np.array_equal(data.rows("test"), whole.rows("test"))
    shown = torch.cat([batch["row"] for batch in data.train_dataloader()]).numpy()
    assert len(shown) >= 16 and np.isin(shown, data.rows("train")).all()
    judged = torch.cat([batch["row"] for batch in data.val_dataloader()]).numpy()
    assert np.array_equal(np.sort(judged), np.sort(data.rows("val")))
    assert data.title == "mixed, other without c"
    joined = make(both, window=window, leave_out=["a"])
    kept = joined.describe(joined.rows("train"))["key"]
    assert "b-train-1" in kept and not {"b-train-0", "a-train-1"} & set(kept), "nor what is of its families"


def test_what_cannot_be_left_out(tmp_path):
    root = mixed_sources(tmp_path / "mixed", noise(99))
    with pytest.raises(ValueError, match="leave_out names d, and the roots hold the sources a, b, c"):
        make(root, leave_out=["d"])
    with pytest.raises(ValueError, match="no image in the train split"):
        make(root, leave_out=["a", "b", "c"])


def test_a_run_goes_on_with_the_sources_that_it_began_with(roots):
    def recorded(**options):
        data = make(roots, **options)
        data.trainer = SimpleNamespace(limit_train_batches=1.0)
        return data._record()

    before = recorded()
    check_same({name: value for name, value in before.items() if name != "data.leave_out"}, before)
    with pytest.raises(ValueError, match=r"data.leave_out is \['first'\], was None"):
        check_same(before, recorded(leave_out=["first"]))
