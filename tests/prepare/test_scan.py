"""Every byte and member of a tar is a sample, a listed reject or an error, whatever made the tar."""

import gzip
import io
import json
import os
import re
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from pictures import noise

from dfd.prepare.index import index_root
from dfd.prepare.scan import scan_shard
from dfd.shards.rejects import read_rejects
from dfd.shards.table import load_table


def picture(seed: int, name: str = "PNG") -> bytes:
    return noise(seed, name, 13, 12)


def samples(count: int, first: int = 0, key: str = "{:03d}") -> list[tuple[str, bytes]]:
    """Of both classes in turn, cls behind its picture."""
    return [
        member
        for n in range(first, first + count)
        for member in ((f"{key.format(n)}.png", picture(n)), (f"{key.format(n)}.cls", b"01"[n % 2 :][:1]))
    ]


def tar(members: list[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, **options) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, **options) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def scanned(folder: Path, data: bytes):
    (folder / "a.tar").write_bytes(data)
    return scan_shard(folder / "a.tar")


def check_places(folder: Path, rows: list[dict]) -> None:
    """Each row points at a picture, and its label is the one of that picture."""
    data = (folder / "a.tar").read_bytes()
    known = {picture(n): n for n in range(60)}
    for row in rows:
        assert known[data[row["offset"] :][: row["length"]]] % 2 == row["label"], row


# joined and unsorted


@pytest.mark.parametrize("zeros", [0, 512, 1024, 3 << 20], ids=["none", "one block", "two", "3 MB"])
def test_tars_joined_by_cat_are_read_to_the_end(tmp_path, zeros):
    found = scanned(tmp_path, tar(samples(10)) + bytes(zeros) + tar(samples(10, 10)) + tar(samples(10, 20)))
    assert [row["key"] for row in found.rows] == [f"{n:03d}" for n in range(30)] and not found.rejects
    check_places(tmp_path, found.rows)


def test_joined_tars_that_count_from_0_each_keep_all_their_samples(tmp_path):
    again = [(name, picture(int(name[:3]) + 20) if name.endswith("png") else cls) for name, cls in samples(4)]
    found = scanned(
        tmp_path, tar([*samples(4), ("000+1.png", picture(30)), ("000+1.cls", b"0")]) + tar(again)
    )
    assert len({row["key"] for row in found.rows}) == 9 and not found.rejects
    assert {"000", "000+1", "000+1+1", "003+1"} <= {row["key"] for row in found.rows}
    check_places(tmp_path, found.rows)


@pytest.mark.parametrize(
    "order",
    [lambda m: m[0][-3:], lambda m: m[0][::-1], lambda m: zlib.crc32(m[0].encode())],
    ids=["cls first", "backwards", "at random"],
)
def test_the_members_of_a_sample_need_not_be_neighbours(tmp_path, order):
    found = scanned(tmp_path, tar(sorted(samples(20), key=order)))
    assert len(found.rows) == 20 and not found.rejects
    check_places(tmp_path, found.rows)


@pytest.mark.parametrize("behind", [b"\1" * 512, b"x", bytes(1024) + b"PK", bytes(512) + b"\1" * 700])
def test_bytes_behind_a_tar_that_are_no_member_are_an_error(tmp_path, behind):
    whole = tar(samples(2))
    with pytest.raises(ValueError, match=r"a\.tar is no whole tar: what begins at byte \d+ is no member"):
        scanned(tmp_path, whole + behind)


def test_a_header_with_a_wrong_sum_in_the_middle_is_an_error_and_not_the_end(tmp_path):
    data = bytearray(tar(samples(6)))
    data[data.index(b"003.png")] ^= 1
    with pytest.raises(ValueError, match=r"is no member of a tar .*; before it: 3 samples"):
        scanned(tmp_path, bytes(data))


def test_a_tar_cut_off_anywhere_is_an_error_or_lists_it(tmp_path):
    """In a header, in the bytes of a member, in its padding, between members."""
    whole = tar(samples(3))
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for size in [*range(1, 1100, 37), *range(512, end + 1, 512), end - 1, end - 511]:
        try:
            found = scanned(tmp_path, whole[:size])
        except ValueError as error:
            assert "a.tar is no whole tar" in str(error)
        else:
            assert size % 512 == 0
            assert [reject for reject in found.rejects if "no end mark" in reject.reason]
    assert not scanned(tmp_path, whole[: end + 512]).rejects  # one block of zeros is an end mark


# names


LITTER = ("._000.png", "a/._000.cls", "__MACOSX/000.png", "a/__MACOSX/b/000.cls", ".DS_Store", "a/.DS_Store",
          "PaxHeaders.7/000.png", "a/PaxHeader/000.png", "Thumbs.db", "@eaDir/000.png/x.png", "__MACOSX\\._1.png",
          "desktop.ini", "a/Icon\r", ".hidden.txt")  # fmt: skip


def test_what_systems_leave_behind_is_passed_over_wherever_it_stands(tmp_path):
    members = [each for sample in samples(20) for each in ((f"._{sample[0]}", b"\0\5\x16\7"), sample)]
    found = scanned(tmp_path, tar([*members[:9], *((name, b"x") for name in LITTER), *members[9:]]))
    assert len(found.rows) == 20 and not found.rejects and not found.not_tried
    check_places(tmp_path, found.rows)


def test_hidden_pictures_and_files_without_a_suffix_are_said(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar([*samples(4), (".003.png", picture(9)), ("README", b"words")]))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(tar(samples(2))))
    assert "3 files not tried" in str(index_root(tmp_path, workers=1))
    assert "a.tar:.003.png, a.tar:README and so on" in str(index_root(tmp_path, workers=1))


@pytest.mark.parametrize(
    "key",
    [
        "ü{:03d}", "u\u0308{:03d}", "train\\{:03d}", "./{:03d}", "a b ({:d})", "[{:d}]", "it's &{:d}", "人/{:03d}",
        "a.b/{:03d}", "/etc/{:03d}", "../up/{:03d}", "d" * 120 + "/{:03d}", "x" * 300 + "{:03d}", "{:03d}\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_names_of_all_kinds_are_keys(tmp_path, key, format):
    (tmp_path / "a.tar").write_bytes(tar(samples(12, key=key), format))
    assert index_root(tmp_path, workers=1).rejected == 0
    check_places(tmp_path, load_table(tmp_path).to_pylist())


def test_names_that_are_no_utf8_are_listed_and_the_rest_is_read(tmp_path):
    members = [*samples(40), ("caf\xe9.png", picture(50)), ("caf\xe9.cls", b"0")]
    (tmp_path / "a.tar").write_bytes(tar(members, tarfile.USTAR_FORMAT, encoding="latin-1"))
    assert (index_root(tmp_path, workers=1).rejected, len(load_table(tmp_path))) == (1, 40)
    ((path, reason),) = read_rejects(tmp_path).items()
    assert path == r"a.tar:caf\udce9" and reason.startswith("a file name that is not UTF-8: rename")


def test_suffixes_are_read_in_any_spelling(tmp_path):
    members = [
        ("a.JPG", picture(0, "JPEG")), ("a.CLS", b"0\r\n"), ("b.jpeg", picture(1, "JPEG")), ("b.cls", b" 1"),
        ("c.webp", picture(2, "WEBP")), ("c.cls", b"\xef\xbb\xbfreal\n"), ("d.b.png", picture(3)), ("d.cls", b"FAKE"),
        ("e.png ", picture(4)), ("e.cls", "0\n".encode("utf-16")), ("f.txt", b"caption"), ("f.png", picture(5)),
        ("f.json", json.dumps({"label": "1"}).encode("utf-16")),
    ]  # fmt: skip
    found = scanned(tmp_path, tar(members))
    assert [row["label"] for row in found.rows] == [0, 1, 0, 1, 0, 1] and not found.rejects


# samples that cannot be used


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("x.png", b""), ("x.cls", b"0")], "empty|not a picture"),
        ([("x.png", picture(50)), ("x.jpg", picture(50, "JPEG")), ("x.cls", b"0")], r"2 pictures \(png, jpg, cls\)"),
        ([("x.1.png", picture(50)), ("x.2.png", picture(51)), ("x.cls", b"0")], "ends at the first dot of a name"),
        ([("x.png", picture(50)), ("x.png", picture(51)), ("x.cls", b"0")], "two files 'x.png' in one tar"),
        ([("x.png", picture(50)), ("x.cls", b"0"), ("x.cls", b"1")], "two files 'x.cls' in one tar"),
        ([("x.txt", b"a face")], r"0 pictures \(txt\)"),
        ([("x.png", picture(50)), ("x.cls", b"2")], "label '2' is none of"),
        ([("x.png", picture(50)), ("x.cls", b"")], "label '' is none of"),
        ([("x.png", picture(50)), ("x.json", b"[1]")], "its json is no object"),
        ([("x.png", picture(50)), ("x.json", b"\xff\xfe\xff")], "its json cannot be read"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "group": "\\ud800"}')], "half of a pair of surrogates"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "path": "\\ud800"}')], "half of a pair of surrogates"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "source": "\\ud800"}')], "cannot be printed"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "method": "a\\u001b[2J"}')], "cannot be printed"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "source": {"a": 1}}')], "its source is dict, no text"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "group": [["a"]]}')], "its groups are no list of names"),
        ([("x.png", picture(50)), ("x.json", b'{"label": 1, "group": "' + b"g" * 500_000 + b'"}')], "names and groups"),
        ([("x.png", picture(50)), ("x.json", b'{"label": "' + b"g" * 500_000 + b'"}')], "label 'ggg"),
        ([("x.png", picture(50)), ("x.cls", b"0"), ("x.mask.png", b"")], "a mask of 0 bytes"),
    ],
)  # fmt: skip
def test_a_sample_that_cannot_be_used_is_listed_and_the_rest_is_read(tmp_path, members, reason):
    (tmp_path / "a.tar").write_bytes(tar([*samples(20), *members]))
    assert (index_root(tmp_path, workers=1).rejected, len(load_table(tmp_path))) == (1, 20)
    ((path, said),) = read_rejects(tmp_path).items()
    assert path == "a.tar:x"
    assert re.search(reason, said), said
    assert len(said) < 300


def test_an_identity_that_is_empty_is_none(tmp_path):
    """Else all pictures without one would be a family, and lie in one split."""
    empty = (None, "", float("nan"), [], [None], [""])
    members = [
        member
        for n, group in enumerate([*empty, 0, "0", [0, "b"]])
        for member in (
            (f"{n}.png", picture(n)),
            (f"{n}.json", json.dumps({"label": n % 2, "group": group}).encode()),
        )
    ]
    found = scanned(tmp_path, tar(members))
    assert [row["groups"] for row in found.rows] == [[]] * len(empty) + [["0"], ["0"], ["0", "b"]]


# files that are no tar, and headers that harm


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(tar(samples(2)), mtime=0), "it is a gzip archive .*gunzip"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer, .*git lfs pull",
        ),
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"PAR1" + bytes(600), "a parquet file"),
        (b"", "it is empty"),
        (b"x" * 700, "is no whole tar"),
    ],
)
def test_what_is_no_tar_is_named(tmp_path, data, words):
    with pytest.raises(ValueError, match=words) as error:
        scanned(tmp_path, data)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_zip_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.tar", "w") as file:
        file.writestr("a.png", picture(0))
    with pytest.raises(ValueError, match=r"it is a zip archive .*unzip FILE"):
        scan_shard(tmp_path / "a.tar")


def header(name: str, kind: bytes, size: int, number: bytes | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if number is not None:
        data[124:136] = number
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        header("a.png", tarfile.REGTYPE, 0, b"\xff" * 11 + b"\0"),  # -256 bytes: would lead back for ever
        header("a.png", tarfile.REGTYPE, 0, b"\xff" * 10 + b"\xfc\0"),
        header("a.png", tarfile.REGTYPE, 0, b"\x80" + b"\x7f" * 11),  # 2 ** 87 bytes
        header("a", tarfile.GNUTYPE_LONGNAME, 0) * 3000,  # a chain that Python would follow by recursion
        header("a", tarfile.XHDTYPE, 36) + b"36 GNU.sparse.map=one,two,three,four\n".ljust(512, b"\0"),
        header("a", tarfile.XHDTYPE, 30) + b"99999999999999999999 path=abc\n".ljust(512, b"\0"),
        header("a", tarfile.XHDTYPE, 30) + bytes(512),
        header("a", tarfile.GNUTYPE_LONGNAME, 5) + b"abcde".ljust(512, b"\0"),  # of no member
    ],
    ids=["minus 256", "minus 1024", "2^87", "chain", "sparse map", "pax length", "empty pax", "name alone"],
)
def test_headers_that_harm_are_an_error_of_one_line(tmp_path, harm):
    for data in (tar(samples(2))[:2048] + harm + bytes(1024), harm + bytes(1024)):
        try:
            found = scanned(tmp_path, data)
        except ValueError as error:
            assert "a.tar is no whole tar" in str(error) and "\n" not in str(error)
        else:
            assert found.rejects or found.not_tried


def test_old_tars_of_version_7_and_large_owners_are_read(tmp_path):
    data = bytearray(tar(samples(3), tarfile.USTAR_FORMAT))
    at = 0
    while data[at]:
        size = int(data[at + 124 : at + 135], 8)
        data[at + 257 : at + 265] = bytes(8)  # version 7 knew no magic
        data[at + 108 : at + 116] = b"\x80" + bytes(3) + b"\x7f" * 4  # uid in base 256
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
        at += 512 + -(-size // 512) * 512
    assert len(scanned(tmp_path, bytes(data)).rows) == 3


def test_what_a_tar_says_of_all_its_members_ends_with_it(tmp_path):
    """A global header of pax, which names a file that it does not have, before the first of two joined tars."""
    first = tar(samples(1), tarfile.PAX_FORMAT, pax_headers={"path": "other.png"})
    found = scanned(tmp_path, first + tar(samples(2, 1)))
    assert {"001", "002"} <= {row["key"] for row in found.rows}


def test_a_hard_link_a_folder_and_an_empty_tar_are_accounted_for(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, kind in (
            ("folder", tarfile.DIRTYPE),
            ("x.png", tarfile.LNKTYPE),
            ("y.png", tarfile.SYMTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "000.png"
            file.addfile(info)
    found = scanned(tmp_path, buffer.getvalue())
    assert [reject.path for reject in found.rejects] == ["a.tar:x.png", "a.tar:y.png"]
    assert [reject.reason for reject in scanned(tmp_path, bytes(10240)).rejects] == [
        "a tar without a file in it"
    ]


def test_a_linked_tar_is_read(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_bytes(tar(samples(8)))
    (tmp_path / "set").mkdir()
    os.symlink("../elsewhere/data", tmp_path / "set" / "train-0.tar")
    assert index_root(tmp_path / "set", workers=1).images == 8
