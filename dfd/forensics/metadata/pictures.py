"""Rules on sizes and previews: what the metadata say of the picture against the picture itself."""

from __future__ import annotations

from dfd.forensics.metadata.file import File
from dfd.media.exif import number

# Turned without loss, a picture loses what is no whole block; cameras differ by as much from what they write.
_BLOCK = 16
_STRETCHED = 1.06  # of a preview's aspect to the picture's, beyond the rounding of both
# in pixels, either way up: Stable Diffusion, SDXL, DALL-E, GPT-image, Imagen, Midjourney, Flux
_GENERATOR_SIZES = frozenset({
    (512, 512), (512, 640), (512, 768), (640, 1536), (768, 768), (768, 1280), (768, 1344),
    (768, 1408), (816, 1456), (832, 1216), (832, 1248), (848, 1264), (864, 1184), (896, 1152),
    (896, 1280), (896, 1344), (896, 1408), (928, 1232), (960, 1440), (1024, 1024), (1024, 1536),
    (1024, 1792), (1248, 1824), (1328, 1328),
})  # fmt: skip


def size_at_odds(file: File) -> str:
    """EXIF gives the picture another size than it has."""
    exif = file.metadata.exif.exif
    said = number(exif.get("PixelXDimension")), number(exif.get("PixelYDimension"))
    if file.size is None or not said[0] or not said[1]:
        return ""
    width, height = file.size
    fits = min(
        max(abs(said[0] - across), abs(said[1] - down)) for across, down in ((width, height), (height, width))
    )
    return "" if fits <= _BLOCK else f"{said[0]:.0f} x {said[1]:.0f} (EXIF), {width} x {height}"


def preview_of_another(file: File) -> str:
    """The preview shows another picture."""
    preview = file.preview
    if preview is None or not preview.is_other:
        return ""
    return f"{file.metadata.thumbnails[0].origin}: r = {preview.same:.2f}"


def preview_differs_in_part(file: File) -> str:
    """The preview shows the picture, but for a part of it."""
    preview = file.preview
    return _place(preview.differs) if preview is not None and preview.differs is not None else ""


def preview_shows_more(file: File) -> str:
    """The picture is a part of what the preview shows."""
    preview = file.preview
    return _place(preview.part) if preview is not None and preview.part is not None else ""


def preview_turned(file: File) -> str:
    """The preview shows the picture turned or mirrored, or pressed together."""
    preview = file.preview
    if preview is None:
        return ""
    if preview.turn != 1:
        return f"EXIF Orientation {preview.turn}"
    stretch = max(preview.stretch, 1 / preview.stretch)
    return f"x {stretch:.2f}" if stretch > _STRETCHED else ""


def size_of_generators(file: File) -> str:
    """A size in which image generators write, and no word of a camera."""
    if file.size is None or file.has_camera_facts or tuple(sorted(file.size)) not in _GENERATOR_SIZES:
        return ""
    return f"{file.size[0]} x {file.size[1]}"


def _place(part: tuple[float, float, float, float]) -> str:
    x, y, width, height = part
    return f"x {x:.0%} - {x + width:.0%}, y {y:.0%} - {y + height:.0%}"
