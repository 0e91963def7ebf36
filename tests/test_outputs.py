"""Whatever an output name is, nothing of anybody's is lost."""

import os
import shutil
import stat
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from killing import killed_at
from output_kinds import THEIRS, everything, made

from dfd import outputs
from dfd.durable import make_folder, temporary_name
from dfd.outputs import (
    WRITER,
    check_file,
    check_new_folder,
    is_stdout,
    is_stream,
    lies_within,
    open_stream,
    output_file,
    output_folder,
)

HEADS = (b"path,face",)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes a device")


REFUSED = {
    "folder": "a folder",
    "link to a folder": "a folder",
    "pipe": "a named pipe",
    "socket": "a socket",
    "link to a device": "a device",
    "loop": "Too many levels",
    "somebody's file": "dfd did not write it",
    "link to somebody's file": "dfd did not write it",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_file_of_ours_is_refused_and_stays(tmp_path, kind):
    path = made(kind, tmp_path)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=rf"--out name .*{REFUSED[kind]}"):
        check_file(path, "--out name", HEADS)
    assert everything(tmp_path) == before


@root_only
@pytest.mark.parametrize("kind", ["device", "block device"])
def test_a_device_is_refused_where_a_file_is_needed(tmp_path, kind):
    path = made(kind, tmp_path)
    with pytest.raises(ValueError, match=f"a {kind}, where a file"):
        check_file(path, "--out name", HEADS)


@pytest.mark.parametrize("kind", ["nothing", "empty file", "own file", "link to own file", "link to nothing"])
def test_a_file_is_replaced_and_a_link_stays(tmp_path, kind):
    path = made(kind, tmp_path)
    check_file(path, "--out name", HEADS)
    with output_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and path.is_symlink() == kind.startswith("link")
    assert {each.name for each in tmp_path.iterdir()} <= {"name", "other"}


def test_a_name_that_leaves_no_room_for_a_temporary_one_is_refused(tmp_path):
    path = tmp_path / ("é" * 121)
    with pytest.raises(ValueError, match="longer than 240 bytes"):
        check_file(path, "--out")
    path = tmp_path / ("é" * 120)
    check_file(path, "--out")
    with output_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_its_owner_locked_is_not_replaced(tmp_path):
    (tmp_path / "name").touch(0o444)
    with pytest.raises(ValueError, match="may not be written"):
        check_file(tmp_path / "name", "--out")


def test_a_pipe_gets_its_lines_as_they_come(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert is_stream(tmp_path / "pipe") and not is_stdout(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open_stream(tmp_path / "pipe") as file:
        file.write("a\udcff\n")
        assert os.read(reader, 100) == b"a\xff\n"
    os.close(reader)


def test_a_reader_who_comes_later_is_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["sh", "-c", "sleep 0.3; cat < pipe"], cwd=tmp_path, stdout=subprocess.PIPE)
    with open_stream(tmp_path / "pipe") as file:
        file.write("line\n")
    assert reader.communicate()[0] == b"line\n" and "waiting for somebody to read" in capsys.readouterr().err


@root_only
def test_a_device_is_written_through(tmp_path):
    path = made("device", tmp_path)
    assert is_stream(path)
    with open_stream(path) as file:
        file.write("line\n")
    assert stat.S_ISCHR(path.lstat().st_mode) and os.listdir(tmp_path) == ["name"]


def test_a_full_device_is_said():
    with pytest.raises(OSError, match="no space left for /dev/full"), open_stream("/dev/full") as file:
        file.write("line\n")


def test_an_open_descriptor_is_continued_where_it_stands(tmp_path):
    (tmp_path / "out").write_text("earlier\n")
    handle = os.open(tmp_path / "out", os.O_WRONLY | os.O_APPEND)
    for number, name in enumerate((f"/dev/fd/{handle}", f"/proc/self/fd/{handle}")):
        (tmp_path / f"link{number}").symlink_to(name)
        (tmp_path / f"link{number}-again").symlink_to(f"link{number}")
        for path in (Path(name), tmp_path / f"link{number}", tmp_path / f"link{number}-again"):
            assert is_stream(path) and not is_stdout(path)
            with open_stream(path) as file:
                file.write("line\n")
    os.close(handle)
    assert (tmp_path / "out").read_text() == "earlier\n" + 6 * "line\n"
    with pytest.raises(ValueError, match="cannot write /dev/fd/9999"):
        open_stream("/dev/fd/9999").__enter__()


def test_the_standard_output_has_many_names(tmp_path):
    """And its bytes are those of a file, whatever encoding the terminal was given."""
    code = (
        "import sys\nfrom dfd.outputs import is_stdout, open_stream\n"
        "assert is_stdout(sys.argv[1])\nprint('text')\n"
        "with open_stream(sys.argv[1]) as file: print('\\udcff\\u00e9', file=file)\nprint('more')"
    )
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", tmp_path / "link", tmp_path / "out"):
        with open(tmp_path / "out", "wb") as out:
            command = [sys.executable, "-c", code, name]
            subprocess.run(
                command, stdout=out, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"}
            )
        assert (tmp_path / "out").read_bytes() == b"text\n\xff\xc3\xa9\nmore\n", name
    assert (tmp_path / "link").is_symlink()
    assert not is_stdout("/dev/null") and is_stream(Path("/dev/null"))


def killed(act):
    """Runs it in a child that ends at once where it calls `os._exit`."""
    if (child := os.fork()) == 0:
        try:
            act()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    def write():
        with output_file(tmp_path / "scores.csv") as part:
            part.write_text("half")
            os._exit(9)

    def fill():
        with output_folder(tmp_path / "shards", whole="index.json") as part:
            (part / "train-000000.tar").write_text("half")
            os._exit(9)

    killed(write)
    killed(fill)
    temporary_name(tmp_path / "shards").mkdir()  # killed before anything was in it
    assert len(list(tmp_path.iterdir())) == 3
    for name in (
        "scores.csv.part-",
        "scores.csv.part-1234567x",
        "other.csv.part-12345678",
        "a.part-0123abcd",
    ):
        (tmp_path / name).write_text(THEIRS)
    theirs = temporary_name(tmp_path / "shards")
    theirs.mkdir()
    (theirs / "thesis").touch()
    kept = temporary_name(tmp_path / "scores.csv")
    kept.symlink_to(theirs / "thesis")
    with output_file(tmp_path / "scores.csv") as part:
        part.write_text("whole")
    with output_folder(tmp_path / "shards", whole="index.json") as part:
        (part / "index.json").touch()
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["index.json"]
    names = {
        "scores.csv",
        "shards",
        "scores.csv.part-",
        "scores.csv.part-1234567x",
        "other.csv.part-12345678",
    }
    assert {path.name for path in tmp_path.iterdir()} == names | {"a.part-0123abcd", theirs.name, kept.name}


def test_a_file_that_is_killed_at_any_call_is_written_by_the_next(tmp_path):
    def write():
        with output_file(tmp_path / "new" / "scores.csv") as part:
            part.write_text("whole")

    for number in count():
        dies = killed_at(number, write)
        found = list((tmp_path / "new").glob("scores.csv"))
        assert all(path.read_text() == "whole" for path in found)
        write()
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["scores.csv"]
        shutil.rmtree(tmp_path / "new")
        if not dies:
            break
    assert number > 4


def test_a_folder_that_is_killed_at_any_call_is_filled_by_the_next(tmp_path):
    def fill():
        with output_folder(tmp_path / "new" / "shards", whole="index.json") as part:
            for name in ("train-000000.tar", "index.json"):
                (part / name).write_text("whole")

    for number in count():
        dies = killed_at(number, fill)
        if finished := (tmp_path / "new" / "shards").exists():
            with pytest.raises(ValueError, match="exists and is not empty"):
                fill()
        else:
            fill()
        assert {path.name for path in (tmp_path / "new").iterdir()} == {"shards"}
        names = {path.name for path in (tmp_path / "new" / "shards").iterdir()}
        # killed after all was done but this
        assert names - {WRITER} == {"train-000000.tar", "index.json"} and (finished or WRITER not in names)
        shutil.rmtree(tmp_path / "new")
        if not dies:
            break
    assert number > 4


def test_what_a_living_writer_has_begun_stays(tmp_path):
    with (
        output_file(tmp_path / "scores.csv") as mine,
        output_folder(tmp_path / "shards", whole="index.json") as growing,
    ):
        mine.write_text("mine")
        (growing / "index.json").write_text("mine")
        with output_file(tmp_path / "scores.csv") as part:
            part.write_text("the other's")
        with pytest.raises(RuntimeError), output_folder(tmp_path / "shards", whole="index.json"):
            raise RuntimeError
    assert (tmp_path / "scores.csv").read_text() == "mine"
    assert (tmp_path / "shards" / "index.json").read_text() == "mine" and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("kind", ["pipe", "somebody's file", "link to somebody's file", "loop"])
def test_a_folder_takes_no_files_place(tmp_path, kind):
    path = made(kind, tmp_path)
    before = path.lstat()
    with pytest.raises(ValueError, match="where a folder is to be made"):
        output_folder(path, whole="index.json").__enter__()
    with pytest.raises(OSError, match="cannot be a folder: "):
        make_folder(path)
    assert path.lstat() == before


@pytest.mark.parametrize("kind", ["folder", "link to a folder", "link to nothing", "nothing"])
def test_a_folder_becomes_whole_behind_a_link_too(tmp_path, kind):
    path = made(kind, tmp_path)
    with output_folder(path, whole="index.json") as part:
        (part / "index.json").touch()
    assert os.listdir(path) == ["index.json"] and path.is_symlink() == kind.startswith("link")
    assert {each.name for each in tmp_path.iterdir()} <= {"name", "other"}


def test_a_mounted_disk_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(outputs.os.path, "ismount", lambda path: Path(path) == tmp_path / "disk")
    with pytest.raises(
        ValueError, match=r"where a disk is mounted.* Name a folder in it, such as .*disk/out"
    ):
        output_folder(tmp_path / "disk", whole="index.json").__enter__()


def test_the_probe_of_a_folder_leaves_nothing_whenever_it_is_killed(tmp_path, monkeypatch):
    def killing(*args, **kwargs):
        os._exit(9)

    def probe():
        os.unlink = os.close = killing
        make_folder(tmp_path / "out")

    killed(probe)
    assert os.listdir(tmp_path / "out") == []
    monkeypatch.delattr(os, "O_TMPFILE")  # as where files have names from the beginning
    (tmp_path / "out" / ".dfd.part-f7601161").touch()
    (tmp_path / "out" / ".dfd.part-mine").touch()
    make_folder(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [".dfd.part-mine"]


def test_a_writers_mark_is_not_left_in_the_folder(tmp_path):
    with output_folder(tmp_path / "out", whole="index.json") as part:
        assert (part / WRITER).exists()
        (part / "index.json").touch()
    assert os.listdir(tmp_path / "out") == ["index.json"]


def test_a_place_in_a_folder_is_known_by_all_its_names(tmp_path):
    (tmp_path / "set" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to("set/real")
    for place in (
        "set",
        "set/real",
        "set/new/out",
        "link",
        "link/out",
        "link/../out",
        "set/real/../../link/out",
    ):
        assert lies_within(tmp_path / place, tmp_path / "set"), place
    for place in (".", "out", "set-2", "set/../out", "nowhere/out"):
        assert not lies_within(tmp_path / place, tmp_path / "set"), place
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a named pipe, where a folder is to be made"):
        check_new_folder(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"lies in .*set, which is only read. Choose a folder beside it"):
        check_new_folder(tmp_path / "link" / "out", tmp_path / "set")
