"""Maker notes: whose they are by their first letters, and which cameras write them.

From the published descriptions of maker notes (exiv2.org/makernote.html and the notes of exifread).
"""

from __future__ import annotations

from dfd.media.exif import Exif

# first letters of a note, and whose they are; Canon's, Epson's of old and Kodak's of old have none
_MAGIC = (
    (b"Nikon\0", "Nikon"),
    (b"SONY DSC \0", "Sony"),
    (b"SONY CAM \0", "Sony"),
    (b"SONY MOBILE\0", "Sony"),
    (b"FUJIFILM", "Fujifilm"),
    (b"OLYMP\0", "Olympus"),
    (b"OLYMPUS\0", "Olympus"),
    (b"OM SYSTEM\0", "Olympus"),
    (b"Panasonic\0", "Panasonic"),
    (b"PENTAX \0", "Pentax"),
    (b"AOC\0", "Pentax"),
    (b"LEICA", "Leica"),
    (b"Apple iOS\0", "Apple"),
    (b"QVC\0", "Casio"),
    (b"SANYO\0", "Sanyo"),
    (b"SIGMA\0", "Sigma"),
    (b"FOVEON\0", "Sigma"),
    (b"KDK", "Kodak"),
    (b"RICOH", "Ricoh"),
    (b"Ricoh", "Ricoh"),
    (b"EPSON\0", "Epson"),
    (b"KYOCERA", "Kyocera"),
    (b"MINOL", "Minolta"),
    (b"SAMSUNG", "Samsung"),
    (b"HUAWEI", "Huawei"),
    (b"DJI", "DJI"),
    (b"GOPRO", "GoPro"),
)
# words of Make under which cameras with such a note were sold. Several makers built for others: Sanyo for
# Olympus, Nikon and Agfa, Panasonic for Leica, Casio and Pentax for one another, Kyocera for Contax.
_SOLD_AS = {
    "Nikon": ("nikon",),
    "Sony": ("sony", "hasselblad", "konica", "minolta"),
    "Fujifilm": ("fuji", "leica", "general"),
    "Olympus": ("olympus", "om digital", "epson", "agfa", "konica", "minolta", "sanyo", "skanhex", "premier"),
    "Panasonic": ("panasonic", "leica", "technics"),
    "Pentax": ("pentax", "asahi", "ricoh", "samsung", "hoya"),
    "Leica": ("leica", "panasonic"),
    "Apple": ("apple",),
    "Casio": ("casio", "pentax"),
    "Sigma": ("sigma", "foveon"),
    "Huawei": ("huawei", "honor", "leica"),
    "DJI": ("dji", "hasselblad"),
    "GoPro": ("gopro",),
}


def note_maker(exif: Exif) -> str:
    """Whose maker note a file has; "" where it has none, or none with a known name."""
    return next((maker for magic, maker in _MAGIC if exif.maker_note_head.startswith(magic)), "")


def is_sold_as(maker: str, make: str) -> bool:
    """Whether cameras of this Make may write such a note; True where we do not know."""
    words = _SOLD_AS.get(maker)
    return words is None or any(word in make.lower() for word in words)
