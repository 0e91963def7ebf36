from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from dfd.augment import Augment, Corruption, MixUp
from dfd.batch import Predictions
from dfd.callbacks.conditions import best_interval, chosen, conditions, sentence, training


class Transform:
    """One of a user's own, that does not say what it is."""

    def __call__(self, sample, rng):
        return sample


def plain(sample, rng):
    return sample


@pytest.fixture
def data():
    return SimpleNamespace(
        roots={"a": 1.0, "b": 2.0},
        corruption=[],
        val_augment=[Augment("delivery", p=0.75)],
        roots_of=lambda split: ["a", "b"],
    )


def test_only_what_is_done_to_the_pictures_is_named(data):
    assert sentence(conditions(data, "test")) == "test split of a, b, pictures as found"
    assert sentence(conditions(data, "val")) == "val split of a, b, after Augment('delivery', p=0.75)"
    data.corruption = [Corruption("jpeg", 75)]  # takes the place of val_augment
    for stage, split in (("val", "val"), ("test", "test"), ("predict", "test")):
        found = conditions(data, stage)
        assert found == {
            "roots": "a, b",
            "split": split,
            "corruption": "Corruption('jpeg', 75)",
            "val_augment": "",
        }


def test_stages_of_others_have_names_too(data):
    data.corruption = [Transform(), plain, partial(plain)]
    assert conditions(data, "test")["corruption"].startswith("Transform plain functools.partial(")


def test_a_fit_says_what_it_saw(data):
    data.augment, data.mix = [Transform(), Augment("delivery", p=0.75)], MixUp()
    assert training(data).startswith("train split of a, b, after Transform Augment('delivery', p=0.75) MixUp")
    data.augment, data.mix = [], None
    data.roots_of = lambda split: ["a"]  # the second root has no training pictures
    assert training(data) == "train split of a, pictures as found"


def best(value, monitor="val/auroc"):
    return SimpleNamespace(best_model_score=value, monitor=monitor)


def words(callback, predictions):
    return chosen(callback, predictions, best_interval(callback, predictions))


def test_the_best_value_says_what_it_rests_on():
    label = np.arange(40) % 2
    logit = label + np.random.default_rng(0).normal(size=40)
    names = np.full(40, "")
    predictions = Predictions(
        np.arange(40), logit, label, names, names, (np.arange(40) // 2).astype(str), names
    )
    found = words(best(0.81234567), predictions)
    assert found["best val/auroc"] == 0.8123
    assert found["its 95% interval"].startswith("(0.") and found["its 95% interval"].endswith(
        "on 40 images of 20 families, which chose it"
    )
    assert (
        "none: too few families"
        in words(best(0.8), predictions.where(predictions.family == "3"))["its 95% interval"]
    )
    assert words(best(0.8), None) == {"best val/auroc": 0.8}  # of a validation before the run was cut
    assert "of one class" in words(best(float("-inf")), predictions)["best val/auroc"]
    assert words(best(0.3, "val/loss"), predictions) == {"best val/loss": 0.3}
