"""Files that strangers made to harm: small pictures of every format, mutated by a seed; and what is hidden in some."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

SECONDS, MEGABYTES = (
    0.5,
    300,
)  # of processor time and of further memory, for one file and one thing done with it
_MAX_SEED_BYTES = 120_000


def zipped(name: str = "note.txt", content: str = "hidden" * 30) -> bytes:
    """A zip archive of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


# pictures to begin with


@lru_cache(maxsize=1)
def small_pictures() -> dict[str, bytes]:
    """Small files of every format that is read, with metadata and profiles, by what they are."""
    import piexif
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo
    from profiles import DISPLAY_P3, cmyk_profile, gray_profile, rgb_profile

    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(0, 9, (72, 88, 3)), axis=1) + 128
    photo = Image.fromarray(smooth.clip(0, 255).astype(np.uint8))
    exif = piexif.dump(
        {
            "0th": {piexif.ImageIFD.Make: b"Maker", piexif.ImageIFD.Orientation: 6},
            "Exif": {piexif.ExifIFD.FNumber: (28, 10), piexif.ExifIFD.MakerNote: bytes(40)},
            "GPS": {piexif.GPSIFD.GPSLatitude: ((52, 1), (30, 1), (1, 1))},
            "1st": {},
            "thumbnail": _saved(photo.resize((16, 16)), "JPEG"),
        }
    )
    p3 = rgb_profile(DISPLAY_P3, 2.2)
    text = PngInfo()
    text.add_text("parameters", "a prompt, Steps: 20", zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    turned = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    made = {
        "jpeg": _saved(photo, "JPEG", exif=exif, icc_profile=p3, comment=b"a comment"),
        "progressive": _saved(photo, "JPEG", progressive=True, subsampling=0, exif=exif),
        "gray jpeg": _saved(photo.convert("L"), "JPEG", icc_profile=gray_profile(1.8)),
        "cmyk jpeg": _saved(photo.convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
        "restarts": _saved(photo, "JPEG", restart_marker_blocks=2),
        "mpo": _saved(photo, "MPO", save_all=True, append_images=[turned.copy()]),
        "png": _saved(photo, "PNG", exif=exif, icc_profile=p3, pnginfo=text),
        "palette png": _saved(photo.convert("P"), "PNG", transparency=3),
        "apng": _saved(photo, "PNG", save_all=True, append_images=[turned.copy()]),
        "webp": _saved(photo, "WEBP", exif=exif, icc_profile=p3),
        "lossless webp": _saved(photo.convert("RGBA"), "WEBP", lossless=True),
        "animated webp": _saved(photo, "WEBP", save_all=True, append_images=[turned.copy()]),
        "gif": _saved(photo.convert("P"), "GIF"),
        "animated gif": _saved(photo, "GIF", save_all=True, append_images=[turned.copy()]),
        "bmp": _saved(photo, "BMP"),
        "tiff": _saved(photo, "TIFF", compression="tiff_lzw", icc_profile=p3),
        "tiff of tiles": _saved(photo, "TIFF", compression="jpeg"),
        "tiff of pages": _saved(photo, "TIFF", save_all=True, append_images=[turned.copy()]),
        "avif": _saved(photo, "AVIF", exif=exif, icc_profile=p3, speed=10),
        "jpeg 2000": _saved(photo, "JPEG2000"),
        "ppm": _saved(photo, "PPM"),
    }
    try:
        import pillow_heif
    except ImportError:
        return made
    for name, options in (("heic", {}), ("heic of tiles", {"tile_size": 64, "thumbnails": [32]})):
        file, buffer = pillow_heif.from_pillow(photo), io.BytesIO()
        file.info["icc_profile"] = p3
        file.save(buffer, quality=60, exif=exif, **options)
        made[name] = buffer.getvalue()
    return made


def _saved(image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, format, **options)  # a save leaves its options in the image
    return buffer.getvalue()


def seeds(folder: Path | None = None) -> list[tuple[str, bytes]]:
    """What mutations begin with: generated files of each format, and small ones of a folder of photos."""
    files = list(small_pictures().items())
    if folder is not None and folder.is_dir():
        found = sorted(path for path in folder.iterdir() if path.stat().st_size <= _MAX_SEED_BYTES)
        files += [(path.name, path.read_bytes()) for path in found]
    return files


# mutations: each is given bytes and random numbers, and returns other bytes


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes take values that break counts: 0, 1, 127, 128, 255."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 6))):
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data) + 1)]


def remove(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 4, 30, 500)) :]


def copy_block(data: bytes, rng: random.Random) -> bytes:
    """A block of the file over, or into, another place of it."""
    size = rng.choice((4, 16, 64, 700))
    start, at = rng.randrange(len(data)), rng.randrange(len(data))
    block = data[start : start + size] * rng.choice((1, 1, 3))
    return data[:at] + block + data[at + rng.choice((0, len(block))) :]


def set_number(data: bytes, rng: random.Random) -> bytes:
    """A number of 2 or 4 bytes, as lengths, counts, sizes and offsets are, takes an extreme value."""
    form = rng.choice(("<H", ">H", "<I", ">I"))
    most = 256 ** struct.calcsize(form) - 1
    value = rng.choice((0, 1, 2, most, most - 1, most // 2, len(data), len(data) + 1, rng.randrange(most)))
    at = rng.randrange(max(1, min(len(data), rng.choice((64, 400, len(data))))))
    return data[:at] + struct.pack(form, min(value, most)) + data[at + struct.calcsize(form) :]


def shuffle_parts(data: bytes, rng: random.Random) -> bytes:
    """Segments, chunks or boxes in another order, twice, or left out; of a PNG with checksums that hold."""
    parts = _parts(data)
    if len(parts) < 2:
        return copy_block(data, rng)
    first, *rest = parts
    kind = rng.randrange(4)
    if kind == 0:
        rng.shuffle(rest)
    elif kind == 1:
        rest.insert(rng.randrange(len(rest) + 1), rng.choice(rest))
    elif kind == 2:
        rest.pop(rng.randrange(len(rest)))
    else:
        at = rng.randrange(len(rest))
        rest[at] = flip_bits(rest[at], rng) if rest[at] else b""
    return first + b"".join(_with_checksum(part, data) for part in rest)


def change_exif(data: bytes, rng: random.Random) -> bytes:
    """Changes inside the EXIF block alone."""
    return _inside(data, rng, (b"Exif\0\0", b"eXIf", b"EXIF", b"II*\0", b"MM\0*"), 700)


def change_profile(data: bytes, rng: random.Random) -> bytes:
    """Changes inside the ICC profile alone."""
    return _inside(data, rng, (b"acsp", b"ICC_PROFILE\0", b"iCCP", b"ICCP"), 500)


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice(
        (zipped(), data, bytes(600), b"<?php ?>", rng.randbytes(90), data[: len(data) // 2])
    )


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bits,
    set_bytes,
    cut,
    remove,
    copy_block,
    set_number,
    set_number,
    shuffle_parts,
    change_exif,
    change_profile,
    append,
)


def mutated(seed: int, number: int, files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The hostile file of a number, and how it was made; the same for the same seed."""
    rng = random.Random(f"{seed} {number}")
    name, data = files[number % len(files)]
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        data = mutation(data, rng) or b"\0"
        done.append(mutation.__name__)
    return f"{name}: {', '.join(done)}", data


@st.composite
def hostile_files(draw: st.DrawFn) -> bytes:
    """A strategy: a small picture of any format and a few mutations of it."""
    data = draw(st.sampled_from(list(small_pictures().values())))
    for mutation in draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)):
        data = mutation(data, random.Random(draw(st.integers(0, 10**6)))) or b"\0"
    return data


def _parts(data: bytes) -> list[bytes]:
    """The head of a file and its segments, chunks or boxes."""
    if data[:2] == b"\xff\xd8":
        from dfd.media.jpeg_segments import places

        starts = [place.start for place in _tried(places(data))]
    elif data[:4] == b"\x89PNG":
        from dfd.media.png_chunks import chunks

        starts = [start for _, start, _ in _tried(chunks(data))]
    elif data[:4] == b"RIFF":
        starts, at = [], 12
        while at + 8 <= len(data) and len(starts) < 100:
            starts.append(at)
            at += 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1) // 2 * 2
    else:
        from dfd.media.boxes import boxes

        starts = [box.start for box in boxes(data)]
    ends = [*starts[1:], len(data)]
    return [data[: starts[0]]] + [data[a:b] for a, b in zip(starts, ends, strict=True)] if starts else [data]


def _tried(items: Iterator) -> Iterator:
    try:
        yield from items
    except ValueError:
        return


def _with_checksum(part: bytes, data: bytes) -> bytes:
    if data[:4] != b"\x89PNG" or len(part) < 12:
        return part
    return part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4]))


def _inside(data: bytes, rng: random.Random, marks: tuple[bytes, ...], size: int) -> bytes:
    at = next((place for mark in marks if (place := data.find(mark)) >= 0), -1)
    if at < 0:
        return set_number(data, rng)
    block = data[at : at + size]
    change = rng.choice((flip_bits, set_bytes, set_number, copy_block))
    return data[:at] + change(block, rng) + data[at + size :]
