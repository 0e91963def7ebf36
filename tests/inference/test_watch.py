"""Watching: nothing but the oldest frames is left out, and that is counted; faces keep their numbers; what
ends a source is said in one line.
"""

import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import PALE, REDDISH, film, frame, red_detector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream_servers import encoded as encoded_film
from stream_servers import rtsp_camera, web_camera

import dfd.inference.frame_source as frame_source
import dfd.inference.watch as watching
import dfd.media.live as live
from dfd.cli import main
from dfd.detector import Detector
from dfd.inference.frame_queue import Frame, FrameQueue
from dfd.inference.frame_source import Thinning, find_source, start_reading
from dfd.inference.new_files import QUIET, NewFiles
from dfd.inference.watch import watch
from dfd.inference.watch_screen import Latencies, WatchScreen
from dfd.inference.watched_faces import SmoothedMean, WatchedFaces
from dfd.media.face_tracks import FORGOTTEN, FaceFollower, find_tracks
from dfd.media.faces import Face
from dfd.media.live import without_password

pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
PATIENCE = 120  # seconds until a process says something: the machine may be busy


@pytest.fixture
def detector() -> Detector:
    return red_detector()


@pytest.fixture
def loaded(detector, monkeypatch) -> Detector:
    """The detector that `watch` gets, whatever its checkpoint."""
    monkeypatch.setattr(watching, "load", lambda *args, **options: detector)
    return detector


def shown(number: int, *squares: tuple[int, int, int], seconds: float | None = None) -> Frame:
    at = number / 25 if seconds is None else seconds
    return Frame(number, at, time.monotonic(), frame(*squares))


def objects(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def read_all(source: str, size: int = 1000, fps: float | None = None) -> tuple[list[Frame], FrameQueue]:
    """All frames that a source gives before it ends."""
    queue = FrameQueue(size)
    thread = start_reading(find_source(source), queue, threading.Event(), fps)
    thread.join(PATIENCE)
    assert not thread.is_alive() and queue.ended and queue.error is None, queue.error
    frames = []
    while (found := queue.get(0)) is not None:
        frames.append(found)
    return frames, queue


def test_a_full_queue_drops_its_oldest_frame_and_counts_it():
    queue = FrameQueue(2)
    for number in range(5):
        queue.put(shown(number))
    assert queue.dropped == 3 and not queue.finished
    queue.end("it broke")
    assert [queue.get(0).number for _ in range(2)] == [3, 4]
    assert queue.get(60) is None, "nothing is waited for once the source has ended"
    assert queue.finished and queue.fault == "it broke"
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"queue={size}: at least one"):
            FrameQueue(size)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(-20, 20)), min_size=1, max_size=30),
    st.floats(0.05, 5),
)
def test_the_smoothed_mean_is_the_weighted_one(steps, seconds):
    smoothed = SmoothedMean(seconds)
    at = np.cumsum([gap for gap, _ in steps])
    values = np.array([value for _, value in steps])
    for value, when in zip(values, at, strict=True):
        smoothed.add(float(value), float(when))
    weights = np.exp((at - at[-1]) / seconds)
    assert smoothed.mean == pytest.approx(np.average(values, weights=weights), abs=1e-9)


def test_without_a_time_constant_the_newest_counts_alone():
    smoothed = SmoothedMean(0)
    assert smoothed.mean is None
    for value in (3.0, -1.0):
        smoothed.add(value, 0.0)
    assert smoothed.mean == -1.0


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_faces_get_the_tracks_of_find_tracks(data):
    """As long as no gap is long enough to be forgotten."""
    place, side = st.floats(0, 300), st.floats(20, 60)
    face = st.builds(lambda x, y, s: Face((x, y, s, s), 1.0, np.empty((0, 2))), place, place, side)
    frames = data.draw(st.lists(st.lists(face, max_size=3), min_size=1, max_size=8))
    gaps = data.draw(st.lists(st.floats(0.04, 1.2), min_size=len(frames), max_size=len(frames)))
    seconds = np.cumsum(gaps).tolist()
    follower = FaceFollower()
    numbers = [follower.follow(faces, at) for faces, at in zip(frames, seconds, strict=True)]
    followed = {}
    for at, tracks in enumerate(numbers):
        for which, track in enumerate(tracks):
            followed.setdefault(track, []).append((at, which))
    tracks = [
        [(at, which) for at, which in enumerate(track) if which is not None]
        for track in find_tracks(frames, seconds)
    ]
    assert sorted(followed.values()) == sorted(tracks)


def test_who_is_away_for_long_is_somebody_new():
    follower = FaceFollower()
    face = Face((10.0, 10.0, 40.0, 40.0), 1.0, np.empty((0, 2)))
    assert follower.follow([face], 0.0) == follower.follow([face], FORGOTTEN) == [1]
    assert follower.follow([], 2 * FORGOTTEN + 0.1) == [] and not follower.followed
    assert follower.follow([face], 2 * FORGOTTEN + 0.2) == [2]


def test_so_many_frames_a_second_are_taken_evenly():
    thinning = Thinning(10)
    taken = [at for at in range(250) if thinning(at / 25)]
    assert len(taken) == 100 and set(np.diff(taken)) == {2, 3}
    assert thinning(100.0) and not thinning(100.01), "a gap is not caught up on"
    assert all(map(Thinning(None), (0.0, 0.0, 0.1)))
    for fps in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="frames a second are a number above 0"):
            Thinning(fps)


def test_a_source_is_what_it_looks_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    kinds = {text: find_source(text).kind for text in (".", "12", "./clip.mp4", "0", "/dev/video9")}
    assert list(kinds.values()) == ["folder", "folder", "clip", "camera", "camera"]
    secret = find_source("rtsp://me:secret@10.0.0.2:554/live?password=secret")
    assert (secret.kind, secret.name) == ("stream", "rtsp://10.0.0.2:554/live")
    assert "secret" in secret.where and "secret" not in without_password(secret.where)
    for text in ("udp://10.0.0.2", "file:///etc/passwd", "concat://a|b"):
        with pytest.raises(ValueError, match="rtsp, rtsps, http, https are"):
            find_source(text)
    with pytest.raises(ValueError, match="there is no file or folder nowhere"):
        find_source("nowhere")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"is a picture, .* dfd score CHECKPOINT photo\.jpg judges it"):
        find_source("photo.jpg")


def test_a_frame_says_what_the_detector_says(detector):
    faces = WatchedFaces(detector, 1.0, name="camera 0")
    first = shown(0, (20, 40, PALE), (150, 60, REDDISH))
    one, other = faces.see(first)
    told = detector.score(first.pixels)
    assert [each.score.logit for each in (one, other)] == [score.logit for score in told]
    assert (one.track, other.track) == (1, 2) and one.score.path == "camera 0"
    assert (one.smoothed.verdict, other.smoothed.verdict) == ("no_trace", "fake")
    swapped = faces.see(shown(1, (22, 40, REDDISH), (152, 60, PALE)))
    assert [each.track for each in swapped] == [1, 2]
    (none,) = faces.see(shown(2))
    assert none.track is None and none.score.status == "no_face" and none.smoothed is None


def test_one_odd_frame_does_not_change_a_face_s_word(detector):
    faces = WatchedFaces(detector, 1.0)
    reds = [PALE] * 25 + [REDDISH] + [PALE] * 4
    seen = [faces.see(shown(at, (20, 40, red)))[0] for at, red in enumerate(reds)]
    assert [each.score.verdict for each in seen].count("fake") == 1
    assert {each.smoothed.verdict for each in seen} == {"no_trace"} and {each.track for each in seen} == {1}
    logits, at = np.array([each.score.logit for each in seen]), np.arange(30) / 25
    weights = np.exp(at - at[-1])
    assert seen[-1].smoothed.logit == pytest.approx(np.average(logits, weights=weights))
    at_once = WatchedFaces(detector, 0.0)
    words = [at_once.see(shown(at, (20, 40, red)))[0].smoothed.verdict for at, red in enumerate(reds)]
    assert words.count("fake") == 1


def test_inconclusive_and_unfamiliar_stay_what_they_are(detector, monkeypatch):
    faces = WatchedFaces(detector, 1.0)
    # red and pale in turn: each frame is sure, their mean is not
    seen = [faces.see(shown(at, (20, 40, 255 if at % 2 else 0)))[0] for at in range(60)]
    assert {each.score.verdict for each in seen} == {"fake", "no_trace"}
    assert seen[-1].smoothed.verdict == "inconclusive"

    class Gate:
        def reason(self, familiarity):
            return f"stranger than {1 - familiarity:.0%}"

    detector.gate = Gate()
    monkeypatch.setattr(detector, "familiarity", lambda crops: [0.0] * len(crops))
    (strange,) = WatchedFaces(detector, 1.0).see(shown(0, (20, 40, REDDISH)))
    assert strange.smoothed.verdict == "unfamiliar" and strange.smoothed.prob is None
    assert strange.smoothed.familiarity == 0.0 and "stranger than" in strange.smoothed.reason
    detector.gate, detector.card.calibrated_on = None, None
    (raw,) = WatchedFaces(detector, 1.0).see(shown(0, (20, 40, REDDISH)))
    assert raw.smoothed.verdict == "inconclusive" and raw.smoothed.prob is None
    detector.speaks = False
    (drawn,) = WatchedFaces(detector, 1.0).see(shown(0, (20, 40, REDDISH)))
    assert drawn.smoothed.verdict == "inconclusive" and drawn.smoothed.logit is None


def test_what_is_forgotten_takes_no_memory(detector):
    faces = WatchedFaces(detector, 1.0)
    for number in range(40):
        faces.see(shown(number, (20, 40, PALE), seconds=number * (FORGOTTEN + 1)))
    assert len(faces._means) == 1 and faces.follows(40) and not faces.follows(39)


def test_latencies_are_those_of_numpy():
    latencies, rng = Latencies(), np.random.default_rng(0)
    taken = rng.gamma(2.0, 0.02, 500)
    for number, seconds in enumerate(taken):
        latencies.add(number / 25, number / 25, number / 25 + seconds)
    found = latencies.quantiles((0.5, 0.9, 0.99))
    assert found == pytest.approx(1000 * np.quantile(taken, (0.5, 0.9, 0.99)))
    assert latencies.rate == pytest.approx(499 / (499 / 25 + taken[-1] - taken[0]))
    assert "500 frames looked at in 20.0 s: 25.0 images/s" in latencies.in_words("frame")
    assert "500 files looked at in 20.0 s; latency" in latencies.in_words("file")
    assert Latencies().in_words("frame") == "0 frames looked at"


def test_a_terminal_has_one_status_line_and_a_log_few(monkeypatch, capsys):
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 40))
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        screen = WatchScreen()
        for _ in range(2):
            screen.status("x" * 100)
        screen.note("it stopped\x1b[2J")
        shown = ""
        while not shown.endswith("\n"):  # a terminal gives what it has in parts
            shown += os.read(ours, 10_000).decode()
    os.close(ours)
    assert shown == "\r\x1b[K" + "x" * 39 + "\r\x1b[K" + "x" * 39 + "\r\x1b[Kit stopped\\x1b[2J\r\n"
    log = WatchScreen()
    assert log.due()
    log.status("x" * 100)
    assert not log.due() and capsys.readouterr().err == "x" * 100 + "\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_files_are_given_once_and_when_they_are_complete(tmp_path):
    clock = Clock()
    (tmp_path / "before.jpg").write_bytes(b"0")
    files, both = NewFiles(tmp_path, clock=clock), NewFiles(tmp_path, all=True, clock=clock)

    def after(seconds: float, watched: NewFiles = files) -> list[str]:
        clock.now += seconds
        return [path.relative_to(tmp_path).as_posix() for path in watched.look()]

    assert after(0) == [] and after(0, both) == []
    assert after(QUIET, both) == ["before.jpg"] and after(QUIET, both) == [] and after(0) == []
    (tmp_path / "grows.jpg").write_bytes(b"1")
    for part in range(5):  # as from a slow writer
        assert after(QUIET * 0.9) == []
        with (tmp_path / "grows.jpg").open("ab") as file:
            file.write(bytes([part]))
    assert after(0) == [] and after(QUIET) == ["grows.jpg"] and after(QUIET) == []
    for name in ("a.part", ".a.jpg", "a.jpg.tmp", "notes.txt", "._b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/c.jpg").write_bytes(b"c")
    assert after(0) == [] and after(QUIET) == []
    (tmp_path / "a.part").rename(tmp_path / "a.jpg")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/clip.mp4").write_bytes(b"m")
    assert after(0) == [] and sorted(after(QUIET)) == ["a.jpg", "below/clip.mp4"]
    (tmp_path / "a.jpg").rename(tmp_path / "other name.jpg")  # the same file
    os.link(tmp_path / "other name.jpg", tmp_path / "link.jpg")
    assert after(0) == [] and after(QUIET) == []
    (tmp_path / "grows.jpg").write_bytes(b"another picture")
    assert after(0) == [] and after(QUIET) == ["grows.jpg"]
    for path in tmp_path.glob("*.jpg"):
        path.unlink()
    after(0)
    assert len(files._given) == 1, "what has left the folder takes no memory"
    (tmp_path / "below/clip.mp4").unlink()
    (tmp_path / "below").rmdir()
    for rest in tmp_path.iterdir():
        rest.rename(tmp_path.parent / f"{tmp_path.name}-{rest.name}")
    tmp_path.rmdir()
    with pytest.raises(FileNotFoundError):
        files.look()


@pytest.mark.slow
def test_a_clip_is_played_at_its_own_speed(tmp_path):
    path = film(tmp_path / "it.mp4", [frame((20, 40, PALE))] * 26)
    start = time.monotonic()
    frames, queue = read_all(str(path))
    assert time.monotonic() - start > 0.9 and not queue.fault
    assert [each.number for each in frames] == list(range(26))
    assert [each.seconds for each in frames] == pytest.approx(np.arange(26) / 25, abs=0.001)
    gaps = np.diff([each.arrived for each in frames])
    assert gaps == pytest.approx(np.full(25, 0.04), abs=0.001), "each arrives when it is due"
    few, _ = read_all(str(path), fps=5)
    assert [each.number for each in few] == [0, 5, 10, 15, 20, 25]


@pytest.mark.slow
def test_the_command_follows_a_face_and_counts_what_it_drops(loaded, tmp_path, capsys, monkeypatch):
    path = film(tmp_path / "it.mp4", [frame((20 + at, 40, REDDISH)) for at in range(40)])
    find = loaded.faces.find
    monkeypatch.setattr(loaded.faces, "find", lambda image: time.sleep(0.1) or find(image))
    assert main(["watch", "any.onnx", str(path), "--json", "--queue", "1"]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert len(lines) + lines[-1]["dropped"] == 40 and lines[-1]["dropped"] > 10
    assert {line["track"] for line in lines} == {1} and lines[-1]["frame"] == 39
    assert all(line["latency_ms"] >= 100 for line in lines)
    assert {line["verdict"] for line in lines} == {line["smoothed_verdict"] for line in lines} == {"fake"}
    assert all(0.9 < line["prob"] <= 1 and line["smoothed_logit"] > 1 for line in lines)
    assert f"{len(lines)} frames looked at" in captured.err
    assert f"{lines[-1]['dropped']} frames dropped." in captured.err and "p99" in captured.err
    assert "P(fake)" in captured.err  # what it is, at the end


def test_a_line_is_printed_where_the_word_changes(loaded, tmp_path, capsys):
    frames = [frame((20, 40, PALE))] * 15 + [frame((20, 40, 255))] * 25
    path = film(tmp_path / "it.mp4", frames)
    assert watch("any.onnx", str(path), smooth=0.2, queue=100) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "face 1 at x=" in line]
    words = [line[8:22].strip() for line in lines]
    assert words[0] == "no trace found" and words[-1] == "fake" and len(words) <= 4
    assert lines[-1].startswith("0:00.") and "latency" in lines[-1]


def test_frames_without_a_face_are_said_and_are_no_verdict(loaded, tmp_path, capsys):
    path = film(tmp_path / "none.mp4", [frame()] * 5)
    assert watch("any.onnx", str(path), json=True, queue=10) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [(line["frame"], line["track"], line["status"]) for line in lines] == [
        (at, None, "no_face") for at in range(5)
    ]
    assert "none.mp4: nothing in it got a verdict." in captured.err


def test_it_ends_in_time(loaded, tmp_path, capsys):
    path = film(tmp_path / "long.mp4", [frame((20, 40, PALE))] * 250)
    start = time.monotonic()
    assert watch("any.onnx", str(path), until=0.5, json=True) == 0
    assert time.monotonic() - start < 5
    assert 0 < len(objects(capsys)) < 200


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--queue 0", "queue=0: at least one frame"),
        ("--fps 0", "fps=0"),
        ("--smooth -1", "smooth=-1"),
        ("--smooth inf", "smooth=inf"),
        ("--until 0", "until=0"),
        ("--prior 2", "prior=2"),
    ],
)
def test_a_wrong_number_is_said_before_the_detector_is_loaded(options, why, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watching, "load", lambda *args, **options: pytest.fail("it was loaded"))
    (tmp_path / "folder").mkdir()
    assert main(["watch", "any.onnx", str(tmp_path / "folder"), *options.split()]) == 1
    captured = capsys.readouterr()
    assert why in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_what_cannot_be_watched_gives_one_line(loaded, tmp_path, capsys):
    def said(source: str) -> str:
        assert main(["watch", "any.onnx", source]) == 1
        captured = capsys.readouterr()
        assert captured.out.startswith("0 frames looked at") or not captured.out
        (line,) = captured.err.splitlines()
        return line

    assert "camera 97: nothing was judged: there is no such camera" in said("97")
    assert "/dev/video97: nothing was judged: there is no such camera" in said("/dev/video97")
    assert "there is no file or folder" in said(str(tmp_path / "nothing.mp4"))
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    assert "nothing was judged: damaged video" in said(str(tmp_path / "broken.mp4"))
    (tmp_path / "text.mp4").write_bytes(b"a text")
    assert "no video in a container that is read" in said(str(tmp_path / "text.mp4"))
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "no file: a pipe" in said(str(tmp_path / "pipe.mp4"))
    loaded.faces = None
    assert "no weights of the face detector" in said(str(tmp_path / "broken.mp4"))


def test_a_clip_that_breaks_off_says_so_after_what_was_judged(loaded, tmp_path, capsys):
    rng = np.random.default_rng(0)
    noisy = [np.clip(frame((20, 40, PALE)) + rng.normal(0, 12, (160, 240, 3)), 0, 255) for _ in range(40)]
    whole = film(tmp_path / "whole.mkv", [each.astype(np.uint8) for each in noisy])
    data = whole.read_bytes()
    (tmp_path / "short.mkv").write_bytes(data[: len(data) // 2])
    assert watch("any.onnx", str(tmp_path / "short.mkv"), queue=100, json=True) == 1
    captured = capsys.readouterr()
    assert 5 < len(captured.out.splitlines()) < 40
    assert "short.mkv: a video that was cut off: it ends after " in captured.err.splitlines()[-1]


def test_without_pyav_it_says_what_to_install(loaded, tmp_path, capsys, monkeypatch):
    path = film(tmp_path / "it.mp4", [frame()] * 5)
    monkeypatch.setitem(sys.modules, "av", None)
    for source in (str(path), "rtsp://127.0.0.1:9/x"):
        assert main(["watch", "any.onnx", source]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "pip install 'dfd[video]'" in line


class FakeCamera:
    """Three frames, blue as OpenCV orders them, and then none."""

    opened: int | str | None = None

    def __init__(self, which):
        FakeCamera.opened, self.left = which, 3

    def isOpened(self):
        return True

    def grab(self):
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        return True, np.full((8, 8, 3), (255, 0, 1), np.uint8)

    def release(self):
        FakeCamera.opened = None


def test_a_camera_gives_upright_rgb_until_it_is_unplugged(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    frames, queue = read_all("3")
    assert [each.number for each in frames] == [0, 1, 2] and frames[0].seconds == 0
    assert (frames[0].pixels == (1, 0, 255)).all()
    assert "unplugged" in queue.fault and FakeCamera.opened is None


def test_an_error_of_our_own_is_not_taken_for_the_source_s(loaded, tmp_path, monkeypatch):
    path = film(tmp_path / "it.mp4", [frame()] * 5)

    def slip(*args):
        raise KeyError("a slip")
        yield

    monkeypatch.setattr(frame_source, "_clip", slip)
    with pytest.raises(KeyError, match="a slip"):
        watch("any.onnx", str(path))


@pytest.mark.slow
def test_a_stream_that_stops_is_opened_again_and_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_source, "FIRST_WAIT", 0.05)
    data = film(tmp_path / "it.ts", [frame((20 + at, 40, REDDISH)) for at in range(40)]).read_bytes()
    with web_camera([data, data]) as address:
        frames, queue = read_all(address)
    assert [each.number for each in frames] == list(range(len(frames))) and len(frames) > 60
    notes = queue.notes()
    waits = [note.partition(" in ")[2].partition(" s")[0] for note in notes]
    assert waits == ["0.05", "0.05", "0.1", "0.2", "0.4", "0.8"]
    assert all(note.startswith(f"{address}: ") for note in notes)
    assert "404" in queue.fault and "6 attempts in a row gave no frame" in queue.fault


@pytest.mark.slow
def test_an_rtsp_camera_is_watched_until_it_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_source, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(frame_source, "ATTEMPTS", 2)
    monkeypatch.setattr(live, "SILENCE", 2.0)
    sent = encoded_film([frame((20 + at, 40, REDDISH)) for at in range(30)])
    with rtsp_camera(sent, silent=True) as address:
        frames, queue = read_all(address.replace("rtsp://", "rtsp://me:secret@"))
    assert len(frames) == 30 and frames[-1].pixels.shape == (160, 240, 3)
    assert np.abs(frames[9].pixels.astype(int) - frame((29, 40, REDDISH))).mean() < 3
    (note,) = queue.notes()
    assert "nothing came for 2 s" in note and "secret" not in note + queue.fault


@pytest.mark.slow
def test_a_stream_is_not_led_to_a_file_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_source, "ATTEMPTS", 1)
    path = film(tmp_path / "secret.ts", [frame((20, 40, REDDISH))] * 30)

    def seen(place: str, *answers: bytes) -> int:
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{place}\n#EXT-X-ENDLIST\n"
        with web_camera([playlist.encode(), *answers]) as address:
            return len(read_all(address.replace("live.ts", "live.m3u8"))[0])

    assert seen("part.ts", path.read_bytes()) > 20, "a part on the same host is shown"
    assert seen(f"file://{path}") == 0 and seen(str(path)) == 0


@pytest.fixture
def process():
    """Starts `dfd watch`, and ends it with the test."""
    started = []

    def start(*words: str | Path, code: str = "") -> subprocess.Popen:
        run = ["-c", code] if code else ["-m", "dfd.cli"]
        command = [sys.executable, *run, "watch", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number, checkpoint, noise, tmp_path, process):
    path = film(tmp_path / "it.mp4", [noise(96, 96, at // 10) for at in range(1500)])
    running = process(checkpoint, path, "--whole", "--json")
    first, _, _ = (json.loads(running.stdout.readline()) for _ in range(3))
    assert first["track"] == 1 and first["logit"] is not None
    running.send_signal(number)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    assert all(json.loads(line)["source"] == str(path) for line in out.splitlines()), "no line is cut"
    assert "frames looked at in" in err and "p99" in err and "dropped" in err


@pytest.mark.slow
def test_a_folder_gets_files_while_it_is_watched(checkpoint, noise, encoded, tmp_path, process):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "before.png").write_bytes(encoded(noise(96, 96, 0)))
    running = process(checkpoint, folder, "--whole", "--json", "--until", str(PATIENCE))
    time.sleep(8)  # the files that are there already are listed once the detector is loaded
    (folder / "a.png.part").write_bytes(encoded(noise(96, 96, 1)))
    (folder / "a.png.part").rename(folder / "a.png")
    (folder / "broken.png").write_bytes(encoded(noise(96, 96, 2))[:300])
    film(folder / ".clip.mp4", [noise(96, 96, at // 10) for at in range(40)]).rename(folder / "clip.mp4")
    lines = [json.loads(running.stdout.readline()) for _ in range(3)]
    by_name = {Path(line["path"]).name: line for line in lines}
    assert by_name.keys() == {"a.png", "broken.png", "clip.mp4"}
    assert by_name["a.png"]["logit"] is not None and by_name["a.png"]["latency_ms"] > 0
    assert by_name["broken.png"]["status"] == "unreadable" and by_name["clip.mp4"]["looked"] == 13
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1 and not out
    assert "folder: what was there already is left out (1 file); --all judges it too." in err
    assert (
        "3 files with 1 face: 0 fake, 0 no trace found, 2 inconclusive, 0 unfamiliar; no verdict: 1 unreadable."
        in err
    )
    assert "3 files looked at" in err and "the folder cannot be read any more" in err.splitlines()[-1]


@pytest.mark.slow
def test_an_export_needs_no_torch_and_says_the_same(checkpoint, noise, tmp_path, process):
    pytest.importorskip("onnxscript", reason="pip install 'dfd[export]'")
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "best.onnx")]) == 0
    path = film(tmp_path / "it.mp4", [noise(96, 96, 3)] * 10)
    code = "import sys; sys.modules['torch'] = None; from dfd.cli import main; sys.exit(main())"
    running = process(tmp_path / "best.onnx", path, "--whole", "--json", "--queue", "10", code=code)
    other = process(checkpoint, path, "--whole", "--json", "--queue", "10")
    without, with_torch = (each.communicate(timeout=PATIENCE) for each in (running, other))
    assert running.returncode == other.returncode == 0, without[1] + with_torch[1]
    one, two = (
        [json.loads(line)["logit"] for line in said[0].splitlines()] for said in (without, with_torch)
    )
    assert len(one) == 10 and one == pytest.approx(two, abs=1e-4)
