"""Fingerprint of a camera's sensor (PRNU): estimated from several photos, kept as an .npz file.

Each pixel of a sensor answers light a little more or less than its neighbours, by about a percent, always the
same: photo response non-uniformity. Chen, Fridrich, Goljan and Lukas, IEEE TIFS 2008: the maximum likelihood
estimate from residuals, rid of what cameras of one model share.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft

from dfd.durable import atomic_write
from dfd.forensics.noise.residual import local_wiener, luma, wavelet_residual
from dfd.media.decode import Undecodable, read_picture
from dfd.media.files import read_file
from dfd.media.jpeg_segments import read_header
from dfd.media.orientation import jpeg_orientation, upright
from dfd.media.picture import MAX_PIXELS

SIGMA = 3.0  # grey levels, of the denoiser
SATURATED = 250.0  # grey levels from which a pixel tells nothing of its sensor
FEW = 2  # photos without which there is no estimate
SMALLEST = 64  # pixels, of a side
FILE_VERSION = 1
_NAMES = ("version", "photos", "digests", "pattern")
_REST = 10_000_000  # bytes of a file beside its pattern
_MOST_PHOTOS = 100_000
# orientation that undoes one; the others undo themselves
_BACK = {6: 8, 8: 6}


@dataclass(frozen=True)
class Fingerprint:
    """What a camera's sensor multiplies light by, less one.

    Args:
        pattern: (H, W) float32, H and W of the camera's photos; a fraction, about 0.01 in deviation.
        photos: how many it was made from.
        digests: of the pixels of each, so that no photo is compared with itself.
    """

    pattern: np.ndarray
    photos: int
    digests: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """As .npz, which holds no code. Raises OSError, in words, where it cannot be written."""
        with atomic_write(path) as part, part.open("wb") as file:
            np.savez(
                file,
                version=np.array(FILE_VERSION),
                photos=np.array(self.photos),
                digests=np.frombuffer("\n".join(self.digests).encode(), np.uint8),
                pattern=self.pattern,
            )

    @classmethod
    def load(cls, path: Path) -> Fingerprint:
        """A file that `save` wrote, checked as a stranger's: sizes before anything is read, numbers only.

        Raises:
            ValueError: it is no such file.
            OSError: it cannot be read.
        """
        try:
            with zipfile.ZipFile(path) as file:
                arrays = {name: _array(file, name) for name in _NAMES}
            version, photos = int(arrays["version"]), int(arrays["photos"])
            if version != FILE_VERSION:
                raise ValueError(f"version {version} of the format, where {FILE_VERSION} is read")
            pattern = arrays["pattern"]
            _check_pattern(pattern, photos)
            digests = tuple(arrays["digests"].tobytes().decode("ascii").split())
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, NotImplementedError) as error:
            why = error.args[0] if error.args else type(error).__name__
            raise ValueError(
                f"{path} is no camera fingerprint ({why}). Make one: dfd fingerprint PHOTO... --out {path}"
            ) from error
        return cls(pattern, photos, digests)


def fingerprint(photos: Iterable[np.ndarray]) -> Fingerprint:
    """The fingerprint of the camera that took all of these photos.

    Twenty photos or more serve well, best of bright, even scenes such as a cloudy sky; all straight from the
    camera, as its sensor stored them (not turned upright), of one size. Memory is 30 bytes a pixel of one.

    Args:
        photos: (H, W, 3) uint8 RGB each; taken one by one, and let go.

    Raises:
        ValueError: fewer than two, of different sizes, too small, or the same photo twice.
    """
    above = below = np.zeros(0, np.float32)
    digests: list[str] = []
    for number, pixels in enumerate(photos, start=1):
        shape = pixels.shape[:2]
        if min(shape) < SMALLEST:
            raise ValueError(
                f"photo {number} is {_size(shape)} pixels, and a fingerprint needs {SMALLEST} on each side. "
                "Give photos straight from the camera."
            )
        if number == 1:
            above, below = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if shape != above.shape:
            raise ValueError(
                f"photo {number} is {_size(shape)} pixels, and those before it are {_size(above.shape)}. A "
                "fingerprint needs photos of one camera at one size, none cropped, resized or turned. Leave "
                "out the others, or make a fingerprint of each size."
            )
        digest = pixel_digest(pixels)
        if digest in digests:
            raise ValueError(
                f"photos {digests.index(digest) + 1} and {number} show the same pixels. Give each photo once."
            )
        digests.append(digest)
        light = usable_light(pixels)
        above += wavelet_residual(luma(pixels), SIGMA) * light
        below += light * light
    _check_enough(len(digests))
    # a pixel that was always saturated is worth one grey level of light: its estimate is then 0
    pattern = above / np.maximum(below, 1.0)
    return Fingerprint(without_shared(pattern), len(digests), tuple(digests))


def fingerprint_files(paths: Sequence[Path]) -> Fingerprint:
    """The fingerprint of the camera that took all of these files, each as its sensor stored it.

    Raises:
        ValueError: as of `fingerprint`, or a file is no whole picture; the file is named.
        OSError: a file cannot be read.
    """
    _check_enough(len(paths))
    current = paths[0]

    def photos() -> Iterator[np.ndarray]:
        nonlocal current
        for current in paths:
            yield sensor_pixels(read_file(current))

    try:
        return fingerprint(photos())
    except (ValueError, Undecodable) as error:
        raise ValueError(f"{current}: {error}") from error


def sensor_pixels(data: bytes) -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB of a file as the sensor stored them: not turned by the EXIF orientation.

    Raises:
        Undecodable: it is no picture, or is too large to be read at its full size.
    """
    picture = read_picture(data)
    if picture.scale > 1:
        raise Undecodable(f"more than the {MAX_PIXELS // 1_000_000} million pixels that are read in full")
    orientation = jpeg_orientation(read_header(data).app1) if picture.format == "JPEG" else 1
    return upright(picture.pixels, _BACK.get(orientation, orientation))


def usable_light(pixels: np.ndarray) -> np.ndarray:
    """Luma (H, W) float32 in grey levels, 0 where the sensor is saturated: there it leaves no pattern."""
    light = luma(pixels)
    light[light >= SATURATED] = 0
    return light


def without_shared(pattern: np.ndarray) -> np.ndarray:
    """A pattern or residual (H, W) without what is of no one sensor: lines, mosaics, the grid of JPEG.

    The mean of each row and column is taken off, in each of the four places of a Bayer mosaic, and then a
    Wiener filter in the Fourier domain flattens every peak (Chen et al., III.A).
    """
    pattern = pattern.copy()
    for row in (0, 1):
        for column in (0, 1):
            part = pattern[row::2, column::2]
            part -= part.mean(axis=0, keepdims=True)
            part -= part.mean(axis=1, keepdims=True)
    variance = float(pattern.var())
    if not variance:
        return pattern
    spectrum = fft.rfft2(pattern)
    # of amplitudes that have, for white noise, the pattern's own deviation
    amplitude = np.abs(spectrum)
    amplitude /= np.sqrt(pattern.size)
    spectrum *= local_wiener(amplitude, variance)
    return fft.irfft2(spectrum, s=pattern.shape, overwrite_x=True)


def pixel_digest(pixels: np.ndarray) -> str:
    """16 hex digits of the SHA-256 of pixels (H, W, 3) uint8."""
    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()[:16]


def _check_enough(photos: int) -> None:
    if photos < FEW:
        raise ValueError(
            f"{photos} photo{' was' if photos == 1 else 's were'} given, and a fingerprint needs {FEW} at "
            "least, to tell the sensor from the scene. Give 20 or more of one camera for a sure one."
        )


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an .npz, whose header is checked against the bytes that are there."""
    member = file.getinfo(f"{name}.npy")
    if member.file_size > 4 * MAX_PIXELS + _REST:
        raise ValueError(f"{member.file_size} bytes of {name}")
    with file.open(member) as opened:
        stream = io.BytesIO(opened.read(member.file_size))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is of another format")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(stream)
    if kind.hasobject or kind.kind not in "iuf" or fortran:
        raise ValueError(f"{name} holds {kind}")
    values = np.frombuffer(stream.getbuffer()[stream.tell() :], kind)
    if min(shape, default=1) < 0 or values.size != np.prod(shape, dtype=object):
        raise ValueError(f"{name} is cut off")
    return values.reshape(shape)


def _check_pattern(pattern: np.ndarray, photos: int) -> None:
    if pattern.dtype != np.float32 or pattern.ndim != 2 or min(pattern.shape) < SMALLEST:
        raise ValueError(f"a pattern of shape {pattern.shape} and type {pattern.dtype}")
    if not np.isfinite(pattern).all() or np.abs(pattern).max() > 1e6 or not pattern.any():
        raise ValueError("a pattern that is flat or not finite")
    if not FEW <= photos <= _MOST_PHOTOS:
        raise ValueError(f"made of {photos} photos")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
