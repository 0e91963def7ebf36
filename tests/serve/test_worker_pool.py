import os
import signal
import time

import pytest
from serving import png
from unruly_net import ENDS, FILLS, STOPS

from dfd.detector import load
from dfd.serve.faults import Fault
from dfd.serve.jobs import Job, Setup
from dfd.serve.limits import Limits
from dfd.serve.pool import WorkerPool

PATIENCE = 120
GREY = png((90, 90, 90))
pytestmark = pytest.mark.slow


def score(data=GREY, name="a.png", kind="score"):
    return Job(kind, name, data, whole=True)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def harmed(detector_file, told):
    """A pool that these tests may harm."""
    setup = Setup(detector_file, allow=("unruly_net.",), memory=1000)
    pool = WorkerPool(setup, Limits(seconds=20, memory=1000), batch=8, told=lambda *what: told.append(what))
    yield pool
    pool.close()


def fault_of(answer):
    with pytest.raises(Fault) as caught:
        answer.result(PATIENCE)
    return caught.value


def test_a_worker_gives_the_detectors_own_numbers(harmed, detector_file):
    detector = load(detector_file, allow=("unruly_net.",))
    for level in (10, 120, 130, 250):
        data = png((level, level, level))
        (own,) = detector.score(data, whole=True)
        (face,) = harmed.submit(score(data)).result(PATIENCE)["scores"]
        assert face["prob"] == pytest.approx(own.prob, abs=1e-5)
        assert face["logit"] == pytest.approx(own.logit, abs=1e-5)
        assert face["verdict"] == own.verdict


def test_who_ends_a_worker_loses_its_own_request_alone(harmed, told):
    before = set(harmed.processes)
    # the first keeps the worker busy, so that the others are judged together
    answers = [harmed.submit(score(kind="inspect"))]
    answers += [harmed.submit(score(png(ENDS) if number == 2 else GREY)) for number in range(5)]
    assert answers[0].result(PATIENCE)["scores"][0]["status"] == "ok"
    for number, answer in enumerate(answers[1:]):
        if number != 2:
            assert answer.result(PATIENCE)["scores"][0]["status"] == "ok"
    fault = fault_of(answers[3])
    assert (fault.status, fault.code) == (500, "worker_ended")
    assert ("batch", 5) in told and ("worker_ended", 1) in told
    assert harmed.submit(score()).result(PATIENCE)["scores"]
    assert harmed.processes and not before & set(harmed.processes)


def test_a_file_that_takes_too_long_is_given_up(harmed):
    stopped, after = harmed.submit(score(png(STOPS))), harmed.submit(score(kind="inspect"))
    fault = fault_of(stopped)
    assert (fault.status, fault.code) == (504, "too_slow")
    # it has waited for the worker's limit and for a new one; that is said, or it is judged
    try:
        assert after.result(PATIENCE)["scores"]
    except Fault as late:
        assert (late.status, late.code) == (429, "busy") and late.retry_after
    assert harmed.submit(score()).result(PATIENCE)["scores"]


def test_a_file_that_takes_too_much_memory_is_told_so(harmed):
    harmed.submit(score()).result(PATIENCE)
    before = harmed.processes
    fault = fault_of(harmed.submit(score(png(FILLS))))
    assert (fault.status, fault.code) == (422, "too_much_memory")
    assert harmed.submit(score()).result(PATIENCE)["scores"] and harmed.processes == before


def test_a_worker_that_is_killed_while_nothing_is_asked_loses_nothing(harmed):
    harmed.submit(score()).result(PATIENCE)
    (process,) = harmed.processes
    os.kill(process, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while process in harmed.processes or not harmed.processes:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert harmed.submit(score()).result(PATIENCE)["scores"]


@pytest.mark.parametrize("written", [b"{", b"[]", b'{"fault": {"strange": 1}}', b'{"fault": "text"}'])
def test_a_worker_that_writes_no_answer_is_replaced(detector_file, monkeypatch, written):
    pool = WorkerPool(Setup(detector_file, allow=("unruly_net.",)), Limits())
    try:
        with monkeypatch.context() as patch:
            patch.setattr("multiprocessing.connection.Connection.recv_bytes", lambda self: written)
            assert fault_of(pool.submit(score())).code == "worker_ended"
        assert pool.submit(score()).result(PATIENCE)["scores"]
    finally:
        pool.close()


def test_the_last_jobs_are_told_that_the_service_stops(detector_file):
    pool = WorkerPool(Setup(detector_file, allow=("unruly_net.",)), Limits(seconds=4))
    busy, waiting = pool.submit(score(png(STOPS))), pool.submit(score(kind="inspect"))
    while not busy.running():
        time.sleep(0.01)
    pool.close()
    assert fault_of(busy).code == "too_slow" and fault_of(waiting).code == "stopping"
    with pytest.raises(Fault, match="is being stopped"):
        pool.submit(score())


def test_a_checkpoint_that_cannot_be_loaded_is_said_at_the_start(tmp_path, detector_file):
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"best\.ckpt"):
        WorkerPool(Setup(path), Limits())
    with pytest.raises(ValueError, match="unruly_net"):
        WorkerPool(Setup(detector_file), Limits())
