"""Nothing that is printed commands the terminal, and nothing that cannot be printed costs any work."""

import io
import json
import logging
import os
import pty
import shlex
import subprocess
import sys
import time

import pytest

import dfd
from dfd.cli import main
from dfd.terminal import ScreenStream, commanding, is_terminal, printable, screen_streams

HOSTILE = "a\x1b[2J\x9b31m\x07\u202e\udce9"
SAFE = r"a\x1b[2J\x9b31m\x07\u202e\udce9"


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def bytes_of(encoding, errors="strict"):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "latin-1", "shift_jis"])
def test_every_name_can_be_printed_in_every_encoding(encoding):
    below = bytes_of(encoding)
    name = "für 日本 é\udce9 \U0001f600\x1b[31m"
    print(name, file=ScreenStream(below))
    print(name, file=commanding(ScreenStream(below)))
    shown = below.buffer.getvalue().decode(encoding)
    assert shown.count("\n") == 2 and r"\udce9" in shown
    assert "\x1b" not in shown.splitlines()[0]


def test_spaces_of_other_widths_are_no_commands():
    name = "Screenshot 10.00\u202fPM\u3000写真\xa0.png"
    assert printable(name) == name and printable(HOSTILE) == SAFE


def test_whoever_prints_gets_no_command_through(monkeypatch, capsys):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with screen_streams():
        print(HOSTILE)
        sys.stdout.write(HOSTILE)
        logging.StreamHandler().handle(logging.makeLogRecord({"msg": HOSTILE, "levelno": 50}))
        assert not sys.stdout.isatty(), "libraries colour for terminals alone"
        assert is_terminal(sys.stdout) and commanding(sys.stdout).isatty()
        print("\x1b[31mour own\x1b[0m", file=commanding(sys.stdout))
    assert out.getvalue() == f"{SAFE}\n{SAFE}\x1b[31mour own\x1b[0m\n"
    assert "\x1b" not in err.getvalue() and err.getvalue().count(SAFE) == 1
    assert sys.stdout is out


def test_a_traceback_is_printable_too(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(RuntimeError) as raised, screen_streams():
        raise RuntimeError(HOSTILE)
    monkeypatch.setattr(sys, "stderr", err)
    sys.excepthook(raised.type, raised.value, raised.tb)
    assert SAFE in err.getvalue() and "\x1b" not in err.getvalue()


@pytest.fixture
def run(tmp_path):
    """A run's folder with a command for the terminal in each word of its record."""
    folder = tmp_path / "runs" / "a\x1b[31mred[red]"
    folder.mkdir(parents=True)
    record = {
        "state": "failed", "command": ["fit", HOSTILE], "cwd": HOSTILE, "host": HOSTILE, "pid": 1,
        "process": "", "started": time.time(), "heard": time.time(), "reason": HOSTILE, "metric": HOSTILE,
        "best": 0.5,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return folder.parent


def test_runs_repeats_no_command(run, capsys, monkeypatch):
    assert main(["runs", str(run)]) == 0
    assert "\x1b" not in (said := capsys.readouterr().out) and "[red]" in said
    assert main(["runs", str(run / "\x1b[2J")]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_output_that_is_lost_is_said_and_work_is_not_lost(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["runs", str(run)]) == 1
    assert "not written: No space left on device" in capsys.readouterr().err
    import dfd.cli as cli

    def combine(faces_140k: str, /) -> None:
        print("begun")
        (tmp_path / "made").touch()
        print("done")

    monkeypatch.setitem(cli.COMMANDS, "combine", combine)
    assert main(["combine", "x"]) == 0
    assert "The work itself was done" in capsys.readouterr().err and (tmp_path / "made").exists()


def dfd_process(args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "dfd", *args], cwd=os.path.dirname(os.path.dirname(dfd.__file__)), **options
    )


@pytest.mark.slow
def test_a_reader_that_leaves_and_streams_that_are_closed_end_quietly(run):
    for args in (["--help"], ["runs", str(run)], ["score", "--help"]):
        read, write = os.pipe()
        os.close(read)
        done = dfd_process(args, stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        said = done.communicate()[1]
        assert (done.returncode, said) == (141, b""), args
    closed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m dfd runs {shlex.quote(str(run))} >&-"],
        cwd=os.path.dirname(os.path.dirname(dfd.__file__)), capture_output=True, text=True,
    )  # fmt: skip
    assert closed.returncode == 1 and closed.stderr.count("\n") == 1 and "closed" in closed.stderr


@pytest.mark.slow
def test_a_real_terminal_gets_no_command_of_a_stranger(run):
    master, slave = pty.openpty()
    done = dfd_process(["runs", str(run)], stdout=slave, stderr=slave)
    assert done.wait(60) == 0
    os.close(slave)
    said = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    assert b"\\x1b[31mred" in said and b"\x1b" not in said


def test_help_and_version_are_verbs_too(capsys):
    for words in (["help"], ["help", "score"], ["help", "fit"], ["version"]):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert "dfd" in said or dfd.__version__ in said
        if len(words) > 1:
            assert f"dfd {words[1]}" in said
