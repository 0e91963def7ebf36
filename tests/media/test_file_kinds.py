import gzip
import io
import re
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dfd.media.decode import Undecodable, decode
from dfd.media.file_kinds import HEAD_BYTES, PICTURE, VIDEO, file_kind, kind_of

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 14\n"


def packed(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "text")
    return buffer.getvalue()


def saved(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def tarred(buffer: io.BytesIO) -> None:
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))


@pytest.mark.parametrize(
    ("data", "name", "way"),
    [
        (POINTER, "Git LFS pointer", "git lfs pull"),
        (packed("a/b.jpg"), "zip archive", "unzip"),
        (packed("[Content_Types].xml"), "spreadsheet", "CSV"),
        (packed("best/data.pkl"), "PyTorch checkpoint", "checkpoint"),
        (saved(lambda file: np.savez(file, a=np.zeros(2))), r"NumPy arrays \(.npz\)", "PNG"),
        (saved(lambda file: np.save(file, np.zeros(2))), "NumPy array", "PNG"),
        (saved(lambda file: pq.write_table(pa.table({"a": [1]}), file)), "parquet", "export"),
        (gzip.compress(b"x", mtime=0), "gzip", "gunzip"),
        (saved(tarred), "tar", "tar -xf"),
        (b"7z\xbc\xaf'\x1c" + bytes(20), "7z", "7z x"),
        (b"Rar!\x1a\x07\x01\0", "rar", "unrar"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5", "PNG"),
        (bytes(16) + b"\xde\xc0\xef\xbe" + bytes(20), "LMDB", "export"),
        (b"\0\x05\x16\x07" + bytes(20), "AppleDouble", "remove"),
        (b"\x80\x04\x95" + bytes(20), "pickle", "export"),
        (b"\n<!DOCTYPE html><html>sign in", "web page", "download"),
    ],
)
def test_what_a_file_is_and_the_way_to_what_it_holds(data, name, way, tmp_path):
    (tmp_path / "file").write_bytes(data)
    kind = file_kind(tmp_path / "file")
    assert kind is not None
    assert re.search(name, kind.name) and way in kind.way
    with pytest.raises(Undecodable, match=name):
        decode(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_pictures_are_known(name):
    data = saved(lambda file: Image.new("RGB", (8, 8)).save(file, name))
    assert kind_of(data[:HEAD_BYTES]) is PICTURE


def test_videos_are_known_and_texts_are_nothing(tmp_path):
    assert kind_of(b"\0\0\0\x20ftypisom") is VIDEO and kind_of(b"\0\0\0\x20ftypheic") is PICTURE
    assert kind_of(b"path,label\na.png,real\n") is None and kind_of(b"") is None
    assert file_kind(tmp_path) is None and file_kind(tmp_path / "absent") is None
