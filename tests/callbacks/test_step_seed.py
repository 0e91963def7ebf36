"""A resumed run draws the same numbers, or says that it cannot end to the bit."""

import pytest
import torch

from dfd.callbacks.step_seed import StepSeed


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_other_numbers_of_threads_or_ranks_are_said_in_one_line(threads, messages_on_stderr, capsys):
    first = StepSeed(3)
    state = first.state_dict()
    assert state == {"seed": 3, "threads": threads, "ranks": 1}
    StepSeed(3).load_state_dict(state)
    StepSeed(3).load_state_dict({"seed": 3})  # of an earlier version
    assert capsys.readouterr().err == ""
    torch.set_num_threads(threads + 1)
    StepSeed(3).load_state_dict({**state, "ranks": 2})
    (line,) = capsys.readouterr().err.splitlines()
    changes = f"{threads + 1} threads, was {threads}; 1 ranks, was 2"
    assert line.startswith(f"WARNING: the run goes on with {changes}: ") and "OMP_NUM_THREADS" in line


def test_another_seed_is_refused():
    with pytest.raises(ValueError, match="--seed_everything=3"):
        StepSeed(4).load_state_dict(StepSeed(3).state_dict())
