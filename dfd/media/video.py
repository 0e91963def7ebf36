"""Video frames, evenly spaced over a video, decoded by PyAV (FFmpeg; the extra `dfd[video]`)."""

import logging
import math
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dfd.media.formats import EMPTY, Undecodable
from dfd.media.picture import MAX_PIXELS

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_log = logging.getLogger(__name__)

NO_PYAV = "videos are decoded by PyAV: pip install 'dfd[video]'"
# A container is recognised by its first bytes, not by its name, and FFmpeg is told which it is: left to
# itself it would also follow playlists to other files.
_CONTAINERS = {"mov": (4, b"ftyp"), "avi": (8, b"AVI "), "matroska": (0, b"\x1aE\xdf\xa3")}
_NO_FRAMES = "a video without frames, or without a key frame to begin with"
_SHORT = 0.9  # share of the stated duration below which a video was cut off
_PICTURES = frozenset(("mjpeg", "png", "bmp", "gif", "webp", "tiff"))  # codecs of covers, rarely of films
_OBLIQUE = math.tan(math.radians(5))  # a display matrix that turns further from right angles is refused


def evenly_spaced(count: int, num: int) -> np.ndarray:
    """(min(num, count),) frame numbers: the middle frame of each of `num` equal parts of `count` frames."""
    num = min(num, count)
    return ((np.arange(num) + 0.5) * count / num).astype(int)


def count_frames(file: BinaryIO, path: str = "") -> int:
    """How many frames a video shows, counted without decoding them; raises as `frames_at` does of its
    container.

    Where the file holds several films, the log says which is taken, and names `path`.
    """
    import av

    try:
        with _opened(file) as (container, film):
            films = _films(container)
            if len(films) > 1:
                others = ", ".join(str(each.index) for each in films if each is not film)
                size = f"{film.width} x {film.height}"
                _log.warning(
                    f"{path}: of {len(films)} films stream {film.index} is taken ({size}), not {others}."
                )
            return _count(container, film)
    except av.FFmpegError as error:
        raise Undecodable(f"damaged video: {error.strerror}") from error


def frames_at(file: BinaryIO, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Number and pixels (H, W, 3) uint8 RGB, upright, of some frames, ascending. All before them are decoded
    too, so the numbers are exact. Frame 0 is the first that can be shown: what an edit list hides does not
    count, nor what precedes the first key frame, as in a clip that was cut out without re-encoding.

    The file's film is shown, not its cover, as the display matrix says: turned, mirrored or both. Pixels are
    those of the codec; where they are not square (sample aspect ratio), they are not stretched, which would
    invent some.

    Raises:
        Undecodable: no video in a container that is read (mp4, mov, avi, mkv, webm), damaged, cut off, turned
            by no right angle, or without such a frame. Damage shows where the codec notices it: VP8 and VP9
            have no means of telling wrong bits from right ones.
    """
    wanted = set(map(int, numbers))
    for number, frame in enumerate(_decoded(file)):
        if not wanted:
            return
        _check_whole(frame, number)
        if number in wanted:
            wanted.remove(number)
            yield number, upright_pixels(frame)
    if wanted:
        raise Undecodable(f"damaged video: it has no frame {min(wanted)}")


def evenly_timed(file: BinaryIO, rate: float, least: int, most: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Numbers (K,), for `frames_at`, of frames evenly spaced in time, whatever times the file gives its
    frames; (K,) seconds of these since the first frame; what is missing of a file that was cut off, or "".

    Args:
        rate: frames a second.
        least, most: frames in all: of a short clip more a second are taken, where it has them, of a long one
            fewer, over all of it.

    Raises:
        Undecodable: as `count_frames` does, but of a file that was cut off.
    """
    times, missing = _times(file)
    times -= times[0]
    step = max(min(1 / rate, times[-1] / least), times[-1] / most) or 1 / rate
    # the first frame of each step
    numbers = np.flatnonzero(np.diff(np.floor(times / step), prepend=-1.0) > 0)[:most]
    return numbers, times[numbers], missing


def missing_end(file: BinaryIO) -> str:
    """What is missing of a file that was cut off, or "", without decoding it; of any other fault it raises as
    `count_frames` does.
    """
    return _times(file)[1]


def _times(file: BinaryIO) -> tuple[np.ndarray, str]:
    """(N,) seconds of all frames that are shown, ascending; and what is missing."""
    import av

    try:
        with _opened(file) as (container, film):
            shown = [each for each in _packets(container, film) if each.size and not each.is_discard]
            if not shown:
                raise Undecodable(_NO_FRAMES)
            told = [each.pts for each in shown if each.pts is not None]
            if len(told) < len(shown) or film.time_base is None:
                # as AVI often has it
                return np.arange(len(shown)) / float(film.average_rate or 25), ""
            end = max(each.pts + (each.duration or 0) for each in shown)
            times = np.sort(np.array(told, float)) * float(film.time_base)
            return times, _cut_off(container, film, end)
    except av.FFmpegError as error:
        raise Undecodable(f"damaged video: {error.strerror}") from error


def timed_frames(file: BinaryIO) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds since the first frame, and pixels as of `frames_at`, of every frame in turn; a frame without a
    time has that of the one before it. Raises as `frames_at` does.
    """
    first, seconds = None, 0.0
    for number, frame in enumerate(_decoded(file)):
        _check_whole(frame, number)
        if frame.time is not None:
            first = frame.time if first is None else first
            seconds = frame.time - first
        yield seconds, upright_pixels(frame)


def upright_pixels(frame: "VideoFrame") -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded frame, as its display matrix says.

    Raises:
        Undecodable: it is to be turned by no right angle.
    """
    return _as_displayed(frame.to_ndarray(format="rgb24"), _display_matrix(frame))


def _decoded(file: BinaryIO) -> "Iterator[VideoFrame]":
    """The film's frames in the order in which they are shown."""
    import av

    try:
        with _opened(file) as (container, film):
            for packet in _packets(container, film):
                yield from packet.decode()
    except av.FFmpegError as error:
        raise Undecodable(f"damaged video: {error.strerror}") from error


def _check_whole(frame: "VideoFrame", number: int) -> None:
    if frame.is_corrupt:
        raise Undecodable(f"damaged video: frame {number}")


@contextmanager
def _opened(file: BinaryIO) -> "Iterator[tuple[InputContainer, VideoStream]]":
    import av

    file.seek(0)
    head = file.read(16)
    file.seek(0)
    name = next(
        (name for name, (at, magic) in _CONTAINERS.items() if head[at : at + len(magic)] == magic), None
    )
    if name is None:
        raise Undecodable(
            EMPTY if not head else "no video in a container that is read (mp4, mov, avi, mkv, webm)"
        )
    with av.open(file, format=name) as container:
        films = _films(container)
        if not films:
            why = ", only a cover picture or a codec that is not known" if container.streams.video else ""
            raise Undecodable(f"no video in it{why}")
        stream = max(films, key=_prominence)  # the first of equals
        if stream.width * stream.height > MAX_PIXELS:
            raise Undecodable(
                f"{stream.width} x {stream.height} pixels, more than the {MAX_PIXELS // 1_000_000} million"
            )
        # By default FFmpeg conceals damage, and the threads for slices that PyAV asks for do not report
        # their errors. A worker is one process for one core, so one thread is as fast.
        stream.codec_context.options = {"err_detect": "explode"}
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        yield container, stream  # ty: ignore[invalid-yield]


def _films(container: "InputContainer") -> "list[VideoStream]":
    """The video streams that are no cover, still image or strip of thumbnails."""
    still = {"attached_pic", "still_image", "timed_thumbnails"}
    return [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None  # FFmpeg here decodes it
        and not any(flag.name in still for flag in type(stream.disposition) if flag in stream.disposition)
    ]


def _prominence(stream: "VideoStream") -> tuple[bool, float, int, int]:
    """By which the film of a file is chosen: no codec of pictures, then its seconds, frames and pixels."""
    seconds = float(stream.duration * (stream.time_base or Fraction(0))) if stream.duration else 0.0
    if not seconds and (told := stream.metadata.get("DURATION", "")):  # as Matroska has it, 00:01:23.456
        parts = told.split(":")
        if all(part.replace(".", "", 1).isdigit() for part in parts):
            seconds = sum(float(part) * 60**place for place, part in enumerate(reversed(parts)))
    is_film = stream.codec_context.name not in _PICTURES
    return is_film, seconds, stream.frames, stream.width * stream.height


def _display_matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """a, b, c, d, by which a stored pixel x, y is shown at a x + c y, b x + d y (ISO 14496-12, 8.3.2)."""
    told = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), b"")
    if len(told) < 36:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", told[:36])
    return a, b, c, d


def _as_displayed(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The frame (H, W, 3) turned, mirrored or both; a matrix of zeros, as some files have it, is none.

    Raises:
        Undecodable: the matrix turns it by no right angle.
    """
    a, b, c, d = matrix
    kept, swapped = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(abs(b), abs(c)) > _OBLIQUE * kept and max(abs(a), abs(d)) > _OBLIQUE * swapped:
        turn = math.degrees(math.atan2(b, a))
        raise Undecodable(
            f"a video to be shown turned by {turn:.0f} degrees, no right angle. Encode it anew, upright"
        )
    if swapped > kept:
        pixels = pixels.swapaxes(0, 1)
        across, down = c, b
    else:
        across, down = a, d
    if across < 0:
        pixels = pixels[:, ::-1]
    if down < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _packets(container: "InputContainer", film: "VideoStream") -> "Iterator[Packet]":
    """From the first key frame on, without the pictures shown before it, which refer to missing ones."""
    begun, start = False, None
    for packet in container.demux(film):
        if not begun and packet.is_keyframe:
            begun, start = True, packet.pts
        if begun and (start is None or packet.pts is None or packet.pts >= start):
            yield packet


def _count(container: "InputContainer", stream: "VideoStream") -> int:
    count, end = 0, 0
    for packet in _packets(container, stream):
        if packet.size:
            count += not packet.is_discard  # by an edit list: decoded for those that refer to it, never shown
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
    if not count:
        raise Undecodable(_NO_FRAMES)
    if missing := _cut_off(container, stream, end):
        raise Undecodable(missing)
    return count


def _cut_off(container: "InputContainer", stream: "VideoStream", end: int) -> str:
    """What is missing of a film whose last frame ends at `end`; "" for nothing."""
    told = (
        float(stream.duration * stream.time_base)
        if stream.duration
        else (container.duration or 0) / 1_000_000
    )
    shown = float(end * stream.time_base) if stream.time_base else told
    if shown >= _SHORT * told:
        return ""
    return f"a video that was cut off: it ends after {shown:.1f} of {told:.1f} seconds"
