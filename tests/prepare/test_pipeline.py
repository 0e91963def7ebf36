import csv
import errno
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfd import locks
from dfd.batch import FAKE, REAL
from dfd.cli import main
from dfd.prepare import lock
from dfd.prepare import pipeline as module
from dfd.prepare.inspect import inspect_file
from dfd.prepare.masks import black_mask
from dfd.prepare.passes import write_shard
from dfd.prepare.pipeline import prepare
from dfd.prepare.report import Report
from dfd.progress import progress
from dfd.shards.splits import hashed_split
from dfd.shards.table import load_table


def picture(seed: int, name: str = "PNG", width: int = 12) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (10, width, 3), dtype=np.uint8)).save(
        buffer, name
    )
    return buffer.getvalue()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """120 pictures in class folders without splits."""
    for n in range(120):
        write(tmp_path / "faces" / ("fake" if n % 2 else "real") / f"{n:03d}.png", picture(n))
    return tmp_path / "faces"


def listed(out: Path) -> dict[str, str]:
    with open(out / "rejected.csv", newline="") as file:
        return {line["path"]: line["reason"] for line in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.usefixtures("messages_on_stderr")
def test_pictures_become_shards_and_stay_what_they_are(source, tmp_path, capsys):
    before = contents(source)
    report = prepare(source, tmp_path / "out", workers=2)
    assert "class_folders" in capsys.readouterr().err
    assert contents(source) == before
    table = load_table(tmp_path / "out")
    assert (report.images, report.rejected, report.classes) == (120, 0, {"real": 60, "fake": 60})
    assert sum(sum(count.values()) for count in report.splits.values()) == 120
    for row in table.to_pylist():
        data = (tmp_path / "out" / row["shard"]).read_bytes()[row["offset"] :][: row["length"]]
        assert data == before[row["path"]]
        assert row["label"] == (FAKE if "fake" in row["path"] else REAL)
        assert (row["source"], row["family"], row["width"], row["height"]) == ("faces", row["sha256"], 12, 10)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        {"index.json", "samples.parquet", "rejected.csv", ".stamps.parquet", *table["shard"].to_pylist()}
    )
    train = [row["label"] for row in table.to_pylist() if row["split"] == "train"]
    assert max(len(run) for run in "".join(map(str, train)).split("0")) < 15, (
        "classes are mixed within a shard"
    )


def test_finished_shards_are_left_alone(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, workers=1)
    before, times = contents(out), {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert prepare(source, out, workers=1).already
    assert contents(out) == before and {path: path.stat().st_mtime_ns for path in out.iterdir()} == times
    source.rename(tmp_path / "others")
    with pytest.raises(ValueError, match="'faces', not of 'others'"):
        prepare(tmp_path / "others", out)


@pytest.mark.slow
def test_finished_shards_of_a_source_that_changed_are_told(source, tmp_path):
    out = tmp_path / "out"
    write(source / "fake" / "broken.png", b"no picture")
    prepare(source, out, workers=1)
    before = contents(out)

    def told() -> str:
        with pytest.raises(ValueError, match=r"finished shards, and since then .* changed") as error:
            prepare(source, out)
        assert contents(out) == before and "--overwrite" in str(error.value)
        return str(error.value).partition(" changed: ")[2].partition(". ")[0] + "."

    write(source / "real" / "new.png", picture(999))
    assert "1 added (first real/new.png)." in told() + "."
    write(source / "real" / "newer.png", b"")
    (source / "fake" / "001.png").unlink()
    (source / "fake" / "003.png").write_bytes(picture(3) + b"more")
    size = len(picture(3))
    changed = f"1 changed (first fake/003.png: length was {size}, is {size + 4})"
    assert told().startswith(f"2 added (first real/new.png), 1 removed (first fake/001.png), {changed}")
    for path, data in (
        ("real/new.png", None),
        ("real/newer.png", None),
        ("fake/001.png", picture(1)),
        ("fake/003.png", picture(3)),
    ):
        (source / path).unlink(missing_ok=True)
        write(source / path, data) if data else None
    assert prepare(source, out).already
    write(source / "fake" / "broken.png", picture(998))
    assert "1 rejected then and usable now (first fake/broken.png)" in told()
    assert prepare(source, out, workers=1, overwrite=True).images == 121


def test_finished_shards_of_a_table_that_changed_are_told(tmp_path):
    source = table_source(tmp_path, ["twice.png,1,,,,,"])
    (source / "twice.png").write_bytes((source / "2.png").read_bytes())  # 2.png is real
    prepare(source, tmp_path / "out", workers=1)
    assert prepare(source, tmp_path / "out").already, "what was rejected together is so still"
    text = (source / "list.csv").read_text()
    for change, words in [
        (("\n4.png,0,p2,val,", "\n4.png,1,p2,val,"), "1 changed (first 4.png: label was 0, is 1)"),
        (
            ("\n4.png,0,p2,val,", "\n4.png,0,p2;p9,val,"),
            "1 changed (first 4.png: groups was ['p2'], is ['p2', 'p9'])",
        ),
        (
            ("\n4.png,0,p2,val,", "\n4.png,0,p2,train,"),
            "1 changed (first 4.png: split was 'val', is 'train')",
        ),
        (("\n4.png,", "\n./4.png,"), ""),
        (("twice.png,1", "twice.png,0"), "2 rejected then and usable now (first 2.png)"),
    ]:
        assert change[0] in text
        (source / "list.csv").write_text(text.replace(*change))
        if words:
            with pytest.raises(ValueError, match="since then") as error:
                prepare(source, tmp_path / "out")
            assert f"changed: {words}. " in str(error.value)
        else:
            assert prepare(source, tmp_path / "out").already
    (source / "list.csv").write_text(text)
    (source / "5.png").unlink()
    with pytest.raises(ValueError, match=r"1 removed \(first 5.png\)"):
        prepare(source, tmp_path / "out")


def test_many_shards_are_of_one_split_and_even(source, tmp_path):
    report = prepare(source, tmp_path / "out", workers=2, shard_bytes=40_000)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert report.shards == len(index["shards"]) >= 8
    held = {(row["shard"], row["split"]) for row in load_table(tmp_path / "out").to_pylist()}
    assert len(held) == report.shards
    train = [shard["images"] for shard in index["shards"] if shard["split"] == "train"]
    assert max(train) - min(train) <= 2


def test_odd_files_are_converted_or_listed(source, tmp_path):
    write(source / "real" / "wrong.jpg", picture(500))
    write(source / "real" / "cmyk.jpg", cmyk := to_bytes(Image.new("CMYK", (12, 10), (9, 80, 30, 0)), "JPEG"))
    write(source / "fake" / "truncated.jpg", picture(501, "JPEG")[:-40])
    write(source / "fake" / "text.png", b"this is no picture")
    write(source / "real" / "empty.jpg", b"")
    (source / "fake" / "loop.png").symlink_to(source / "fake" / "loop.png")
    (source / "fake" / "inside.png").symlink_to(source / "fake" / "001.png")
    write(tmp_path / "secret.png", picture(502))
    (source / "real" / "outside.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(source / "real" / "pipe.png")
    report = prepare(source, tmp_path / "out", workers=1)
    reasons = listed(tmp_path / "out")
    assert set(reasons) == {
        "fake/truncated.jpg", "fake/text.png", "real/empty.jpg", "fake/loop.png", "real/outside.png", "real/pipe.png",
    }  # fmt: skip
    assert "out of the source" in reasons["real/outside.png"] and "empty" in reasons["real/empty.jpg"]
    assert (report.images, report.rejected, report.misnamed) == (123, 6, 1)
    assert "6 rejected" in str(report) and "rejected.csv" in str(report)
    rows = {row["path"]: row for row in load_table(tmp_path / "out").to_pylist()}
    assert rows["real/wrong.jpg"]["format"] == "PNG"
    assert rows["real/cmyk.jpg"]["sha256"] == hashlib.sha256(cmyk).hexdigest()
    assert rows["fake/inside.png"]["split"] == rows["fake/001.png"]["split"], "the same bytes stay together"


@pytest.mark.parametrize("reader", ["class_folders", "table"])
def test_what_is_no_file_is_listed_and_hangs_nobody(source, tmp_path, reader, monkeypatch):
    (source / "real" / "nowhere.v2").symlink_to("not mounted")
    os.mkfifo(source / "fake" / "pipe.png")
    os.mkfifo(source / "fake" / "pipe.v2")
    monkeypatch.chdir(source / "real")  # a socket's path has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    (source / "more").symlink_to(source / "real")
    if reader == "table":
        lines = [
            f"{path.relative_to(source)},{path.parent.name}"
            for folder in ("real", "fake")
            for path in (source / folder).iterdir()
        ]
        (source / "list.csv").write_text("\n".join(["path,label", *lines]))
    report = prepare(source, tmp_path / "out", workers=1)
    reasons = listed(tmp_path / "out")
    special = {"fake/pipe.png", "fake/pipe.v2", "real/socket.png"}
    assert {
        path for path, reason in reasons.items() if reason == "no file: a pipe, a socket or a device"
    } == special
    assert f"rejected.csv. Most often: 3 x {reasons['fake/pipe.v2']} (first fake/pipe" in str(report)
    assert reasons.pop("real/nowhere.v2") in (
        "a link that leads nowhere",
        "cannot be opened: No such file or directory",
    )
    assert (
        reader == "table"
        or reasons.pop("more") == "a link to a folder is not followed; cp -rL makes a copy without links"
    )
    assert set(reasons) == special and (report.images, report.reader) == (120, reader)


def test_files_that_are_not_tried_are_counted(source, tmp_path):
    for path in sorted(source.glob("real/*"))[:28]:
        path.rename(path.with_suffix(".PNG_"))
    write(source / "fake" / ".hidden.png", picture(500))
    for beside in (
        "README",
        "list.txt",
        "metadata.csv",
        "real/Thumbs.db",
        "real/.DS_Store",
        "fake/._001.png",
        ".git/a.png",
    ):
        write(source / beside, b"no picture")
    told = "29 files not tried (hidden, or no picture's suffix): fake/.hidden.png, real/000.PNG_ and so on."
    for _ in range(2):  # the second finds finished shards
        assert told in str(report := prepare(source, tmp_path / "out", workers=1)).splitlines()
    assert (report.images, report.rejected, report.already) == (92, 0, True)


def to_bytes(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name)
    return buffer.getvalue()


def table_source(tmp_path: Path, extra: list[str]) -> Path:
    """A table of 60 pictures with groups, splits, methods and masks, and more lines."""
    lines = ["path,label,groups,split,source,method,mask"]
    for n in range(60):
        write(tmp_path / "set" / f"{n}.png", picture(n))
        split = ("train", "train", "val", "test")[n // 2 % 4]
        mask = f"mask{n}.png" if n % 2 else ""
        if mask:
            write(tmp_path / "set" / mask, to_bytes(Image.new("L", (12, 10), 255), "PNG"))
        lines.append(f"{n}.png,{n % 2},p{n // 2},{split},here,{'swap' if n % 2 else ''},{mask}")
    (tmp_path / "set" / "list.csv").write_text("\n".join(lines + extra))
    return tmp_path / "set"


@pytest.mark.usefixtures("messages_on_stderr")
def test_tables_bring_groups_splits_methods_and_masks(tmp_path, capsys):
    # twice the same
    source = table_source(tmp_path, ["0.png,0,p0,train,here,,", "./1.png,1,p0,train,here,swap,mask1.png"])
    report = prepare(source, tmp_path / "out", workers=1)
    assert (report.images, report.rejected, report.families) == (60, 0, 30)
    assert (
        "list.csv: labels read: 0 as real (31), 1 as fake (31). If 1 is real there: --real 1"
        in capsys.readouterr().err
    )
    assert "not tried" not in str(report), "a table names what is wanted"
    for row in load_table(tmp_path / "out").to_pylist():
        n = int(row["path"].split(".")[0])
        assert (row["label"], row["groups"], row["family"], row["source"]) == (
            n % 2,
            [f"p{n // 2}"],
            f"p{n // 2}",
            "here",
        )
        assert row["split"] == ("train", "train", "val", "test")[n // 2 % 4] and row["method"] == (
            "swap" if n % 2 else ""
        )
        data = (tmp_path / "out" / row["shard"]).read_bytes()[row["mask_offset"] :][: row["mask_length"]]
        assert data == ((source / f"mask{n}.png").read_bytes() if n % 2 else black_mask(12, 10))


def test_contradictions_are_listed_never_guessed(tmp_path):
    source = table_source(
        tmp_path,
        ["0.png,1,p0,train,here,,", "copy.png,1,,train,,,", "gone.png,1,,train,,,", "../x.png,0,,,,,"],
    )
    (source / "copy.png").write_bytes((source / "2.png").read_bytes())
    write(tmp_path / "x.png", picture(900))
    with pytest.raises(ValueError, match=r"5 of 63 files were rejected \(7.9%; 5% may be\)"):
        prepare(source, tmp_path / "out", workers=1)
    reasons = listed(tmp_path / "out")
    assert (
        "contradict" in reasons["0.png"]
        and "real and as fake" in reasons["2.png"]
        and "real and as fake" in reasons["copy.png"]
    )
    assert "No such file" in reasons["gone.png"] and "out of the source" in reasons["../x.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rejected.csv"]


def test_a_mask_must_fit_its_picture(tmp_path):
    source = table_source(tmp_path, [])
    write(source / "mask1.png", to_bytes(Image.new("L", (9, 9)), "PNG"))
    report = prepare(source, tmp_path / "out", workers=1)
    assert (
        report.rejected == 1
        and "mask1.png: PNG, 9 x 9; needed is PNG, 12 x 10" in listed(tmp_path / "out")["1.png"]
    )


def test_families_across_official_splits_are_refused(tmp_path):
    write(tmp_path / "set" / "swap.png", picture(901))
    source = table_source(tmp_path, ["swap.png,1,p0;p3,train,here,swap,"])  # p0 is of train, p3 of test
    with pytest.raises(
        ValueError, match=r"(?s)same group: 1\..* 7.png \(test\), swap.png \(train\).*--allow-leaks"
    ):
        prepare(source, tmp_path / "out", workers=1)
    report = prepare(source, tmp_path / "out", workers=1, allow_leaks=True)
    assert report.leaks["same group"] == 1 and "LEAK" in str(report)
    leaks = json.loads((tmp_path / "out" / "index.json").read_text())["leaks"]
    assert leaks["pairs"] == [["same group", "7.png", "test", "swap.png", "train"]]


def test_a_delivered_copy_joins_its_original_and_is_refused_across_official_splits(tmp_path):
    noise = np.random.default_rng(5).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    rough = Image.fromarray(noise).resize((120, 120), Image.BICUBIC)
    source = table_source(tmp_path, ["a.jpg,0,,,here,,", "b.jpg,1,,,here,gan,"])
    rough.save(source / "a.jpg", quality=95)
    rough.resize((90, 90), Image.LANCZOS).save(source / "b.jpg", quality=50)
    prepare(source, tmp_path / "free", workers=1)
    lines = {line["path"]: line for line in load_table(tmp_path / "free").to_pylist()}
    assert (
        lines["a.jpg"]["family"] == lines["b.jpg"]["family"]
        and lines["a.jpg"]["split"] == lines["b.jpg"]["split"]
    )
    table = next(source.glob("*.csv"))
    table.write_text(
        table.read_text().replace("a.jpg,0,,,", "a.jpg,0,,train,").replace("b.jpg,1,,,", "b.jpg,1,,test,")
    )
    with pytest.raises(ValueError, match=r"(?s)near duplicate: 1\..* b.jpg \(test\), a.jpg \(train\)"):
        prepare(source, tmp_path / "torn", workers=1)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda source: source.rename(source.with_name("x")), "no such folder"),
        (
            lambda source: [path.unlink() for path in source.glob("fake/*")],
            "faces: fake holds no picture. A detector needs",
        ),
        (
            lambda source: [path.rename(path.with_suffix(".p_")) for path in source.glob("fake/*")],
            "60 files not tried .*1.p_",
        ),
        (lambda source: [path.write_bytes(b"x") for path in source.glob("fake/*")], "60 of 120"),
        (lambda source: source.joinpath("real").rename(source / "natural"), "0 real and 60 fake|rejected"),
        (lambda source: [path.unlink() for path in source.glob("*/*")], "fake, real hold no picture"),
    ],
    ids=["missing", "class-empty", "class-suffixes", "class-broken", "class-misnamed", "none"],
)
def test_sources_that_cannot_be_used_say_why(source, tmp_path, harm, words):
    harm(source)
    with pytest.raises(ValueError, match=words) as error:
        prepare(source, tmp_path / "out", workers=1)
    assert len(str(error.value).splitlines()) <= 10
    assert not (tmp_path / "out" / "index.json").exists()


def test_out_must_be_free_and_beside_the_source(source, tmp_path):
    for out in (source, source / "shards", tmp_path):
        with pytest.raises(ValueError, match="inside one another"):
            prepare(source, out)
    write(tmp_path / "thesis" / "chapter.tex", b"years of work")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="not empty"):
            prepare(source, tmp_path / "thesis", overwrite=overwrite)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is empty"):
        prepare(tmp_path / "empty", tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")  # as of <(...) in a shell
    with pytest.raises(ValueError, match=r"is a named pipe, .* Write what comes from there to a file"):
        prepare(tmp_path / "pipe", tmp_path / "out")
    write(tmp_path / "file", b"")
    with pytest.raises(OSError, match=rf"cannot be a folder: a file is in the way \({tmp_path / 'file'}\)"):
        prepare(source, tmp_path / "file" / "out")


def test_a_full_disk_is_said_before_and_while_writing(source, tmp_path, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(OSError, match="no space left") as error:
            prepare(source, tmp_path / "out", workers=1)
    assert error.value.errno == errno.ENOSPC
    path = "real/000.png"
    row = {
        "key": "a",
        "path": path,
        "mask": None,
        "black_mask": False,
        "label": 0,
        "source": "",
        "method": "",
        "groups": [],
        "split": "train",
    }
    row |= inspect_file(str(source), path, None)._asdict()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "tars" / ".prepare").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="Free some and run the same command again"):
            write_shard((str(source), tmp_path / "tars", "train-000000.tar", [row]))
    assert contents(tmp_path / "tars") == {}
    assert prepare(source, tmp_path / "out", workers=1).images == 120


RUN = "from pathlib import Path; from dfd.prepare.pipeline import prepare; import sys\n"
RUN += "if __name__ == '__main__': prepare(Path(sys.argv[1]), Path(sys.argv[2]), workers=2, shard_bytes=80_000)\n"


@pytest.mark.slow
@pytest.mark.parametrize("sign", [".prepare/look-*.parquet", ".prepare/*.tar.parquet"])
def test_killed_and_run_again_it_goes_on(source, tmp_path, sign):
    for n in range(120, 900):
        write(source / ("fake" if n % 2 else "real") / f"{n}.png", picture(n))
    (tmp_path / "run.py").write_text(RUN)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", source, out], env=environment, stderr=subprocess.DEVNULL
    )
    while not list(out.glob(sign)) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "index.json").exists(), "killed too late to show anything"
    with pytest.raises(ValueError, match="stopped before the end"):
        load_table(out)
    time.sleep(0.5)  # its workers end with it
    kept = {path: path.stat().st_mtime_ns for pattern in (sign, "*.tar") for path in out.glob(pattern)}
    noted = [
        path for path in kept if path.parent == out and (out / ".prepare" / f"{path.name}.parquet").exists()
    ]
    assert kept and (noted or "look" in sign)

    write(source / "real" / "late.png", picture(9999))
    with pytest.raises(ValueError, match=r"1 added \(first real/late.png\)"):
        prepare(source, out, workers=2, shard_bytes=80_000)
    (source / "real" / "late.png").unlink()
    assert all(path.exists() for path in kept), "a refusal takes nothing away"
    report = prepare(source, out, workers=2, shard_bytes=80_000)
    assert report.images == 900
    assert all(path.stat().st_mtime_ns == kept[path] for path in noted), "finished shards are kept"

    prepare(source, tmp_path / "whole", workers=2, shard_bytes=80_000)
    assert load_table(out).equals(load_table(tmp_path / "whole"))
    tars = [
        {path.name: path.read_bytes() for path in made.glob("*.tar")} for made in (out, tmp_path / "whole")
    ]
    assert tars[0] == tars[1]
    assert {path.suffix for path in out.iterdir()} == {".tar", ".json", ".parquet", ".csv"}


@pytest.mark.slow
def test_two_at_once_into_one_folder(source, tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    out, environment = tmp_path / "out", {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    run = [sys.executable, tmp_path / "run.py", source, out]
    first = subprocess.Popen(run, env=environment, stderr=subprocess.DEVNULL)
    while not (out / ".prepare" / "plan.parquet").exists() and first.poll() is None:
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    assert not (out / "index.json").exists(), "stopped too late to show anything"
    second = subprocess.run(run, env=environment, stderr=subprocess.PIPE, text=True)
    words = f"another dfd prepare (pid {first.pid}) is writing {out}; wait for it or choose another --out."
    assert second.returncode == 1 and words in second.stderr
    with pytest.raises(ValueError, match="another dfd prepare"):
        prepare(source, out, workers=1, overwrite=True)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (out / ".prepare.lock").exists(), "left behind, and no hindrance"
    assert prepare(source, out, workers=1, shard_bytes=80_000).images == 120
    assert not (out / ".prepare.lock").exists()


def test_a_lock_that_its_holder_removes_is_taken_anew(tmp_path, monkeypatch):
    """Between our opening of the file and our locking it, whoever held it ends, and with it goes the file."""
    flock = locks.fcntl.flock

    def late(file, how):
        monkeypatch.undo()
        (tmp_path / lock.LOCK).unlink()
        flock(file, how)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with (
        lock.exclusive(tmp_path),
        pytest.raises(ValueError, match=f"pid {os.getpid()}"),
        lock.exclusive(tmp_path),
    ):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(source, tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    assert prepare(source, tmp_path / "out", workers=1).images == 120


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_do_no_work(source, tmp_path, workers):
    with pytest.raises(ValueError, match=f"{workers} workers: it takes at least 1"):
        prepare(source, tmp_path / "out", workers=workers)


def test_a_misspelt_split_is_told_once(tmp_path):
    source = table_source(tmp_path, [])
    text = (source / "list.csv").read_text()
    (source / "list.csv").write_text(text.replace(",train,", ",trian,"))
    with pytest.raises(ValueError) as error:
        prepare(source, tmp_path / "out", workers=1)
    assert "Most often: 32 x split 'trian' is none of train, val, test; train may be meant (first " in str(
        error.value
    )


def splits_of(out: Path) -> dict[str, str]:
    return {row["path"]: row["split"] for row in load_table(out).to_pylist()}


@pytest.mark.slow
def test_a_source_without_val_gives_some_of_its_training_families(source, tmp_path):
    def shown(folder: str, *splits: str) -> tuple[str, dict[str, str]]:
        for path in sorted(source.glob("*/*.png")):
            split = splits[int(path.stem) % 4 % len(splits)]
            write(tmp_path / folder / split / path.parent.name / path.name, path.read_bytes())
        report = prepare(tmp_path / folder, tmp_path / f"{folder}-shards", workers=1)
        assert prepare(tmp_path / folder, tmp_path / f"{folder}-shards").already, (
            "and that is no change of the source"
        )
        return str(report), splits_of(tmp_path / f"{folder}-shards")

    said, found = shown("two", "train", "train", "test", "test")
    assert "states no val split: val is a tenth of its training families" in said
    assert all((split == "test") == path.startswith("test/") for path, split in found.items())
    of_train = [split for path, split in found.items() if path.startswith("train/")]
    assert 1 <= of_train.count("val") <= 15 and of_train.count("val") + of_train.count("train") == 60
    made_by = json.loads((tmp_path / "two-shards" / "index.json").read_text())["made_by"]
    assert made_by["splits_from"] == {"train": "source", "val": "train", "test": "source"}

    said, found = shown("one", "train")
    assert (
        set(found.values()) == {"train", "val"}
        and "test split has 0 real and 0 fake images: the source states none" in said
    )
    said, found = shown("three", "train", "val", "test", "test")
    assert all(path.startswith(split) for path, split in found.items()) and "tenth" not in said


def test_families_too_few_to_deal_are_told(source, tmp_path):
    lines = [
        f"{path.relative_to(tmp_path)},{path.parent.name},g{int(path.stem) % 2}"
        for path in source.glob("*/*.png")
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *lines]))
    said = str(
        prepare(tmp_path / "list.csv", tmp_path.with_name(f"{tmp_path.name}-out"), workers=1)
    ).splitlines()
    assert (
        "The val split has 0 real and 0 fake images: the hash deals whole families 80/10/10, and 2 are few."
        in said
    )
    assert "column `split`" in said[-1] and len(said) <= 5


@pytest.mark.parametrize("count", [12, 20])
def test_splits_of_a_small_set_have_both_classes(tmp_path, count):
    for n in range(count):
        write(tmp_path / "faces" / ("fake" if n % 2 else "real") / f"{n:03d}.png", picture(n))
    report = prepare(tmp_path / "faces", tmp_path / "out", workers=1)
    assert all(all(of.values()) for of in report.splits.values()), report.splits
    made_by = json.loads((tmp_path / "out" / "index.json").read_text())["made_by"]
    home = {row["family"]: row["split"] for row in load_table(tmp_path / "out").to_pylist()}
    assert made_by["lent"] and made_by["dealt"] == {
        "train": sum(hashed_split(name) == "train" for name in home),
        "hash": count,
    }
    for one in made_by["lent"]:
        assert home[one["family"]] == one["split"] != hashed_split(one["family"]) == one["home"]
        assert f"By the hash alone {one['split']} had no {one['label']} image: one family came to it" in str(
            report
        )
    assert prepare(tmp_path / "faces", tmp_path / "out").already


@pytest.mark.slow
def test_a_drawn_val_has_both_classes_and_counts_the_training_families_alone(tmp_path):
    for n in range(40):
        split = "train" if n < 16 else "test"
        write(tmp_path / "faces" / split / ("fake" if n % 2 else "real") / f"{n:03d}.png", picture(n))
    report = prepare(tmp_path / "faces", tmp_path / "out", workers=1)
    assert all(report.splits["val"].values()) and sum(report.splits["test"].values()) == 24
    table = "\n".join(
        [
            "path,label,group,split",
            *(f"{n:03d}.png,{n % 2},g{n // 8},{'test' if n > 7 else 'train'}" for n in range(40)),
        ]
    )
    for n in range(40):
        write(tmp_path / "grouped" / f"{n:03d}.png", picture(n))
    (tmp_path / "grouped" / "list.csv").write_text(table)
    said = str(prepare(tmp_path / "grouped", tmp_path / "other", workers=1))
    assert (
        "val split has 0 real and 0 fake images: the source states none, and its 1 training families give "
        "none" in said
    )


@pytest.mark.slow
def test_a_file_that_changes_meanwhile_is_noticed(source, tmp_path, monkeypatch):
    look = module.inspect_pass

    def then_touch(root, *rest, **options):
        table = look(root, *rest, **options)
        (source / "real" / "000.png").write_bytes(picture(7777))
        return table

    monkeypatch.setattr(module, "inspect_pass", then_touch)
    with pytest.raises(ValueError, match=r"real/000.png changed while it was prepared"):
        prepare(source, tmp_path / "out", workers=1)
    monkeypatch.undo()
    assert prepare(source, tmp_path / "out", workers=1).images == 120


def test_what_a_reader_of_ones_own_gets_wrong_is_listed(source, tmp_path, monkeypatch):
    code = "from dfd.prepare.readers.class_folders import rows as folders\nfrom dataclasses import replace\n"
    code += "def rows(root):\n    for at, row in enumerate(folders(root)):\n"
    code += "        yield replace(row, label=7) if at == 0 else replace(row, split='valid') if at == 1 else row\n"
    (tmp_path / "wrong_reader.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert prepare(source, tmp_path / "out", "wrong_reader:rows", workers=1).images == 118
    assert (
        "label 7" in listed(tmp_path / "out")["fake/001.png"]
        and "'valid'" in listed(tmp_path / "out")["fake/003.png"]
    )


def test_a_link_in_place_of_a_class_is_told(source, tmp_path):
    (source / "fake").rename(tmp_path / "elsewhere")
    (source / "fake").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError,
        match=r"faces: fake itself: a link to a folder is not followed",
    ):
        prepare(source, tmp_path / "out", workers=1)


def test_shards_of_others_are_never_overwritten(source, tmp_path):
    write(tmp_path / "theirs" / "train-000000.tar", b"years of work")
    none = {"real": 0, "fake": 0}
    index = {"made_by": {"command": "index"}, "shards": [], "images": 0, "families": 0, "classes": none}
    index["splits"] = dict.fromkeys(("train", "val", "test"), none)
    write(tmp_path / "theirs" / "index.json", json.dumps(index).encode())
    with pytest.raises(ValueError, match="holds no shards of `dfd prepare`"):
        prepare(source, tmp_path / "theirs", workers=1, overwrite=True)
    with pytest.raises(ValueError, match="finished shards of `dfd index`, not of 'faces'"):
        prepare(source, tmp_path / "theirs", workers=1)


@pytest.mark.slow
def test_a_tar_of_somebody_with_a_shards_name_stays(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, workers=1)
    theirs, before = out / "train-000099.tar", contents(out)
    write(theirs, b"years of work")
    with pytest.raises(ValueError, match=r"train-000099\.tar has the name of a shard.*Move it out"):
        prepare(source, out, workers=1, overwrite=True)
    assert contents(out) == before | {"train-000099.tar": b"years of work"}, "refused before anything is done"
    theirs.rename(out / "extra.tar")
    prepare(source, out, workers=1, overwrite=True)
    assert (out / "extra.tar").read_bytes() == b"years of work"


@pytest.mark.slow
def test_what_a_run_killed_while_it_clears_or_writes_had_made_is_its_own(source, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for each in (out, whole):
        prepare(source, each, workers=1, shard_bytes=8_000)
    unlink, table = Path.unlink, load_table(whole)

    def killed_at_a_shard(path, missing_ok=False):
        if path.suffix == ".tar":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed_at_a_shard)
        prepare(source, out, workers=1, shard_bytes=4_000, overwrite=True)
    assert not (out / "index.json").exists() and len(list(out.glob("*.tar"))) > 3

    def killed_before_the_note(*_):  # all tars are there, and none is noted as whole
        for shard in whole.glob("*.tar"):
            write(out / shard.name, b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_pass", killed_before_the_note)
        prepare(source, out, workers=1, shard_bytes=8_000, overwrite=True)
    prepare(source, out, workers=1, shard_bytes=8_000)
    assert load_table(out).equals(table)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_list_of_somebody_is_not_replaced(source, tmp_path):
    listed = tmp_path / "out" / "rejected.csv"
    write(listed, b"path,reason,examiner\r\n")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"rejected\.csv would be replaced.*Rename it"):
            prepare(source, tmp_path / "out", workers=1, overwrite=overwrite)
        assert listed.read_bytes() == b"path,reason,examiner\r\n"
    listed.write_bytes(b"path,reason\r\n")  # of a killed run
    prepare(source, tmp_path / "out", workers=1)
    listed.write_bytes(b"my notes\n")
    with pytest.raises(ValueError, match=r"rejected\.csv would be replaced"):
        prepare(source, tmp_path / "out", workers=1, overwrite=True)


def test_preparing_needs_no_torch():
    code = "import sys, dfd.prepare.pipeline, dfd.prepare.index; print({'torch', 'lightning', 'rich'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.25])
def test_ctrl_c_is_answered_in_one_line_and_goes_on(source, tmp_path, pause):
    out, environment = tmp_path / "out", {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    run = [sys.executable, "-m", "dfd.cli", "prepare", source, "--out", out]
    process = subprocess.Popen(
        run, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (out / ".prepare" / "plan.parquet").exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(pause)  # meanwhile the fork server starts, and then the workers
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    said = process.communicate()[1].splitlines()
    if process.returncode == 0:
        pytest.skip("done before the signal came")
    assert process.returncode == 130 and said[1:] == ["interrupted; the same command goes on from there"], (
        said
    )
    assert prepare(source, out, workers=1).images == 120


def test_what_failed_leaves_no_empty_folder(source, tmp_path):
    write(tmp_path / "unknown" / "a" / "b.jpg", picture(1))
    out = tmp_path / "new" / "er" / "out"
    for call in (
        lambda: prepare(tmp_path / "unknown", out),
        lambda: prepare(source, out, frames=4),
        lambda: prepare(source, out, margin=1.5),
    ):
        with pytest.raises(ValueError):
            call()
        assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="none of the layouts"):
        prepare(tmp_path / "unknown", tmp_path / "there")
    assert (tmp_path / "there").is_dir() and not list((tmp_path / "there").iterdir()), "what was there stays"


def test_finished_shards_are_no_source(source, tmp_path):
    prepare(source, tmp_path / "out", workers=1)
    with pytest.raises(ValueError, match=r"holds finished shards already: .* Did you mean dfd reencode\?"):
        prepare(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_slow_piece_of_work_says_how_long_it_takes(monkeypatch, capsys):
    now = iter([0.0, 24.0, 48.0, 50.0])
    monkeypatch.setattr("dfd.progress.time.monotonic", lambda: next(now))
    with progress(40, "cutting") as advance:
        advance(2)
        advance(36)
    assert capsys.readouterr().err.splitlines() == [
        "cutting: 2 of 40, 12.0 s each, about 8 min left",
        "cutting: 38 of 40, 1.3 s each, about 3 s left",
    ]


def test_nothing_left_out_is_not_said():
    cut = {"frames": 4, "margin": 1.3, "left_out": 0}
    report = Report(Path("out"), 9, 0, {}, {}, 1, 1, "table", cut=cut)
    assert (
        "left out" not in str(report) and "not tried" not in str(report) and "4 frames a video" in str(report)
    )


def test_two_sources_at_once_are_refused_in_plain_words(source, tmp_path, capsys):
    assert main(["prepare", str(source), "more", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "dfd prepare: 'more' is too many. dfd prepare --help tells more.\n"


def test_a_misspelt_column_says_so_and_splits_nothing(source, tmp_path):
    lines = [
        f"{path.relative_to(source)},{path.parent.name},p{int(path.stem) % 20}"
        for path in source.glob("*/*.png")
    ]
    (source / "list.csv").write_text("\n".join(["path,label,grup", *lines]))
    with pytest.raises(ValueError, match=r"column grup: did you mean group\?"):
        prepare(source, tmp_path / "out", workers=1)
    (source / "list.csv").write_text("\n".join(["path,label,group", *lines]))
    assert prepare(source, tmp_path / "out", workers=1).families == 20
