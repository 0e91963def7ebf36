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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dfd.cli import main
from dfd.data import ShardDataModule
from dfd.media.decode import Undecodable, decode
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


def lying_footer(num_rows: int) -> Callable[[Path], None]:
    """A file of many lines whose end says so many: the first number of its kind behind the schema."""

    def number(value: int) -> bytes:
        return b"\x16" + bytes(
            ((value << 1) >> shift) & 0x7F | (0x80 if shift < 14 else 0) for shift in (0, 7, 14)
        )

    def change(root: Path) -> None:
        many_lines(root)
        data = bytearray((root / "samples.parquet").read_bytes())
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        at = data.index(number(200_000), end)
        data[at : at + 4] = number(num_rows)
        (root / "samples.parquet").write_bytes(data)

    return change


def many_groups(root: Path) -> None:
    pq.write_table(pq.read_table(root / "samples.parquet"), root / "samples.parquet", row_group_size=1)


def set_index(*names: str, value) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        index = json.loads((root / "index.json").read_text(encoding="utf-8"))
        inner = index
        for name in names[:-1]:
            inner = inner[name]
        inner[names[-1]] = value
        (root / "index.json").write_text(json.dumps(index), encoding="utf-8")

    return change


def without(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        index = json.loads((root / "index.json").read_text(encoding="utf-8"))
        del index[name]
        (root / "index.json").write_text(json.dumps(index), encoding="utf-8")

    return change


def rewritten(change_table: Callable[[pa.Table], pa.Table], **options) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        table = change_table(pq.read_table(root / "samples.parquet"))
        pq.write_table(table, root / "samples.parquet", **options)

    return change


def encrypted(root: Path) -> None:
    (root / "samples.parquet").write_bytes(b"PARE" + bytes(500) + b"\x10\0\0\0PARE")


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
        (lying_footer(16), "its row groups have 200000 lines, and its end says 16"),
        (rewritten(lambda table: table.slice(0, 9)), "it has 9 lines, and index.json says 16 images"),
        (rewritten(lambda table: table.append_column("key", table["key"])), "it has the column key twice"),
        (
            rewritten(lambda table: table.drop_columns(["phash", "family"])),
            "it lacks the columns family, phash",
        ),
        (set_cell("phash", None), "the column phash has empty cells"),
        (set_cell("phash", b"x" * 33), "its phash has not 32 bytes"),
        (set_cell("sha256", "0" * 63), "its sha256 is none"),
        (set_cell("sha256", "\u0661" * 32), "its sha256 is none"),
        (set_cell("height", None), "the column height has empty cells"),
        (set_cell("height", 0), "it has no pixels"),
        (set_cell("width", -4), "it has no pixels"),
        (set_cell("format", "EXE"), "its format is unknown"),
        (set_cell("groups", None), "the column groups has empty cells"),
        (set_cell("groups", ["a", None]), "the column groups has empty cells"),
        (set_cell("groups", ["g" * 5_000_000]), "a group of 5000000 bytes, more than the 16384"),
        (set_cell("family", "f" * 5_000_000), "a family of 5000000 bytes, more than the 16384"),
        (set_cell("key", "k" * 20_000), "a key of 20000 bytes"),
        (set_cell("source", "s" * 20_000), "a source of 20000 bytes"),
        (set_cell("offset", 512), "1 lines are wrong.*its bytes are another line's too"),
        (
            rewritten(lambda table: pa.concat_tables([table.slice(0, 15), table.slice(3, 1)])),
            "another line's too",
        ),
        (whole_column("offset", pa.float64()), "the column offset is double, not int64"),
        (
            whole_column("key", pa.dictionary(pa.int32(), pa.string())),
            "the column key is dictionary.*, not string",
        ),
        (
            rewritten(lambda table: table.set_column(0, "key", pa.array([{"a": {"b": "c"}}] * 16))),
            "not string",
        ),
        (
            rewritten(lambda table: table.set_column(11, "groups", pa.array([["g"] * 2000] * 16))),
            "32000 cells",
        ),
        (encrypted, "cannot be read"),
        (lambda root: (root / "samples.parquet").write_bytes(b""), "cannot be read"),
        (
            lambda root: (root / "samples.parquet").write_text(
                "version https://git-lfs.github.com/spec/v1\n"
            ),
            "cannot be read",
        ),
        (no_index("[]"), "it lists no shards"),
        (no_index("null"), "it lists no shards"),
        (no_index('"words"'), "it lists no shards"),
        (no_index("\udc80".encode("utf-8", "surrogatepass").decode("latin-1")), "is not JSON"),
        (lambda root: (root / "index.json").write_bytes(b"\xff\xfe\xff"), "is not JSON"),
        (set_index("images", value=True), "images is True"),
        (set_index("images", value=1e400), "images is inf"),
        (set_index("images", value=-16), "images is -16"),
        (set_index("families", value="8"), "families is '8'"),
        (set_index("classes", value={"real": 8}), "classes is"),
        (set_index("splits", value={"train": 3}), "splits is"),
        (set_index("splits", "val", value={"real": 8, "fake": None}), "splits is"),
        (set_index("leaks", value=[]), r"leaks is \[\]"),
        (set_index("leaks", value={"counts": {"same bytes": "many"}}), "leaks is"),
        (set_index("made_by", value="me"), "made_by is 'me'"),
        (set_index("made_by", "command", value=["prepare"]), r"made_by.command is \['prepare'\]"),
        (set_index("made_by", "lent", value=["a family"]), "made_by.lent is"),
        (set_index("made_by", "labels", value={"cls 1 as fake": "all"}), "made_by.labels is"),
        (set_index("made_by", "splits_from", value=3), "made_by.splits_from is 3"),
        (set_index("made", value={"x": "y" * 10_000}), "made is"),
        (without("images"), "it does not say images"),
        (without("made_by"), "it does not say made_by"),
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
    assert len(str(error.value)) < 600 and str(root) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"compression": "snappy"}, {"compression": "gzip"}, {"row_group_size": 5},
                                     {"use_dictionary": False}, {"version": "1.0"}])  # fmt: skip
def test_a_table_written_otherwise_is_read_all_the_same(root, options):
    before = load_table(root)
    rewritten(lambda table: table, **options)(root)
    assert load_table(root).to_pylist() == before.to_pylist()


def test_a_folder_that_is_named_like_a_column_changes_none(root):
    before = load_table(root)
    moved = root.parent / "label=1" / "split=test"
    moved.parent.mkdir()
    root.rename(moved)
    assert load_table(moved).to_pylist() == before.to_pylist()


def test_a_table_of_very_many_groups_is_refused_before_it_is_read(root, monkeypatch):
    monkeypatch.setattr("dfd.shards.validate._GROUPS", 15)
    many_groups(root)
    with pytest.raises(ValueError, match="16 row groups, more than the 15 that are read"):
        load_table(root)


def test_a_pipe_in_the_place_of_the_index_is_not_waited_for(root):
    (root / "index.json").unlink()
    os.mkfifo(root / "index.json")
    with pytest.raises(ValueError, match="a pipe, a socket or a device"):
        load_table(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["[]", "null", '"made_by"', "3", "[" * 100_000, '{"made_by": []}', '{"made_by": 3}', "{", "", "\xff"],
)
def test_an_index_of_something_else_stops_no_prepare_and_is_kept_by_index(tmp_path, text):
    """A folder of pictures may hold any index.json, and what an error advises works."""
    from dfd.prepare.pipeline import prepare

    for name in ("real", "fake"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for n in range(20):
            (tmp_path / "source" / name / f"{n}.png").write_bytes(picture(n + 100 * (name == "fake")))
    (tmp_path / "source" / "index.json").write_text(text, encoding="latin-1")
    assert prepare(tmp_path / "source", tmp_path / "out", workers=1).images == 40
    (tmp_path / "tars").mkdir()
    tar_of(tmp_path / "tars" / "a.tar", GOOD[:40])
    (tmp_path / "tars" / "index.json").write_text(text, encoding="latin-1")
    for refused in (load_table, index_root):
        with pytest.raises(ValueError, match=rf"then run `dfd index {tmp_path / 'tars'}`") as error:
            refused(tmp_path / "tars")
        assert (tmp_path / "tars" / "index.json").read_text(encoding="latin-1") == text
    subprocess.run(["bash", "-c", str(error.value).partition("(")[2].partition(")")[0]], check=True)
    assert (tmp_path / "tars" / "their-index.json").read_text(encoding="latin-1") == text
    assert index_root(tmp_path / "tars", workers=1).images == len(load_table(tmp_path / "tars")) == 20
    # beside dfd's own table it is a damaged index.json of dfd's
    (tmp_path / "tars" / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=f"`dfd index {tmp_path / 'tars'}` makes it again"):
        load_table(tmp_path / "tars")
    assert index_root(tmp_path / "tars", workers=1).images == len(load_table(tmp_path / "tars")) == 20


def test_a_command_that_is_advised_runs_nothing_of_a_stranger(root):
    set_index("made_by", value={"command": "prepare", "source": "x; touch ran #\x1b"})(root)
    (root / "samples.parquet").unlink()
    with pytest.raises(
        ValueError, match=r"`dfd prepare 'x; touch ran #\\x1b' --out .* --overwrite` makes it again"
    ):
        load_table(root)


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


@pytest.mark.slow
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


def nearly_blank(side: int) -> Image.Image:
    """So much noise in a corner that the file is none that is refused for claiming more than it can hold."""
    image = Image.new("RGB", (side, side))
    image.paste(Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)))
    return image


@pytest.mark.parametrize("name", ["WEBP", "JPEG2000", "GIF", "AVIF"])
def test_a_large_picture_of_a_few_bytes_is_refused_at_once(name):
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 2000)).save(buffer, name, **({"lossless": True} if name == "WEBP" else {}))
    assert len(buffer.getvalue()) < 5_000
    start = time.process_time()
    with pytest.raises(Undecodable, match="too few for a photograph of that size"):
        decode(buffer.getvalue())
    assert time.process_time() - start < 0.1


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
    """The docstring of `decode`: 64 million pixels out of some hundred kilobytes."""
    buffer = io.BytesIO()
    nearly_blank(8000).save(buffer, name, **options)
    assert len(buffer.getvalue()) < 3_000_000
    assert read_bomb(tmp_path, buffer.getvalue())[1] < limit


@pytest.mark.slow
def test_bombs_of_several_threads_are_decoded_one_by_one(tmp_path):
    buffer = io.BytesIO()
    nearly_blank(5000).save(buffer, "WEBP", lossless=True)
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
