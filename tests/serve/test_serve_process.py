"""`dfd serve` as a process: its signals, its workers' deaths, its start."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import pytest
from serving import PATIENCE, png, serving
from unruly_net import ENDS, STOPS

pytestmark = pytest.mark.slow
GREY = png((90, 90, 90))
WHOLE = {"whole": "true"}


def ask(address, data=GREY, route="/v1/score", **options):
    return httpx.post(
        f"{address}{route}", params=WHOLE, files={"file": ("a.png", data)}, timeout=PATIENCE, **options
    )


def workers(process):
    """Process ids of the workers: of its children, those that multiprocessing spawned to judge."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{entry}/cmdline") as file:
                command = file.read()
        except OSError:
            continue
        if parent == process.pid and "spawn_main" in command:
            found.append(int(entry))
    return found


def wait_until(true):
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_the_requests_that_are_underway(detector_file, number):
    with serving(detector_file) as served, ThreadPoolExecutor(4) as threads:
        (worker,) = workers(served.process)
        os.kill(worker, signal.SIGSTOP)
        asked = [threads.submit(ask, served.address) for _ in range(3)]
        wait_until(lambda: "dfd_requests_underway 3.0" in httpx.get(f"{served.address}/metrics").text)
        # systemd and terminals signal every process
        os.killpg(served.process.pid, number)
        time.sleep(0.5)
        os.kill(worker, signal.SIGCONT)
        assert [each.result().status_code for each in asked] == [200] * 3
        assert served.process.wait(PATIENCE) == 0
        assert "stopped" in served.process.stdout.read()
        with pytest.raises(httpx.ConnectError):
            ask(served.address)
        assert not os.path.exists(f"/proc/{worker}")


def test_a_killed_worker_loses_its_own_request_and_says_so(detector_file):
    with serving(detector_file) as served, ThreadPoolExecutor(2) as threads:
        before = workers(served.process)
        os.kill(before[0], signal.SIGSTOP)
        asked = threads.submit(ask, served.address)
        wait_until(lambda: "dfd_batch_jobs_count 1.0" in httpx.get(f"{served.address}/metrics").text)
        os.kill(before[0], signal.SIGKILL)
        lost = asked.result()
        assert (lost.status_code, lost.json()["code"]) == (500, "worker_ended")
        assert ask(served.address).status_code == 200
        after = workers(served.process)
        assert len(after) == 1 and after != before
        assert (
            'dfd_workers_ended_total{reason="worker_ended"} 1.0'
            in httpx.get(f"{served.address}/metrics").text
        )


def test_hostile_files_cost_nobody_else_an_answer(detector_file):
    with (
        serving(detector_file, "--seconds", "12", "--workers", "2") as served,
        ThreadPoolExecutor(8) as threads,
    ):
        sent = [png(ENDS) if n == 3 else png(STOPS) if n == 9 else GREY for n in range(16)]
        answers = list(threads.map(lambda data: ask(served.address, data), sent))
        said = [each.status_code for each in answers]
        assert said[3] == 500 and said[9] == 504
        # one that waited for both to be replaced may be told to come again
        others = [each for n, each in enumerate(answers) if n not in (3, 9)]
        assert all(each.status_code == 200 or each.headers.get("retry-after") for each in others), said
        assert ask(served.address).status_code == 200
        assert httpx.get(f"{served.address}/health").status_code == 200


def test_workers_end_with_a_service_that_is_killed(detector_file):
    with serving(detector_file) as served, ThreadPoolExecutor(1) as threads:
        (worker,) = workers(served.process)
        # one that waits for a job is ended by its pipe; this one judges
        asked = threads.submit(ask, served.address, png(STOPS))
        wait_until(lambda: "dfd_batch_jobs_count 1.0" in httpx.get(f"{served.address}/metrics").text)
        served.process.kill()
        assert isinstance(asked.exception(), httpx.TransportError)
        wait_until(lambda: not os.path.exists(f"/proc/{worker}") or b"Z" in _state(worker))


def _state(process):
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return b"Z"


def test_a_body_that_is_too_large_has_its_answer_although_it_is_not_read(detector_file):
    with serving(detector_file, "--max-bytes", "100000") as served:
        said = ask(served.address, bytes(300_000))
        assert (said.status_code, said.json()["code"]) == (413, "too_large")

        def chunks():
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(100):
                yield bytes(10_000)

        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        try:
            said = httpx.post(f"{served.address}/v1/score", content=chunks(), headers=kind, timeout=PATIENCE)
            assert said.status_code == 413
        except httpx.WriteError:  # the answer is sent, and the connection closed, while this still sends
            pass
        assert ask(served.address).status_code == 200


def test_who_leaves_in_the_middle_leaves_nothing_behind(detector_file):
    with serving(detector_file) as served:
        host, port = served.address.removeprefix("http://").split(":")
        head = (
            f"POST /v1/score HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 5000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        with socket.create_connection((host, int(port))) as left:
            left.sendall(head.encode())
            wait_until(lambda: "dfd_requests_underway 1.0" in httpx.get(f"{served.address}/metrics").text)
        wait_until(lambda: "dfd_requests_underway 0.0" in httpx.get(f"{served.address}/metrics").text)
        assert ask(served.address).status_code == 200
        assert served.stop() == 0
        assert "Traceback" not in served.process.stdout.read()


def test_memory_is_flat_over_ten_thousand_requests_with_hostile_files_in_between(detector_file):
    def kilobytes(process):
        with open(f"/proc/{process}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))

    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    hostile = (b"x", GREY[:60], b"PK\x03\x04" + bytes(100), GREY + bytes(100_000))
    good, *bad = (head + data + b"\r\n--b--\r\n" for data in (GREY, *hostile))
    with serving(detector_file) as served:
        processes = (served.process.pid, *workers(served.process))
        # a tenth of what httpx computes for a request
        client = http.client.HTTPConnection(served.address.removeprefix("http://"), timeout=PATIENCE)

        def many(number):
            for each in range(number):
                body = bad[each // 10 % 4] if each % 10 == 0 else good
                form = {"Content-Type": "multipart/form-data; boundary=b"}
                client.request("POST", "/v1/score?whole=true", body, form)
                said = client.getresponse()
                assert said.read() and said.status == 200
            return [kilobytes(process) for process in processes]

        before, after = many(2000), many(8000)
        assert all(late - early < 3000 for early, late in zip(before, after, strict=True)), (before, after)


def test_an_answer_waits_for_no_packet(detector_file):
    with serving(detector_file) as served, httpx.Client(timeout=PATIENCE) as client:
        took = []
        for _ in range(30):
            started = time.monotonic()
            assert client.get(f"{served.address}/health").status_code == 200
            took.append(time.monotonic() - started)
        assert (
            sorted(took)[15] < 0.03
        )  # Nagle's algorithm and a delayed acknowledgement make it 0.04 each time


def test_nothing_of_an_upload_is_on_the_disk(detector_file, tmp_path):
    marked = GREY + b"a mark that no other file has 5f2c" * 60_000  # larger than what forms spool to files
    with serving(detector_file) as served:
        (worker,) = workers(served.process)
        os.kill(worker, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(ask, served.address, marked)
            wait_until(lambda: "dfd_batch_jobs_count 1.0" in httpx.get(f"{served.address}/metrics").text)
            for process in (served.process.pid, worker):
                held = [
                    os.readlink(f"/proc/{process}/fd/{number}")
                    for number in os.listdir(f"/proc/{process}/fd")
                ]
                assert not [name for name in held if "/tmp" in name or "deleted" in name], held
            os.kill(worker, signal.SIGCONT)
            assert asked.result().status_code == 200


def run(*args, env=None):
    return subprocess.run(
        [sys.executable, "-m", "dfd.cli", "serve", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=env,
    )


def test_what_is_wrong_is_said_in_one_line_before_it_listens(detector_file, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(detector_file, "--port", taken.getsockname()[1])
    assert done.returncode == 1 and re.search(
        r"port \d+: Address already in use.*another --port", done.stderr
    )
    tokens = tmp_path / "tokens"
    tokens.write_text("# nobody yet\n")
    for args, said in (
        ((tmp_path / "none.ckpt",), "There is no detector"),
        ((tmp_path / "none.onnx",), "There is no detector"),
        ((detector_file, "--port", "99999"), "0-65535. Choose another --port"),
        ((detector_file, "--tokens", tokens), "has no token"),
        ((detector_file, "--workers", "0"), "at least 1"),
        ((detector_file, "--queue", "0"), "--queue 0"),
        ((detector_file, "--keep", tmp_path / "none"), "is no folder"),
        ((detector_file, "--port", "0"), "unruly_net"),  # without --allow
    ):
        done = run(*args)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_missing_package_is_said_with_its_extra(detector_file):
    code = (
        "import sys; sys.modules['fastapi'] = None; from dfd.cli import main; "
        f"sys.exit(main(['serve', {str(detector_file)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (
        done.returncode == 1 and "pip install 'dfd[serve]'" in done.stderr and "Traceback" not in done.stderr
    )


def test_a_package_that_the_detector_needs_is_said_with_its_extra(tmp_path):
    (tmp_path / "openvino.py").write_text("raise ModuleNotFoundError('none here', name='openvino')")
    checkpoint = tmp_path / "best.xml"
    checkpoint.with_suffix(".bin").touch()
    # whole by its own seal: OpenVINO would be asked next
    xml = b"<net/>\n<!-- dfd_bin_sha256 " + sha256().hexdigest().encode() + b" dfd_sha256 "
    checkpoint.write_bytes(xml + sha256(xml).hexdigest().encode() + b" -->\n")
    # the worker is a process of its own
    done = run(checkpoint, "--port", "0", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and "pip install 'dfd[openvino]'" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_open_port_and_what_a_stop_leaves_are_said(detector_file, tmp_path):
    with serving(detector_file, "--host", "0.0.0.0", "--keep", str(tmp_path)) as served:
        port = served.address.rpartition(":")[2]
        assert ask(f"http://127.0.0.1:{port}").status_code == 200
        assert served.stop() == 0
        said = served.process.stdout.read()
        assert "there are no --tokens" in said
        assert f"1 upload left in {tmp_path}, whose time is up by" in said
        assert len(list(tmp_path.iterdir())) == 1
