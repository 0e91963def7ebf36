"""Structure of PNG, WebP and GIF files: chunks and blocks up to the last, frames, and what follows."""

from __future__ import annotations

from dfd.media import png_chunks, webp_chunks
from dfd.media.structure.part import Layout, Part

_PNG_METADATA = frozenset((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"caBX"))
_TAIL = b"IEND\xaeB`\x82"
_MAX_BLOCKS = 2_000_000  # of a GIF: of 255 bytes each, more than a file may have


def read_png(data: bytes) -> Layout:
    layout = Layout(len(png_chunks.SIGNATURE))
    kind, pixels = b"", 0
    for kind, start, end in png_chunks.chunks(data):
        layout.end = end
        if kind == b"IDAT":
            pixels = pixels or start
            last = end
        elif kind == b"acTL":
            layout.pictures = int.from_bytes(data[start + 8 : start + 12], "big")
        elif kind in _PNG_METADATA:
            word = data[start + 8 : min(end - 4, start + 88)].partition(b"\0")[0].decode("latin-1")
            layout.add("metadata", start, end, f"{kind.decode()} {word}" if b"EXt" in kind else kind.decode())
    if pixels:
        layout.add("picture", pixels, last)
    if kind != b"IEND":
        layout.end = len(data)
        layout.problems.append("it has no end chunk")
    layout.add_rest(data, layout.end)
    if data.endswith(_TAIL) and layout.end < len(data):
        # a shorter PNG was written over a longer one, whose end is still there
        layout.parts = [
            Part("appended", part.start, part.length, "rest of a PNG")
            if part.kind in ("appended", "slack") and part.what == "data"
            else part
            for part in layout.parts
        ]
    return layout


def read_webp(data: bytes) -> Layout:
    layout = Layout(min(8 + int.from_bytes(data[4:8], "little"), len(data)))
    at, frames = 12, 0
    for kind, body in webp_chunks.chunks(data[: layout.end]):
        end = at + 8 + len(body)
        if kind in (b"VP8 ", b"VP8L"):
            layout.add("picture", at, end)
        elif kind == b"ANMF":
            frames += 1
        elif kind not in (b"VP8X", b"ALPH", b"ANIM"):
            layout.add("metadata", at, end, kind.decode("latin-1").strip())
        at = end + end % 2
    if frames:
        layout.pictures = frames
    layout.add_rest(data, layout.end)
    return layout


def read_gif(data: bytes) -> Layout:
    layout = Layout(len(data), 0)
    at, left = 13 + _table(data[10:11]), _MAX_BLOCKS
    while left > 0:
        left -= 1
        mark = data[at : at + 1]
        if mark == b";":
            layout.end = at + 1
            layout.add_rest(data, layout.end)
            break
        if mark == b",":
            layout.pictures += 1
            start, at = at, at + 10 + _table(data[at + 9 : at + 10]) + 1
            at, left = _blocks_end(data, at, left)
            if layout.pictures == 1:
                layout.add("picture", start, at)
        elif mark == b"!":
            start, what = at, data[at + 1 : at + 2]
            at, left = _blocks_end(data, at + 2, left)
            if what == b"\xfe":
                layout.add("metadata", start, at, "comment")
            elif what == b"\xff":
                layout.add("metadata", start, at, data[start + 3 : start + 14].decode("latin-1"))
        else:
            layout.problems.append("it has no end mark")
            break
    return layout


def _table(flags: bytes) -> int:
    """Bytes of a colour table."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _blocks_end(data: bytes, at: int, left: int) -> tuple[int, int]:
    """Behind a chain of sub-blocks, `left` at most; and how many are left then."""
    while at < len(data) and data[at] and left > 0:
        at += 1 + data[at]
        left -= 1
    return min(at + 1, len(data)), left
