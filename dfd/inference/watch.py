"""`dfd watch`: frames of a camera, a stream or a clip, and new files of a folder, judged as they come."""

from __future__ import annotations

import json as json_format
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dfd.calibration import WORDS, check_prior
from dfd.detector import Detector, load
from dfd.inference.clip import RATE, clip_time, is_clip, score_clip
from dfd.inference.frame_queue import Frame, FrameQueue
from dfd.inference.frame_source import Source, Thinning, find_source, start_reading
from dfd.inference.named_files import not_tried
from dfd.inference.new_files import NewFiles
from dfd.inference.verdict_words import COLOURS, closing, count, line, shown_prob
from dfd.inference.watch_screen import Latencies, WatchScreen
from dfd.inference.watched_faces import Sighting, WatchedFaces, check_smoothing
from dfd.media.faces import NO_WEIGHTS
from dfd.media.file_kinds import refuse_lfs_pointer
from dfd.media.video import NO_PYAV
from dfd.signals import stop_event
from dfd.terminal import many, nobody_reads, printable

QUEUE, SMOOTH = 2, 1.0
PATIENCE = 0.1  # seconds without a frame after which the time and the signals are looked at
BETWEEN_LOOKS = 0.25  # seconds, at a folder
NEXT = {
    "camera": "Name a camera that is there (ls /dev/video*) and that no other program uses.",
    "stream": "See whether the camera is on and a video player shows this address, and start it again.",
    "clip": "Name a whole video: mp4, mov, avi, mkv or webm.",
    "folder": "Name a folder that is there and may be read.",
}


def watch(
    checkpoint: str | Path,
    source: str,
    fps: float | None = None,
    queue: int = QUEUE,
    smooth: float = SMOOTH,
    whole: bool = False,
    json: bool = False,
    until: float | None = None,
    all: bool = False,
    faces: str | Path | None = None,
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
    drawings: bool = False,
    prior: float | None = None,
) -> int:
    """Judges what a source gives as it comes, until it ends, a signal comes or the time is over.

    Args:
        checkpoint: file that `dfd fit` or `dfd export` wrote.
        source: as of `find_source`.
        fps: frames a second that are taken; None takes all.
        queue: frames that may wait for the detector; of more the oldest are dropped.
        smooth: time constant, in seconds, of the means by which a face that is followed is decided.
        whole: each frame or picture is a face crop like those in training.
        json: print JSON Lines, one object a face and frame.
        until: seconds after which it ends.
        all: of a folder, judge too what is there already.
        faces, device, allow, drawings, prior: as of `dfd.load`.

    Returns the exit code: 0 if something got a verdict and the source did not fail, else 1.

    Raises:
        ValueError: what is wrong with the source, a number or the detector.
    """
    if until is not None and not until > 0:
        raise ValueError(f"until={until}: seconds to watch are a number above 0. Leave it out for no end.")
    if prior is not None:
        check_prior(prior)
    check_smoothing(smooth)
    Thinning(fps)
    found, frames = find_source(source), FrameQueue(queue)
    if found.kind in ("clip", "stream") and find_spec("av") is None:
        raise ValueError(f"{NO_PYAV}. Folders of pictures, and cameras by their number, need none.")
    refuse_lfs_pointer(Path(checkpoint))
    detector = load(checkpoint, faces, device, allow, drawings=drawings, prior=prior)
    if detector.faces is None and not whole:
        raise ValueError(f"{NO_WEIGHTS}; or --whole if what is watched are face crops.")
    watched = Watch(detector, found, whole, json)
    with stop_event() as stop:
        ends = threading.Timer(until, stop.set) if until is not None else None
        if ends is not None:
            ends.daemon = True
            ends.start()
        try:
            if found.kind == "folder":
                watched.folder(Path(found.where), all, stop)
            else:
                # the first answer of a net takes longer than those behind it
                detector.score(_black(detector), whole=True)
                start_reading(found, frames, stop, fps)
                watched.frames(frames, WatchedFaces(detector, smooth, whole, found.name), stop)
        finally:
            stop.set()
            if ends is not None:
                ends.cancel()
    return watched.end(frames.dropped)


class Watch:
    """What was seen of a source so far, and how it is said.

    Args:
        detector: judges it.
        source: it.
        whole: as of `watch`.
        json: lines are JSON.
    """

    def __init__(self, detector: Detector, source: Source, whole: bool, json: bool):
        self.detector, self.source, self.whole, self.json = detector, source, whole, json
        self.screen, self.latencies = WatchScreen(), Latencies()
        self.seen: Counter[str] = Counter()  # faces of frames, or of files, by their verdict or status
        self.num_faces = 0  # of files
        self.others: list[Path] = []  # files of a folder that were not tried
        self.fault = ""
        self.words: dict[int, str] = {}  # what was said of a track last

    def frames(self, queue: FrameQueue, faces: WatchedFaces, stop: threading.Event) -> None:
        """Judges frames until the queue is finished, or somebody stops it."""
        while not stop.is_set() and not nobody_reads(sys.stdout):
            for note in queue.notes():
                self.screen.note(note)
            frame = queue.get(PATIENCE)
            if frame is None:
                if queue.finished:
                    break
                continue
            begun = time.monotonic()
            sightings = faces.see(frame)
            latency = self.latencies.add(frame.arrived, begun, time.monotonic())
            self.seen.update(each.score.verdict or each.score.status for each in sightings)
            self._say(frame, sightings, latency, queue.dropped)
            self.words = {track: self.words[track] for track in self.words if faces.follows(track)}
        for note in queue.notes():
            self.screen.note(note)
        if queue.error is not None:
            raise queue.error
        self.fault = queue.fault

    def _say(self, frame: Frame, sightings: list[Sighting], latency: float, dropped: int) -> None:
        if self.json:
            moment = datetime.now(UTC).timestamp() - latency / 1000
            for each in sightings:
                told = _object(frame, each, latency, dropped)
                told["time"] = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
                self.screen.line(json_format.dumps(told))
        else:
            for each in sightings:
                self._say_change(frame, each, latency)
        if self.screen.due():
            seen = ", ".join(_in_short(each) for each in sightings if each.track is not None)
            self.screen.status(
                f"{clip_time(frame.seconds)}  {seen or 'no face'}  latency {latency:.0f} ms  "
                f"{dropped} dropped  {self.latencies.rate:.1f} images/s"
            )

    def _say_change(self, frame: Frame, seen: Sighting, latency: float) -> None:
        """A line where the word for a face is another one than before."""
        if seen.track is None:
            return
        score = seen.smoothed or seen.score
        verdict = score.verdict or score.status
        if self.words.get(seen.track) == verdict:
            return
        self.words[seen.track] = verdict
        word = f"{WORDS.get(verdict, verdict):<14}"
        if self.screen.colour:
            word = f"\033[{COLOURS.get(verdict, '90')}m{word}\033[0m"
        prob = f"  P(fake) {shown_prob(score.prob)}" if score.prob is not None else ""
        x, y, width, height = score.box or (0, 0, frame.pixels.shape[1], frame.pixels.shape[0])
        self.screen.line(
            f"{clip_time(frame.seconds)}  {word}{prob}  face {seen.track} at x={x:.0f} y={y:.0f} "
            f"width={width:.0f} height={height:.0f}  latency {latency:.0f} ms"
        )

    def folder(self, path: Path, all: bool, stop: threading.Event) -> None:
        """Judges the files that appear in a folder until somebody stops it, or it is gone."""
        try:
            files = NewFiles(path, all)
            if files.left_out:
                there = f"what was there already is left out ({many(files.left_out, 'file')})"
                self.screen.note(f"{self.source.name}: {there}; --all judges it too.")
            while not stop.is_set() and not nobody_reads(sys.stdout):
                ready = files.look()
                self.others = files.others
                for file in ready:
                    if stop.is_set():
                        return
                    self._judge(file, time.monotonic())
                if self.screen.due():
                    counted = count(self.latencies.count, self.num_faces, self.others, self.seen)
                    self.screen.status(f"{self.source.name}: {counted}; waiting for more")
                time.sleep(BETWEEN_LOOKS)
        except OSError as error:
            self.fault = f"the folder cannot be read any more: {error.strerror}"

    def _judge(self, file: Path, arrived: float) -> None:
        begun = time.monotonic()
        if is_clip(file):
            scores = score_clip(self.detector, file, self.whole, RATE)
        else:
            scores = self.detector.score(file, self.whole)
        latency = self.latencies.add(arrived, begun, time.monotonic())
        for score in scores:
            self.seen[score.verdict or score.status] += 1
            self.num_faces += score.face > 0
            if self.json:
                self.screen.line(json_format.dumps(asdict(score) | {"latency_ms": round(latency, 1)}))
            else:
                self.screen.line(f"{line(score, self.screen.colour)}  latency {latency:.0f} ms")

    def end(self, dropped: int) -> int:
        """Says the figures and what P(fake) is, and gives the exit code."""
        self.screen.clear()
        out = sys.stderr if self.json else sys.stdout
        if self.source.kind == "folder":
            text = f"{count(self.latencies.count, self.num_faces, self.others, self.seen)}.\n"
            text += self.latencies.in_words("file")
        else:
            text = f"{self.latencies.in_words('frame')}; {many(dropped, 'frame')} dropped"
        if self.latencies.count:
            print(f"{text}.\n{closing(self.detector, self.whole)}", file=out, flush=True)
        if self.fault:
            judged = "" if self.latencies.count else "nothing was judged: "
            self.screen.note(f"{self.source.name}: {judged}{self.fault}. {NEXT[self.source.kind]}")
        elif not self.verdicts:
            left = f" ({', '.join(not_tried(self.others))})" if self.others else ""
            self.screen.note(f"{self.source.name}: nothing in it got a verdict{left}.")
        return 0 if self.verdicts and not self.fault else 1

    @property
    def verdicts(self) -> bool:
        """Whether something got one."""
        return bool(self.seen.keys() & COLOURS.keys())


def _object(frame: Frame, seen: Sighting, latency: float, dropped: int) -> dict[str, Any]:
    """A line of JSON: one face of one frame."""
    score, smoothed = seen.score, seen.smoothed
    return {
        "source": score.path,
        "frame": frame.number,
        "seconds": round(frame.seconds, 3),
        "latency_ms": round(latency, 1),
        "dropped": dropped,
        "track": seen.track,
        "box": score.box,
        "status": score.status,
        "verdict": score.verdict,
        "prob": score.prob,
        "logit": score.logit,
        "familiarity": score.familiarity,
        "smoothed_verdict": smoothed and smoothed.verdict,
        "smoothed_prob": smoothed and smoothed.prob,
        "smoothed_logit": smoothed and smoothed.logit,
        "smoothed_familiarity": smoothed and smoothed.familiarity,
        "expert": score.expert,
        "reason": score.reason,
    }


def _in_short(seen: Sighting) -> str:
    score = seen.smoothed or seen.score
    verdict = score.verdict or score.status
    prob = f" {shown_prob(score.prob).strip()}" if score.prob is not None else ""
    return f"face {seen.track}: {printable(WORDS.get(verdict, verdict))}{prob}"


def _black(detector: Detector) -> np.ndarray:
    """A picture (H, W, 3) uint8 that is large enough to be judged."""
    side = max(max(part.size, part.longest or 0) for part in detector.view.parts)
    return np.zeros((side, side, 3), np.uint8)
