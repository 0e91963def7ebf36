"""`dfd bench-forensics`, by the command line."""

import json

import pytest

from dfd.cli import main
from dfd.forensics.measured import read_measured


@pytest.mark.slow
def test_without_any_data_it_measures_and_goes_on(tmp_path, capsys):
    out = tmp_path / "out"
    command = [
        "bench-forensics",
        "--out",
        str(out),
        "--quick",
        "--scenes",
        "2",
        "--workers",
        "1",
        "--tools",
        "jpeg_quality",
    ]
    assert main(command) == 0
    assert "jpeg_quality: describes" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.parquet")}
    assert len(times) == 5
    assert main([*command, "resampling"]) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert set(read_measured(out / "measured.json")) == {"jpeg_quality", "resampling"}
    sets = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))["sets"]
    assert [(each["name"], each["images"]) for each in sets] == [("edited_simulated", 14), ("toy", 24)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tools", "telepathy"], "there is no such tool. There are"),
        (["--scenes", "1"], "at least 2"),
        (["--limit", "0"], "at least 2"),
        (["--originals", "nowhere"], "there is nothing"),
        (["--on", "nowhere"], "nowhere: no such folder"),
        (["--workers", "0"], "at least 1"),
        (["--mesh", "nowhere.tflite"], "nowhere.tflite"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, capsys, options, words):
    assert main(["bench-forensics", "--out", str(tmp_path / "out"), *options]) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
