"""JPEGs that break the standard: read where no pixel is lost, the same pixels as of the whole file; refused else."""

import io
import struct
import time

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfd.media.decode import MAX_SCANS, Undecodable, decode, image_info
from dfd.media.jpeg_repair import repaired
from dfd.media.jpeg_segments import all_segments


def noisy(height: int = 200, width: int = 290) -> Image.Image:
    """Of colours as a photograph's, large enough for a glance at a quarter of its size."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 0.7, y, x + y], -1) / 2 + np.random.default_rng(0).normal(
        60, 12, (height, width, 3)
    )
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or noisy()).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def behind_start(data: bytes, more: bytes) -> bytes:
    return data[:2] + more + data[2:]


def before_scan(data: bytes, more: bytes) -> bytes:
    return data.replace(b"\xff\xda", more + b"\xff\xda", 1)


def before_end(data: bytes, more: bytes) -> bytes:
    return data[:-2] + more + data[-2:]


def without_jfif(data: bytes) -> bytes:
    return data[:2] + data[data.index(b"\xff\xdb") :]


def scan_parameters(data: bytes, value: bytes) -> bytes:
    at = data.index(b"\xff\xda")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[: end - 3] + value + data[end:]


def height(data: bytes, value: int) -> bytes:
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">H", value) + data[at + 7 :]


def restarts(data: bytes) -> list[int]:
    start = data.index(b"\xff\xda")
    return [at for at in range(start, len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]


def numbered(data: bytes, numbers: dict[int, int]) -> bytes:
    changed = bytearray(data)
    for each, at in enumerate(restarts(data)):
        changed[at + 1] = 0xD0 + numbers.get(each, each % 8)
    return bytes(changed)


PLAIN, PROGRESSIVE, RESTARTS = jpeg(), jpeg(progressive=True), jpeg(restart_marker_blocks=5)
CMYK = jpeg(noisy().convert("CMYK"))
ADOBE = b"Adobe" + struct.pack(">HHH", 100, 0, 0)
PREVIEW = jpeg(Image.new("RGB", (16, 16)))


def groups(data: bytes) -> list[bytes]:
    """A progressive file in pieces: what is before its first scan's tables, each scan with its tables, end."""
    pieces, piece = [], data[:2]
    for marker, content, coded in all_segments(data):
        if marker in (0xC4, 0xD9) and not pieces:
            pieces, piece = [piece], b""
        piece += b"\xff\xd9" if marker == 0xD9 else segment(marker, content) + coded
        if marker == 0xDA:
            pieces, piece = [*pieces, piece], b""
    return [*pieces, piece]


HEAD, DC, *SCANS, END = groups(PROGRESSIVE)
# a file with the fault, and the file without it
HARMLESS = {
    "scan parameters": (scan_parameters(PLAIN, b"\0\0\0"), PLAIN),
    "other scan parameters": (scan_parameters(PLAIN, b"\1\x3e\x21"), PLAIN),
    "scan parameters of an extended file": (
        scan_parameters(PLAIN.replace(b"\xff\xc0", b"\xff\xc1"), b"\0\0\0"),
        PLAIN,
    ),
    "JFIF 2": (PLAIN.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"), PLAIN),
    "JFIF 0": (PLAIN.replace(b"JFIF\0\1\1", b"JFIF\0\0\0"), PLAIN),
    "Adobe transform": (behind_start(without_jfif(PLAIN), segment(0xEE, ADOBE + b"\7")), PLAIN),
    "Adobe transform of CMYK": (
        CMYK.replace(ADOBE + b"\0", ADOBE + b"\7"),
        CMYK.replace(ADOBE + b"\0", ADOBE + b"\2"),
    ),
    "bad ICC numbers": (behind_start(PLAIN, segment(0xE2, b"ICC_PROFILE\0\5\2abc")), PLAIN),
    "an ICC profile twice": (behind_start(PLAIN, segment(0xE2, b"ICC_PROFILE\0\1\1abc") * 2), PLAIN),
    "bytes between segments": (before_scan(PLAIN, b"abc"), PLAIN),
    "bytes behind the start": (behind_start(PLAIN, b"\0\0"), PLAIN),
    "bytes between scans": (before_scan(PROGRESSIVE, b"abcdef"), PROGRESSIVE),
    "filling": (before_scan(PLAIN, b"\xff" * 9), PLAIN),
    "an empty comment": (behind_start(PLAIN, segment(0xFE, b"")), PLAIN),
    "a segment of length 0": (behind_start(PLAIN, b"\xff\xe5\0\0"), PLAIN),
    "a preview": (behind_start(PLAIN, segment(0xE1, b"Exif\0\0" + PREVIEW)), PLAIN),
    "two starts": (b"\xff\xd8" + PLAIN, PLAIN),
    "bytes before the end": (before_end(PLAIN, b"\x12\x34\x56\x78"), PLAIN),
    "stuffed bytes before the end": (before_end(PLAIN, b"\xff\0\xff\0\x01"), PLAIN),
    "zeros before the end": (before_end(PLAIN, bytes(700)), PLAIN),
    "bytes before the end of a gray one": (
        before_end(jpeg(noisy().convert("L")), b"\x12\x34\x56\x78"),
        jpeg(noisy().convert("L")),
    ),
    "zeros before the end of a progressive one": (before_end(PROGRESSIVE, bytes(100)), PROGRESSIVE),
    "bytes before the end of a CMYK one": (before_end(CMYK, b"\x12\x34\x56\x78"), CMYK),
    "no end": (PLAIN[:-2], PLAIN),
    "half an end": (PLAIN[:-1], PLAIN),
    "no end, but bytes": (PLAIN[:-2] + b"\x12\x34\x56", PLAIN),
    "no end of a progressive one": (PROGRESSIVE[:-2], PROGRESSIVE),
    "no end, and a picture": (PLAIN[:-2] + PREVIEW, PLAIN),
    "a picture behind it": (PLAIN + PREVIEW, PLAIN),
    "a film behind it": (PLAIN + b"\0\0\0\x18ftypmp42" + bytes(200), PLAIN),
    "its height behind the scan": (
        before_end(height(PLAIN, 0), segment(0xDC, struct.pack(">H", 200))),
        PLAIN,
    ),
    "its height again": (before_end(PLAIN, segment(0xDC, struct.pack(">H", 200))), PLAIN),
    "a wrong number of a restart": (numbered(RESTARTS, {3: 0}), RESTARTS),
    "all restarts numbered 0": (numbered(RESTARTS, dict.fromkeys(range(99), 0)), RESTARTS),
    "restarts numbered from 1": (numbered(RESTARTS, {at: at % 8 + 1 & 7 for at in range(99)}), RESTARTS),
    "an AC scan before the DC scan": (b"".join((HEAD, SCANS[0], DC, *SCANS[1:], END)), PROGRESSIVE),
    "three AC scans before the DC scan": (b"".join((HEAD, *SCANS[:3], DC, *SCANS[3:], END)), PROGRESSIVE),
    "a first scan twice": (b"".join((HEAD, DC, DC, *SCANS, END)), PROGRESSIVE),
    "several faults": (scan_parameters(before_scan(PLAIN[:-2] + bytes(9), b"abc"), b"\0\0\0"), PLAIN),
}


def never_finished(jpeg: bytes) -> bytes:
    """As a disk keeps a download that stopped half-way: the room of the rest is zeros."""
    return jpeg[: len(jpeg) // 2].ljust(len(jpeg), b"\0")


LOST = {
    "zeros in place of its second half": (never_finished(PLAIN), "premature end"),
    "zeros in place of a progressive one's": (never_finished(PROGRESSIVE), "premature end|scans are missing"),
    "zeros in place of a CMYK one's": (never_finished(CMYK), "damaged"),
    "cut in its data": (PLAIN[: len(PLAIN) // 2], "premature end"),
    "its last byte of data": (PLAIN[:-3], "premature end"),
    "its last byte of data, with an end": (PLAIN[:-3] + PLAIN[-2:], "premature end"),
    "cut before its data": (PLAIN[: PLAIN.index(b"\xff\xda")], "ends before its picture"),
    "cut at its start": (PLAIN[:2], "ends before its picture"),
    "cut between scans": (PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")], "scans are missing"),
    "a DC scan left out": (b"".join((HEAD, *SCANS, END)), "damaged"),
    "a first AC scan left out": (b"".join((HEAD, DC, SCANS[0], *SCANS[2:], END)), "Inconsistent progression"),
    "a refinement first": (b"".join((HEAD, DC, SCANS[-1], *SCANS[:-1], END)), "Inconsistent progression"),
    "a scan left out": (
        PROGRESSIVE[: (first := PROGRESSIVE.index(b"\xff\xda"))]
        + PROGRESSIVE[PROGRESSIVE.index(b"\xff\xc4", first) :],
        "damaged",
    ),
    "a restart marker less": (
        RESTARTS[: restarts(RESTARTS)[3]] + RESTARTS[restarts(RESTARTS)[3] + 2 :],
        "RST|0xd",
    ),
    "an interval less": (
        RESTARTS[: restarts(RESTARTS)[3]] + RESTARTS[restarts(RESTARTS)[4] :],
        "RST|premature end",
    ),
    "an unknown marker": (before_scan(PLAIN, segment(0x05, b"abc")), "0x05"),
    "a CMYK one cut in its data": (CMYK[: len(CMYK) // 2] + b"\xff\xd9", "damaged"),
    "harmless scan parameters, and cut": (
        scan_parameters(PLAIN, b"\0\0\0")[:-900] + PLAIN[-2:],
        "premature end",
    ),
}


def outcome(function, data: bytes):
    try:
        seen = function(data)
    except Undecodable as error:
        return str(error)
    return seen[1:] if function is image_info else seen.shape[1::-1]


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_loses_no_pixel_is_read(fault):
    faulty, whole = HARMLESS[fault]
    assert (decode(faulty) == decode(whole)).all()
    assert image_info(faulty) == image_info(whole)


@pytest.mark.parametrize("fault", LOST)
def test_what_loses_pixels_is_refused(fault):
    data, reason = LOST[fault]
    for read in (decode, image_info):
        with pytest.raises(Undecodable, match=reason):
            read(data)


def test_the_repaired_file_is_one_that_libjpeg_has_no_word_against():
    for fault in ("scan parameters", "JFIF 2", "bad ICC numbers", "bytes between segments", "no end"):
        faulty, whole = HARMLESS[fault]
        with pytest.raises(ValueError):
            simplejpeg.decode_jpeg(faulty)
        assert (simplejpeg.decode_jpeg(repaired(faulty)) == simplejpeg.decode_jpeg(whole)).all()


def test_blocks_left_over_before_the_end_are_damage_and_no_padding():
    """A wrong bit puts a decoder out of step: it ends early, and the last blocks are left."""
    rng = np.random.default_rng(1)
    start, seen, read = PLAIN.index(b"\xff\xda") + 14, 0, 0
    while seen < 40:
        data = bytearray(PLAIN)
        at = int(rng.integers(start, len(data) - 2))
        data[at] ^= 1 << int(rng.integers(8))
        try:
            simplejpeg.decode_jpeg(bytes(data))
        except ValueError as error:
            if "extraneous" in str(error) and 0xFF not in (data[at], PLAIN[at]):
                seen += 1
                read += not isinstance(outcome(decode, bytes(data)), str)
    assert read <= 6


@pytest.mark.parametrize("process", sorted({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}))
@pytest.mark.parametrize("precision", [8, 12, 16])
def test_a_process_that_is_not_read_is_called_so_and_no_damage(process, precision):
    data = PLAIN.replace(b"\xff\xc0\0\x11\x08", bytes((0xFF, process, 0, 0x11, precision)))
    said = outcome(decode, data)
    assert said == outcome(image_info, data)
    if (process, precision) in ((0xC0, 8), (0xC1, 8)):
        assert said == (290, 200)
    elif process not in (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA) or precision != 8:
        assert "which is not read. Convert it" in said and "damaged" not in said


def test_rare_processes_of_real_encoders(real_data):
    """Arithmetic coding, sequential and progressive; lossless; 12 bits."""
    folder = real_data.parent / "found/07-rare-jpeg-processes"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for file in sorted(folder.glob("*.jpg")):
        data = file.read_bytes()
        assert outcome(decode, data) == outcome(image_info, data)
        if "12bit" in file.name:
            assert "12 bits a sample" in outcome(decode, data)
        else:
            wanted = simplejpeg.decode_jpeg(data)
            assert (decode(data) == wanted).all() and wanted.std() > 10


@given(
    st.sampled_from(sorted(HARMLESS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_decode_and_image_info_agree_on_faulty_files(fault, hits):
    data = bytearray(HARMLESS[fault][0])
    for at, value in hits:
        data[int(at * (len(data) - 1))] = value
    one, other = outcome(decode, bytes(data)), outcome(image_info, bytes(data))
    assert isinstance(one, str) == isinstance(other, str) and (isinstance(one, str) or one == other)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4), (4, 2), (3, 1)])
def test_any_subsampling_is_read(factors):
    """A gray picture's data, in which each component has the blocks that its factors ask for."""
    blocks = factors[0] * factors[1]
    data = bytearray(jpeg(Image.new("RGB", (8, 8), (128, 128, 128)), subsampling=0))
    at = data.index(b"\xff\xc0") + 11
    data[at] = factors[0] << 4 | factors[1]
    data = height(bytes(data), 8 * factors[1])
    data = data[: at - 4] + struct.pack(">H", 8 * factors[0]) + data[at - 2 :]
    start = data.index(b"\xff\xda") + 14
    # each block is a zero difference and an end: 00 1010 of the luminance's tables, 00 00 of the chrominance's
    bits = "001010" * blocks + "0000" * 2
    bits += "1" * (-len(bits) % 8)
    data = data[:start] + int(bits, 2).to_bytes(len(bits) // 8, "big") + b"\xff\xd9"
    assert (decode(data) == 128).all() and outcome(decode, data) == outcome(image_info, data)
    assert outcome(decode, data) == (8 * factors[0], 8 * factors[1])


@pytest.mark.parametrize("filling", [b"\xff\xe0\0\2", b"\xff\1", b"\xff\xff", b"\xff\0", b"a\xff\0"])
@pytest.mark.parametrize("place", [behind_start, before_scan])
def test_a_file_of_many_segments_costs_no_time(place, filling):
    """10 MB between two segments: what libjpeg passes over in a moment, Python must not walk."""
    start = time.perf_counter()
    data = place(PLAIN, filling * (10_000_000 // len(filling)))
    assert isinstance(outcome(decode, data), str) == isinstance(outcome(image_info, data), str)
    assert time.perf_counter() - start < 2


def scans(count: int, side: int = 64) -> bytes:
    """A flat gray progressive JPEG whose scans are runs of ends of bands, one coefficient after another."""
    blocks = (side // 8) ** 2

    def table(kind: int, symbol: int) -> bytes:
        return segment(0xC4, bytes((kind, 1, *[0] * 15, symbol)))

    def packed(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + frame + table(0, 0) + table(0x10, 0xE0)
    direct = segment(0xDA, b"\1\1\0\0\0\0") + packed("0" * blocks)
    bands = [
        segment(0xDA, bytes((1, 1, 0, 1 + at % 63, 1 + at % 63, 0))) + packed("0" + "1" * 14)
        for at in range(count - 1)
    ]
    return head + direct + b"".join(bands) + b"\xff\xd9"


def test_scans_are_limited_and_previews_are_none():
    assert outcome(decode, scans(MAX_SCANS)) == outcome(image_info, scans(MAX_SCANS)) == (64, 64)
    for read in (decode, image_info):
        with pytest.raises(Undecodable, match=f"{MAX_SCANS + 1} scans, more than the {MAX_SCANS}"):
            read(scans(MAX_SCANS + 1))
    many = segment(0xE1, b"\xff\xda" * 20_000)
    assert outcome(decode, behind_start(PROGRESSIVE, many)) == (290, 200)


@pytest.mark.parametrize(("side", "at"), [("height", 3), ("width", 5)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("read", [decode, image_info])
def test_a_side_of_0_is_said(side, at, options, read):
    data = bytearray(jpeg(**options))
    frame = next(data.find(bytes((0xFF, marker))) for marker in (0xC0, 0xC2) if bytes((0xFF, marker)) in data)
    data[frame + 2 + at : frame + 4 + at] = b"\0\0"
    with pytest.raises(Undecodable, match=f"its header says a {side} of 0 pixels"):
        read(bytes(data))
