import errno
import os
from pathlib import Path

import pytest

from dfd.durable import atomic_write, check_folder, make_folder


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "plots" / "curves.png"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_bytes(b"half of the sec")
        raise RuntimeError
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.yaml"
    path.write_text("old")
    if (child := os.fork()) == 0:
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            os._exit(9)  # as after kill -9: nothing more runs
    os.waitpid(child, 0)
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_what_is_no_folder_is_called_by_its_kind(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, says in (
        ("file", " is a file, not a folder. Name one."),
        ("pipe", " is a named pipe, not a folder. Name one."),
        ("none", ": no such folder. Make one."),
    ):
        with pytest.raises(ValueError, match=f"{name}{says}"):
            check_folder(tmp_path / name, missing="Make one.", needed="Name one.")
    check_folder(tmp_path, missing="", needed="")
    with pytest.raises(OSError, match="a named pipe is in the way"):
        make_folder(tmp_path / "pipe")


def test_errors_of_the_disk_say_what_to_do(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").touch()
    for act in (
        lambda: make_folder(tmp_path / "file" / "out"),
        lambda: atomic_write(tmp_path / "file" / "x").__enter__(),
    ):
        with pytest.raises(OSError, match="cannot be a folder: a file is in the way"):
            act()
    if Path("/proc/self").exists():  # a folder that says of new files that they are not there
        for act in (lambda: make_folder(Path("/proc")), lambda: _written(Path("/proc/x"))):
            with pytest.raises(
                OSError, match=r"^\[Errno 2\] /proc takes no new files\. Choose another"
            ) as error:
                act()
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OSError, match=r"no space left for .* Free some") as error,
        atomic_write(tmp_path / "x") as temporary,
    ):
        temporary.touch()
    assert error.value.errno == errno.ENOSPC and [path.name for path in tmp_path.iterdir()] == ["file"]


def _written(path):
    with atomic_write(path) as temporary:
        temporary.touch()
