"""Files with planted metadata: a camera's photograph as its twin that agrees, or with one thing changed."""

import io
import struct
import zlib
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
import piexif
from photos import jpeg, photo, png

CAMERA = {
    "0th": {
        "Make": "Canon",
        "Model": "Canon EOS 40D",
        "Software": "Firmware 1.1.1",
        "DateTime": "2019:05:30 15:56:01",
        "Orientation": 1,
    },
    "Exif": {
        "DateTimeOriginal": "2019:05:30 15:56:01",
        "DateTimeDigitized": "2019:05:30 15:56:01",
        "OffsetTimeOriginal": "+02:00",
        "ExposureTime": (1, 160),
        "FNumber": (71, 10),
        "ISOSpeedRatings": 100,
    },
    "GPS": {
        "GPSLatitudeRef": "N",
        "GPSLatitude": ((48, 1), (51, 1), (2964, 100)),
        "GPSLongitudeRef": "E",
        "GPSLongitude": ((2, 1), (21, 1), (50, 100)),
        "GPSDateStamp": "2019:05:30",
        "GPSTimeStamp": ((13, 1), (56, 1), (1, 1)),
    },
}  # fmt: skip


@lru_cache(maxsize=64)
def scene(seed: int = 3, width: int = 512, height: int = 384) -> np.ndarray:
    """A photograph (height, width, 3) of a simulated camera; not to be changed."""
    return np.ascontiguousarray(photo(seed, max(width, height))[:height, :width])


def thumbnail_of(pixels: np.ndarray, width: int = 160, height: int = 120) -> bytes:
    """A preview as cameras make it, with black bars where the shapes differ."""
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return jpeg(canvas, 85)


def exif_block(
    changes: dict | None = None, thumbnail: bytes = b"", size: tuple[int, int] | None = None
) -> bytes:
    """The EXIF of CAMERA with changes, "Exif\\0\\0" first.

    Args:
        changes: by the name of a tag; None takes it out.
        size: PixelXDimension and PixelYDimension.
    """
    directories: dict = {
        "0th": {},
        "Exif": {},
        "GPS": {},
        "1st": {},
        "Interop": {},
        "thumbnail": thumbnail or None,
    }
    said = {directory: dict(tags) for directory, tags in CAMERA.items()}
    if size:
        said["Exif"] |= {"PixelXDimension": size[0], "PixelYDimension": size[1]}
    for name, value in (changes or {}).items():
        home = next(each for each in said if _tag(each, name) is not None)
        said[home][name] = value
    for directory, tags in said.items():
        for name, value in tags.items():
            if value is not None:
                directories[directory][_tag(directory, name)] = value
    if thumbnail:
        directories["1st"] = {piexif.ImageIFD.Compression: 6}
    return piexif.dump(directories)


def camera_file(
    changes: dict | None = None,
    pixels: np.ndarray | None = None,
    thumbnail: bytes | None = None,
    jfif: bool = False,
    extra: bytes = b"",
    **options,
) -> bytes:
    """A JPEG as a camera writes it: EXIF first, its preview in it, no JFIF unless asked for.

    Args:
        changes: as of `exif_block`.
        thumbnail: by default that of the picture.
        extra: further segments, behind the EXIF.
        options: of Pillow's JPEG writer.
    """
    pixels = scene() if pixels is None else pixels
    preview = thumbnail_of(pixels) if thumbnail is None else thumbnail
    options = {"qtables": OWN_TABLES, "quality": -1, "subsampling": "4:2:2"} | options
    plain = jpeg(pixels, **options)
    at = 4 + int.from_bytes(plain[4:6], "big") - 2 + 2 if plain[2:4] == b"\xff\xe0" else 2
    head = plain[2:at] if jfif else b""
    block = exif_block(changes, preview, (pixels.shape[1], pixels.shape[0]))
    return b"\xff\xd8" + head + segment(0xE1, block) + extra + plain[at:]


# steps that are no libjpeg table: a camera's own
OWN_TABLES = [[1 + (row + column) // 2 for row in range(8) for column in range(8)]] * 2


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def with_segments(data: bytes, *parts: bytes) -> bytes:
    """A JPEG with further segments at its beginning."""
    return data[:2] + b"".join(parts) + data[2:]


def xmp_packet(attributes: str = "", elements: str = "") -> bytes:
    """A packet with properties as attributes and as elements; the usual prefixes are bound."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" '
        'xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def xmp_segment(attributes: str = "", elements: str = "") -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp_packet(attributes, elements))


def iptc_segment(records: dict[int, bytes]) -> bytes:
    """IIM records of number 2 in Photoshop's resource."""
    block = b"".join(
        bytes((0x1C, 2, number)) + struct.pack(">H", len(value)) + value for number, value in records.items()
    )
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)
    return segment(0xED, b"Photoshop 3.0\0" + resource)


def png_with_texts(texts: dict[str, str], pixels: np.ndarray | None = None, kind: bytes = b"tEXt") -> bytes:
    """A PNG with texts by keyword, as tEXt, zTXt or iTXt."""
    plain = png(scene(width=96, height=80) if pixels is None else pixels)
    chunks = b""
    for keyword, text in texts.items():
        body = keyword.encode("latin-1") + b"\0"
        if kind == b"tEXt":
            body += text.encode("latin-1")
        elif kind == b"zTXt":
            body += b"\0" + zlib.compress(text.encode("latin-1"))
        else:
            body += b"\0\0\0\0" + text.encode()
        chunks += png_chunk(kind, body)
    return plain[:33] + chunks + plain[33:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def degrees(value: float) -> tuple[tuple[int, int], ...]:
    """Degrees, minutes and seconds as EXIF has them."""
    whole = int(value)
    minutes = Fraction(value - whole).limit_denominator(10**6) * 60
    seconds = Fraction(minutes - int(minutes)).limit_denominator(10**4) * 60
    return (whole, 1), (int(minutes), 1), (seconds.numerator, seconds.denominator)


def icc_profile() -> bytes:
    """sRGB by LittleCMS."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image, format: str, **options) -> bytes:
    """A Pillow image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _tag(directory: str, name: str) -> int | None:
    return next(
        (
            tag
            for tag, each in piexif.TAGS[directory if directory != "0th" else "Image"].items()
            if each["name"] == name
        ),
        None,
    )
