"""Containers: where each format of picture file keeps its metadata blocks.

EXIF is found by dfd.media.exif.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from dfd.forensics.metadata.blocks import MAX_TEXTS, Blocks
from dfd.forensics.metadata.xmp import MAX_PACKET
from dfd.media import boxes, png_chunks, webp_chunks
from dfd.media.exif_block import read_block
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import HEAD, MAX_SEGMENTS, segments

MAX_ICC = 4_000_000  # bytes; the largest honest profiles, of printers, have 3 MB
MAX_TEXT = 200_000  # characters of one text; a workflow of ComfyUI has up to 100,000
MAX_PHOTOSHOP = 8_000_000  # bytes of the resources; large ones hold previews and paths
_MAX_GIF_PARTS = 1_000_000  # a part has up to 255 bytes

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _PHOTOSHOP, _EXIF = b"ICC_PROFILE\0", b"Photoshop 3.0\0", b"Exif\0\0"
_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE
_TIFF_TAGS = {700: "xmp", 33723: "iptc", 34377: "photoshop", 34675: "icc"}
_PNG_PIXELS = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf", b"fdAT", b"fcTL"))
_WEBP_PIXELS = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF", b"ANMF", b"ANIM"))
_PACKET_ENDS = ((b"<x:xmpmeta", b"</x:xmpmeta>"), (b"<rdf:RDF", b"</rdf:RDF>"))
# texts of a PNG in which ImageMagick keeps blocks
_HEX_PROFILES = {
    "Raw profile type xmp": "xmp",
    "Raw profile type iptc": "photoshop",
    "Raw profile type APP1": "xmp",
}


def find_blocks(data: bytes) -> Blocks:
    """The blocks of a file of any format; never raises."""
    found = Blocks()
    try:
        if data[:2] == b"\xff\xd8":
            _of_jpeg(data, found)
        elif data.startswith(png_chunks.SIGNATURE):
            _of_png(data, found)
        elif webp_chunks.is_webp(data):
            _of_webp(data, found)
        elif data[:4] in (b"II*\0", b"MM\0*"):
            _of_tiff(data, found)
        elif data[:4] == b"GIF8":
            _of_gif(data, found)
        elif boxes.is_boxed(data):
            _of_boxes(data, found)
        else:
            found.xmp = _scanned(data)
    except Undecodable as error:  # too many chunks, or pixels that are cut off
        found.problems.append(str(error))
    return found


def _of_jpeg(data: bytes, found: Blocks) -> None:
    profile: dict[int, bytes] = {}
    extended: list[bytes] = []
    size = 0
    for marker, segment in islice(segments(data), MAX_SEGMENTS):
        content = segment[HEAD:]
        if marker == _APP0 and content.startswith(b"JFIF\0"):
            found.jfif = content[5:]
            if len(content) >= 14 and content[12] and content[13]:
                found.add_preview("JFIF", content[12], content[13], content[14:])
        elif marker == _APP0 and content.startswith(b"JFXX\0"):
            _jfif_extension(content[5:], found)
        elif marker == _APP1 and content.startswith(_XMP):
            found.add_xmp(content[len(_XMP) :])
        elif marker == _APP1 and content.startswith(_EXTENDED):
            size += len(content)
            extended += [content[len(_EXTENDED) :]] if size < 2 * MAX_PACKET else []
        elif marker == _APP2 and content.startswith(_ICC) and len(content) > 14:
            profile.setdefault(content[12], content[14:])
        elif marker == _APP13 and content.startswith(_PHOTOSHOP):
            if len(found.photoshop) < MAX_PHOTOSHOP:
                found.photoshop += content[len(_PHOTOSHOP) :]
        elif marker == _APP14 and content.startswith(b"Adobe"):
            found.adobe = True
        elif marker == _COMMENT:
            found.add_text("COM", "Comment", _decoded(content[:MAX_TEXT].rstrip(b"\0")))
        elif 0xE0 <= marker <= 0xEF and not content.startswith(_EXIF):
            found.add_other(f"APP{marker - 0xE0}", _first_letters(content))
    found.icc = b"".join(profile[number] for number in sorted(profile))[:MAX_ICC]
    if extended:
        found.xmp += _joined(extended, found)


def _jfif_extension(content: bytes, found: Blocks) -> None:
    """A preview as the JFIF extension has it: a JPEG (0x10) or RGB (0x13)."""
    if content[:1] == b"\x10":
        found.add_preview("JFXX", 0, 0, content[1:])
    elif content[:1] == b"\x13" and len(content) > 3:
        found.add_preview("JFXX", content[1], content[2], content[3:])


def _joined(parts: list[bytes], found: Blocks) -> list[bytes]:
    """Extended XMP from its parts: identity (32 letters), length, offset (4 bytes each), content."""
    length = max(int.from_bytes(part[32:36], "big") for part in parts)
    if length > MAX_PACKET:
        found.problems.append(f"extended XMP of {length} bytes, which is not read")
        return []
    packets: dict[bytes, bytearray] = {}
    for part in parts:
        packet = packets.setdefault(part[:32], bytearray(length)) if len(packets) < 2 else None
        offset, content = int.from_bytes(part[36:40], "big"), part[40:]
        if packet is not None and offset + len(content) <= length:
            packet[offset : offset + len(content)] = content
    return [bytes(packet) for packet in packets.values()]


def _of_png(data: bytes, found: Blocks) -> None:
    for kind, start, end in png_chunks.chunks(data):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _png_text(found, kind, data[start + 8 : min(end - 4, start + 8 + 2 * MAX_PACKET)])
            _png_text_found(kind.decode(), keyword, text, found)
        elif kind == b"iCCP" and not found.icc:
            found.icc = found.unpack(data[start + 8 : end - 4].partition(b"\0")[2][1:], MAX_ICC)
        elif kind == b"tIME" and end - start == 19:
            time = data[start + 8 : end - 4]
            year = int.from_bytes(time[:2], "big")
            found.modified = "{:04}:{:02}:{:02} {:02}:{:02}:{:02}".format(year, *time[2:7])
        elif kind not in _PNG_PIXELS:
            found.add_other(kind.decode("latin-1"))


def _png_text_found(kind: str, keyword: str, text: bytes, found: Blocks) -> None:
    if keyword == "XML:com.adobe.xmp":
        found.add_xmp(text)
        return
    if keyword in _HEX_PROFILES:
        content = _from_hex(text)
        if _HEX_PROFILES[keyword] == "photoshop":
            found.photoshop += content
        elif content.startswith(_XMP) or content.lstrip()[:1] == b"<":
            found.add_xmp(content.removeprefix(_XMP))
        return
    found.add_text(kind, keyword, _decoded(text[:MAX_TEXT]))


def _png_text(found: Blocks, kind: bytes, body: bytes) -> tuple[str, bytes]:
    """Keyword and text, unpacked, of a text chunk."""
    keyword, _, rest = body.partition(b"\0")
    if kind == b"zTXt":
        rest = found.unpack(rest[1:], MAX_PACKET)
    elif kind == b"iTXt":
        text = b"".join(rest[2:].split(b"\0", 2)[2:])  # behind a language and a translated keyword
        rest = found.unpack(text, MAX_PACKET) if rest[:1] == b"\1" else text
    return keyword[:79].decode("latin-1"), rest


def _of_webp(data: bytes, found: Blocks) -> None:
    for kind, body in webp_chunks.chunks(data):
        if kind == b"XMP ":
            found.add_xmp(body)
        elif kind == b"ICCP":
            found.icc = body[:MAX_ICC]
        elif kind not in _WEBP_PIXELS:
            found.add_other(kind.decode("latin-1"))


def _of_tiff(data: bytes, found: Blocks) -> None:
    block = read_block(data)
    for entry in block.directories.get("ifd0", []) if block else []:
        match _TIFF_TAGS.get(entry.tag):
            case "xmp":
                found.xmp.append(entry.value)
            case "iptc":  # some writers say LONG for these bytes, whose order is as stored
                found.iptc = entry.value
            case "photoshop":
                found.photoshop = entry.value
            case "icc":
                found.icc = entry.value[:MAX_ICC]


def _of_gif(data: bytes, found: Blocks) -> None:
    found.xmp = _scanned(data)
    for text in islice(_gif_comments(data), MAX_TEXTS):
        found.add_text("GIF", "Comment", _decoded(text))


def _gif_comments(data: bytes) -> Iterator[bytes]:
    """The comments before and after the pictures of a GIF (GIF89a, 24)."""
    flags = data[10] if len(data) > 12 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    left = _MAX_GIF_PARTS
    while left > 0:
        introducer, label = data[at : at + 1], data[at + 1 : at + 2]
        if introducer == b"\x2c" and at + 10 <= len(data):
            local = data[at + 9]
            at += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        elif introducer == b"\x21":
            at += 2
        else:
            return
        parts, size = [], 0
        while left > 0:
            left -= 1
            length = data[at] if at < len(data) else 0
            if introducer == b"\x21" and label == b"\xfe" and size < MAX_TEXT:
                parts.append(data[at + 1 : at + 1 + length])
                size += length
            at += 1 + length
            if not length:
                break
        if parts:
            yield b"".join(parts)


def _of_boxes(data: bytes, found: Blocks) -> None:
    for item in boxes.items(data):
        if item.kind == b"mime" and len(found.xmp) < 4:
            packet = b""
            for start, length in item.extents[:8]:
                packet += data[start : start + min(length, MAX_PACKET + 1 - len(packet))]
            if b"xmpmeta" in packet[:1000] or b"rdf:RDF" in packet[:1000]:
                found.xmp.append(packet)
    properties = boxes.child(data, boxes.meta_box(data), b"iprp")
    colours = boxes.child(data, boxes.child(data, properties, b"ipco"), b"colr")
    if colours is not None and data[colours.body : colours.body + 4] in (b"prof", b"rICC"):
        found.icc = data[colours.body + 4 : min(colours.end, colours.body + 4 + MAX_ICC)]


def _scanned(data: bytes) -> list[bytes]:
    """The first packet of a file whose format is not walked: XMP is made to be found so."""
    for begin, finish in _PACKET_ENDS:
        start = data.find(begin)
        end = data.find(finish, start, start + MAX_PACKET)
        if 0 <= start < end:
            return [data[start : end + len(finish)]]
    return []


def _from_hex(text: bytes) -> bytes:
    """A profile as ImageMagick writes it in PNG: name, length, hexadecimal digits."""
    try:
        return bytes.fromhex(text.split(None, 2)[2].decode("ascii"))
    except (ValueError, IndexError):
        return b""


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _first_letters(content: bytes) -> str:
    """What a segment calls itself."""
    name = content[:40].split(b"\0")[0].decode("latin-1")
    return name if name.isprintable() else ""
