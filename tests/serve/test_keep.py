import hashlib
import os
import resource
import time
from datetime import datetime

import pytest

from dfd.serve.faults import Fault
from dfd.serve.keep import Keep


def test_an_upload_is_kept_until_its_time_is_up(tmp_path):
    keep = Keep(tmp_path, minutes=10)
    others = tmp_path / "notes.txt"
    others.write_text("not an upload")
    keep.add(b"old")
    keep.add(b"new")
    old = tmp_path / f"upload-{hashlib.sha256(b'old').hexdigest()}"
    assert old.read_bytes() == b"old" and old.stat().st_mode & 0o777 == 0o600
    for path in (old, others):
        os.utime(path, (time.time() - 601, time.time() - 601))
    assert keep.delete_old() == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        others.name,
        f"upload-{hashlib.sha256(b'new').hexdigest()}",
    }


def test_what_is_left_at_a_stop_is_said_with_its_time(tmp_path):
    keep = Keep(tmp_path, minutes=10)
    assert keep.left() == ""
    keep.add(b"old")
    keep.add(b"new")
    old, new = (tmp_path / f"upload-{hashlib.sha256(data).hexdigest()}" for data in (b"old", b"new"))
    now = time.time()
    os.utime(old, (now - 300, now - 300))
    os.utime(new, (now, now))
    until = datetime.fromtimestamp(now + 600).strftime("%Y-%m-%d %H:%M:%S")
    assert f"2 uploads left in {tmp_path}, whose time is up by {until}" in keep.left()
    os.utime(old, (now - 601, now - 601))
    assert keep.left().startswith("1 upload left") and not old.exists()


def test_a_disk_that_takes_no_more_is_one_clear_answer(tmp_path):
    keep = Keep(tmp_path, minutes=10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(Fault, match=r"cannot be kept.*Nothing was judged") as caught:
            keep.add(b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.status == 507 and str(tmp_path) not in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said_at_the_start(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        Keep(tmp_path / "none", minutes=1)
