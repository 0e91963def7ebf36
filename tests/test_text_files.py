"""JSON and YAML of strangers: data or one line that names the file, whatever it holds."""

import json
import os
import time

import pytest

from dfd import run_record
from dfd.cli import main
from dfd.run_record import Record
from dfd.sweep.schema import load_sweep
from dfd.text_files import read_json, read_object, read_text, read_yaml

HOSTILE = {
    "empty": b"", "list": b"[]", "null": b"null", "word": b'"x"', "number": b"3", "nan": b"NaN",
    "deep": b"[" * 100_000, "deep objects": b'{"a":' * 100_000, "binary": b"\xff\xfe\x00", "latin": "{\"a\": \"é\"}".encode("latin-1"),
    "digits": b"1" * 100_000, "cut": b'{"state": "do', "letters": b"\x1b[31m\x07", "mapping": b'{"a": [1, {"b": null}]}',
    "date": b"a: 2020-99-99", "key": b"{[1]: 2}", "bomb": b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.json"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "read", [read_json, read_object, read_yaml, load_sweep], ids=lambda read: read.__name__
)
def test_a_strangers_file_is_data_or_one_line_with_its_name(file, read, name):
    file.write_bytes(HOSTILE[name])
    try:
        read(file)
    except ValueError as error:
        assert str(file) in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def test_what_is_no_file_is_not_waited_for_and_nothing_is_read_without_end(file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="is no file"):
            read_text(path)
    with file.open("wb") as large:
        large.truncate(1 << 33)  # a hole
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        read_text(file, limit=100)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


def test_aliases_do_not_multiply_without_end(file):
    file.write_text(
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    )
    with pytest.raises(ValueError, match="its aliases make more than 1000000 values"):
        read_yaml(file)


def test_a_byte_order_mark_is_no_letter(file):
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(file) == {} and read_yaml(file) == {}


def record(**changes):
    whole = Record("done", ["fit"], "/", "host", 1, "", time.time(), time.time(), best=0.5)
    return json.dumps({**vars(whole), **changes}).encode()


WRONG = [
    {name: value}
    for name in vars(Record("done", ["fit"], "/", "host", 1, "", 0.0, 0.0))
    for value in (None, [], {}, True, "x", 3, -1, 1.5, float("nan"), float("inf"), 10**4000, ["a", 3], [[]])
]


def test_any_record_can_be_listed(tmp_path, capsys):
    for number, content in enumerate(
        [*HOSTILE.values(), *(record(**wrong) for wrong in WRONG), record(), record(more=1)]
    ):
        (tmp_path / f"{number:04d}").mkdir()
        (tmp_path / f"{number:04d}" / "run.json").write_bytes(content)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "run.json")
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("no record that dfd can read") >= len(HOSTILE) + 1
    assert "\x1b" not in said


def test_a_record_of_other_types_is_none(tmp_path):
    for wrong in ({"command": ["a", 3]}, {"pid": True}, {"epoch": 10**4000}, {"state": None}):
        (tmp_path / "run.json").write_bytes(record(**wrong))
        assert run_record.read(tmp_path) is None, wrong
    (tmp_path / "run.json").write_bytes(record())
    assert run_record.read(tmp_path).best == 0.5


@pytest.mark.parametrize("name", HOSTILE)
def test_a_config_is_one_line(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(HOSTILE[name])
    assert main(["fit", "--config", "mine.yaml", "--print_config"]) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") <= 3 and "Traceback" not in said
