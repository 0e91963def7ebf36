"""The cache by itself: who may remove what, and that the limit holds."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from dfd.shards.cache import Cache
from dfd.shards.fetch import FetchError, Remote

KB = 1e-6  # in units of 10^9 bytes


@pytest.fixture
def site(tmp_path):
    from web_server import serving

    folder = tmp_path / "site"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.tar").write_bytes(bytes([number]) * 10_000)
    with serving(folder) as site:
        yield site


def remote(site, number, size=10_000):
    return Remote(f"{site.url}/{number}.tar", f"{number}.tar", size)


def held(cache):
    return sorted(path.name for path in cache.path.iterdir() if path.name != ".lock")


def test_the_least_recently_used_file_that_nobody_reads_goes_first(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gb=30 * KB, timeout=2, patience=2)
    handles = [cache.open(remote(site, number)) for number in (0, 1, 2)]
    for handle in handles[1:]:
        os.close(handle)
    os.close(cache.open(remote(site, 1)))  # used again
    os.close(cache.open(remote(site, 3)))
    assert held(cache) == ["0.tar", "1.tar", "3.tar"], "0 is being read, 2 is the oldest"
    assert os.pread(handles[0], 4, 0) == bytes(4)
    os.close(handles[0])


def test_what_is_kept_goes_last_and_never_for_a_file_ahead(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gb=20 * KB, timeout=2, patience=2)
    for number in (0, 1):
        os.close(cache.open(remote(site, number)))
    assert not cache.fetch_ahead(remote(site, 2), keep={"0.tar", "1.tar"})
    assert held(cache) == ["0.tar", "1.tar"], "nothing is removed where that makes no room"
    assert cache.fetch_ahead(remote(site, 2), keep={"0.tar"}) and held(cache) == ["0.tar", "2.tar"]
    os.close(cache.open(remote(site, 3), keep={"0.tar", "2.tar"}))
    assert held(cache) == ["2.tar", "3.tar"]


def test_readers_that_wait_for_one_another_let_go(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gb=20 * KB, timeout=2, patience=5)
    mine = [cache.open(remote(site, number)) for number in (0, 1)]

    def let_go():
        while mine:
            os.close(mine.pop())

    os.close(cache.open(remote(site, 2), let_go=let_go))
    assert not mine
    holding = [cache.open(remote(site, number)) for number in (3, 4)]
    with pytest.raises(FetchError, match=r"no room for http://.*/5.tar .*being read.*Raise data.cache.gb"):
        Cache(cache.folder, cache.gb, timeout=1, patience=0.3).open(remote(site, 5))
    for handle in holding:
        os.close(handle)


def test_a_file_larger_than_the_cache_is_refused(site, tmp_path):
    with pytest.raises(FetchError, match=r"0.tar has .* more than the whole cache \(data.cache.gb=5e-06\)"):
        Cache(str(tmp_path / "cache"), gb=5 * KB).open(remote(site, 0))


def test_a_file_that_was_cut_is_fetched_again(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), timeout=2, patience=2)
    os.close(cache.open(remote(site, 0)))
    os.truncate(cache.path / "0.tar", 100)
    handle = cache.open(remote(site, 0))
    assert os.fstat(handle).st_size == 10_000 and site.asked()["0.tar"] == 2
    os.close(handle)


def test_a_fork_disturbs_neither_side(site, tmp_path):
    """Connections that fsspec keeps go dead in the parent once a forked child has tidied up."""
    cache = Cache(str(tmp_path / "cache"), timeout=3, patience=0)
    os.close(cache.open(remote(site, 0)))
    child = os.fork()
    if not child:
        try:
            cache.open(remote(site, 1))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    os.close(cache.open(remote(site, 2)))


async def in_a_notebook(cache, remote):
    os.close(cache.open(remote))


def test_a_loop_that_runs_already_is_no_obstacle(site, tmp_path):
    asyncio.run(in_a_notebook(Cache(str(tmp_path / "cache"), timeout=5, patience=5), remote(site, 0)))


FETCHING = """
import sys
from dfd.shards.cache import Cache
from dfd.shards.fetch import Remote
Cache(sys.argv[1], 30e-6, 2, 2).open(Remote(sys.argv[2], "0.tar", 10_000))
"""


@pytest.mark.parametrize("stopped", [signal.SIGKILL, signal.SIGSTOP])
def test_another_process_is_waited_for_until_it_is_dead(site, tmp_path, stopped):
    """kill -9 in mid-file: what it left is removed and its file fetched. A process that only stands still
    keeps its place.
    """
    site.folder.joinpath(".faults.json").write_text('{"0.tar": ["slow", 1]}')
    cache = Cache(str(tmp_path / "cache"), gb=30 * KB, timeout=2, patience=2)
    process = subprocess.Popen([sys.executable, "-c", FETCHING, cache.folder, f"{site.url}/0.tar"])
    part = cache.path / "0.tar.10000.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(stopped)
    if stopped == signal.SIGSTOP:
        assert not cache.fetch_ahead(remote(site, 0), keep=())
        assert cache.fetch_ahead(remote(site, 1), keep=()) and cache.fetch_ahead(remote(site, 2), keep=())
        assert not cache.fetch_ahead(remote(site, 3), keep={"1.tar", "2.tar"}), (
            "its room is taken, though its file is short"
        )
        process.kill()
    process.wait()
    handle = cache.open(remote(site, 0))
    assert os.fstat(handle).st_size == 10_000 and site.asked()["0.tar"] == 2 and not part.exists()
    os.close(handle)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_is_said(site, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("no mounts here")
    try:
        start = time.monotonic()
        with pytest.raises(OSError, match=r"no space left for .*disk"):
            Cache(str(disk), timeout=2, patience=60).open(remote(site, 0))
        assert time.monotonic() - start < 10, "waiting does not mend it"
        assert not list(disk.glob("*.part"))
    finally:
        subprocess.run(["umount", disk], check=True)
