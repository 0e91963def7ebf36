"""Polyglots: what a picture file is at the same time, to a program that looks at another place of it."""

from __future__ import annotations

_ZIP_END, _ZIP_ENTRY = b"PK\5\6", b"PK\1\2"
_ZIP_TAIL = 22 + 65_535  # of the record that ends a zip, with its comment
_PDF_HEAD = 1024  # readers look for a PDF's beginning so far
_STRIP, _OVERLAP = 1 << 20, 16
_MARKUP = ((b"<?php", "php"), (b"<script", "html"), (b"<html", "html"))
_ARCHIVES = ((b"Rar!\x1a\x07", "rar"), (b"7z\xbc\xaf'\x1c\0", "7z"))


def others(data: bytes) -> tuple[str, ...]:
    """Formats beside a picture's that the file is too: zip, jar, pdf, html, php, rar, 7z."""
    found = [_zip(data), "pdf" if _is_pdf(data) else "", *_markup(data)]
    found += [name for mark, name in _ARCHIVES if data.find(mark) >= 0]
    return tuple(name for name in found if name)


def _zip(data: bytes) -> str:
    """zip or jar where the file ends in a zip's directory that is where its last record says."""
    tail = max(0, len(data) - _ZIP_TAIL)
    at = data.rfind(_ZIP_END, tail)
    while at >= 0:
        size = int.from_bytes(data[at + 12 : at + 16], "little")
        start = at - size
        if size and start >= 0 and data.startswith(_ZIP_ENTRY, start):
            return "jar" if data.find(b"META-INF/MANIFEST.MF", start, at) >= 0 else "zip"
        at = data.rfind(_ZIP_END, tail, at)
    return ""


def _is_pdf(data: bytes) -> bool:
    return data.find(b"%PDF-", 0, _PDF_HEAD) >= 0 and (
        data.rfind(b"startxref") >= 0 or data.rfind(b"endobj") >= 0
    )


def _markup(data: bytes) -> list[str]:
    """html and php: what a browser or a web server would run, wherever it stands."""
    found = set()
    for start in range(0, len(data), _STRIP):
        strip = data[max(0, start - _OVERLAP) : start + _STRIP].lower()
        found |= {name for mark, name in _MARKUP if mark in strip}
    return sorted(found)
