"""Cues in the table of shards: the same however they came there, at whatever moment it was interrupted, and a
stranger's table is checked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from killing import killed_at
from photos import jpeg
from PIL import Image

from dfd.cli import main
from dfd.forensics.cues import CUES, CUES_VERSION, describe
from dfd.prepare import measure as module
from dfd.prepare.cues import STATE, WHAT, add_cues
from dfd.prepare.job_array import ArrayTask
from dfd.prepare.pipeline import prepare
from dfd.shards.cue_table import CueNames, pick, read_cues
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_index


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Finished shards without cues; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "shards"
    splits = ["train"] * 16 + ["val"] * 4 + ["test"] * 4
    samples = [
        NewSample(f"s{at:02d}", picture(at), at % 2, split, "set", groups=(f"p{at}",))
        for at, split in enumerate(splits)
    ]
    write_samples(samples, folder, {"command": "test"})
    return folder


def picture(seed: int) -> bytes:
    rough = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8))
    return jpeg(np.asarray(rough.resize((48, 40), Image.Resampling.BICUBIC)))


@pytest.fixture
def root(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "shards"))


@pytest.fixture
def source(made, tmp_path) -> Path:
    """The same pictures as files in class folders."""
    folder = tmp_path / "source"
    for line in load_table(made).to_pylist():
        data = (made / line["shard"]).read_bytes()[line["offset"] :][: line["length"]]
        path = folder / ("real", "fake")[line["label"]] / f"{line['key'].replace('/', '_')}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def expected(root: Path) -> np.ndarray:
    return np.stack(
        [
            describe((root / line["shard"]).read_bytes()[line["offset"] :][: line["length"]])
            for line in load_table(root).to_pylist()
        ]
    )


def test_shards_get_the_cues_of_their_files(root, made, capsys):
    with pytest.raises(ValueError, match=r"no cues\. `dfd cues"):
        read_cues(root)
    assert main(["cues", str(root), "--workers=1"]) == 0
    assert f"{len(CUES)} cues of each of 24 pictures" in capsys.readouterr().out
    found = read_cues(root)
    assert (found.names, found.version) == (CUES, CUES_VERSION)
    assert np.array_equal(found.values, expected(root))
    # whoever does not ask for them sees the shards as they were
    assert load_table(root).equals(load_table(made))
    assert {path.name for path in root.iterdir()} == {path.name for path in made.iterdir()}
    assert main(["cues", str(root)]) == 0
    assert "already" in capsys.readouterr().out


@pytest.mark.slow
def test_prepared_with_cues_and_added_later_is_the_same(source, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    prepare(source, first, cues=True, workers=1)
    assert np.array_equal(read_cues(first).values, expected(first))
    prepare(source, second, workers=1)
    with pytest.raises(ValueError, match=r"without cues\. `dfd cues"):
        prepare(source, second, cues=True)
    add_cues(second, workers=1)
    assert (first / "samples.parquet").read_bytes() == (second / "samples.parquet").read_bytes()
    indices = [read_index(folder) for folder in (first, second)]
    assert list(indices[0]) == list(indices[1]) and indices[0]["cues"] == indices[1]["cues"]
    assert prepare(source, second, cues=True).already


@pytest.mark.slow
def test_an_interrupted_run_without_cues_is_not_gone_on_with(source, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def failing(*args):
        raise OSError("no disk")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no disk"):
        patch.setattr("dfd.prepare.pipeline.write_pass", failing)
        prepare(source, out, workers=1)
    with pytest.raises(ValueError, match="cues was None, is version"):
        prepare(source, out, workers=1, cues=True)
    prepare(source, out, workers=1, cues=True, overwrite=True)
    assert len(read_cues(out).values) == 24


@pytest.mark.slow
def test_any_number_of_workers_and_tasks_gives_the_same(source, root, made, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 5)
    add_cues(root, workers=3)
    alone = Path(shutil.copytree(made, tmp_path / "alone"))
    add_cues(alone, workers=1)
    assert (root / "samples.parquet").read_bytes() == (alone / "samples.parquet").read_bytes()
    for number in (1, 2):
        prepare(source, tmp_path / "array", cues=True, workers=1, array_task=ArrayTask(number, 2))
    prepare(source, tmp_path / "array", cues=True, workers=2, merge=True)
    prepare(source, tmp_path / "whole", cues=True, workers=1)
    tables = [(tmp_path / name / "samples.parquet").read_bytes() for name in ("array", "whole")]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_killed_at_any_moment_of_the_writing_the_shards_stay_whole(root, made, tmp_path):
    add_cues(root, workers=1)
    done = (root / "samples.parquet").read_bytes()
    number = 0
    while True:
        again = Path(shutil.copytree(made, tmp_path / f"again-{number}"))
        _measure(again)
        if not killed_at(number, lambda again=again: add_cues(again, workers=1)):
            break
        assert load_table(again).equals(load_table(made))  # whole, with cues or without
        add_cues(again, workers=1)
        assert (again / "samples.parquet").read_bytes() == done
        assert {path.name for path in again.iterdir()} == {path.name for path in made.iterdir()}
        shutil.rmtree(again)
        number += 1
    assert number > 8


def _measure(root: Path) -> None:
    """All pieces, as a run that was killed before it wrote the table leaves them."""
    (root / STATE).mkdir()
    for chunk in module.chunks(root, load_table(root), WHAT):
        module.measure_chunk(chunk)


RUN = """
import sys
from pathlib import Path
from dfd.prepare import cues, measure
measure._CHUNK = 2
if __name__ == "__main__":
    cues.add_cues(Path(sys.argv[1]), workers=2)
"""


@pytest.mark.slow
def test_killed_while_it_measures_it_goes_on(root, made, tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    run = subprocess.Popen([sys.executable, tmp_path / "run.py", root], env=environment)
    while run.poll() is None and len(list((root / STATE).glob("*.parquet"))) < 3:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert "cues" not in read_index(root), "killed too late to show anything"
    pieces = {path: path.stat().st_mtime_ns for path in (root / STATE).glob("*.parquet")}
    assert pieces
    monkeypatch.setattr(module, "_CHUNK", 2)
    todo = [chunk for chunk in module.chunks(root, load_table(root), WHAT) if not module.is_done(chunk)]
    assert len(todo) <= 12 - len(pieces)
    add_cues(root, workers=1)
    assert np.array_equal(read_cues(root).values, expected(made))


@pytest.mark.slow
def test_a_piece_of_other_shards_is_measured_again(root, made):
    _measure(root)
    first = next((root / STATE).iterdir())
    table = pq.read_table(first)
    zeros = pa.array([np.zeros(len(CUES), np.float32)] * len(table), WHAT.kind)
    pq.write_table(pa.table({"found": zeros}).replace_schema_metadata({"of": "others"}), first)
    add_cues(root, workers=1)
    assert np.array_equal(read_cues(root).values, expected(made))


def test_a_damaged_shard_is_told(root):
    line = load_table(root).to_pylist()[3]
    path = root / line["shard"]
    data = bytearray(path.read_bytes())
    data[line["offset"] + 400] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{line['key']} is not the picture"):
        add_cues(root, workers=1)
    assert "cues" not in read_index(root)


@pytest.mark.slow
def test_a_part_of_a_root_is_read_and_not_written(root):
    names = [shard["name"] for shard in read_index(root)["shards"]]
    with pytest.raises(ValueError, match="which have one table"):
        add_cues(root / names[0])
    add_cues(root, workers=1)
    part, whole = read_cues(root / names[0]), read_cues(root)
    shards = load_table(root)["shard"].to_pylist()
    assert np.array_equal(part.values, whole.values[[name == names[0] for name in shards]])


def test_what_is_none_of_ours_is_refused(tmp_path, root):
    with pytest.raises(ValueError, match="no such folder"):
        add_cues(tmp_path / "nowhere")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "index.json").write_text('{"shards": ["somebody\'s"]}')
    before = (theirs / "index.json").read_text()
    with pytest.raises(ValueError, match=r"index\.json"):
        add_cues(theirs)
    assert (theirs / "index.json").read_text() == before and len(list(theirs.iterdir())) == 1


def _with(root: Path, column: pa.Array | None, facts: object) -> Path:
    table, index = pq.read_table(root / "samples.parquet"), json.loads((root / "index.json").read_text())
    if column is not None:
        pq.write_table(table.append_column("cues", column), root / "samples.parquet")
    (root / "index.json").write_text(json.dumps({**index, "cues": facts}))
    return root


def _lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])


NAMES = {"version": 1, "names": ["a", "b"]}
GOOD = np.ones((24, 2))


@pytest.mark.parametrize(
    ("column", "facts", "words"),
    [
        (None, NAMES, "lacks the column cues"),
        (_lists(GOOD), {"version": 1, "names": ["a"]}, "index.json names 1 numbers"),
        (_lists(GOOD), {"version": 1, "names": ["a", "a"]}, "cues is"),
        (_lists(GOOD), {"version": 1, "names": ["a", "b\x1b[2J"]}, "cues is"),
        (_lists(GOOD), {"version": -1, "names": ["a", "b"]}, "cues is"),
        (_lists(GOOD), {"names": ["a", "b"]}, "cues is"),
        (_lists(GOOD), ["a", "b"], "cues is"),
        (_lists(GOOD), {"version": 1, "names": [str(at) for at in range(2000)]}, "cues is"),
        (_lists(np.full((24, 2), np.nan)), NAMES, "not finite"),
        (_lists(np.full((24, 2), np.inf)), NAMES, "not finite"),
        (pa.array([[1.0, 2.0]] * 24, pa.list_(pa.float32())), NAMES, "the column cues is"),
        (pa.array([[1.0, 2.0]] * 23 + [None], pa.list_(pa.float32(), 2)), NAMES, "empty cells"),
        (pa.array([[1.0, None]] * 24, pa.list_(pa.float32(), 2)), NAMES, "empty cells"),
        (pa.array(["12"] * 24), NAMES, "the column cues is"),
    ],
)
def test_a_strangers_cues_are_checked(root, column, facts, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_cues(_with(root, column, facts))
    assert "\x1b" not in str(caught.value)


@pytest.mark.slow
def test_a_strangers_own_cues_are_read(root):
    _with(root, _lists(np.arange(48.0).reshape(24, 2)), NAMES)
    found = read_cues(root)
    assert found.names == ("a", "b") and found.values[3].tolist() == [6.0, 7.0]
    assert CueNames.of(read_index(root)) == CueNames(1, ("a", "b"))
    assert pick(found.names, ["b"]).tolist() == [1]
    with pytest.raises(ValueError, match="no cue 'c'"):
        pick(found.names, ["c"])
    # those of another version are measured anew
    add_cues(root, workers=1)
    assert read_cues(root).names == CUES
