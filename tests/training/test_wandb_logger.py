"""W&B's logger, whose failures end and delay no run; metrics.csv of a run that goes on."""

import csv
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb_files
import wandb_server
from lightning.pytorch.loggers import WandbLogger

import dfd
from dfd.cli import main
from dfd.signals import REQUEUE, stop_signals
from dfd.training import wandb_logger
from dfd.training.metrics_csv import ResumableCSVLogger
from dfd.training.wandb_logger import TolerantWandbLogger, close
from dfd.training.wandb_sync import has_end


@pytest.fixture
def offline(tmp_path):
    """A logger into tmp_path, closed in the end."""
    logger = TolerantWandbLogger(name="x", id="x", project="dfd", save_dir=str(tmp_path), mode="offline")
    yield logger
    close(0)


@pytest.mark.slow
def test_runs_are_ranked_by_the_best_of_a_validation_metric(offline, tmp_path):
    values = {"val/auroc": (0.5, 0.9, 0.7), "val/loss": (0.5, 0.1, 0.3), "train/loss": (3.0, 1.0, 2.0)}
    values |= {
        "val/auroc/gan": (0.2, 0.8, 0.6),
        "val/frechet_net": (9.0, 7.0, 8.0),
        "val/num_images": (1, 2, 1),
        "val/tpr@fpr0.1": (0.3, 0.6, 0.4),
        "val/aurc": (0.3, 0.1, 0.2),
    }
    for step in range(3):
        offline.log_metrics({name: each[step] for name, each in values.items()}, step)
    close(0)
    summary = wandb_files.summary(tmp_path)
    assert summary["val/auroc"] == {"max": 0.9} and summary["val/auroc/gan"] == {"max": 0.8}
    assert summary["val/loss"] == {"min": 0.1} and summary["val/frechet_net"] == {"min": 7.0}
    assert summary["val/tpr@fpr0.1"] == {"max": 0.6} and summary["val/aurc"] == {"min": 0.1}
    assert summary["train/loss"] == 2.0 and summary["val/num_images"] == 1, "of others the last one"
    assert [line["val/auroc"] for line in wandb_files.history(tmp_path)] == [0.5, 0.9, 0.7]
    assert [line["trainer/global_step"] for line in wandb_files.history(tmp_path)] == [0, 1, 2]


def test_a_file_waits_in_the_run_folder_and_a_large_one_is_only_named(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_logger, "LARGE", 100)
    folder = tmp_path / "a folder"  # with a space
    folder.mkdir()
    (folder / "small").write_bytes(b"x" * 100)
    (folder / "large").write_bytes(b"x" * 101)
    for name in ("small", "large"):
        offline.log_file(folder / name, f"of {name} files", "model", {"kept": 1}, ["best"])
    offline.log_table("val/predictions", ["key"], [["a"], ["b"]])
    assert "WANDB_DATA_DIR" not in os.environ
    close(0)
    found = {artifact.name: artifact for artifact in wandb_files.kind(tmp_path, "artifact")}
    small, large = found.pop("of-small-files"), found.pop("of-large-files")
    assert (small.type, set(small.aliases), small.metadata) == ("model", {"latest", "best"}, '{"kept":1}')
    ((entry,), (other,)) = small.manifest.contents, large.manifest.contents
    assert (entry.local_path, entry.ref, entry.size) == (str(folder / "small"), "", 100)
    assert (other.local_path, other.ref, other.size) == ("", f"file://{folder / 'large'}", 101)
    assert other.digest, "so that a copy can be told from another file"
    (table,) = found.values()
    assert Path(table.manifest.contents[0].local_path).is_relative_to(tmp_path), "not in the home folder"


@pytest.mark.parametrize(
    ("said", "given", "logs"),
    [("true", None, True), ("end", False, False), ("", None, False), ("", True, True)],
)
def test_the_checkpoint_goes_along_where_it_is_asked_for(said, given, logs, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", said)
    assert TolerantWandbLogger(log_model=given, save_dir=str(tmp_path), mode="offline").logs_model == logs


def test_what_wandb_raises_is_said_once_and_ends_nothing(offline, monkeypatch, messages_on_stderr, capsys):
    def broken(*args, **kwargs):
        raise RuntimeError("a socket is gone\nand a traceback")

    for name in ("log_metrics", "log_hyperparams", "log_image"):
        monkeypatch.setattr(WandbLogger, name, broken)
    monkeypatch.setattr(TolerantWandbLogger, "experiment", property(broken))
    offline.log_metrics({"val/auroc": 1.0}, 0)
    offline.log_hyperparams({"a": 1})
    offline.log_image("a", ["b.png"])
    offline.log_table("a", ["b"], [["c"]])
    offline.log_summary({"a": 1})
    offline.log_file(Path(__file__), "a", "b", {})
    offline.alert("a", "b")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: W&B fails: a socket is gone. It goes on offline, and dfd sync sends it")


@pytest.mark.slow
def test_what_hangs_in_the_middle_is_waited_for_once(offline, monkeypatch, messages_on_stderr, capsys):
    monkeypatch.setattr(wandb_logger, "PATIENCE", 0.5)
    offline.log_metrics({"a": 1.0}, 0)
    monkeypatch.setattr(WandbLogger, "log_image", lambda *args, **kwargs: time.sleep(60))
    start = time.monotonic()
    for _ in range(20):
        offline.log_image("a", ["b.png"])
    assert time.monotonic() - start < 15, "twice half a second, and W&B's own process is begun once more"
    assert not offline.begun
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: W&B fails: no answer within 0.5 s. It goes on offline")


@pytest.mark.parametrize(
    ("requested", "said"), [(REQUEUE, ""), (0, "WARNING: W&B has not got everything: no answer")]
)
def test_a_server_that_does_not_answer_costs_a_run_its_patience_and_no_more(
    requested, said, monkeypatch, messages_on_stderr, capsys
):
    codes = []
    finish = lambda exit_code: codes.append(exit_code) or time.sleep(60)  # noqa: E731  as without a network
    gone = lambda: setattr(wandb, "run", None)  # noqa: E731
    wandb = SimpleNamespace(finish=finish, run=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(wandb_logger, "_end_service", gone)
    monkeypatch.setattr(stop_signals, "requested", requested)
    monkeypatch.setattr(wandb_logger, "_warned", False)
    monkeypatch.setattr(wandb_logger, "PATIENCE", 0.2)
    start = time.monotonic()
    wandb_logger.close(75)
    wandb_logger.close(0)  # whoever comes next does not wait again
    assert time.monotonic() - start < 2 and codes == [75]
    assert capsys.readouterr().err.startswith(said)


END_SERVICE = """
import os, signal, subprocess, time
lines = subprocess.check_output(["ps", "-eo", "pid=,ppid=,comm="], text=True).splitlines()
processes = [line.split() for line in lines]
mine = [(int(pid), name) for pid, parent, name in processes if parent == str(os.getpid())]
[service] = [pid for pid, name in mine if name.startswith("wandb-core")]
os.kill(service, signal.{signal})
time.sleep(1)
"""
SERVICE_ENDED = (
    """
import time
from dfd.training.wandb_logger import TolerantWandbLogger, close
from dfd.signals import STOP, stop_signals

logger = TolerantWandbLogger(name="x", project="dfd", save_dir=".", mode="offline")
logger.log_metrics({"a": 1.0}, step=0)
"""
    + END_SERVICE.format(signal="SIGTERM")
    + """
said = None
for step in range(1, 20):
    try:
        logger.experiment.log({"a": 1.0})
    except Exception as error:
        said = error
assert said is not None, "it is as if it were there"
logger.log_metrics({"a": 1.0}, step=29)
stop_signals.requested = STOP
logger.log_metrics({"a": 1.0}, step=30)
logger.log_table("b", ["c"], [["d"]])
logger.finalize("failed")
close(143)
print("went on")
"""
)


@pytest.fixture(scope="module")
def process(forked) -> Callable[..., subprocess.Popen]:
    """Starts one that runs `code`, without the W&B service of an earlier test."""

    def begin(code: str, folder: Path, then: str = "", **settings: str) -> subprocess.Popen:
        own = {name: value for name, value in os.environ.items() if "WANDB" not in name}
        environment = {**own, "PYTHONPATH": str(Path(dfd.__file__).parents[1]), **settings}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*forked, "-c", code, then], cwd=folder, env=environment, **pipes)

    return begin


@pytest.fixture(scope="module")
def run(process) -> Callable[..., subprocess.CompletedProcess]:
    """Waits for such a process."""

    def to_its_end(code: str, folder: Path, then: str = "", **settings: str) -> subprocess.CompletedProcess:
        return ended(process(code, folder, then, **settings))

    return to_its_end


def ended(begun: subprocess.Popen) -> subprocess.CompletedProcess:
    try:
        said, fault = begun.communicate(timeout=120)
    finally:
        begun.kill()
    return subprocess.CompletedProcess(begun.args, begun.returncode, said, fault)


@pytest.mark.slow
def test_a_service_that_slurm_ended_costs_no_run(tmp_path, run):
    """W&B's own process, ended by SIGTERM as it is with all others of a job."""
    done = run(SERVICE_ENDED, tmp_path)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert done.stderr.count("W&B fails") == 1


BEGIN = """
import logging, sys, time
from pathlib import Path
import dfd
from dfd.cli.logs import logs_on_stderr
from dfd.training.wandb_logger import TolerantWandbLogger, close

with logs_on_stderr():
    start = time.monotonic()
    logger = TolerantWandbLogger(name="x", id="x", project="dfd", save_dir=".", mode="online")
    logger.log_metrics({"val/auroc": 0.5}, step=0)
    begun = time.monotonic() - start
    Path("begun").touch()
    exec(sys.argv[1])
    for step in range(1, 20):
        logger.log_metrics({"val/auroc": 0.5 + step / 100}, step=step)
        time.sleep(0.05)
    logger.log_summary({"best": 1})
    start = time.monotonic()
    close(0)
    print(begun, time.monotonic() - start)
"""
BUSY = 20  # seconds that other tests on the machine may add; W&B itself would wait for minutes
KEY = {"WANDB_API_KEY": "k" * 40}
NOBODY = {**KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}


class Answer(BaseHTTPRequestHandler):
    """One and the same to all; a number below 100 is a server that does not answer."""

    code, text = 200, "{}"

    def do_POST(self) -> None:
        if self.code < 100:
            time.sleep(60)
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text.encode())

    do_GET = do_POST

    def log_message(self, *args: object) -> None:
        """Nothing: the test's own output is enough."""


@contextmanager
def answering(code: int, text: str) -> Iterator[dict[str, str]]:
    """What leads a client to a server that has one answer."""
    handler = type("Handler", (Answer,), {"code": code, "text": text})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {**KEY, "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()


def assert_one_line_and_whole(done: subprocess.CompletedProcess, folder: Path, why: str) -> None:
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING: W&B ") and "The run goes on." in line and why in line
    begun, closed = map(float, done.stdout.split())
    # a machine that is busy with other tests starts W&B's own process slowly
    assert begun < wandb_logger.PATIENCE + BUSY and closed < wandb_logger.PATIENCE + BUSY
    assert wandb_files.summary(folder)["best"] == 1


AWAY = {
    "no-server": (NOBODY, "cannot log this run online"),
    "no-key": ({}, "No API key configured"),
    "short-key": ({"WANDB_API_KEY": "short"}, "40+ characters"),
}
SENSELESS = {
    "hangs": (0, "", "cannot log this run online"),
    "rubbish": (200, "<html>a portal</html>", "cannot log this run online"),
    "key-revoked": (401, '{"errors": [{"message": "unauthorized"}]}', "unauthorized"),
    "forbidden": (403, '{"errors": [{"message": "permission denied"}]}', "permission denied"),
    "broken": (500, "no", "cannot log this run online"),
}


@pytest.fixture(scope="module")
def runs_without_a_server(process, tmp_path_factory) -> dict[str, tuple[subprocess.CompletedProcess, Path]]:
    """Name -> a run of BEGIN, and its folder: two at a time, as most of them wait ten seconds for an answer."""
    with ExitStack() as servers:
        settings = {name: settings for name, (settings, _) in AWAY.items()}
        for name, (code, text, _) in SENSELESS.items():
            settings[name] = servers.enter_context(answering(code, text))

        def of(name: str) -> tuple[subprocess.CompletedProcess, Path]:
            folder = tmp_path_factory.mktemp(name)
            return ended(process(BEGIN, folder, HOME=str(folder / "nobody"), **settings[name])), folder

        with ThreadPoolExecutor(2) as threads:
            return dict(zip(settings, threads.map(of, settings), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", AWAY)
def test_a_run_that_cannot_log_online_logs_offline(name, runs_without_a_server):
    done, folder = runs_without_a_server[name]
    assert_one_line_and_whole(done, folder, AWAY[name][-1])
    assert "it logs offline, and dfd sync sends it" in done.stderr
    assert wandb_files.summary(folder)["val/auroc"] == {"max": 0.69}
    assert not list(folder.glob("wandb/run-*")), "nothing of the run that did not begin"


@pytest.mark.slow
@pytest.mark.parametrize("name", SENSELESS)
def test_a_server_that_gives_no_sense_costs_a_run_ten_seconds_and_one_line(name, runs_without_a_server):
    done, folder = runs_without_a_server[name]
    assert_one_line_and_whole(done, folder, SENSELESS[name][-1])


@pytest.mark.slow
def test_a_server_that_freezes_on_the_way_gets_the_rest_by_dfd_sync(tmp_path, monkeypatch, process):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    with wandb_server.running() as server:
        begin = process(BEGIN, tmp_path, **{**server.environment, "WANDB_SILENT": "true"})
        while not (tmp_path / "begun").exists():
            assert begin.poll() is None
            time.sleep(0.05)
        server.frozen.set()
        said, fault = begin.communicate(timeout=120)
        server.frozen.clear()
        assert begin.returncode == 0, fault
        (line,) = fault.splitlines()
        assert line.startswith("WARNING: W&B has not got everything") and "dfd sync sends" in line
        assert float(said.split()[1]) < wandb_logger.PATIENCE + BUSY
        assert len(server.runs["x"]["history"]) < 20
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert main(["sync", str(tmp_path)]) == 0
        assert [entry["trainer/global_step"] for entry in server.runs["x"]["history"]] == list(range(20))
        assert server.runs["x"]["summary"]["best"] == 1


@pytest.mark.slow
def test_a_file_that_the_server_refuses_costs_the_run_nothing_else(tmp_path, monkeypatch, run):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    file = "Path('a.json').write_text('{}'); logger.log_file(Path('a.json'), 'a', 'dataset', {})"
    with wandb_server.running() as server:
        server.kind = "model"
        done = run(BEGIN, tmp_path, file, **{**server.environment, "WANDB_SILENT": "true"})
        assert done.returncode == 0, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("WARNING: W&B refuses a: ") and "already exists with type 'model'" in line
        assert [entry["trainer/global_step"] for entry in server.runs["x"]["history"]] == list(range(20))
        assert not server.artifacts and not list(tmp_path.glob("wandb/offline-run-*"))


@pytest.mark.slow
def test_a_run_whose_wandb_is_killed_goes_on_offline(tmp_path, run):
    done = run(BEGIN.replace('"online"', '"offline"'), tmp_path, END_SERVICE.format(signal="SIGKILL"))
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING: W&B fails: ") and "It goes on offline" in line
    first, second = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert not has_end(first) and has_end(second)


@pytest.mark.slow
def test_a_full_disk_of_wandb_alone_is_said(tmp_path, run):
    (tmp_path / "wandb").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path / "wandb"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("it cannot mount a small disk here")
    try:
        fill = "import os; os.system('dd if=/dev/zero of=wandb/filler bs=1k 2>/dev/null')"
        done = run(BEGIN.replace('"online"', '"offline"'), tmp_path, fill)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "wandb"], check=True)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING: W&B has not got everything: it could not write offline-run-")


def lines(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_a_run_that_goes_on_keeps_what_its_checkpoint_knows_of(tmp_path):
    first = ResumableCSVLogger(tmp_path)
    for step in range(4):
        first.log_metrics({"epoch": 0, "train/loss": step / 2}, step)
    first.log_metrics({"epoch": 0, "val/auroc": 0.5}, 3)
    first.log_metrics(
        {"epoch": 0, "train/loss": 9.0}, 4
    )  # after the checkpoint; nobody flushed or closed anything
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3")  # cut by a kill or a full disk
    again = ResumableCSVLogger(tmp_path)
    again.go_on(4)
    again.log_metrics({"epoch": 0, "train/loss": 2.0, "train/lr": 1.0}, 4)
    assert [
        (line["step"], line["train/loss"], line["val/auroc"], line["train/lr"]) for line in lines(tmp_path)
    ] == [
        ("0", "0.0", "", ""),
        ("1", "0.5", "", ""),
        ("2", "1.0", "", ""),
        ("3", "1.5", "", ""),
        ("3", "", "0.5", ""),
        ("4", "2.0", "", "1.0"),
    ]


def test_the_table_of_a_run_that_begins_anew_begins_anew(tmp_path):
    ResumableCSVLogger(tmp_path).log_metrics({"epoch": 0, "a": 1.0}, 0)
    again = ResumableCSVLogger(tmp_path)
    again.go_on(0)
    again.log_metrics({"b": 1.0}, 0)
    assert lines(tmp_path) == [{"b": "1.0", "step": "0"}]
