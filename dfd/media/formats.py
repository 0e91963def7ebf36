"""Picture formats: which are read, and what a file is that is none of them."""

from dfd.media.file_kinds import HEAD_BYTES, kind_of

# Pillow's other plugins start programs (EPS), or read formats that neither cameras nor generators write
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
FORMATS = (*PILLOW_FORMATS, "HEIF")  # HEIC among them, by the extra heif
EMPTY = "the file is empty"

# beside what file_kinds knows: where in the file, the bytes there, what that is, and what to do
_OTHERS = (
    (4, b"ftypavi", "a damaged AVIF", "Make it again from what it was made of"),
    (4, b"ftypcrx ", "a camera's raw file", "Convert it to TIFF or JPEG"),
    (4, b"ftyp", "a video", "dfd prepare --frames N takes faces out of videos"),
    (4, b"JXL ", "JPEG XL", "Convert it to JPEG or PNG, by djxl for instance"),
    (0, b"\xff\x0a", "JPEG XL", "Convert it to JPEG or PNG, by djxl for instance"),
    (0, b"8BPS", "Photoshop's format", "Save it as PNG or TIFF"),
    (0, b"\0\0\1\0", "an icon", "Save it as PNG"),
    (8, b"AVI ", "a video", "dfd prepare --frames N takes faces out of videos"),
    (0, b"\x1aE\xdf\xa3", "a video", "dfd prepare --frames N takes faces out of videos"),
)


class Undecodable(ValueError):
    """The bytes are no whole, single, opaque picture; the text says why."""


def not_a_picture(data: bytes) -> Undecodable:
    """The error for bytes that no reader of FORMATS knows; it names what they are where that is plain."""
    wanted = f"not a picture in a format that is read ({', '.join(FORMATS)})"
    for at, magic, kind, advice in _OTHERS:
        if data[at : at + len(magic)] == magic:
            return Undecodable(f"{kind}: {wanted}. {advice}.")
    other = kind_of(data[:HEAD_BYTES])
    if other is not None and other.way:
        return Undecodable(f"{other.name}: {other.way}")
    if b"<svg" in data[:1000].lower():
        return Undecodable(f"SVG, which is drawn and has no pixels: {wanted}.")
    return Undecodable(wanted)
