"""Shards, tables and pictures that strangers made to harm: nothing of theirs runs, nothing outside their
folder is read.
"""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dfd.cli import main
from dfd.data import ShardDataModule
from dfd.prepare.index import index_root
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table


def picture(seed: int, name: str = "PNG", size: int = 20, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)).save(
        buffer, name, **options
    )
    return buffer.getvalue()


# tables


@pytest.fixture
def root(tmp_path) -> Path:
    made = [
        NewSample(f"{split}-{n}", picture(n + 50 * (split == "val")), n % 2, split, "made")
        for split in ("train", "val")
        for n in range(8)
    ]
    write_samples(made, tmp_path / "theirs", {"command": "test"})
    (tmp_path / "secret.tar").write_bytes(picture(99) * 50)
    return tmp_path / "theirs"


def set_cell(column: str, value) -> None:
    def change(root: Path) -> None:
        table = pq.read_table(root / "samples.parquet")
        values = table[column].to_pylist()
        values[3] = value
        place = table.schema.get_field_index(column)
        kind = table.schema.field(column).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        pq.write_table(
            table.set_column(place, column, pa.array(values, plain).cast(kind)), root / "samples.parquet"
        )

    return change


def set_shard(**facts):
    def change(root: Path) -> None:
        index = json.loads((root / "index.json").read_text())
        index["shards"][0] |= facts
        (root / "index.json").write_text(json.dumps(index))

    return change


def many_lines(root: Path) -> None:
    """A small file that says of ten million samples what it says of one."""
    table = pq.read_table(root / "samples.parquet")
    one = table.slice(0, 1)
    with pq.ParquetWriter(root / "samples.parquet", table.schema) as writer:
        block = pa.concat_tables([one] * 10_000).combine_chunks()
        for _ in range(20):
            writer.write_table(block)


def whole_column(column: str, kind: pa.DataType):
    def change(root: Path) -> None:
        table = pq.read_table(root / "samples.parquet")
        place = table.schema.get_field_index(column)
        pq.write_table(table.set_column(place, column, table[column].cast(kind)), root / "samples.parquet")

    return change


def no_index(text: str):
    return lambda root: (root / "index.json").write_text(text)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (set_cell("shard", "../secret.tar"), r"a shard '../secret.tar' that index.json does not list"),
        (set_cell("shard", "/etc/passwd"), "that index.json does not list"),
        (
            set_shard(name="../secret.tar"),
            r"a shard called '../secret.tar': a shard is a .tar of this folder",
        ),
        (set_shard(name="/dev/zero"), "a shard called '/dev/zero'"),
        (set_shard(name="pipe:touch ran"), "a shard called 'pipe:touch ran'"),
        (set_shard(name="..tar"), "a shard called '..tar'"),
        (set_shard(name=["a.tar"]), "a shard called"),
        (set_shard(bytes=-1), "without its size and sha256"),
        (set_shard(sha256="0"), "without its size and sha256"),
        (set_cell("offset", -5), "1 lines are wrong.*do not lie in its shard"),
        (set_cell("offset", 2**62), "do not lie in its shard"),
        (set_cell("length", 2**62), "do not lie in its shard"),
        (set_cell("length", 0), "do not lie in its shard"),
        (set_cell("mask_offset", 10**9), "do not lie in its shard"),
        (set_cell("label", 7), "neither 0 nor 1"),
        (set_cell("split", "vall"), "its split is unknown"),
        (set_cell("path", None), "the column path has empty cells"),
        (set_cell("source", "\x1b[2Jmade"), r"a source '\\x1b\[2Jmade' with letters that cannot be printed"),
        (set_cell("method", "a\rgan"), "a method 'a.rgan' with letters"),
        (whole_column("label", pa.string()), "the column label is string, not int8"),
        (many_lines, "200000 lines, and shards of .* bytes hold no more than"),
        (no_index("[]"), "it lists no shards"),
        (no_index('{"shards": 3}'), "it lists no shards"),
        (no_index("[" * 100_000), "is not JSON"),
        (
            lambda root: (root / "samples.parquet").write_bytes(b"PAR1" + os.urandom(500) + b"PAR1"),
            "cannot be read",
        ),
    ],
)
def test_a_table_speaks_of_its_own_folder_alone(root, attack, words):
    attack(root)
    with pytest.raises(ValueError, match=words) as error:
        load_table(root)
    assert len(str(error.value)) < 600 and str(root) in str(error.value)


def test_names_in_tars_send_no_commands_to_the_terminal(tmp_path, capsys):
    """A key and a key of the json that would wipe the screen: in what is said, in what is rejected, in an
    error.
    """
    wipe = "\x1b[2J"

    def tar(*members: tuple[str, bytes]) -> None:
        with tarfile.open(tmp_path / "train.tar", "w") as file:
            for name, data in members:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))

    whole = [(f"{label}.{end}", data) for label in (0, 1) for end, data in (
        ("jpg", picture(label, "JPEG")), ("json", json.dumps({"label": label, f"{wipe}person": 1}).encode())
    )]  # fmt: skip
    tar(*whole, *((f"{at}{wipe}.jpg", b"no picture") for at in range(2)))
    main(["index", str(tmp_path)])
    tar(*whole, (f"{wipe}.jpg", picture(3, "JPEG")), (f"{wipe}.json", b'{"label": 1, "grup": 1}'))
    assert main(["index", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and said.err.count(r"\x1b[2J") >= 2


@pytest.mark.parametrize(
    "name", ["pipe:touch ran", "file:///etc", "ftp://127.0.0.1/x", "simplecache::file:///etc"]
)
def test_a_root_is_a_folder_and_never_a_program(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        ShardDataModule(name).setup("fit")
    assert not list(tmp_path.iterdir())


# tars


def tar_of(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = [
    part
    for n in range(200)
    for part in ((f"{n:03d}.png", picture(n)), (f"{n:03d}.cls", b"01"[n % 2 : n % 2 + 1]))
]


class Trace:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_members_that_are_no_files_are_listed_and_nothing_leaves_the_tar(tmp_path, monkeypatch):
    work, before = tmp_path / "work", tmp_path / "outside.png"
    work.mkdir()
    before.write_bytes(picture(500))
    monkeypatch.chdir(work)
    links = [
        special("a.png", tarfile.SYMTYPE, str(before)), ("a.cls", b"0"),
        special("b.png", tarfile.LNKTYPE, "../outside.png"), ("b.cls", b"0"),
        special("c.png", tarfile.CHRTYPE), ("c.cls", b"0"), special("d.png", tarfile.FIFOTYPE), ("d.cls", b"1"),
        ("e.pyd", pickle.dumps(Trace())), ("e.png", picture(501)), ("e.cls", b"1"),
    ]  # fmt: skip
    outside = [
        (f"../../up-{n}.{kind}", data)
        for n in range(2)
        for kind, data in (("png", picture(600 + n)), ("cls", b"1"))
    ]
    tar_of(
        work / "train-0.tar",
        [*GOOD, *links, *outside, ("/etc/absolute.png", picture(700)), ("/etc/absolute.cls", b"0")],
    )
    report = index_root(work, workers=1)
    listed = (work / "rejected.csv").read_text()
    assert all(
        f'train-0.tar:{name}.png,"a link, a device' in listed or f"train-0.tar:{name}.png,a link" in listed
        for name in "abcd"
    )
    assert report.images == 200 + 1 + 2 + 1 and len(load_table(work)) == 204
    assert sorted(path.name for path in work.iterdir()) == [
        "index.json",
        "rejected.csv",
        "samples.parquet",
        "train-0.tar",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.png", "work"]


def test_a_header_as_large_as_the_disk_is_not_read_into_memory(tmp_path):
    """A name of 8 GB: the file is a hole, of which tarfile would make bytes."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        header = special("././@LongLink", kind)
        header.size = 8 << 30
        path = tmp_path / "bomb.tar"
        path.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
        os.truncate(path, (8 << 30) + 4096)
        start = time.monotonic()
        with pytest.raises(ValueError, match=r"bomb\.tar is no whole tar: a header of 8589934592 bytes"):
            index_root(tmp_path, workers=1)
        assert time.monotonic() - start < 5


def test_a_sample_of_a_million_files_is_one_reject(tmp_path):
    tar_of(tmp_path / "train-0.tar", [*GOOD, *((f"x.{n}", b"") for n in range(50_000))])
    assert index_root(tmp_path, workers=1).rejected == 1
    assert "more than 100 files in one sample" in (tmp_path / "rejected.csv").read_text()


def test_json_that_is_deep_or_large_is_a_reject(tmp_path):
    bad = [
        ("x.png", picture(201)), ("x.json", b"[" * 900_000),
        ("y.png", picture(202)), ("y.json", b'{"label": 0, "more": "' + b"a" * (2 << 20) + b'"}'),
        ("z.png", picture(203)), ("z.json", b'{"label": ' + b"9" * 5000 + b"}"),
    ]  # fmt: skip
    tar_of(tmp_path / "train-0.tar", [*GOOD, *bad])
    assert index_root(tmp_path, workers=1).rejected == 3


# pictures

MUTATOR = """
import io, resource, sys, time
import numpy as np
from PIL import Image
from dfd.media.decode import Undecodable, decode, image_info

count, seed = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(seed)
pixels = rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)
seeds = []
for name, options in (
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"subsampling": 0}), ("PNG", {}), ("WEBP", {}), ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("GIF", {}), ("PPM", {}), ("JPEG2000", {}),
):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    seeds.append(buffer.getvalue())
exif = Image.Exif()
exif[0x0112] = 6
buffer = io.BytesIO()
Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
seeds.append(buffer.getvalue())
decode(seeds[0]), decode(seeds[3])
before, slowest, decoded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, 0
for turn in range(count):
    data = bytearray(seeds[turn % len(seeds)])
    what = rng.integers(4)
    if what == 0:  # some bytes
        for at in rng.integers(0, len(data), rng.integers(1, 9)):
            data[at] = rng.integers(256)
    elif what == 1:  # a number in the head that is as large as can be
        at = rng.integers(0, min(64, len(data) - 4))
        data[at : at + 4] = rng.choice([b"\\xff\\xff\\xff\\xff", b"\\x7f\\xff\\xff\\xff", b"\\x00\\x00\\x00\\x00"])
    elif what == 2:  # an end, or a piece twice
        cut = rng.integers(0, len(data))
        data = data[:cut] if rng.integers(2) else data[:cut] + data[cut // 2 :]
    else:  # one picture's head, another's body
        other = seeds[rng.integers(len(seeds))]
        cut = rng.integers(0, min(len(data), len(other)))
        data = data[:cut] + other[cut:]
    start = time.perf_counter()
    try:
        image = decode(bytes(data))
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        facts = image_info(bytes(data))
        assert (facts.height, facts.width) == image.shape[:2]
        decoded += 1
    except Undecodable:
        pass
    slowest = max(slowest, time.perf_counter() - start)
extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(decoded, slowest, extra // 1024)
"""


@pytest.mark.slow
def test_ten_thousand_damaged_pictures_cost_no_crash_no_time_and_no_memory(tmp_path):
    """In a process of its own, where a crash would show. DFD_MUTATIONS asks for more."""
    count = int(os.environ.get("DFD_MUTATIONS", 10_000))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", MUTATOR, str(count), "0"],
        capture_output=True,
        text=True,
        timeout=count / 10,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    decoded, slowest, extra = done.stdout.split()
    assert 0 < int(decoded) < count and float(slowest) < 0.5 and int(extra) < 300, done.stdout


BOMB = """
import re, sys, threading, time
from PIL import Image
from dfd.media.decode import Undecodable, decode, image_info

Image.init()
import dfd.media.pillow_reader
data = open(sys.argv[1], "rb").read()
decode(open(sys.argv[2], "rb").read())


def peak():  # in kB; getrusage would count what the parent had when it forked
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])


before = peak()
start = time.perf_counter()


def read():
    for function in (decode, image_info):
        try:
            function(data)
        except Undecodable:
            pass


threads = [threading.Thread(target=read) for _ in range(int(sys.argv[3]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(time.perf_counter() - start, (peak() - before) // 1024)
"""


def read_bomb(tmp_path: Path, data: bytes, threads: int = 1) -> tuple[float, int]:
    """Seconds and MB that a picture costs a process of its own."""
    (tmp_path / "bomb").write_bytes(data)
    (tmp_path / "small").write_bytes(picture(0, "JPEG"))
    done = subprocess.run(
        [sys.executable, "-c", BOMB, tmp_path / "bomb", tmp_path / "small", str(threads)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, extra = done.stdout.split()
    return float(seconds), int(extra)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "limit"),
    [
        ("JPEG", {}, 300),
        ("JPEG", {"progressive": True}, 700),
        ("PNG", {}, 700),
        ("TIFF", {"compression": "tiff_lzw"}, 700),
        ("WEBP", {"lossless": True}, 1500),
        ("JPEG2000", {}, 1500),
    ],
)
def test_a_bomb_of_pixels_costs_no_more_than_is_said(tmp_path, name, options, limit):
    """The docstring of `decode`: 64 million pixels out of a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(buffer, name, **options)
    assert len(buffer.getvalue()) < 3_000_000
    assert read_bomb(tmp_path, buffer.getvalue())[1] < limit


@pytest.mark.slow
def test_bombs_of_several_threads_are_decoded_one_by_one(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(buffer, "WEBP", lossless=True)
    alone, together = (read_bomb(tmp_path, buffer.getvalue(), threads)[1] for threads in (1, 4))
    assert together < 2.5 * alone, "what is decoded is held four times, what decoding takes once"


@pytest.mark.slow
def test_a_bomb_of_scans_is_refused_at_once(tmp_path):
    """20,000 scans of 470 KB took a minute."""
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    seconds, _ = read_bomb(tmp_path, data[:-2] + data[last:-2] * 20_000 + data[-2:])
    assert seconds < 3


@pytest.mark.slow
def test_names_from_strangers_run_nothing_in_the_page(tmp_path):
    """A method called as a script: the audit's page shows the words."""
    script = "<script>alert(1)</script>"
    made = [
        NewSample(
            f"{split}-{n}",
            picture(n + 1000 * (split == "val"), "JPEG", 64),
            n % 2,
            split,
            script,
            script if n % 2 else "",
        )
        for split in ("train", "val")
        for n in range(12)
    ]
    write_samples(made, tmp_path / "<script>alert(2)", {"command": "test", "source": script})
    assert main(["audit", str(tmp_path / "<script>alert(2)"), "--out", str(tmp_path / "audit")]) == 0
    page = next((tmp_path / "audit").glob("*.html")).read_text()
    assert "<script" not in page and page.count("&lt;script&gt;alert(1)") >= 1 <= page.count(
        "&lt;script&gt;alert(2)"
    )
