"""The cache by itself: who may remove what, and that the limit holds."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count

import pytest
from killing import killed_at

from dfd.shards.cache import TAG, Cache
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
    return Remote(f"{site.url}/{number}.tar", name(number), size)


def name(number):
    return f"{number:064x}.tar"


def held(cache):
    return sorted(int(path.stem, 16) for path in cache.path.glob("*.tar"))


def test_the_least_recently_used_file_that_nobody_reads_goes_first(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gb=30 * KB, timeout=2, patience=2)
    handles = [cache.open(remote(site, number)) for number in (0, 1, 2)]
    for handle in handles[1:]:
        os.close(handle)
    os.close(cache.open(remote(site, 1)))  # used again
    os.close(cache.open(remote(site, 3)))
    assert held(cache) == [0, 1, 3], "0 is being read, 2 is the oldest"
    assert os.pread(handles[0], 4, 0) == bytes(4)
    os.close(handles[0])


def test_what_is_kept_goes_last_and_never_for_a_file_ahead(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gb=20 * KB, timeout=2, patience=2)
    for number in (0, 1):
        os.close(cache.open(remote(site, number)))
    assert not cache.fetch_ahead(remote(site, 2), keep={name(0), name(1)})
    assert held(cache) == [0, 1], "nothing is removed where that makes no room"
    assert cache.fetch_ahead(remote(site, 2), keep={name(0)}) and held(cache) == [0, 2]
    os.close(cache.open(remote(site, 3), keep={name(0), name(2)}))
    assert held(cache) == [2, 3]


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
    os.truncate(cache.path / name(0), 100)
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


def theirs(folder):
    """Files that somebody keeps, older than all that a cache has."""
    folder.mkdir()
    names = ("thesis.docx", "film.mkv.part", "x.12345.part", "0.tar", f"{'a' * 63}.tar", f"{'g' * 64}.tar")
    for each in names:
        (folder / each).write_bytes(b"mine")
        os.utime(folder / each, (0, 0))
    return {each: (folder / each).lstat() for each in names}


def test_a_folder_with_files_of_others_is_no_cache(site, tmp_path):
    before = theirs(tmp_path / "mine")
    cache = Cache(str(tmp_path / "mine"), gb=10 * KB, timeout=2, patience=0)
    with pytest.raises(ValueError, match=r"mine holds 0.tar, .*nothing in it was touched.* new or empty"):
        cache.open(remote(site, 0))
    with pytest.raises(ValueError, match="no cache of dfd"):
        cache.fetch_ahead(remote(site, 0), keep=())
    assert {path.name: path.lstat() for path in (tmp_path / "mine").iterdir()} == before


def test_in_its_own_folder_a_cache_takes_only_what_it_wrote(site, tmp_path):
    """Links, folders, pipes and files of others, with whatever names, are not counted and not touched."""
    cache = Cache(str(tmp_path / "cache"), gb=10 * KB, timeout=2, patience=2)
    os.close(cache.open(remote(site, 0)))
    assert (cache.path / TAG).read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    theirs(tmp_path / "mine")
    for path in (tmp_path / "mine").iterdir():
        path.rename(cache.path / path.name)
    (cache.path / name(7)).mkdir()
    (cache.path / name(8)).symlink_to(cache.path / "thesis.docx")
    os.mkfifo(cache.path / f"{name(9)}.100.part")
    (cache.path / f"{name(10)}.100.part").symlink_to(cache.path / "thesis.docx")
    before = {path.name: path.lstat() for path in cache.path.iterdir() if path.name != name(0)}
    os.close(cache.open(remote(site, 1)))
    after = {path.name: path.lstat() for path in cache.path.iterdir()}
    assert name(0) not in after and after.pop(name(1)).st_size == 10_000 and after == before


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_has_the_name_of_a_file_and_is_none_is_not_taken_for_it(site, tmp_path, kind):
    cache = Cache(str(tmp_path / "cache"), timeout=2, patience=0)
    os.close(cache.open(remote(site, 0)))
    place = cache.place(remote(site, 1))
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        (tmp_path / "mine").write_text("mine")
        place.symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=f"is a {'named pipe' if kind == 'pipe' else kind}, .* Take it away"):
        cache.open(remote(site, 1))
    assert os.path.lexists(place) and not list(cache.path.glob("*.part"))


@pytest.mark.parametrize("left", [(), (".lock",), ("CACHEDIR.TAG.part-0123abcd", ".dfd.part-0123abcd")])
def test_a_cache_of_before_there_were_marks_goes_on(site, tmp_path, left):
    """So does one whose first process was killed before it had marked it."""
    cache = Cache(str(tmp_path / "cache"), gb=20 * KB, timeout=2, patience=2)
    cache.path.mkdir()
    for each in (name(0), f"{name(1)}.10000.part", *left):
        (cache.path / each).write_bytes(bytes(10_000))
    os.close(cache.open(remote(site, 0)))
    assert site.asked() == {}
    os.close(cache.open(remote(site, 1)))
    assert held(cache) == [0, 1] and (cache.path / TAG).exists() and not list(cache.path.glob("*.tar.*"))


@pytest.mark.slow
def test_a_cache_that_is_killed_at_any_call_goes_on(site, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gb=20 * KB, timeout=2, patience=2)
    for number in count():
        dies = killed_at(number, lambda: cache.open(remote(site, 0)))
        os.close(cache.open(remote(site, 0)))
        assert {path.name for path in cache.path.iterdir()} == {name(0), ".lock", TAG}
        shutil.rmtree(cache.path)
        if not dies:
            break
    assert number > 8


def test_another_programs_cache_is_none_of_ours(site, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# pip's\n")
    (tmp_path / "cache" / name(5)).touch()
    with pytest.raises(ValueError, match=r"holds CACHEDIR.TAG, so it is no cache of dfd"):
        Cache(str(tmp_path / "cache")).open(remote(site, 0))


FETCHING = """
import sys
from dfd.shards.cache import Cache
from dfd.shards.fetch import Remote
Cache(sys.argv[1], 30e-6, 2, 2).open(Remote(sys.argv[2], f"{0:064x}.tar", 10_000))
"""


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [signal.SIGKILL, signal.SIGSTOP])
def test_another_process_is_waited_for_until_it_is_dead(site, tmp_path, stopped):
    """kill -9 in mid-file: what it left is removed and its file fetched. A process that only stands still
    keeps its place.
    """
    site.folder.joinpath(".faults.json").write_text('{"0.tar": ["slow", 1]}')
    cache = Cache(str(tmp_path / "cache"), gb=30 * KB, timeout=2, patience=2)
    process = subprocess.Popen([sys.executable, "-c", FETCHING, cache.folder, f"{site.url}/0.tar"])
    part = cache.path / f"{name(0)}.10000.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(stopped)
    if stopped == signal.SIGSTOP:
        assert not cache.fetch_ahead(remote(site, 0), keep=())
        assert cache.fetch_ahead(remote(site, 1), keep=()) and cache.fetch_ahead(remote(site, 2), keep=())
        assert not cache.fetch_ahead(remote(site, 3), keep={name(1), name(2)}), (
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
