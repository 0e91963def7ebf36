from functools import partial
from types import SimpleNamespace

import pytest

from dfd.augment import Augment, Corruption
from dfd.callbacks.conditions import conditions, sentence


class Stage:
    """One of a user's own, that does not say what it is."""

    def __call__(self, sample, rng):
        return sample


def plain(sample, rng):
    return sample


@pytest.fixture
def data():
    return SimpleNamespace(roots={"a": 1.0, "b": 2.0}, corruption=[], val_augment=[Augment("delivery", p=0.75)])


def test_only_what_is_done_to_the_pictures_is_named(data):
    assert sentence(conditions(data, "test")) == "test split of a, b, pictures as found"
    assert sentence(conditions(data, "val")) == "val split of a, b, after Augment('delivery', p=0.75)"
    data.corruption = [Corruption("jpeg", 75)]  # takes the place of val_augment
    for stage, split in (("val", "val"), ("test", "test"), ("predict", "test")):
        found = conditions(data, stage)
        assert found == {"roots": "a, b", "split": split, "corruption": "Corruption('jpeg', 75)", "val_augment": ""}


def test_stages_of_others_have_names_too(data):
    data.corruption = [Stage(), plain, partial(plain)]
    assert conditions(data, "test")["corruption"].startswith("Stage plain functools.partial(")
