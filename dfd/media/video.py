"""Video frames, evenly spaced over a video, decoded by PyAV (FFmpeg; the extra `dfd[video]`)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dfd.media.decode import MAX_PIXELS, Undecodable

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer

NO_PYAV = "videos are decoded by PyAV: pip install 'dfd[video]'"
# A container is recognised by its first bytes, not by its name, and FFmpeg is told which it is: left to
# itself it would also follow playlists to other files.
_CONTAINERS = {"mov": (4, b"ftyp"), "avi": (8, b"AVI "), "matroska": (0, b"\x1aE\xdf\xa3")}
_SHORT = 0.9  # share of the stated duration below which a video was cut off


def evenly_spaced(count: int, num: int) -> np.ndarray:
    """(min(num, count),) frame numbers: the middle frame of each of `num` equal parts of `count` frames."""
    num = min(num, count)
    return ((np.arange(num) + 0.5) * count / num).astype(int)


def count_frames(file: BinaryIO) -> int:
    """How many frames a video shows, counted without decoding them; raises as `frames_at` does."""
    import av

    try:
        with _opened(file) as container:
            return _count(container)
    except av.FFmpegError as error:
        raise Undecodable(f"damaged video: {error.strerror}") from error


def frames_at(file: BinaryIO, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Number and pixels (H, W, 3) uint8 RGB, upright, of some frames, ascending. All before them are decoded
    too, so the numbers are exact. Frame 0 is the first that can be shown: what an edit list hides does not
    count, nor what precedes the first key frame, as in a clip that was cut out without re-encoding.

    Raises:
        Undecodable: no video in a container that is read (mp4, mov, avi, mkv, webm), damaged, cut off, or
            without such a frame. Damage shows where the codec notices it: VP8 and VP9 have no means of
            telling wrong bits from right ones.
    """
    import av

    wanted = set(map(int, numbers))
    try:
        with _opened(file) as container:
            decoded = (frame for packet in _packets(container) for frame in packet.decode())
            for number, frame in enumerate(decoded):
                if not wanted:
                    return
                if frame.is_corrupt:
                    raise Undecodable(f"damaged video: frame {number}")
                if number in wanted:
                    wanted.remove(number)
                    pixels = frame.to_ndarray(format="rgb24")
                    yield number, np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
    except av.FFmpegError as error:
        raise Undecodable(f"damaged video: {error.strerror}") from error
    if wanted:
        raise Undecodable(f"damaged video: it has no frame {min(wanted)}")


@contextmanager
def _opened(file: BinaryIO) -> "Iterator[InputContainer]":
    import av

    file.seek(0)
    head = file.read(16)
    file.seek(0)
    name = next(
        (name for name, (at, magic) in _CONTAINERS.items() if head[at : at + len(magic)] == magic), None
    )
    if name is None:
        raise Undecodable(
            "empty file" if not head else "no video in a container that is read (mp4, mov, avi, mkv, webm)"
        )
    with av.open(file, format=name) as container:
        if not container.streams.video:
            raise Undecodable("no video in it")
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise Undecodable(
                f"{stream.width} x {stream.height} pixels, more than the {MAX_PIXELS // 1_000_000} million"
            )
        # By default FFmpeg conceals damage, and the threads for slices that PyAV asks for do not report
        # their errors. A worker is one process for one core, so one thread is as fast.
        stream.codec_context.options = {"err_detect": "explode"}
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        yield container  # ty: ignore[invalid-yield]


def _packets(container: "InputContainer") -> "Iterator[Packet]":
    """From the first key frame on, without the pictures shown before it, which refer to missing ones."""
    begun, start = False, None
    for packet in container.demux(container.streams.video[0]):
        if not begun and packet.is_keyframe:
            begun, start = True, packet.pts
        if begun and (start is None or packet.pts is None or packet.pts >= start):
            yield packet


def _count(container: "InputContainer") -> int:
    stream = container.streams.video[0]
    count, end = 0, 0
    for packet in _packets(container):
        if packet.size:
            count += not packet.is_discard  # by an edit list: decoded for those that refer to it, never shown
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
    if not count:
        raise Undecodable("a video without frames, or without a key frame to begin with")
    told = (
        float(stream.duration * stream.time_base)
        if stream.duration
        else (container.duration or 0) / 1_000_000
    )
    shown = float(end * stream.time_base) if stream.time_base else told
    if shown < _SHORT * told:
        raise Undecodable(f"a video that was cut off: it ends after {shown:.1f} of {told:.1f} seconds")
    return count
