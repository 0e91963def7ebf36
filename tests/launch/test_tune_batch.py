"""The search of `dfd tune-batch`, for machines that are not here, and real attempts that fail for a reason;
tests/cli/test_runtime_errors.py has a real search.
"""

import pytest

from dfd.launch.tune_batch import NO_MEMORY, Outcome, _attempt, tune_batch


class Machine:
    """Fits batches up to `room` on `ranks`, of a set of `images`."""

    def __init__(self, room: int, ranks: int = 1, images: int = 10**9):
        self.room, self.ranks, self.images, self.tried = room, ranks, images, []

    def __call__(self, options, batch):
        self.tried.append(batch)
        if batch % self.ranks:
            return Outcome(False, f"does not divide by {self.ranks} ranks", False, self.ranks, None)
        if batch > self.images:
            return Outcome(
                False, f"the train split shows {self.images} images an epoch", False, self.ranks, None
            )
        if batch > self.room:
            return Outcome(False, NO_MEMORY, True, self.ranks, None)
        return Outcome(True, "", False, self.ranks, 100.0)


@pytest.mark.parametrize("room", [1, 3, 7, 8, 100, 777, 65536])
@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_it_finds_the_largest_to_half_of_the_margin_that_divides_by_the_ranks(room, ranks):
    machine, said = Machine(room * ranks, ranks), []
    text = tune_batch(["--config", "x y"], say=said.append, attempt=machine)
    found = int(text.partition("that fits: ")[2].partition(";")[0])
    assert found % ranks == 0 and found <= room * ranks
    assert room * ranks - found <= max(ranks, found * 0.05) or found + ranks > 65536
    assert len(machine.tried) == len(set(machine.tried)) <= 22 and len(said) <= len(machine.tried)
    advised = int(text.rpartition("--data.batch_size=")[2])
    assert advised % ranks == 0 and 0 < advised <= found
    assert text.splitlines()[-1].startswith("dfd fit --config 'x y' --data.batch_size=")


def test_a_set_that_ends_before_the_memory_needs_no_margin():
    text = tune_batch([], say=str, attempt=Machine(10**6, images=100))
    assert "largest batch that fits: 64; 128 does not: the train split shows 100 images" in text
    assert text.endswith("--data.batch_size=64") and "margin" not in text


def test_most_ends_the_search():
    machine = Machine(10**6)
    assert "largest batch that fits: 100; --most 100 ends the search" in tune_batch(
        [], most=100, say=str, attempt=machine
    )
    assert machine.tried == [8, 16, 32, 64, 100]


def test_what_cannot_be_tried_says_why():
    with pytest.raises(ValueError, match=r"no batch can be tried: the train split shows 3 images"):
        tune_batch([], say=str, attempt=Machine(10**6, images=3))
    with pytest.raises(ValueError, match=r"not even a batch of 4 fits"):
        tune_batch([], say=str, attempt=Machine(3, ranks=4))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"margin": 1.0}, "--margin 1.0"),
        ({"start": 0}, "--start 0"),
        ({"options": ["--data.init_args.batch_size=4"]}, "Leave it out"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        tune_batch(**{"options": [], **wrong})


SMALL = [
    "--config", "small_cnn", "--data.num_images=60", "--data.picture=96", "--data.view.size=32",
    "--data.view.longest=96", "--data.view.crops=1", "--data.num_workers=0",
]  # fmt: skip


@pytest.mark.slow
def test_a_command_line_that_is_refused_is_no_matter_of_memory():
    outcome = _attempt([*SMALL, "--nonsense=1"], 8)
    assert (outcome.fits, outcome.memory, outcome.ranks) == (False, False, None)
    assert outcome.why.startswith("there is no option nonsense")


@pytest.mark.slow
def test_why_an_attempt_failed_is_read_from_its_record():
    """Each fails before its first step, after which a run removes its folder."""
    outcome = _attempt([*SMALL, "--config", "overlay/ddp"], 7)
    assert (outcome.fits, outcome.memory, outcome.ranks) == (False, False, 2)
    assert "batch_size=7 is global and does not divide by 2 ranks" in outcome.why
    outcome = _attempt([*SMALL, "--config", "overlay/cpu"], 800)
    assert (outcome.fits, outcome.memory, outcome.ranks) == (False, False, 1)
    assert outcome.why.startswith("the train split shows 48 images")
