"""Pairs in a batch, balanced strata, and masks: what a training batch holds."""

import hashlib
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import noise

from dfd.augment import Augment, FaceBlend, Reconstruction
from dfd.batch import FAKE, REAL
from dfd.data import ShardDataModule, View
from dfd.data.resume import check_same
from dfd.media.mean_face import mean_face
from dfd.prepare.landmarks import store
from dfd.shards.landmark_table import encode_landmarks
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_index

VIEW = View(size=32, crops=1, longest=None)


class Darker:
    """Halves a picture: the same content, so that a pair shows whether crop and delivery are shared."""

    method, needs_landmarks, needs_remade = "darker", False, False

    def __call__(self, sample, rng):
        return {**sample, "image": sample["image"] // 2, "label": FAKE}


class Other(Darker):
    needs_remade = True

    def __call__(self, sample, rng):
        return {**sample, "image": sample["remade"], "label": FAKE}


def picture(split, number):
    return noise(1000 * len(split) + number, width=64, height=64)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    made = [
        NewSample(f"{split}-{i}", picture(split, i), i % 2, split, f"source{i % 3}")
        for split, count in {"train": 24, "val": 8, "test": 6}.items()
        for i in range(count)
    ]
    write_samples(made, folder / "root", {"test": "pairs"})
    return str(folder / "root")


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """Fakes that were made of the training reals 0, 2 and 4 of `root`, two of each."""
    made = [
        NewSample(
            f"{kind}-{i}", noise(100 * kind + i, width=64, height=64), FAKE, "train", "remade", f"kind{kind}",
            (f"of:{hashlib.sha256(picture('train', i)).hexdigest()}",),
        )
        for i in (0, 2, 4)
        for kind in (1, 2)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("remade") / "remade"
    write_samples(made, folder, {"test": "remade"})
    return str(folder)


def make(roots, **kwargs):
    data = ShardDataModule(roots, VIEW, **{"batch_size": 4, "num_workers": 0, **kwargs})
    data.setup("fit")
    return data


@pytest.mark.parametrize("num_workers", [0, 1])
def test_both_of_a_pair_have_one_delivery_and_one_crop(root, num_workers):
    data = make(root, pairs=Darker(), augment=Augment("light"), num_workers=num_workers)
    num_pairs = 0
    for batch in data.train_dataloader():
        assert len(batch["row"]) == 4 + int((batch["label"] == REAL).sum())
        for row in set(batch["row"].tolist()):
            image, label = batch["image"][batch["row"] == row].float(), batch["label"][batch["row"] == row]
            if len(image) == 2:
                num_pairs += 1
                assert label.tolist() == [REAL, FAKE]
                both = torch.stack([image[0].flatten(), image[1].flatten()])
                assert torch.corrcoef(both)[0, 1] > 0.97  # another crop or mirror of noise would have none
                assert image[0].mean() > 1.5 * image[1].mean()
    assert num_pairs == 12 and data.label_counts("train") == (12, 24)


def test_a_pair_changes_nothing_of_its_real(root):
    with_pairs, without = (make(root, pairs=pairs, augment=Augment("light")) for pairs in (Darker(), None))
    for left, right in zip(with_pairs.train_dataloader(), without.train_dataloader(), strict=True):
        table = left["label"] == torch.from_numpy(with_pairs.contents.label[left["row"].numpy()])
        assert torch.equal(left["image"][table], right["image"])


def test_without_the_tables_fakes_validation_shows_each_real_and_its_fake(root):
    data = make(root, pairs=Darker(), fakes=False)
    assert data.label_counts("train") == (12, 12) and data.label_counts("val") == (4, 4)
    batches = list(data.val_dataloader())
    row, label = (torch.cat([batch[name] for batch in batches]).numpy() for name in ("row", "label"))
    facts = data.describe(row)
    assert Counter(label.tolist()) == {REAL: 4, FAKE: 4} and sorted(row) == sorted(data.rows("val"))
    assert set(facts["method"][label == FAKE]) == {"darker"} and set(facts["method"][label == REAL]) == {""}
    assert len(set(facts["key"])) == 8
    of = {key.removesuffix("~made") for key in facts["key"][label == FAKE]}
    assert of == set(facts["key"][label == REAL])
    assert Counter(facts["family"]).most_common()[-1][1] == 2  # a pair is one family
    images = torch.cat([batch["image"] for batch in batches])
    place = {key: at for at, key in enumerate(facts["key"].tolist())}
    for key in of:
        assert torch.equal(images[place[key]] // 2, images[place[f"{key}~made"]])
    assert data.label_counts("test") == (3, 3)  # nothing is left out where a net is judged


def test_fakes_of_some_sources_alone(root):
    data = make(root, fakes=["source1"], pairs=Darker())
    for split, num in (("train", (12, 16)), ("val", (4, 2)), ("test", (3, 3))):
        rows = data.rows(split)
        source, label = data.describe(rows)["source"], data.contents.label[rows]
        assert split == "test" or set(source[label == FAKE]) == {"source1"}
        assert data.label_counts(split) == num  # those of training stand beside a fake each


def test_a_reconstruction_stands_beside_the_picture_that_it_was_made_of(root, remade):
    data = make([root, remade], pairs=Other())
    assert len(data.rows("train")) == 24 and data.label_counts("train") == (12, 15)
    drawn = set()
    for epoch in range(3):
        dataset = data.train_dataloader().dataset
        for row in data.rows("train").tolist():
            entry = dataset[epoch, row]
            key = str(data.describe(np.array([row]))["key"][0])
            if key in ("train-0", "train-2", "train-4"):
                real, fake = entry
                assert (real["label"], fake["label"], fake["row"]) == (REAL, FAKE, row)
                drawn.add((key, fake["image"].tobytes()))
            else:
                assert isinstance(entry, dict) or len(entry) == 1
    assert len(drawn) > 3  # of two kinds, one is drawn at a time


@pytest.mark.parametrize("window", [None, 1])
def test_sources_and_labels_are_balanced_in_every_order(tmp_path, window):
    counts = {("camera", REAL): 13, ("camera", FAKE): 5, ("phone", REAL): 6, ("net", FAKE): 24}
    made = [
        NewSample(f"{source}-{label}-{i}", noise(100 * number + i), label, split, source)
        for split in ("train", "val")
        for number, ((source, label), count) in enumerate(counts.items())
        for i in range(*((0, count) if split == "train" else (count, count + 1)))
    ]
    write_samples(made, tmp_path / "lopsided", {"test": "balance"})
    data = make(str(tmp_path / "lopsided"), balance="source,label", window=window)
    order = data._order()
    rows = np.asarray(order(0)[:])
    source, label = data.describe(rows)["source"], data.contents.label[rows].tolist()
    assert Counter(zip(source, label, strict=True)) == dict.fromkeys(counts, 12)  # a quarter of 48
    assert data.label_counts("train") == (24, 24) and len(order(5)[:]) == 48
    times = Counter(rows.tolist())
    few = [times[row] for row in data.rows("train").tolist() if data.describe([row])["source"][0] == "phone"]
    assert few == [2] * 6  # each as often as the others of its stratum
    assert (np.asarray(order(0)[:]) == rows).all() and (np.asarray(order(1)[:]) != rows).any()


def test_a_run_does_not_go_on_with_another_balance(root):
    plain, balanced = make(root), make(root, balance="label")
    plain.trainer = balanced.trainer = SimpleNamespace(limit_train_batches=1.0)
    with pytest.raises(ValueError, match=r"data.balance is label, was None"):
        check_same(plain.state_dict()["data"], balanced.state_dict()["data"])


def test_masks_of_pairs_and_of_what_is_not_known(root):
    class Corner(Darker):
        def __call__(self, sample, rng):
            mask = np.zeros(sample["image"].shape[:2], np.uint8)
            mask[:, ::2] = 255
            return {**super().__call__(sample, rng), "mask": mask}

    data = make(root, pairs=Corner(), masks=True)
    for batch in data.train_dataloader():
        rows = batch["row"].tolist()
        made = np.array([n for n, row in enumerate(rows) if rows.index(row) < n])
        real = (batch["label"] == REAL).numpy()
        assert batch["mask"].shape == (len(real), 32, 32)
        assert batch["masked"].numpy().sum() == real.sum() + len(made)
        assert not batch["mask"][real].any() and (batch["mask"][made].float().mean((1, 2)) == 127.5).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": "sorce"}, r"names 'sorce'. Balance by root, source, label"),
        ({"balance": ["label", "label"]}, "twice"),
        ({"pairs": Other()}, "the roots hold none. `dfd generate"),
        ({"pairs": Other(), "fakes": False}, "data.fakes is false"),
        ({"fakes": False}, "leaves the train split without a fake"),
        ({"fakes": ["source7"]}, r"names 'source7'; the fakes are of source0, source1, source2"),
    ],
)
def test_what_cannot_be_is_refused_before_training(root, options, words):
    with pytest.raises(ValueError, match=words):
        make(root, **options)


def test_a_maker_beside_a_transform_that_forges_is_refused(root):
    class Forges:
        fake_share = 0.5

    with pytest.raises(ValueError, match="would not be alike"):
        make(root, pairs=Darker(), augment=Forges())


def test_a_maker_of_some_reals_alone_is_refused(root):
    with pytest.raises(ValueError, match="Leave its p out"):
        make(root, pairs=FaceBlend(p=0.5, landmarks=False))


def test_weights_of_roots_need_a_balance_by_root(root, remade):
    with pytest.raises(ValueError, match=r"--data\.balance root,label"):
        make({root: 2, remade: 1}, balance="label")
    weighed = make({root: 2, remade: 1}, balance="root,label").strata  # 30 rows in three strata
    assert dict(zip(weighed.names, (weighed.counts.sum(1) * weighed.weights).round(), strict=True)) == {
        f"{root} real": 20, f"{root} fake": 20, f"{remade} fake": 10,
    }  # fmt: skip


def test_blends_follow_the_landmarks_of_the_shards(root, tmp_path):
    with pytest.raises(ValueError, match=r"has no landmarks of faces.*`dfd landmarks .*landmarks=false"):
        make(root, pairs=FaceBlend())
    assert len(next(iter(make(root, pairs=FaceBlend(landmarks=False)).train_dataloader()))["row"]) > 4
    marked = shutil.copytree(root, tmp_path / "marked")
    # a small face in the upper left corner; one picture has none
    face = mean_face((64, 64), 1.2) / 2
    labels = load_table(marked)["label"].to_pylist()
    none = labels.index(REAL)
    numbers = [encode_landmarks(None if at == none else face, (64, 64)) for at in range(len(labels))]
    store(marked, read_index(marked), np.array(numbers), {"mesh": "0" * 64, "faces": ""})
    data = ShardDataModule(
        str(marked), View(size=64, crops=1), batch_size=4, num_workers=0, pairs=FaceBlend(), masks=True
    )
    data.setup("fit")
    num = 0
    for batch in data.train_dataloader():
        made = (batch["label"] == FAKE).numpy() & (data.contents.label[batch["row"].numpy()] == REAL)
        for row, mask in zip(batch["row"][made].tolist(), batch["mask"][made].numpy(), strict=True):
            num += 1
            y, x = np.indices(mask.shape)
            assert np.average(x, weights=mask) < 25 and np.average(y, weights=mask) < 30 and row != none
    assert num > 8


def test_a_reconstructed_face_stands_in_its_own_surroundings(root, remade, tmp_path):
    maker = Reconstruction(mix=(0, 0), region="face")
    with pytest.raises(ValueError, match=r"has no landmarks of faces"):
        make([root, remade], pairs=maker)
    marked = shutil.copytree(root, tmp_path / "marked")
    face = mean_face((64, 64), 1.2) / 2  # a small one in the upper left corner
    keys = load_table(marked)["key"].to_pylist()
    numbers = [encode_landmarks(None if key == "train-2" else face, (64, 64)) for key in keys]
    store(marked, read_index(marked), np.array(numbers), {"mesh": "0" * 64, "faces": ""})
    # reconstructions themselves need no landmarks
    data = ShardDataModule(
        [str(marked), remade], View(size=64, crops=1), batch_size=4, num_workers=0, pairs=maker, masks=True
    )
    data.setup("fit")
    assert data.label_counts("train") == (12, 14)
    made = set()
    for batch in data.train_dataloader():
        for row in set(batch["row"].tolist()):
            pair = batch["row"] == row
            if pair.sum() == 2:
                made.add(str(data.describe(np.array([row]))["key"][0]))
                (real, fake), (none, mask) = batch["image"][pair], batch["mask"][pair]
                assert mask.any() and not mask[32:, 40:].any() and not none.any()
                assert torch.equal(real[mask == 0], fake[mask == 0])
                assert not torch.equal(real[mask > 128], fake[mask > 128])
    assert made == {"train-0", "train-4"}


def test_a_picture_without_a_face_has_no_pair(root, monkeypatch):
    class Follows(Darker):
        needs_landmarks = True

        def __call__(self, sample, rng):
            width = sample["image"].shape[1]
            assert 0.1 * width < sample["landmarks"][0, 0] < 0.4 * width
            return super().__call__(sample, rng)

    class Points:
        def has_face(self, row):
            return row % 4 != 0

        def of(self, row, shape):
            points = np.full((468, 2), 0.25, np.float32) * (shape[1], shape[0])
            return points if self.has_face(row) else np.full((468, 2), np.nan)

    monkeypatch.setattr("dfd.data.pairs.landmarks_of", lambda roots: Points())
    data = make(root, pairs=Follows(), fakes=False)
    reals = data.catalog.rows["val"]
    with_face = sum(row % 4 != 0 for row in reals.tolist())
    assert 0 < with_face < len(reals) and data.label_counts("val") == (4, with_face)
    rows = torch.cat([batch["row"] for batch in data.val_dataloader()]).numpy()
    assert sorted(rows) == sorted(data.rows("val")) and len(rows) == 4 + with_face


def test_a_maker_without_masks_makes_fakes_all_the_same(root):
    data = make(root, pairs=Darker(), masks=True)
    labels = torch.cat([batch["label"] for batch in data.train_dataloader()])
    assert int((labels == FAKE).sum()) == 24
    for batch in data.train_dataloader():
        real = batch["label"] == REAL
        assert not batch["mask"][real].any() and torch.equal(batch["masked"], real)


def test_a_real_of_which_no_fake_was_made_is_no_damaged_file(root):
    class Seldom(Darker):
        def __call__(self, sample, rng):
            return super().__call__(sample, rng) if sample["row"] % 4 else sample

    data = make(root, pairs=Seldom(), fakes=False)
    data.trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), training=False, default_root_dir="none", global_rank=0, world_size=1
    )
    judged = []
    for batch in data.val_dataloader():
        kept = data.on_before_batch_transfer(batch, 0)
        judged += kept["row"][kept["valid"]].tolist()
    assert len(judged) < len(data.rows("val")) and len(data.check_ledger("val", np.array(judged)).row) == 0


def test_sources_whose_fakes_are_named_may_be_left_out(root):
    data = make(root, fakes=["source0", "source1"], leave_out=["source0"])
    facts = data.describe(data.rows("train"))
    fake = data.contents.label[data.rows("train")] == FAKE
    assert set(facts["source"][fake]) == {"source1"} and set(facts["source"]) == {"source1", "source2"}


def test_processes_share_an_order_of_the_same_fakes_alone(root, monkeypatch):
    told = []
    monkeypatch.setattr(
        "dfd.shards.catalog.Catalog.share_order", lambda self, words, length, fill: told.append(words)
    )
    for options in ({}, {"fakes": ["source1"]}, {"fakes": False, "pairs": Darker()}):
        make(root, **options)._share_order(0, 1, lambda order: None)
    assert len({str(words) for words in told}) == 3


def test_a_test_asks_for_nothing_that_training_needs(root):
    data = ShardDataModule(root, VIEW, num_workers=0, pairs=Other(), fakes=["nowhere"])
    data.setup("test")
    assert data.label_counts("test") == (3, 3)
    with pytest.raises(ValueError, match="names 'nowhere'"):
        data.setup("fit")
