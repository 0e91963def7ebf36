"""/dev/shm that is full, tiny or read-only is said in one line, before any process is started."""

import errno
import os
from types import SimpleNamespace

import pytest

from dfd import parallel
from dfd.data import ShardDataModule
from dfd.parallel import ProcessPool, shared_memory_fault


def test_there_is_room_here():
    assert shared_memory_fault(2) == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_what_cannot_hold_a_lock_is_named_with_the_remedy(number, monkeypatch):
    def broken(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(parallel.multiprocessing.context.BaseContext, "Lock", broken)
    with pytest.raises(ValueError, match=f"/dev/shm.*{os.strerror(number)}.*--shm-size"):
        ProcessPool(2, "math")
    with pytest.raises(ValueError, match=r"/dev/shm.*--data\.num_workers=0.*--shm-size"):
        ShardDataModule("nowhere", num_workers=2).setup("fit")


def test_64_kilobytes_are_too_few(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(parallel.os, "statvfs", lambda path: SimpleNamespace(f_bavail=16, f_frsize=4096))
    assert "has 64 KB left, and 2 of them need 128" in shared_memory_fault(2)
