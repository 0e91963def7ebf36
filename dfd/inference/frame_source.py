"""Frame source of `dfd watch`: a clip at its own speed, a camera or a stream, read by a thread."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfd.inference.frame_queue import Frame, FrameQueue
from dfd.media.file_kinds import PICTURE, file_kind
from dfd.media.files import open_file
from dfd.media.formats import Undecodable
from dfd.media.live import SCHEMES, LiveFrame, SourceStopped, camera_frames, stream_frames, without_password
from dfd.media.video import missing_end, timed_frames

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before a stream is opened anew: doubled with each attempt
ATTEMPTS = 6  # in a row without a frame, a minute in all, after which a stream is given up


@dataclass(frozen=True)
class Source:
    """What is watched.

    Args:
        kind: of it.
        where: path, device, number or address.
        name: as it may be printed, without a password.
    """

    kind: Literal["folder", "clip", "camera", "stream"]
    where: str
    name: str


def find_source(text: str) -> Source:
    """What a user means by a folder, a clip, a camera's number or device, or the address of a stream.

    Raises:
        ValueError: it is none of these.
    """
    if found := re.match(r"(\w+)://", text):
        if found[1].lower() not in SCHEMES:
            raise ValueError(
                f"{without_password(text)} is no stream that is opened here: {', '.join(SCHEMES)} are. Name "
                "the address that the camera's manual gives for RTSP."
            )
        return Source("stream", text, without_password(text))
    if re.fullmatch(r"\d+", text) and not Path(text).exists():
        return Source("camera", text, f"camera {int(text)}")
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    if text.startswith("/dev/") and not (path.is_dir() or path.is_file()):
        return Source("camera", text, text)
    if path.is_dir():
        return Source("folder", str(path), text)
    if file_kind(path) is PICTURE:
        raise ValueError(
            f"{text} is a picture, and a watch goes on: dfd score CHECKPOINT {text} judges it. To watch for "
            "pictures, name the folder where they appear."
        )
    if path.exists():
        return Source("clip", str(path), text)
    raise ValueError(
        f"there is no file or folder {text}. Name a folder, a clip, a camera (0, or /dev/video0), or a "
        "stream (rtsp://...)."
    )


class Thinning:
    """Takes so many frames a second of those that arrive, evenly spaced.

    Args:
        fps: frames a second; None takes all.

    Raises:
        ValueError: fps is not above 0.
    """

    def __init__(self, fps: float | None):
        if fps is not None and not fps > 0:
            raise ValueError(f"fps={fps}: frames a second are a number above 0. Leave it out to take all.")
        self.step = 0.0 if fps is None else 1 / fps
        self.due = float("-inf")

    def __call__(self, at: float) -> bool:
        """Whether the frame of this time, in seconds, is taken; a little before it is due it is."""
        if self.step and at < self.due - self.step / 10:
            return False
        # after a gap it begins anew, or the frames behind it would all be due
        self.due = (self.due if self.due + self.step > at else at) + self.step
        return True


def start_reading(
    source: Source, queue: FrameQueue, stop: threading.Event, fps: float | None = None
) -> threading.Thread:
    """A thread that puts the frames of a clip, a camera or a stream into the queue, and ends it with them.

    It is a daemon: a read that hangs, as of a host that sends nothing, holds up no end of the program.

    Raises:
        ValueError: fps is not above 0.
    """
    takes = Thinning(fps)

    def read() -> None:
        try:
            for frame in _frames(source, takes, queue.say, stop):
                if stop.is_set():
                    break
                queue.put(frame)
        except (SourceStopped, Undecodable) as error:
            queue.end(str(error))
        except OSError as error:
            queue.end(error.strerror or str(error))
        except BaseException as error:
            queue.end(error=error)
        else:
            queue.end()

    thread = threading.Thread(target=read, name="dfd watch reads", daemon=True)
    thread.start()
    return thread


def _frames(
    source: Source, takes: Thinning, say: Callable[[str], None], stop: threading.Event
) -> Iterator[Frame]:
    if source.kind == "clip":
        yield from _clip(Path(source.where), takes, stop)
    elif source.kind == "camera":
        camera = int(source.where) if source.where.isdigit() else source.where
        yield from _since_first(camera_frames(camera, takes))
    else:
        yield from _since_first(_reconnecting(source, takes, say, stop))


def _clip(path: Path, takes: Thinning, stop: threading.Event) -> Iterator[Frame]:
    """Each frame at its time, as a camera would give it."""
    with open_file(path) as file:
        start = None
        for number, (seconds, pixels) in enumerate(timed_frames(file)):
            if not takes(seconds):
                continue
            # the clock begins with the first frame in hand, and not with the opening of the file
            start = time.monotonic() - seconds if start is None else start
            stop.wait(max(start + seconds - time.monotonic(), 0))
            yield Frame(number, seconds, start + seconds, pixels)
        # the decoder takes what was cut off for the end
        if not stop.is_set() and (missing := missing_end(file)):
            raise Undecodable(missing)


def _since_first(frames: Iterator[LiveFrame]) -> Iterator[Frame]:
    first = None
    for number, arrived, pixels in frames:
        first = arrived if first is None else first
        yield Frame(number, arrived - first, arrived, pixels)


def _reconnecting(
    source: Source, takes: Thinning, say: Callable[[str], None], stop: threading.Event
) -> Iterator[LiveFrame]:
    """Frames of a stream that is opened anew where it stops, after growing waits; numbers go on."""
    failed, number = 0, -1
    while True:
        before = number
        try:
            for frame in stream_frames(source.where, takes):
                failed, number = 0, before + 1 + frame.number
                yield frame._replace(number=number)
            return
        except SourceStopped as stopped:
            failed += 1
            if failed == ATTEMPTS:
                raise SourceStopped(f"{stopped}, and {ATTEMPTS} attempts in a row gave no frame") from stopped
            wait = min(FIRST_WAIT * 2 ** (failed - 1), LONGEST_WAIT)
            say(f"{source.name}: {stopped}. Opened again in {wait:g} s, attempt {failed} of {ATTEMPTS - 1}.")
            if stop.wait(wait):
                return
