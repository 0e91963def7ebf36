from contextlib import ExitStack

import pytest

from dfd.serve.admission import Admission
from dfd.serve.faults import Fault
from dfd.serve.limits import Limits


def test_more_requests_than_the_queue_are_told_when_to_come_again():
    admission = Admission(Limits(queue=2))
    admission.took(9.0)  # with the first guess of 1 s a mean of 5
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.enter("10"))
        with pytest.raises(Fault, match="Send the request again in 5 s") as caught, admission.enter("10"):
            raise AssertionError("it was let in")
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "5"})
    with admission.enter("10"):
        assert (admission.requests, admission.held) == (1, 10)
    assert (admission.requests, admission.held) == (0, 0)


def test_bytes_count_too_and_an_unknown_length_as_the_largest():
    limits = Limits(max_bytes=100, max_files=4)
    admission = Admission(limits)
    with ExitStack() as stack:
        for length in ("400", None, "no number", "400"):
            stack.enter_context(admission.enter(length))
        assert admission.held == limits.max_held == 1600
        with pytest.raises(Fault, match="underway") as caught, admission.enter("1"):
            raise AssertionError("it was let in")
    assert caught.value.status == 429


def test_a_request_that_says_that_it_is_too_large_is_not_read():
    with pytest.raises(Fault, match="400 are read") as caught, Admission(Limits(100, 4)).enter("401"):
        raise AssertionError("it was let in")
    assert caught.value.status == 413


def test_a_fault_inside_gives_the_place_back():
    admission = Admission(Limits())
    with pytest.raises(ZeroDivisionError), admission.enter("10"):
        raise ZeroDivisionError
    assert (admission.requests, admission.held) == (0, 0)


@pytest.mark.parametrize("name", ["max_bytes", "max_files", "seconds", "memory", "queue"])
def test_a_limit_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} 0"):
        Limits(**{name: 0})
