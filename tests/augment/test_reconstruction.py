import numpy as np
import pytest

from dfd.augment import Reconstruction
from dfd.batch import FAKE, REAL
from dfd.media.mean_face import mean_face


def sample(**more):
    return {"image": np.full((6, 8, 3), 100, np.uint8), "label": REAL, "row": 3, **more}


def test_the_fake_is_a_mix_of_the_real_and_its_reconstruction():
    given = sample(remade=np.full((6, 8, 3), 200, np.uint8))
    shares = []
    for seed in range(200):
        made = Reconstruction()(given, np.random.default_rng(seed))
        assert made["label"] == FAKE and made["row"] == 3
        assert made["mask"].shape == (6, 8) and (made["mask"] == 255).all()
        assert len(np.unique(made["image"])) == 1 and made["image"].dtype == np.uint8
        shares.append((200 - made["image"].flat[0]) / 100)
    assert (
        min(shares) < 0.05 and 0.45 < max(shares) <= 0.5 and np.mean(shares) == pytest.approx(0.25, abs=0.03)
    )
    assert (given["image"] == 100).all() and given["label"] == REAL
    alone = Reconstruction(mix=(0, 0))(given, np.random.default_rng(0))
    assert (alone["image"] == given["remade"]).all()


def test_one_of_another_size_is_brought_to_the_picture_s():
    ramp = np.broadcast_to(np.linspace(0, 255, 16, dtype=np.uint8)[None, :, None], (12, 16, 3))
    made = Reconstruction(mix=(0, 0))(sample(remade=ramp), np.random.default_rng(0))["image"]
    assert made.shape == (6, 8, 3) and (np.diff(made[0, :, 0].astype(int)) > 0).all()


def test_without_a_reconstruction_there_is_no_pair():
    maker, rng = Reconstruction(), np.random.default_rng(0)
    assert maker.needs_remade and not maker.needs_landmarks
    real, fake = sample(), sample(label=FAKE, remade=np.zeros((6, 8, 3), np.uint8))
    assert maker(real, rng) is real and maker(fake, rng) is fake
    same = sample(remade=real["image"].copy())
    assert maker(same, rng) is same


def test_of_a_face_nothing_changes_around_it():
    landmarks = mean_face((120, 100), 1.4)
    given = {**sample(landmarks=landmarks), "image": np.full((120, 100, 3), 100, np.uint8)}
    given["remade"] = np.full((120, 100, 3), 200, np.uint8)
    maker, most = Reconstruction(mix=(0, 0.25), region="face"), []
    assert maker.needs_landmarks and maker.needs_remade
    for seed in range(40):
        made = maker(given, np.random.default_rng(seed))
        inside = made["mask"] > 0
        assert made["label"] == FAKE and 0.01 < inside.mean() < 0.8
        assert (made["image"][~inside] == 100).all() and (made["image"][made["mask"] == 255] > 170).all()
        most.append(made["image"].max())
    assert max(most) > 195 and min(most) < 185  # the share of the real is drawn
    lost = {**given, "landmarks": np.full((468, 2), np.nan)}
    assert maker(lost, np.random.default_rng(0)) is lost
    with pytest.raises(ValueError, match=r"region='hair'.*picture or face"):
        Reconstruction(region="hair")


@pytest.mark.parametrize("mix", [(0.5, 0.1), (-0.1, 0.5), (0, 1), (0.5,)])
def test_a_mix_that_is_no_range_is_refused(mix):
    with pytest.raises(ValueError, match=r"mix=.*such as \(0, .5\)"):
        Reconstruction(mix)
