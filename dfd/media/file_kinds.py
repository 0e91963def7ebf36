"""File kinds: what a file that cannot be read is, by its first bytes, and how to get at what it holds.

A refusal that names the thing (a Git LFS pointer, a zip, a web page in a picture's place) saves a search.
Nothing is unpacked.
"""

from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 512  # of a file, that tell its kind


class FileKind(NamedTuple):
    """What a file is."""

    name: str  # "a zip archive"
    way: str  # to what it holds: "unpack it (unzip FILE -d FOLDER)"; "" for pictures and videos


LFS_POINTER = FileKind(
    "a Git LFS pointer, not the file itself", "fetch the file in its repository: git lfs pull"
)
PICTURE = FileKind("a picture", "")
VIDEO = FileKind("a video", "")
SAFETENSORS = FileKind("weights (safetensors)", "name it where weights are asked for")
TAR = FileKind("a tar", "unpack it: tar -xf FILE -C FOLDER")
PARQUET = FileKind("a parquet file", "export its pictures into class folders")
_ARROW = "read it with Hugging Face's datasets.load_from_disk, and save its pictures into class folders"
_ARRAYS = "export each picture as a PNG, in a folder of its class"
_DATABASE = "export its pictures as files, in a folder of their class"
# (where the mark lies, the mark, what it says)
_MARKS = (
    (0, b"version https://git-lfs.github.com/spec/", LFS_POINTER),
    (0, b"PAR1", PARQUET),
    (0, b"ARROW1", FileKind("an Arrow file", _ARROW)),
    (0, b"\xff\xff\xff\xff", FileKind("an Arrow stream", _ARROW)),
    (0, b"\x1f\x8b", FileKind("a gzip archive", "unpack it: tar -xzf FILE -C FOLDER, or gunzip -k FILE")),
    (0, b"BZh", FileKind("a bzip2 archive", "unpack it: tar -xjf FILE -C FOLDER, or bunzip2 -k FILE")),
    (0, b"\xfd7zXZ\0", FileKind("an xz archive", "unpack it: tar -xJf FILE -C FOLDER, or unxz -k FILE")),
    (
        0,
        b"(\xb5/\xfd",
        FileKind("a zstd archive", "unpack it: tar --zstd -xf FILE -C FOLDER, or unzstd FILE"),
    ),
    (0, b"7z\xbc\xaf'\x1c", FileKind("a 7z archive", "unpack it: 7z x FILE -oFOLDER")),
    (0, b"Rar!\x1a\x07", FileKind("a rar archive", "unpack it: unrar x FILE FOLDER/")),
    (257, b"ustar", TAR),
    (0, b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file", _ARRAYS)),
    (0, b"\x93NUMPY", FileKind("a NumPy array", _ARRAYS)),
    (0, b"MATLAB 5.0", FileKind("a MATLAB file", _ARRAYS)),
    (0, b"SQLite format 3\0", FileKind("an SQLite database", _DATABASE)),
    (16, b"\xde\xc0\xef\xbe", FileKind("an LMDB database", _DATABASE)),
    (0, b"\0\x05\x16\x07", FileKind("notes that macOS keeps beside a file (AppleDouble)", "remove it")),
    (0, b"%PDF-", FileKind("a PDF", "export its pictures as files")),
    (4, b'\0\0\0\0{"', SAFETENSORS),
    (0, b"\xff\xd8\xff", PICTURE),
    (0, b"\x89PNG\r\n\x1a\n", PICTURE),
    (0, b"GIF8", PICTURE),
    (8, b"WEBP", PICTURE),
    (0, b"II*\0", PICTURE),
    (0, b"MM\0*", PICTURE),
    (0, b"\0\0\0\x0cjP  ", PICTURE),
    (8, b"AVI ", VIDEO),
    (0, b"\x1aE\xdf\xa3", VIDEO),
)
_PICTURE_BRANDS = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis")


def kind_of(head: bytes) -> FileKind | None:
    """What a file is whose first HEAD_BYTES are these; None where they do not tell."""
    found = next((kind for at, mark, kind in _MARKS if head[at : at + len(mark)] == mark), None)
    if found is not None:
        return found
    if head[4:8] == b"ftyp":
        return PICTURE if head[8:12] in _PICTURE_BRANDS else VIDEO
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_kind(head)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return FileKind("a Python pickle, which runs whatever its author likes", _ARRAYS)
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return PICTURE
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return FileKind("a web page, not the file itself", "download the file again, logged in where needed")
    return None


def file_kind(path: Path) -> FileKind | None:
    """What a regular file is; None where its first bytes do not tell, or it cannot be read."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except OSError:
        return None


def refuse_lfs_pointer(path: Path, what: str | None = None) -> None:
    """ValueError where a clone without Git LFS left a few lines of text in place of a file.

    Args:
        what: how the message calls the file; its path by default.
    """
    if file_kind(path) is LFS_POINTER:
        raise ValueError(f"{what or path} is {LFS_POINTER.name}: {LFS_POINTER.way}")


def _zip_kind(head: bytes) -> FileKind:
    """Many formats are zips; the name of the first file inside tells which."""
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith(b".npy"):
        return FileKind("NumPy arrays (.npz)", _ARRAYS)
    if first.startswith((b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/", b"mimetype")):
        return FileKind("a spreadsheet or an office document", "save the table as CSV in UTF-8")
    if first.endswith((b"data.pkl", b".format_version", b"/version", b"byteorder")):
        return FileKind("a PyTorch checkpoint", "name it where a checkpoint is asked for")
    return FileKind("a zip archive", "unpack it: unzip FILE -d FOLDER")
