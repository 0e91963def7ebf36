"""Custody log: every way to change it is noticed at its line, and whatever ends a writer, the chain goes on."""

import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dfd
from dfd.cli import main
from dfd.forensics.custody import START, CustodyLog, Entry, Verified, append, verify, versions
from dfd.forensics.custody import lines as lines_of_log
from dfd.forensics.custody.check import verify_from

HASH = hashlib.sha256(b"a file").hexdigest()


def entry(at: int) -> Entry:
    return Entry("inspect", f"photo {at}.jpg", HASH, versions({"ela": 1}), {"traces": at})


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "custody.jsonl"
    for at in range(5):
        append(path, entry(at), who="ada@desk")
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_log_says_who_did_what_to_which_file_and_when(log):
    said = [json.loads(line) for line in lines(log)]
    assert [each["number"] for each in said] == [1, 2, 3, 4, 5]
    assert {"who": "ada@desk", "action": "inspect", "file": "photo 0.jpg", "sha256": HASH}.items() <= said[
        0
    ].items()
    assert said[0]["versions"]["dfd"] and said[0]["versions"]["tools"] == {"ela": 1}
    assert said[0]["time"].endswith("+00:00") and said[0]["before"] == START
    # the chain, by a second implementation
    for before, each in itertools.pairwise(said):
        assert each["before"] == before["hash"]
    for each in said:
        own = json.dumps({k: v for k, v in sorted(each.items()) if k != "hash"}, separators=(",", ":"))
        assert each["hash"] == hashlib.sha256(own.encode()).hexdigest()
    found = verify(log)
    assert (found.num, found.last, found.fault) == (5, said[-1]["hash"], None)


CHANGES = {
    "a word": (lambda rows: [*rows[:2], rows[2].replace(b"photo 2", b"photo 9"), *rows[3:]], 3, "changed"),
    "a space": (lambda rows: [*rows[:2], rows[2].replace(b":", b": ", 1), *rows[3:]], 3, "changed"),
    "garbage": (lambda rows: [*rows[:2], b"\xff\x00\n", *rows[3:]], 3, "changed"),
    "the first gone": (lambda rows: rows[1:], 1, "removed"),
    "one gone": (lambda rows: [*rows[:2], *rows[3:]], 3, "removed"),
    "two swapped": (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], 2, "moved"),
    "one copied": (lambda rows: [*rows[:3], rows[1], *rows[3:]], 4, "moved"),
    "the last copied": (lambda rows: [*rows, rows[4]], 6, "moved"),
    "one put in": (lambda rows: [*rows[:2], forged(rows[1]), *rows[2:]], 3, "inserted"),
    "one replaced": (lambda rows: [*rows[:2], forged(rows[1]), *rows[3:]], 3, "changed"),
    "the last changed": (lambda rows: [*rows[:4], rows[4].replace(b"photo", b"phota")], 5, "changed"),
    "an empty line": (lambda rows: [*rows[:2], b"\n", *rows[2:]], 3, "changed"),
    "another log behind it": (lambda rows: [*rows, rows[0].replace(b"ada", b"bob")], 6, "changed"),
    "no end": (lambda rows: [*rows[:4], rows[4][:-20]], 5, "cut off"),
}


def forged(before: bytes) -> bytes:
    """A line that somebody who knows the format writes behind another."""
    said = json.loads(before)
    said |= {"number": said["number"] + 1, "before": said["hash"], "file": "forged.jpg"}
    del said["hash"]
    digest = lines_of_log.line_hash(said)
    return lines_of_log.line_text({**said, "hash": digest}) + b"\n"


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed_at_its_line(log, change, capsys):
    act, line, kind = CHANGES[change]
    log.write_bytes(b"".join(act(lines(log))))
    fault = verify(log).fault
    assert (fault.line, fault.kind) == (line, kind), fault
    assert main(["custody", str(log)]) == 1
    assert f"line {line}: " in capsys.readouterr().out
    if kind != "cut off":
        before = log.read_bytes()
        with pytest.raises(ValueError, match=f"line {line}: .* Nothing was added"):
            append(log, entry(9))
        assert log.read_bytes() == before


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_changed_byte_is_noticed(data):
    rows = _ROWS
    text = b"".join(rows)
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != text[at]))
    changed = text[:at] + bytes((byte,)) + text[at + 1 :]
    number = text[:at].count(b"\n") + 1
    fault = _verified(changed).fault
    assert fault is not None and fault.line in (number, number + 1)


def _made_rows() -> list[bytes]:
    last, rows = START, []
    for at in range(4):
        line, last, _ = lines_of_log.new_line(entry(at), "ada", number=at + 1, before=last)
        rows.append(line)
    return rows


_ROWS = _made_rows()


def _verified(text: bytes) -> Verified:
    return verify_from(io.BytesIO(text), None)


def test_lines_off_the_end_are_noticed_by_a_hash_kept_elsewhere(log, capsys):
    last = verify(log).last
    assert main(["custody", str(log)]) == 0
    assert last in capsys.readouterr().out
    assert verify(log, last).fault is None
    log.write_bytes(b"".join(lines(log)[:-1]))
    assert verify(log).fault is None  # nothing else could tell
    fault = verify(log, last).fault
    assert (fault.line, fault.kind) == (4, "missing")
    assert main(["custody", str(log), "--expect", last]) == 1


def test_a_check_says_no_more_than_it_checked(log, capsys):
    log.write_bytes(b"".join(lines(log)[:-1]))
    assert main(["custody", str(log)]) == 0
    out = capsys.readouterr().out
    assert "4 entries" in out and "each follows from the one before" in out and verify(log).last in out
    assert "taken off the end" in out and "--expect HASH alone" in out and "removed" not in out
    log.write_bytes(b"")
    assert main(["custody", str(log)]) == 0
    assert capsys.readouterr().out == f"{log}: it holds no line.\n"
    assert main(["custody", str(log), "--expect", HASH]) == 1


def test_the_help_says_what_each_argument_is(capsys):
    assert main(["custody", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Args:" not in out and "Hash of a line that you noted elsewhere" in out


def test_what_is_no_log_is_refused(tmp_path, log):
    for name, text in (("notes.txt", b"a note\n"), ("a.json", b'{"a": 1}\n'), ("one", b"no end")):
        path = tmp_path / name
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"line 1: it is no line of a custody log\. Nothing was added"):
            append(path, entry(0))
        assert path.read_bytes() == text
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        for act in (lambda path=path: append(path, entry(0)), lambda path=path: verify(path)):
            with pytest.raises(ValueError, match="is no file"):
                act()
    with pytest.raises(ValueError, match="no such file"):
        verify(tmp_path / "nothing")
    assert main(["custody", str(tmp_path / "nothing")]) == 1


def test_a_line_that_was_cut_off_is_told_and_the_chain_goes_on(log):
    whole = lines(log)
    for cut in (1, 30, len(whole[4]) - 1):
        log.write_bytes(b"".join(whole[:4]) + whole[4][:cut])
        fault = verify(log).fault
        assert (fault.line, fault.kind) == (5, "cut off") and "Nothing has to be done" in fault.why
        append(log, entry(7))
        found = verify(log)
        assert found.fault is None and found.num == 5 and found.cut_off == (5,)
        append(log, entry(8))
        assert verify(log).num == 6
        # what was cut off cannot be changed either
        text = log.read_bytes()
        at = len(b"".join(whole[:4]))
        log.write_bytes(text[:at] + b"?" + text[at + 1 :])
        assert verify(log).fault.line == 5


def test_a_log_that_is_kept_open_sees_what_others_add(log):
    mine = CustodyLog(log)
    first = mine.append(entry(1))
    second = append(log, entry(2), who="bob@desk")
    third = mine.append(entry(3))
    said = [json.loads(line) for line in lines(log)]
    assert [each["hash"] for each in said[-3:]] == [first, second, third]
    assert verify(log).num == 8
    # moved away, as when logs are rotated: a new one begins
    log.rename(log.with_suffix(".old"))
    mine.append(entry(4))
    assert verify(log).num == 1
    log.write_bytes(lines(log)[0].replace(b"photo", b"phota"))
    with pytest.raises(ValueError, match="line 1"):
        CustodyLog(log)


def test_names_that_are_no_unicode_are_kept(tmp_path):
    path = tmp_path / "log"
    name = os.fsdecode(b"caf\xe9 \x1b[2J.jpg")
    append(path, Entry("inspect", name, HASH))
    assert verify(path).fault is None and json.loads(lines(path)[0])["file"] == name
    assert b"\x1b" not in path.read_bytes()


def test_a_full_disk_is_said_and_leaves_a_log_that_goes_on(log, monkeypatch):
    real, left = os.write, [40, 0]

    def full(handle, data):
        if not left[0]:
            raise OSError(28, "No space left on device")
        num, left[0] = left[0], 0
        return real(handle, bytes(data)[:num])

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(os, "write", full)
        append(log, entry(5))
    assert verify(log).fault.kind == "cut off"
    append(log, entry(6))
    assert verify(log).num == 6 and verify(log).fault is None


RUN = """
import sys
from pathlib import Path
from dfd.forensics.custody import CustodyLog, Entry, append
path, name, num = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log = CustodyLog(path)
for at in range(num):
    entry = Entry("inspect", f"{name}-{at}", "0" * 64)
    log.append(entry) if at % 2 else append(path, entry)
"""


def _started(tmp_path: Path, log: Path, name: str, num: int) -> subprocess.Popen:
    script = tmp_path / "run.py"
    if not script.exists():  # one that starts must not read it while it is written again
        script.write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(Path(dfd.__file__).parents[1])}
    return subprocess.Popen([sys.executable, script, log, name, str(num)], env=environment)


@pytest.mark.slow
def test_processes_that_append_at_once_keep_the_chain(tmp_path):
    log = tmp_path / "log.jsonl"
    runs = [_started(tmp_path, log, name, 20) for name in "abc"]
    assert [run.wait() for run in runs] == [0, 0, 0]
    found = verify(log)
    assert found.fault is None and found.num == 60
    names = [json.loads(line)["file"] for line in lines(log)]
    for name in "abc":
        mine = [each for each in names if each.startswith(name)]
        assert mine == [f"{name}-{at}" for at in range(20)]
    # they did take turns
    assert names != sorted(names)


@pytest.mark.slow
def test_killed_in_the_middle_the_chain_goes_on(tmp_path):
    log = tmp_path / "log.jsonl"
    for attempt in range(2):
        run = _started(tmp_path, log, "k", 100_000)
        size = log.stat().st_size if log.exists() else 0
        enough = size + 3000 + 700 * attempt
        while run.poll() is None and (not log.exists() or log.stat().st_size < enough):
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        found = verify(log)
        assert found.fault is None or found.fault.kind == "cut off"
        append(log, entry(attempt))
        assert verify(log).fault is None and verify(log).num == found.num + 1
