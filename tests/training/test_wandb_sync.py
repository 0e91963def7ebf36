"""`dfd sync`: offline runs arrive at W&B's server whole and once, the parts of a resumed run as one run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
import wandb_server

from dfd import run_record
from dfd.cli import main
from dfd.training import wandb_sync

LEG = """
import sys, time, wandb
from pathlib import Path
leg, folder = int(sys.argv[1]), Path(sys.argv[2])
run = wandb.init(project="dfd", id="z", dir=str(folder), mode="offline", resume="allow")
for step in range(5):
    run.log({"val/auroc": leg + step / 10, "trainer/global_step": 5 * leg + step})
if leg == 0:
    run.log({"val/predictions": wandb.Table(columns=["key"], data=[["a"], ["b"]])})
    run.log({"page": wandb.Html("<p>words</p>")})
    (folder / "data.json").write_text("{}")
    artifact = wandb.Artifact("data-a", "dataset", metadata={"roots": ["a"]})
    artifact.add_file(str(folder / "data.json"), policy="immutable")
    run.log_artifact(artifact)
    run.alert("NaN or Inf ended the run", "text", level="ERROR")
run.finish()
"""


def python(*args: str, **settings: str) -> None:
    environment = {name: value for name, value in os.environ.items() if "WANDB" not in name} | settings
    subprocess.run(
        [sys.executable, "-c", *args], env=environment, check=True, timeout=120, capture_output=True
    )


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with two parts."""
    folder = tmp_path / "runs" / "z"
    folder.mkdir(parents=True)
    run_record.begin(folder, ["fit"])
    run_record.end(folder, "done")
    for leg in range(2):
        python(LEG, str(leg), str(folder), WANDB_DATA_DIR=str(folder / "wandb" / "staging"))
    return folder


@pytest.fixture
def server(monkeypatch):
    with wandb_server.running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WANDB_MODE", "offline")  # as it is for the run
        yield server


@pytest.mark.slow
def test_a_run_arrives_whole_and_once(run, server, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["sync", str(run.parent)]) == 0
    said = capsys.readouterr().out
    assert f"{run}: sent 2 parts" in said and "/tester/dfd/runs/z" in said
    (told,) = server.runs.values()
    curve = [line["val/auroc"] for line in told["history"] if "val/auroc" in line]
    assert curve == [0, 0.1, 0.2, 0.3, 0.4, 1, 1.1, 1.2, 1.3, 1.4]
    steps = [line["_step"] for line in told["history"]]
    assert steps == list(range(len(steps))), "one run, whose second part goes on where the first ended"
    assert told["alerts"] == ["NaN or Inf ended the run"]
    pages = {name for name in server.files if name.startswith("media/")}
    assert any(name.endswith(".table.json") for name in pages) and any(
        name.endswith(".html") for name in pages
    )
    data = server.artifacts["data-a"]
    assert data["committed"] and data["type"] == "dataset" and server.files["data-a/data.json"] == b"{}"
    before = len(told["history"]), dict(server.files)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody is asked
    assert main(["sync", str(run)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{run}: nothing new"]
    assert (len(told["history"]), server.files) == before
    assert not (tmp_path / "wandb").exists(), "W&B's own logs"


@pytest.mark.slow
def test_what_a_kill_left_behind_is_sent_as_far_as_it_goes(run, server, capsys):
    first, second = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    os.truncate(second, second.stat().st_size * 2 // 3)  # in the midst of a record
    empty = run / "wandb" / "offline-run-99999999_000000-z" / "run-z.wandb"
    empty.parent.mkdir()
    empty.write_bytes(first.read_bytes()[:7])  # killed before W&B wrote anything
    assert main(["sync", str(run)]) == 0
    assert f"{run}: sent 2 parts" in capsys.readouterr().out
    curve = [line["val/auroc"] for line in server.runs["z"]["history"] if "val/auroc" in line]
    assert curve[:5] == [0, 0.1, 0.2, 0.3, 0.4] and 5 < len(curve) < 10
    assert main(["sync", str(run)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{run}: nothing new"]


@pytest.mark.slow
def test_a_part_that_wandb_cannot_read_is_named_and_hides_no_other(run, server, capsys):
    first, _ = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    first.write_bytes(b"no file of W&B's")
    assert main(["sync", str(run)]) == 1
    printed = capsys.readouterr()
    assert f"{run}: sent 1 part," in printed.out
    assert printed.err.startswith(f"dfd sync: W&B did not take {first}: ")
    assert len([line for line in server.runs["z"]["history"] if "val/auroc" in line]) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "W&B has no key: run wandb login once, or set WANDB_API_KEY"),
        ({"WANDB_API_KEY": "k" * 40}, "W&B cannot be reached, or refuses the key: "),
    ],
    ids=["no-key", "no-server"],
)
def test_without_key_or_server_it_says_so_in_a_line(settings, words, run, monkeypatch, capsys):
    monkeypatch.setattr(wandb_sync, "TIMEOUT", 3)
    monkeypatch.setenv("HOME", str(run))  # no key there
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name, value in {"WANDB_BASE_URL": "http://127.0.0.1:9", **settings}.items():
        monkeypatch.setenv(name, value)
    assert main(["sync", str(run)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dfd sync: {words}")
    assert not list(run.glob("wandb/offline-run-*/*.synced"))


@pytest.mark.slow
def test_a_program_of_wandb_that_does_not_end_is_not_waited_for():
    """Seen once: wandb-core stayed after a login, and with it the pipe that its words came through."""
    begun = time.monotonic()
    lingering = (
        "import subprocess, sys; print('reached', flush=True); subprocess.Popen(['sleep', '60']).wait()"
    )
    done = wandb_sync._python("-c", lingering, seconds=2)
    assert done.stdout == "reached\n" and time.monotonic() - begun < 30


def part(run: Path, name: str = "offline-run-20260101_000000-z") -> Path:
    path = run / "wandb" / name / "run-z.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(b":W&B" + bytes(3) + b"\0\0\0\0\2\0\1ab")
    return path


def test_what_there_is_nothing_to_send_of_says_so_without_a_network(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("gone", "empty"):
        assert main(["sync", str(tmp_path / name)]) == 1
    gone, empty = capsys.readouterr().err.splitlines()
    assert gone == f"dfd sync: {tmp_path / 'gone'}: no such folder. Name the folder of a run."
    assert "holds no run that W&B logged" in empty
    sent, running = part(tmp_path / "sent"), part(tmp_path / "running")
    online = part(tmp_path / "online", "run-20260101_000000-z")
    for each in (sent, online):
        each.with_name(f"{each.name}.synced").touch()
    run_record.begin(running.parents[2], ["fit"])
    assert main(["sync", *(str(each.parents[2]) for each in (sent, online, running))]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'sent'}: nothing new",
        f"{tmp_path / 'online'}: nothing new",
        f"{tmp_path / 'running'}: still running; send it when it has ended",
    ]


@pytest.mark.parametrize("cut", [0, 1, 8, 200, 40_000])
def test_a_half_written_record_is_cut_off(cut, tmp_path):
    """Records of LevelDB's log format: pieces of blocks of 32 KiB, whose last 6 bytes hold none."""
    data, ends = b":W&B" + bytes(3), [7]
    for length in (10, 32_768 - 7 - 17 - 7 - 3, 70_000, 5):
        rest, first = length, True
        while first or rest:
            room = 32_768 - len(data) % 32_768
            if room < 7:
                data += bytes(room)
                continue
            size = min(rest, room - 7)
            rest -= size
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not rest]
            data += bytes(4) + size.to_bytes(2, "little") + bytes([kind]) + bytes(size)
            first = False
        ends.append(len(data))
    path = tmp_path / "run-z.wandb"
    path.write_bytes(data[: len(data) - cut])
    assert wandb_sync._trim(path)
    assert path.stat().st_size == max(end for end in ends if end <= len(data) - cut)


@pytest.mark.slow
def test_settings_in_the_current_folder_name_no_server(tmp_path, monkeypatch):
    """Else a stranger's folder would get the key."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nbase_url = http://127.0.0.1:9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "own"))
    show = "import wandb; print(wandb.setup().settings.base_url)"
    default = wandb.Settings.model_fields["base_url"].default
    assert wandb_sync._python("-c", show).stdout.split() == [default]
    logger = f"from dfd.training.wandb_logger import TolerantWandbLogger as T; T(save_dir='.', mode='offline'); {show}"
    environment = {**os.environ, "PYTHONPATH": str(Path(run_record.__file__).parents[1])}

    def server() -> str:
        done = subprocess.run(
            [sys.executable, "-c", logger], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()[-1]

    assert server() == default
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "settings").write_text("[default]\nbase_url = http://wandb.lab.example\n")
    assert server() == "http://wandb.lab.example"
