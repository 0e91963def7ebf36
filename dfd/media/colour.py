"""Colour: pixels of any ICC profile as sRGB (ICC.1:2022, by littlecms). Profiles are applied here alone.

A picture without a profile is sRGB, and so is one whose profile gives what sRGB gives: their pixels stay as
they are.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np

from dfd.media import png_chunks, webp_chunks

MAX_PROFILE = (
    4_000_000  # bytes; those of cameras and screens have 500 to 4,000, those of presses up to 2 million
)
ICC_SEGMENT = b"ICC_PROFILE\0"
_STRIP = 512  # rows that are converted at once
# levels by which a profile may differ from sRGB and is taken for it; rounding in its curves makes two
_SAME = 2
# of a profile's header: a screen, a camera, a printer, a colour space; others convert between devices
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


def jpeg_profile(parts: list[bytes]) -> bytes:
    """The profile in the contents of a JPEG's APP2 segments; b"" where there is none or it is not whole."""
    found: dict[int, bytes] = {}
    for part in parts:
        if part.startswith(ICC_SEGMENT) and len(part) > 14:
            found.setdefault(part[12], part[14:])
    whole = list(found) and sorted(found) == list(range(1, len(found) + 1))
    profile = b"".join(found[number] for number in sorted(found)) if whole else b""
    return profile if len(profile) <= MAX_PROFILE else b""


def png_profile(data: bytes) -> bytes:
    """The profile of a PNG, unpacked; b"" where there is none."""
    for kind, start, end in png_chunks.chunks(data):
        if kind == b"IDAT":
            return b""
        if kind == b"iCCP":
            packed = data[start + 8 : end - 4].partition(b"\0")[2][1:]
            unpacking = zlib.decompressobj()
            try:
                profile = unpacking.decompress(packed, MAX_PROFILE)
            except zlib.error:
                return b""
            return profile if unpacking.eof else b""
    return b""


def webp_profile(data: bytes) -> bytes:
    """The profile of a WebP, which lies before its pixels; b"" where there is none."""
    for kind, body in webp_chunks.chunks(data):
        if kind == b"ICCP":
            return body if len(body) <= MAX_PROFILE else b""
        if kind != b"VP8X":
            break
    return b""


def to_srgb(pixels: np.ndarray, profile: bytes, gray: bool = False) -> np.ndarray:
    """Pixels of a profile as sRGB: the same array, changed in place where the profile is another.

    A profile of another colour space than the picture's, one that is broken and one that littlecms refuses
    leave the pixels as they are.

    Args:
        pixels: (H, W, 3) uint8.
        profile: b"" for none.
        gray: all three channels are one.
    """
    convert = _conversion(profile, "L" if gray else "RGB") if profile else None
    if convert is None:
        return pixels
    if gray:
        levels = convert(np.arange(256, dtype=np.uint8)[None])[0]  # (256, 3)
        return levels[pixels[..., 0]]
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    for top in range(0, len(pixels), _STRIP):
        pixels[top : top + _STRIP] = convert(pixels[top : top + _STRIP])
    return pixels


def cmyk_to_srgb(image: Any, profile: bytes) -> np.ndarray | None:
    """Pixels (H, W, 3) uint8 of a loaded Pillow image of mode CMYK; None where its profile does not tell."""
    convert = _conversion(profile, "CMYK") if profile else None
    if convert is None:
        return None
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        pixels[top:bottom] = convert(np.asarray(image.crop((0, top, image.width, bottom))))
    return pixels


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str):
    """A function of pixels of a mode to sRGB; None where they are to be left."""
    if _SPACES.get(profile[16:20]) != mode or profile[12:16] not in _CLASSES or len(profile) > MAX_PROFILE:
        return None
    try:
        transform = _transform(profile, mode)
        convert = _applied(transform, mode)
        if mode != "CMYK" and _is_srgb(convert, mode):
            return None
    except Exception:  # a stranger's profile: littlecms and Pillow refuse it in many ways
        return None
    return convert


def _transform(profile: bytes, mode: str):
    import io

    from PIL import ImageCms

    # colours that both have stay the same, and black becomes black: as browsers and Photoshop show pictures
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _applied(transform, mode: str):
    from PIL import Image

    def convert(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(
            transform.apply(Image.fromarray(np.ascontiguousarray(pixels), transform.input_mode))
        )

    return convert


def _is_srgb(convert, mode: str) -> bool:
    """Whether a conversion leaves all colours of a lattice, and all grays, nearly as they are."""
    ramp = np.arange(256, dtype=np.uint8)
    grays = np.repeat(ramp[None, :, None], 3, axis=2)  # (1, 256, 3)
    if mode == "L":
        return int(np.abs(convert(ramp[None]).astype(int) - grays).max()) <= _SAME
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
    return all(int(np.abs(convert(each).astype(int) - each).max()) <= _SAME for each in (grays, lattice))
