"""JPEG repair: files that break the standard and lose no pixel by it, written as the standard has them.

Of libjpeg's warnings (JWRN_* of its jerror.h) some mean lost pixels and some do not:

| libjpeg says | pixels | so |
|---|---|---|
| Invalid SOS parameters for sequential JPEG | whole: the parameters have one legal value | set |
| unknown JFIF revision number | whole: no revision changes the pixels | set |
| Unknown Adobe color transform code | whole: read as YCbCr or YCCK, as libjpeg does | set |
| bad ICC marker | whole: profiles are not applied | left out |
| extraneous bytes before a marker, between segments | whole | left out |
| extraneous bytes before the end | whole where they are padding, else damage (`_is_padding`) | left out |
| Premature end of JPEG file, no end marker | whole where all scans are there and full | end added |
| the same, and zeros at the end | the rest of the file was never written | as if it ended before them |
| premature end of data segment; bad Huffman code; bad arithmetic code | lost | refused |
| found marker instead of RST | whole where the restarts are all there, under wrong numbers | numbered |
| found marker instead of RST; extraneous bytes before a RST | else lost: blocks are missing | refused |
| Inconsistent progression sequence | whole where a scan comes twice, or before its DC scan | in order |
| Inconsistent progression sequence | else lost: bits of coefficients are missing | refused |

The repaired file is read as strictly as any other, so a second fault behind a harmless first one is found.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import simplejpeg

from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import END, FRAMES, HUFFMAN, METADATA, PROGRESSIVE, SCAN, all_segments

_JFIF, _ADOBE, _HEIGHT, _RESTART = 0xE0, 0xEE, 0xDC, 0xDD
_TABLES = frozenset((HUFFMAN, 0xCC, 0xDB, _RESTART))
_HUFFMAN_SEQUENTIAL = frozenset((0xC0, 0xC1))
_PROCESSES = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE), "hierarchical"),
    0xCB: "lossless and arithmetic",
    0xCF: "hierarchical",
}
_READ = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA))
_CONVERT = "Convert it to PNG or to an ordinary JPEG"
_RESTART_MARKER = re.compile(rb"\xff+[\xd0-\xd7]")
_LOST = re.compile("premature end of data segment|bad Huffman code|bad arithmetic code")
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
# bytes, but for zeros; with more, too many blocks may be lost to ask which they are
_MOST_PADDING = 1024
# what a disk keeps of a download that stopped; many codes are zeros, so it may read as blocks
_HOLE = bytes(8)
# libjpeg counts what is extraneous but for the bytes it has in hand, so a second look may be needed
_ROUNDS = 8


class _Segment(NamedTuple):
    marker: int
    content: bytes
    coded: bytes  # of a scan

    def written(self) -> bytes:
        length = (len(self.content) + 2).to_bytes(2, "big")
        return bytes((0xFF, self.marker)) + length + self.content + self.coded


def decode_repaired(data: bytes, read: Callable[[bytes], np.ndarray], complaint: str = "") -> np.ndarray:
    """What `read` makes of the repaired file.

    Args:
        data: a JPEG that `read` refused.
        read: a strict decoder, which raises ValueError with libjpeg's words.
        complaint: its words about `data`; where they say that pixels are lost, nothing else is tried.

    Raises:
        Undecodable: pixels are lost, or the file is of a kind that is not read.
    """
    if _LOST.search(complaint):
        raise Undecodable(f"damaged JPEG: {complaint}")
    clean = repaired(data)
    for _ in range(_ROUNDS):
        try:
            return read(clean)
        except ValueError as error:
            clean = _without_padding(clean, str(error))
    raise Undecodable("damaged JPEG: extraneous bytes before its end")


def repaired(data: bytes) -> bytes:
    """The JPEG with what its pixels depend on alone: tables, frame and scans as the standard has them, and of
    the metadata the two segments by which decoders tell the colours.

    Raises:
        Undecodable: a process or precision that is not read, or no whole picture.
    """
    parts = [_Segment(*part) for part in all_segments(data)]
    frame = next((part for part in parts if part.marker in FRAMES), None)
    if frame is None or len(frame.content) < 6 or not any(part.marker == SCAN for part in parts):
        raise Undecodable("damaged JPEG: it ends before its picture, or holds none")
    precision, components = frame.content[0], frame.content[5]
    if frame.marker not in _READ or precision != 8:
        process = _PROCESSES.get(frame.marker)
        kind = f"by the {process} process (SOF{frame.marker - 0xC0})" if process else "of a rare process"
        if precision != 8:
            kind = f"with {precision} bits a sample" + (f", {kind}" if process else "")
        raise Undecodable(f"a JPEG {kind}, which is not read. {_CONVERT}.")
    size = _with_height(frame, parts)[1:5]
    for side, told in (("height", size[:2]), ("width", size[2:])):
        if told == b"\0\0":
            raise Undecodable(
                f"damaged JPEG: its header says a {side} of 0 pixels, and nothing else tells it"
            )
    unknown = [part.marker for part in parts if part.marker < 0xC0 or 0xF0 <= part.marker < 0xFE]
    if unknown:
        raise Undecodable(f"damaged JPEG: unknown marker 0x{unknown[0]:02x}")
    if parts[-1].marker != END:
        if data.endswith(_HOLE):
            parts[-1] = parts[-1]._replace(coded=parts[-1].coded.rstrip(b"\0"))
        if not _is_complete(frame, parts):
            raise Undecodable("truncated JPEG: it ends without an end marker, and scans are missing")
    kept = _kept(frame, parts, components)
    if frame.marker in PROGRESSIVE:
        kept = _ordered(kept)
    return b"".join((b"\xff\xd8", *(part.written() for part in kept), b"\xff\xd9"))


def _numbered(coded: bytes) -> bytes:
    """Entropy-coded bytes whose restarts count from 0 to 7 and again; a missing one shows by its blocks."""
    numbers = itertools.cycle(range(8))
    return _RESTART_MARKER.sub(lambda _: bytes((0xFF, 0xD0 + next(numbers))), coded)


def _kept(frame: _Segment, parts: Sequence[_Segment], components: int) -> list[_Segment]:
    kept = []
    for part in parts:
        if part.marker == _JFIF and part.content[:5] == b"JFIF\0" and len(part.content) >= 14:
            kept.append(part._replace(content=b"JFIF\0\1\1" + part.content[7:12] + b"\0\0"))
        elif part.marker == _ADOBE and part.content[:5] == b"Adobe" and len(part.content) >= 12:
            transform = part.content[11]
            known = {3: (1, 0), 4: (2, 0)}.get(components, (transform,))
            transform = transform if transform in known else known[0]
            kept.append(part._replace(content=part.content[:11] + bytes((transform,))))
        elif part.marker in FRAMES:
            kept.append(part._replace(content=_with_height(frame, parts)) if part is frame else part)
        elif part.marker == SCAN and frame.marker not in (*PROGRESSIVE, 0xC3):
            content = part.content[:-3] + b"\0\x3f\0"
            kept.append(part._replace(content=content, coded=_numbered(part.coded)))
        elif part.marker == SCAN:
            kept.append(part._replace(coded=_numbered(part.coded)))
        elif part.marker in _TABLES:
            kept.append(part)
        elif part.marker not in METADATA | {_HEIGHT, END}:
            raise Undecodable(f"damaged JPEG: unknown marker 0x{part.marker:02x}")
    return kept


def _ordered(parts: Sequence[_Segment]) -> list[_Segment]:
    """The parts of a progressive file, first scans of DC before all others, and no first scan twice in
    sequence. Each has the tables before it that it had.
    """
    head, direct, rest, tables = [], [], [], []
    last = None
    for part in parts:
        if part.marker == SCAN:
            start, refined = part.content[-3:-2] == b"\0", part.content[-1:] >= b"\x10"
            if part == last and not refined:
                continue
            last = part
            if start and not refined:
                direct += [*tables, part]
            else:
                rest.append(part)
        elif part.marker in _TABLES:
            tables.append(part)
            rest.append(part)
        else:
            head.append(part)
    return [*head, *direct, *rest]


def _with_height(frame: _Segment, parts: Sequence[_Segment]) -> bytes:
    """The frame's content; a height of 0 says that it follows the first scan (DNL)."""
    content = frame.content
    told = next((part.content for part in parts if part.marker == _HEIGHT and len(part.content) == 2), None)
    return content[:1] + told + content[3:] if content[1:3] == b"\0\0" and told else content


def _is_complete(frame: _Segment, parts: Sequence[_Segment]) -> bool:
    """Whether the scans bring all bits of all coefficients of each component."""
    names = frame.content[6::3][: frame.content[5]]
    bits = {name: [99] * 64 for name in names}  # the lowest bit known so far
    for part in parts:
        if part.marker != SCAN or len(part.content) < 4:
            continue
        count, (first, last, approximation) = part.content[0], part.content[-3:]
        if frame.marker not in PROGRESSIVE:
            first, last, approximation = 0, 63, 0
        for name in part.content[1 : 1 + 2 * count : 2]:
            for at in range(first, min(last, 63) + 1):
                bits.get(name, [99] * 64)[at] = approximation & 15
    return all(bit == 0 for known in bits.values() for bit in known)


def _without_padding(clean: bytes, complaint: str) -> bytes:
    """The repaired file without the bytes before its end that libjpeg complains of."""
    found = _EXTRANEOUS.search(complaint)
    if found is None or not _is_padding(clean, int(found[1])):
        raise Undecodable(f"damaged JPEG: {complaint}")
    return clean[: -2 - int(found[1])] + clean[-2:]


def _is_padding(clean: bytes, count: int) -> bool:
    """Whether the last `count` bytes before the end are no part of the picture.

    A decoder that wrong bits put out of step ends early, and what is left are the picture's last blocks. A
    quarter of wrong bits shows by nothing else, so what reads as whole blocks is no padding.
    """
    left = clean[-2 - count : -2]
    if left.count(left[:1]) == count and left[0] in (0x00, 0xFF):
        return True
    if count > _MOST_PADDING:
        return False
    parts = [_Segment(*part) for part in all_segments(clean)]
    frame = next(part for part in parts if part.marker in FRAMES)
    scan = next(part for part in reversed(parts) if part.marker == SCAN)
    if frame.marker not in _HUFFMAN_SEQUENTIAL:
        return False
    tables = b"".join(part.written() for part in parts if part.marker in _TABLES - {_RESTART})
    frame, unit = _of_components(frame, scan)
    # the first bit of the rest is in one of the first three bytes, and its last one in the last
    for skipped in range(24):
        whole, cut = (_shifted(clean[-4 - count : end], skipped) for end in (-2, -3))
        if _reads_as_units(tables, frame, scan, unit, whole) and not _reads_as_units(
            tables, frame, scan, unit, cut
        ):
            return False
    return True


def _shifted(coded: bytes, skipped: int) -> bytes:
    """Entropy-coded bytes from a bit on, filled up with ones."""
    bits = coded.replace(b"\xff\0", b"\xff")
    size = 8 * len(bits)
    number = ((int.from_bytes(bits, "big") + 1 << skipped) - 1) & ((1 << size) - 1)
    return number.to_bytes(len(bits), "big")[: (size - skipped + 7) // 8].replace(b"\xff", b"\xff\0")


def _of_components(frame: _Segment, scan: _Segment) -> tuple[_Segment, tuple[int, int]]:
    """The frame with the components of a scan alone, and width and height of its smallest unit in pixels."""
    names = scan.content[1 : 1 + 2 * scan.content[0] : 2]
    described = [frame.content[at : at + 3] for at in range(6, len(frame.content) - 2, 3)]
    described = [each for each in described if each[0] in names]
    if len(described) == 1:  # one block is a unit, however the component is sampled
        described = [described[0][:1] + b"\x11" + described[0][2:]]
    unit = (8 * max(each[1] >> 4 for each in described), 8 * max(each[1] & 15 for each in described))
    content = frame.content[:5] + bytes((len(described),)) + b"".join(described)
    return frame._replace(content=content), unit


def _reads_as_units(
    tables: bytes, frame: _Segment, scan: _Segment, unit: tuple[int, int], coded: bytes
) -> bool:
    """Whether the bytes are one or more whole units of `unit` (W, H) pixels, and nothing else."""
    too_few, too_many, units = 0, None, 1
    while too_many is None or too_many - too_few > 1:
        size = (unit[1] * units).to_bytes(2, "big") + unit[0].to_bytes(2, "big")
        small = frame._replace(content=frame.content[:1] + size + frame.content[5:])
        parts = (b"\xff\xd8", tables, small.written(), scan._replace(coded=coded).written(), b"\xff\xd9")
        try:
            simplejpeg.decode_jpeg(b"".join(parts), "GRAY")
        except ValueError as error:
            if _EXTRANEOUS.search(str(error)):
                too_few = units
            else:
                too_many = units
        else:
            return True
        units = 2 * units if too_many is None else (too_few + too_many) // 2
    return False
