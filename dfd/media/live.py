"""Live video: frames of a camera, or of a stream at an address, as they arrive.

Nowhere else does dfd open the address of a picture or a video: whoever runs that host would learn who asks.
Here it does, since the host is the user's own camera. It asks the one that was named, and what a playlist
from there names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np

from dfd.media.formats import Undecodable
from dfd.media.picture import MAX_PIXELS, check_size
from dfd.media.video import upright_pixels

SCHEMES = ("rtsp", "rtsps", "http", "https")
OPENING, SILENCE = 10.0, 10.0  # seconds that a stream may take to begin, and to send its next packet
# what an address may lead FFmpeg to: no file of this machine, which a playlist could name
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,tcp,udp,tls,http,https,httpproxy,crypto"


class SourceStopped(ValueError):
    """A camera or a stream gives no more frames, and why."""


class LiveFrame(NamedTuple):
    number: int  # from 0, of those that arrived, also those that were not taken
    arrived: float  # on the clock of time.monotonic
    pixels: np.ndarray  # (H, W, 3) uint8 RGB, upright


def without_password(address: str) -> str:
    """The address as it may be printed: without the name and password before the host, and without what
    follows a question mark, where cameras take them too.
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def stream_frames(address: str, takes: Callable[[float], bool]) -> Iterator[LiveFrame]:
    """Frames of a stream, until it ends. One of known length is a recording: it is played at its own speed,
    and its end is no fault. Damaged frames are left out.

    A frame arrives with the last packet that it needs; one of a recording when it is due.

    Args:
        address: of one of SCHEMES.
        takes: whether the frame that arrived at this time, on the clock of time.monotonic, is to be given.

    Raises:
        SourceStopped: it cannot be opened, broke off, or ended without being a recording.
        ModuleNotFoundError: PyAV is not installed.
    """
    import av

    options = {"rtsp_transport": "tcp", "protocol_whitelist": _PROTOCOLS}  # UDP loses packets
    try:
        with av.open(address, options=options, timeout=(OPENING, SILENCE)) as container:
            film = container.streams.best("video")
            if film is None:
                raise SourceStopped("it holds no video that is decoded here")
            check_size(film.width, film.height)
            film.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            # threads for whole frames give each of them later
            film.codec_context.thread_type, film.codec_context.thread_count = "NONE", 1
            recorded = container.duration is not None
            number, start, sound = -1, None, time.monotonic()
            for packet in container.demux(film):
                arrived = time.monotonic()
                try:
                    frames = [frame for frame in packet.decode() if not frame.is_corrupt]
                except av.error.InvalidDataError:
                    frames = []
                if frames:
                    sound = arrived
                elif arrived - sound > SILENCE:
                    raise SourceStopped(f"no frame of the last {SILENCE:g} s was whole")
                for frame in frames:
                    number += 1
                    if recorded and frame.time is not None:
                        start = arrived - frame.time if start is None else start
                        arrived = start + frame.time
                        time.sleep(max(arrived - time.monotonic(), 0))
                    if takes(arrived):
                        yield LiveFrame(number, arrived, upright_pixels(frame))
    except av.FFmpegError as error:
        silent = isinstance(error, av.error.ExitError)
        raise SourceStopped(f"nothing came for {SILENCE:g} s" if silent else error.strerror) from error
    except Undecodable as error:
        raise SourceStopped(str(error)) from error
    if not recorded:
        raise SourceStopped("it ended")


def camera_frames(camera: int | str, takes: Callable[[float], bool]) -> Iterator[LiveFrame]:
    """Frames of a camera of this machine, for as long as it gives some.

    Args:
        camera: its number, or its device, such as /dev/video0.
        takes: as of `stream_frames`.

    Raises:
        SourceStopped: there is no such camera, or it stopped.
    """
    level = cv2.utils.logging.getLogLevel()
    # OpenCV has lines of its own for a camera that is not there
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(camera)
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise SourceStopped("there is no such camera, another program uses it, or it may not be read")
        number = -1
        while capture.grab():
            number += 1
            arrived = time.monotonic()
            if not takes(arrived):
                continue
            done, pixels = capture.retrieve()
            if done:
                yield LiveFrame(number, arrived, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        raise SourceStopped("it gives no more frames, as one that was unplugged")
    finally:
        capture.release()
