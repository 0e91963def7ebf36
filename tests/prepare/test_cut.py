"""Faces cut out of videos and larger pictures: real H.264 clips of drawn faces, found by the real YuNet."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from real_slurm import submit, wait_for

from dfd.batch import FAKE, REAL
from dfd.media.decode import Undecodable, decode
from dfd.media.face_tracks import box_at, find_tracks
from dfd.media.faces import Face, FaceDetector, crop_box
from dfd.media.video import count_frames, evenly_spaced, frames_at
from dfd.prepare import pipeline as module
from dfd.prepare.cut.cutter import Cut, Missing, cut_videos
from dfd.prepare.cut.people import clearly_largest, is_present
from dfd.prepare.job_array import ArrayTask
from dfd.prepare.pipeline import prepare
from dfd.shards.table import load_table, read_index
from dfd.synthetic.toy import draw_sample

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
HEIGHT, WIDTH, SIDE = 240, 352, 160


@cache
def face(number: int) -> np.ndarray:
    """A drawn portrait (SIDE, SIDE, 3); even numbers are real."""
    return decode(draw_sample(number, 60, SIDE, 0)["image_bytes"])


def frame(number: int, at: int, *portraits: tuple[np.ndarray, int, int]) -> np.ndarray:
    """Frame `at` of a clip: its number as a strip of 16 black or white squares, and portraits at x, y."""
    canvas = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for bit in range(16):
        canvas[:8, bit * 8 : bit * 8 + 8] = 255 * (at >> bit & 1)
    for portrait, x, y in portraits:
        side = portrait.shape[0]
        canvas[y : y + side, x : x + side] = portrait
    return canvas


def told(image: np.ndarray) -> int:
    """The number that a frame of `frame` bears."""
    return sum(int(image[4, bit * 8 + 4].mean() > 127) << bit for bit in range(16))


def film(
    path: Path, frames: list[np.ndarray], codec: str = "libx264", container: str | None = None, options=None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        stream.options = options or {}
        for pixels in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        file.mux(stream.encode())
    return path


def moving(number: int, count: int, faceless: tuple[int, ...] = ()) -> list[np.ndarray]:
    portrait = face(number)
    return [
        frame(0, at, *([] if at in faceless else [(portrait, 10 + at * 150 // count, 40 + at * 30 // count)]))
        for at in range(count)
    ]


@pytest.fixture(scope="session")
def yunet(real_weights) -> Path:
    return real_weights / "yunet_n_640_640.onnx"


def listed(out: Path) -> dict[str, str]:
    with open(out / "rejected.csv", newline="") as file:
        return {line["path"]: line["reason"] for line in csv.DictReader(file)}


def pixels(out: Path) -> dict[str, np.ndarray]:
    """The pictures in shards, by their path."""
    found = {}
    for line in load_table(out).to_pylist():
        with open(out / line["shard"], "rb") as file:
            file.seek(line["offset"])
            found[line["path"]] = decode(file.read(line["length"]))
    return found


# video


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "mov"), ("mpeg4", "avi"), ("libvpx-vp9", "webm")],
)
def test_frames_are_spread_over_the_whole_clip_and_exact(codec, suffix, tmp_path):
    path = film(tmp_path / f"clip.{suffix}", [frame(0, at) for at in range(101)], codec)
    with open(path, "rb") as file:
        assert count_frames(file) == 101
        numbers = evenly_spaced(101, 4)
        assert numbers.tolist() == [12, 37, 63, 88], "the middle of each quarter: not the first four"
        found = list(frames_at(file, numbers))
    assert [number for number, _ in found] == numbers.tolist()
    assert [told(image) for _, image in found] == numbers.tolist(), (
        "the pixels are of the frames that they are said to be"
    )


@pytest.mark.parametrize(
    ("quarter_turns", "matrix"),
    [(0, (1, 0, 0, 1)), (1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))],
)
def test_a_phone_that_was_held_sideways_films_upright_faces(quarter_turns, matrix, tmp_path):
    """The matrix of the track's header (ISO 14496-12, 8.3.2) turns what is shown clockwise."""
    path = film(tmp_path / "turned.mp4", [frame(0, 5)])
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[at + place : at + place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    with open(path, "rb") as file:
        ((_, image),) = frames_at(file, [0])
    assert told(np.rot90(image, quarter_turns)) == 5 and image.flags.c_contiguous


def test_frames_of_short_and_long_clips():
    assert evenly_spaced(3, 16).tolist() == [0, 1, 2]
    assert evenly_spaced(1, 1).tolist() == [0]
    for count in (16, 17, 300, 10_000):
        spaced = evenly_spaced(count, 16)
        gaps = np.diff(spaced)
        assert len(set(spaced)) == 16 and gaps.max() - gaps.min() <= 1
        assert abs(spaced[0] - (count - 1 - spaced[-1])) <= 1, "as far from the beginning as from the end"


def test_corrupt_videos_say_what_is_wrong(tmp_path):
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(60)]
    whole = film(tmp_path / "whole.mp4", noisy).read_bytes()
    webm = film(tmp_path / "whole.mkv", noisy).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3 : len(whole) // 3 + 4000] = bytes(4000)
    for data, words in (
        (b"", "the file is empty"),
        (b"#EXTM3U\n/etc/passwd\n", "no video in a container that is read"),
        (whole[: len(whole) // 2], "damaged video: "),
        (bytes(damaged), "damaged video: "),
        (webm[: len(webm) // 2], "a video that was cut off: it ends after"),
    ):
        with pytest.raises(Undecodable, match=words):
            list(frames_at(io.BytesIO(data), evenly_spaced(count_frames(io.BytesIO(data)), 8)))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.33])
@pytest.mark.parametrize(
    ("codec", "suffix", "options"), [("libx264", "mp4", {}), ("mjpeg", "avi", {"strict": "unofficial"})]
)
def test_damage_that_a_player_would_paint_over_is_told(codec, suffix, options, share, tmp_path):
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(image + rng.integers(-20, 20, image.shape), 0, 255).astype(np.uint8)
        for image in moving(0, 30)
    ]
    data = bytearray(film(tmp_path / f"clip.{suffix}", noisy, codec, options=options).read_bytes())
    start = int(len(data) * share)
    data[start : start + 2000] = bytes(byte ^ 0x55 for byte in data[start : start + 2000])
    with pytest.raises(Undecodable, match="damaged video"):
        list(frames_at(io.BytesIO(data), evenly_spaced(count_frames(io.BytesIO(data)), 8)))


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", "mp4", {"slices": "4", "bf": "3"}),
        ("libx264", "mkv", {"x264-params": "open-gop=1:keyint=20:bframes=3"}),
        ("libx264", "mp4", {"x264-params": "sliced-threads=1:threads=4:intra-refresh=1"}),
        ("libx264", "mp4", {"x264-params": "tff=1"}),
        ("libx264", "avi", {"bf": "2"}),
        ("mpeg4", "avi", {"bf": "2"}),
        ("mpeg4", "avi", {"ps": "400"}),
        ("libx265", "mp4", {"x265-params": "log-level=0:slices=3"}),
        ("libvpx", "webm", {"deadline": "realtime", "cpu-used": "8"}),
        ("libsvtav1", "mp4", {"preset": "10"}),
    ],
)
def test_healthy_videos_of_many_kinds_are_read_whole(codec, suffix, options, tmp_path):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    images, policy = [frame(0, at) for at in range(45)], os.sched_getscheduler(0)
    # where root may, SVT-AV1 makes the thread that encodes a real-time one, for good; and so would be all that it starts
    with ThreadPoolExecutor(1) as thread:
        path = thread.submit(film, tmp_path / f"clip.{suffix}", images, codec, options=options).result()
    assert os.sched_getscheduler(0) == policy
    with open(path, "rb") as file:
        assert count_frames(file) == 45
        assert [told(image) for _, image in frames_at(file, range(45))] == list(range(45))


def recut(path: Path, to: Path, first: int, hidden: float = 0.0) -> Path:
    """The packets of a video from number `first` on, not encoded anew, as `ffmpeg -c copy` writes them; the
    first `hidden` seconds of them are hidden by an edit list."""
    with av.open(str(path)) as source, av.open(str(to), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size][first:]
        start = packets[0].pts + int(hidden / packets[0].time_base)
        for packet in packets:
            packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, stream
            file.mux(packet)
    return to


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("gop", ["keyint=20:bframes=3", "keyint=20:bframes=3:open-gop=1"])
def test_a_clip_that_begins_between_key_frames_begins_at_the_next(gop, suffix, tmp_path):
    whole = film(
        tmp_path / "whole.mp4",
        [frame(0, at) for at in range(80)],
        options={"x264-params": f"{gop}:scenecut=0"},
    )
    with open(recut(whole, tmp_path / f"clip.{suffix}", 25), "rb") as file:
        assert count_frames(file) == 40
        found = list(frames_at(file, range(40)))
    assert [number for number, _ in found] == list(range(40))
    assert [told(image) for _, image in found] == list(range(40, 80))


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path):
    whole = film(tmp_path / "whole.mp4", [frame(0, at) for at in range(40)], options={"bf": "2"})
    with open(recut(whole, tmp_path / "clip.mp4", 0, hidden=0.4), "rb") as file:
        count = count_frames(file)
        shown = [told(image) for _, image in frames_at(file, range(count))]
    assert 25 <= count <= 32 and shown == list(range(40 - count, 40))


# track


def faces(*boxes: tuple[float, float, float, float]) -> list[Face]:
    return [Face(box, 0.9, np.zeros((5, 2))) for box in boxes]


def test_a_track_follows_one_person_and_the_most_prominent_comes_first():
    near, far = (100, 100, 60, 60), (300, 100, 40, 40)
    frames = [faces(near, far), faces(far, near), faces(far), faces((120, 100, 60, 60), far)]
    assert find_tracks(frames) == [[0, 1, None, 0], [1, 0, 0, 1]], (
        "the larger one, although listed second and once not seen"
    )
    assert find_tracks([faces((0, 0, 90, 90)), faces(far), faces(far), []])[0] == [0, None, None, None]
    assert find_tracks([faces((0, 0, 30, 30)), faces(far), faces(far), []])[0] == [None, 0, 0, None]
    assert find_tracks([[], []]) == []


def test_boxes_between_frames():
    boxes = [np.array([0.0, 0, 10, 10]), np.array([10.0, 0, 10, 20]), None]
    assert box_at([0, 10, 20], boxes, 5).tolist() == [5, 0, 10, 15]
    assert box_at([0, 10, 20], boxes, 14).tolist() == [10, 0, 10, 20]
    assert box_at([0, 10, 20], boxes, 16) is None


# the whole way


@pytest.fixture(scope="module")
def tree(tmp_path_factory, real_weights) -> Path:
    """FaceForensics++ with two originals and a fake of each: the fakes' faces are those of others, in the
    same places.
    """
    root = tmp_path_factory.mktemp("ff")
    film(root / "original_sequences/youtube/c23/videos/000.mp4", moving(0, 60))
    film(root / "original_sequences/youtube/c23/videos/001.mp4", moving(6, 60, faceless=(22, 37)))
    film(root / "manipulated_sequences/Deepfakes/c23/videos/000_001.mp4", moving(1, 60))
    film(root / "manipulated_sequences/Deepfakes/c23/videos/001_000.mp4", moving(7, 60))
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[80:160, 60:240] = 255
    film(root / "manipulated_sequences/Deepfakes/masks/videos/000_001.mp4", [mask] * 60)
    return root


@pytest.mark.usefixtures("messages_on_stderr")
def test_videos_become_faces(tree, tmp_path, yunet, capsys):
    report = prepare(tree, tmp_path / "out", frames=4, faces=yunet, workers=1)
    assert "read as faceforensics" in capsys.readouterr().err
    table = load_table(tmp_path / "out").to_pylist()
    by_clip = Counter(line["path"].rsplit("/", 1)[0].rsplit("/", 1)[1] for line in table)
    assert by_clip == {"000.mp4": 4, "000_001.mp4": 4, "001.mp4": 2, "001_000.mp4": 2}
    assert {line["path"].rsplit("/", 1)[1] for line in table if "000.mp4" in line["path"]} <= {
        f"{number:06d}.png" for number in (7, 22, 37, 52)
    }
    lost = "original_sequences/youtube/c23/videos/001.mp4/000022.png"
    assert listed(tmp_path / "out")[lost] == "no face found"
    assert listed(tmp_path / "out")["manipulated_sequences/Deepfakes/c23/videos/001_000.mp4/000022.png"] == (
        "no face found in the original"
    )
    assert report.rejected == 0 and "4 were left out" in str(report) and "4 frames a video" in str(report)
    assert read_index(tmp_path / "out")["made_by"]["cut"] == {
        "frames": 4,
        "margin": 1.3,
        "left_out": 4,
        "face_detector": FaceDetector(yunet).identity,
    }

    sides = {line["path"]: line["width"] for line in table}
    images = pixels(tmp_path / "out")
    detector = FaceDetector(yunet)
    for line in table:
        assert line["format"] == "PNG" and line["width"] == line["height"]
        assert line["label"] == (FAKE if "Deepfakes" in line["path"] else REAL)
        if line["label"] == FAKE:
            original = line["path"].replace("manipulated_sequences/Deepfakes", "original_sequences/youtube")
            original = f"{original.split('_')[0]}_{original.split('_')[1]}.mp4/{original.rsplit('/', 1)[1]}"
            assert sides[original] == sides[line["path"]], "a fake is cut by the box of its original"
            assert (line["mask_length"] > 0) == ("000_001" in line["path"])
        assert len(detector.find(images[line["path"]])) == 1, "the square holds the face"
    assert len({line["family"] for line in table}) == 1, "targets and donors hang together"


def test_a_cut_square_is_the_frames_own_pixels(tree, tmp_path, yunet):
    prepare(tree, tmp_path / "out", frames=4, margin=1.6, faces=yunet, workers=1)
    path = "original_sequences/youtube/c23/videos/000.mp4"
    with open(tree / path, "rb") as file:
        ((_, image),) = frames_at(file, [22])
    (found,) = FaceDetector(yunet).find(image)
    x, y, side, _ = crop_box(image.shape, found.box, 1.6)
    made = pixels(tmp_path / "out")[f"{path}/000022.png"]
    assert (made == image[y : y + side, x : x + side]).all(), "neither resized nor encoded with loss"


def test_masks_are_cut_with_their_faces(tree, tmp_path, yunet):
    prepare(tree, tmp_path / "out", frames=4, faces=yunet, workers=1)
    (line,) = (
        line
        for line in load_table(tmp_path / "out").to_pylist()
        if line["path"].endswith("Deepfakes/c23/videos/000_001.mp4/000022.png")
    )
    with open(tmp_path / "out" / line["shard"], "rb") as file:
        file.seek(line["mask_offset"])
        mask = cv2.imdecode(np.frombuffer(file.read(line["mask_length"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (line["height"], line["width"]) and set(np.unique(mask)) == {0, 255}


@pytest.mark.slow
def test_class_folders_and_tables_of_videos(tmp_path, yunet):
    film(tmp_path / "set/real/a.mp4", moving(0, 20))
    film(tmp_path / "set/real/c.mp4", moving(12, 20))
    film(tmp_path / "set/fake/b.mov", moving(3, 20))
    (tmp_path / "set/real/empty.mp4").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"4 videos\. Say how many frames of each are to be taken: --frames 16"
    ):
        prepare(tmp_path / "set", tmp_path / "out", faces=yunet)
    with pytest.raises(ValueError, match="1 of 4 files were rejected"):
        prepare(tmp_path / "set", tmp_path / "out", frames=2, faces=yunet, workers=1)
    assert listed(tmp_path / "out") == {"real/empty.mp4": "the file is empty"}
    (tmp_path / "set/real/empty.mp4").unlink()
    with pytest.raises(ValueError, match="the source or the options changed: 1 removed"):
        prepare(tmp_path / "set", tmp_path / "out", frames=2, faces=yunet, workers=1)
    prepare(tmp_path / "set", tmp_path / "out", frames=2, faces=yunet, workers=1, overwrite=True)
    lines = load_table(tmp_path / "out").to_pylist()
    assert Counter(line["family"] for line in lines).most_common()[0][1] == 2 and len(lines) == 6
    assert all(
        len({line["split"] for line in lines if line["family"] == family}) == 1
        for family in {x["family"] for x in lines}
    )

    (tmp_path / "set/list.csv").write_text(
        "path,label,original\nreal/a.mp4,real,\nfake/b.mov,fake,real/a.mp4\n"
    )
    prepare(tmp_path / "set/list.csv", tmp_path / "tabled", frames=2, faces=yunet, workers=1)
    assert len({line["family"] for line in load_table(tmp_path / "tabled").to_pylist()}) == 1, (
        "a fake and what it was made of"
    )


def test_finished_faces_are_left_alone_until_the_source_changes(tmp_path, yunet):
    film(tmp_path / "set/real/a.mp4", moving(0, 20))
    film(tmp_path / "set/fake/b.mp4", moving(3, 20))
    options = {"frames": 2, "faces": yunet, "workers": 1}
    prepare(tmp_path / "set", tmp_path / "out", **options)
    assert prepare(tmp_path / "set", tmp_path / "out", **options).already
    with pytest.raises(ValueError, match=r"2 frames a video at margin 1\.3"):
        prepare(tmp_path / "set", tmp_path / "out", **{**options, "frames": 3})
    film(tmp_path / "set/fake/b.mp4", moving(3, 25))
    film(tmp_path / "set/fake/c.mp4", moving(5, 20))
    with pytest.raises(
        ValueError, match=r"1 added \(first fake/c.mp4\), 1 changed \(first fake/b.mp4: length was"
    ):
        prepare(tmp_path / "set", tmp_path / "out", **options)


def test_what_does_not_fit_together_is_refused(tmp_path, yunet, monkeypatch):
    film(tmp_path / "set/real/a.mp4", moving(0, 10))
    (tmp_path / "set/fake").mkdir()
    cv2.imwrite(str(tmp_path / "set/fake/b.png"), face(1))
    for options, words in (
        ({"frames": 2}, "1 videos and 1 pictures. Prepare them apart"),
        ({"frames": 2, "margin": 9.0}, "Prepare them apart"),
    ):
        with pytest.raises(ValueError, match=words):
            prepare(tmp_path / "set", tmp_path / "out", faces=yunet, **options)
    (tmp_path / "set/real/a.mp4").unlink()
    cv2.imwrite(str(tmp_path / "set/real/a.png"), face(0))
    for options, words in (
        ({"frames": 2}, "--frames is for videos"),
        ({"margin": 1.5}, "--margin is for faces"),
    ):
        with pytest.raises(ValueError, match=words):
            prepare(tmp_path / "set", tmp_path / "out", **options)
    film(tmp_path / "clips/real/a.mp4", moving(0, 10))
    for options, words in (
        ({"frames": 0}, "--frames is 0"),
        ({"frames": 2, "margin": 0.5}, "--margin 0.5: a square of 1 to 4"),
        ({"frames": 2, "faces": tmp_path / "none.onnx"}, "names no file"),
    ):
        with pytest.raises(ValueError, match=words):
            prepare(tmp_path / "clips", tmp_path / "out", **{"faces": yunet, **options})
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'dfd\[video\]'"):
        prepare(tmp_path / "clips", tmp_path / "out", frames=2, faces=yunet)


def test_faces_too_small_are_left_out(tmp_path, yunet):
    small = cv2.resize(face(0), (24, 24), interpolation=cv2.INTER_AREA)
    large = face(0)
    film(tmp_path / "set/real/a.mp4", [frame(0, at, (large, 10, 40)) for at in range(10)])
    film(tmp_path / "set/fake/b.mp4", [frame(0, at, (face(1), 10, 40)) for at in range(10)])
    film(tmp_path / "set/fake/c.mp4", [frame(0, at, (small, 100, 100)) for at in range(10)])
    with pytest.raises(ValueError, match="1 of 3 files were rejected"):
        prepare(tmp_path / "set", tmp_path / "out", frames=2, faces=yunet, workers=1)
    assert listed(tmp_path / "out")["fake/c.mp4"] == "no face of 32 pixels in any of the 2 frames looked at"


@pytest.mark.slow
def test_a_lost_video_counts_as_one_of_the_videos_however_many_frames_the_others_give(tmp_path, yunet):
    for number in range(10):
        film(tmp_path / "set" / ("real", "fake")[number % 2] / f"{number}.mp4", moving(number, 6))
    (tmp_path / "set/fake/3.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 10 files were rejected \(10.0%; 5% may be\)"):
        prepare(tmp_path / "set", tmp_path / "out", frames=3, faces=yunet, workers=1)


def test_a_video_that_is_damaged_late_gives_no_face(tree, tmp_path, yunet):
    """What was cut before the damage showed would stay in the shards of a video that is listed as rejected."""
    (path,) = tree.glob("manipulated_sequences/Deepfakes/c23/videos/001_000.mp4")
    line = {"path": str(path.relative_to(tree)), "label": FAKE, "mask": None}
    original = {"path": "original_sequences/youtube/c23/videos/001.mp4", "label": REAL, "mask": None}
    whole = path.read_bytes()
    root = tmp_path / "set"
    film(root / original["path"], moving(6, 60))
    (root / line["path"]).parent.mkdir(parents=True)
    at = whole.index(b"mdat") + (len(whole) - whole.index(b"mdat")) * 2 // 3
    (root / line["path"]).write_bytes(
        whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + 800]) + whole[at + 800 :]
    )
    found = [
        made
        for of, made in cut_videos(str(root), [original, line], 8, 1.3, FaceDetector(yunet))
        if of is line
    ]
    assert [made.number for made in found] == [None] and "damaged video" in found[0].reason and found[0].fault


# several people


SMALL = 120


def couple(at: int, large: int, small: int | None) -> np.ndarray:
    """A frame of two people: a large one on the left, a smaller one on the right."""
    right = (
        []
        if small is None
        else [(cv2.resize(face(small), (SMALL, SMALL), interpolation=cv2.INTER_AREA), 200, 60 + at)]
    )
    return frame(0, 0, (face(large), 10 + at, 40), *right)


def is_of(image: np.ndarray, side: str) -> bool:
    return (image.shape[0] < SMALL) == (side == "small")


def squares_of(root: Path, yunet: Path, *lines: dict) -> dict[str, list[Cut | Missing]]:
    found: dict[str, list[Cut | Missing]] = {line["path"]: [] for line in lines}
    for line, made in cut_videos(str(root), lines, 8, 1.3, FaceDetector(yunet)):
        found[line["path"]].append(made)
    return found


def listing(path: str, label: int, mask: str | None = None) -> dict:
    return {"path": path, "label": label, "mask": mask}


def test_of_two_people_the_one_is_cut_who_differs_from_the_original(tmp_path, yunet):
    root = tmp_path / "set"
    film(root / "two.mp4", [couple(at, 2, 4) for at in range(16)])
    film(root / "right.mp4", [couple(at, 2, 5) for at in range(16)])
    film(root / "left.mp4", [couple(at, 3, 4) for at in range(14)])  # ends early
    film(root / "none.mp4", [couple(at, 2, 4) for at in range(16)], options={"crf": "30"})
    film(root / "both.mp4", [couple(at, 3, 5) for at in range(16)])
    fakes = [listing(f"{name}.mp4", FAKE) for name in ("right", "left", "none", "both")]
    found = squares_of(root, yunet, listing("two.mp4", REAL), *fakes)
    for name, side in (("two", "large"), ("right", "small"), ("left", "large")):
        images = [made.image for made in found[f"{name}.mp4"]]
        assert len(images) == 8 and all(is_of(image, side) for image in images), name
    for name in ("none", "both"):
        (missing,) = found[f"{name}.mp4"]
        assert missing == Missing(None, "two people or more, and nothing says which of them is forged", False)


@pytest.mark.slow
def test_a_forged_video_of_two_people_without_its_original_is_left_out_and_counted(tmp_path, yunet):
    root = tmp_path / "set"
    for number in (0, 3):
        film(root / f"{number}.mp4", moving(number, 16))
    film(root / "two.mp4", [couple(at, 2, 4) for at in range(16)])
    film(root / "alone.mp4", [couple(at, 2, 5) for at in range(16)])
    film(root / "passing.mp4", [couple(at, 7, 4 if at == 5 else None) for at in range(16)])
    (root / "list.csv").write_text(
        "path,label\n0.mp4,real\n3.mp4,fake\ntwo.mp4,real\nalone.mp4,fake\npassing.mp4,fake\n"
    )
    report = prepare(root / "list.csv", tmp_path / "out", frames=8, faces=yunet, workers=1)
    assert listed(tmp_path / "out") == {
        "alone.mp4": "two people or more, and nothing says which of them is forged"
    }
    assert (
        report.rejected == 0
        and "1 were left out" in str(report)
        and "nothing says who is forged" in str(report)
    )
    count = Counter(line["path"].split("/")[0] for line in load_table(tmp_path / "out").to_pylist())
    assert count == {"0.mp4": 8, "3.mp4": 8, "two.mp4": 8, "passing.mp4": 8}, "a passer-by takes no clip"


def test_masks_tell_who_is_forged_and_when(tmp_path, yunet):
    root = tmp_path / "set"
    film(root / "two.mp4", [couple(at, 2, 5) for at in range(16)])
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[90:160, 220:290] = 255
    film(root / "mask.mp4", [mask if at < 8 else np.zeros_like(mask) for at in range(16)])
    film(root / "black.mp4", [np.zeros_like(mask)] * 16)
    half = squares_of(root, yunet, listing("two.mp4", FAKE, "mask.mp4"))["two.mp4"]
    assert all(is_of(made.image, "small") and made.mask.any() for made in half[:4])
    assert [made.reason for made in half[4:]] == ["forged, and the mask of its square is empty"] * 4
    *frames, whole = squares_of(root, yunet, listing("two.mp4", FAKE, "black.mp4"))["two.mp4"]
    assert len(frames) == 8 and whole == Missing(
        None, "its mask video shows nothing forged where the face is", True
    )


def test_a_second_person_counts_from_a_quarter_of_the_frames_on():
    assert [num for num in range(17) if is_present(num, 16)] == list(range(4, 17))
    assert not is_present(1, 4), "one detection in four frames may be the detector's error"
    assert is_present(2, 4) and is_present(1, 1)


def test_who_differs_clearly():
    assert clearly_largest([1.5, 10.8]) == 1 and clearly_largest([64, 1, 6]) == 0
    assert clearly_largest([6.8, 11.2]) is None, "two encodings of the same pixels differ too"
    assert clearly_largest([0.0, 3.0]) is None and clearly_largest([60, 64]) is None


# shared out


@pytest.mark.slow
def test_parts_make_what_one_run_makes(tree, tmp_path, yunet):
    options = {"frames": 3, "faces": yunet, "workers": 1}
    prepare(tree, tmp_path / "whole", **options)
    with pytest.raises(ValueError, match="no part is finished"):
        prepare(tree, tmp_path / "out", merge=True, **options)
    assert "part 2/2 is finished" in prepare(tree, tmp_path / "out", array_task=ArrayTask(2, 2), **options)
    with pytest.raises(ValueError, match="1 of 2 parts are not finished: --task 1/2"):
        prepare(tree, tmp_path / "out", merge=True, **options)
    with pytest.raises(ValueError, match="the source or the options changed: frames was 3, is 4"):
        prepare(tree, tmp_path / "out", array_task=ArrayTask(1, 2), **{**options, "frames": 4})
    prepare(tree, tmp_path / "out", array_task=ArrayTask(1, 2), **options)
    prepare(tree, tmp_path / "out", merge=True, **options)
    assert load_table(tmp_path / "out").equals(load_table(tmp_path / "whole"))
    for path in (tmp_path / "whole").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        with tarfile.open(path) as tar:
            assert {member.name.split(".", 1)[1] for member in tar} <= {"png", "json", "mask.png"}
    assert {path.suffix for path in (tmp_path / "out").iterdir() if path.name != ".prepare.lock"} == {
        ".tar", ".json", ".parquet", ".csv",
    }  # fmt: skip


def test_parts_of_pictures(tmp_path):
    for number in range(40):
        path = tmp_path / "set" / ("real", "fake")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8))
    for number in (1, 2, 3):
        prepare(tmp_path / "set", tmp_path / "out", workers=1, array_task=ArrayTask(number, 3))
    assert prepare(tmp_path / "set", tmp_path / "out", workers=1, merge=True).images == 40


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "-1/4", "1/0"])
def test_parts_are_counted_from_one(text):
    with pytest.raises(ValueError, match="3/16, the third of 16 tasks"):
        ArrayTask.parse(text)


@pytest.mark.slow
def test_parts_at_the_same_time_and_one_of_them_killed(tree, tmp_path, yunet):
    """As a job array does it: three tasks at once, one killed with -9 and requeued, then merged."""
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    run = [
        sys.executable,
        "-m",
        "dfd.cli",
        "prepare",
        str(tree),
        "--out",
        str(tmp_path / "out"),
        "--frames",
        "8",
        "--faces",
        str(yunet),
    ]
    tasks = [
        subprocess.Popen(
            [*run, "--task", f"{n}/3", "--workers", "1"], env=environment, stderr=subprocess.PIPE, text=True
        )
        for n in (1, 2, 3)
    ]
    while not (tmp_path / "out/.prepare/plan.parquet").exists() and any(
        task.poll() is None for task in tasks
    ):
        time.sleep(0.01)
    tasks[0].send_signal(signal.SIGKILL)
    assert [task.wait(120) for task in tasks[1:]] == [0, 0], [task.stderr.read() for task in tasks[1:]]
    tasks[0].wait()
    merging = subprocess.run([*run, "--merge"], env=environment, capture_output=True, text=True)
    assert merging.returncode == 1 and "--task 1/3" in merging.stderr
    assert subprocess.run([*run, "--task", "1/3"], env=environment).returncode == 0
    assert subprocess.run([*run, "--merge"], env=environment).returncode == 0
    prepare(tree, tmp_path / "whole", frames=8, faces=yunet, workers=1)
    assert load_table(tmp_path / "out").equals(load_table(tmp_path / "whole"))


@pytest.mark.slow
def test_a_slurm_array_prepares_and_merges(tree, tmp_path, yunet, slurm):
    """slurm/prepare.sbatch on a real Slurm: three tasks, one taken back and requeued, and the merge that
    waits for them.
    """
    script = Path(module.__file__).parents[2] / "slurm" / "prepare.sbatch"
    environment = {
        **slurm,
        "PATH": f"{Path(sys.executable).parent}:{slurm['PATH']}",
        "SBATCH_CPUS_PER_TASK": "1",
    }
    told = [str(script), str(tree), "--out", str(tmp_path / "out"), "--frames", "4", "--faces", str(yunet)]
    array = submit(environment, "--array=1-3", *told, cwd=tmp_path)
    end = time.monotonic() + 60
    while subprocess.run(
        ["scontrol", "requeue", f"{array}_2"], env=environment, stderr=subprocess.DEVNULL
    ).returncode:
        assert time.monotonic() < end, "the second task never ran"
        time.sleep(0.05)
    merge = submit(environment, f"--dependency=afterok:{array}", *told, "--merge", cwd=tmp_path)
    assert set(wait_for(environment, array).values()) == {"COMPLETED"}, [
        x.read_text() for x in tmp_path.glob("slurm-*.log")
    ]
    assert set(wait_for(environment, merge).values()) == {"COMPLETED"}
    prepare(tree, tmp_path / "whole", frames=4, faces=yunet, workers=1)
    assert load_table(tmp_path / "out").equals(load_table(tmp_path / "whole"))


# photographs with several faces


def test_openforensics_faces_are_cut_with_their_masks(tmp_path):
    canvas = np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    boxes = {1: [20, 40, 80, 100], 2: [300, 100, 90, 90], 3: [250, 40, 60, 60], 4: [450, 250, 10, 12]}
    root = tmp_path / "set"
    for split in ("Train", "Val"):
        (root / "Images" / split).mkdir(parents=True)
        cv2.imwrite(str(root / "Images" / split / "a.png"), canvas if split == "Train" else 255 - canvas)
        outline = [300, 100, 390, 100, 390, 190, 300, 190]
        labels = {1: 1, 2: 2, 3: 1, 4: 1}
        coco = {
            "categories": [{"id": 1, "name": "Real"}, {"id": 2, "name": "Fake"}],
            "images": [{"id": 7, "file_name": f"Images/{split}/a.png", "width": 500, "height": 300}],
            "annotations": [
                {
                    "image_id": 7,
                    "category_id": labels[n],
                    "bbox": box,
                    "segmentation": [outline] if labels[n] == 2 else [],
                }
                for n, box in boxes.items()
            ],
        }
        (root / f"{split}_poly.json").write_text(json.dumps(coco))
    prepare(root, tmp_path / "out", workers=1)
    lines = {line["path"]: line for line in load_table(tmp_path / "out").to_pylist()}
    assert set(lines) == {f"Images/{split}/a.png/{n}.png" for split in ("Train", "Val") for n in (1, 2)}
    fake = lines["Images/Train/a.png/2.png"]
    assert (fake["label"], fake["method"], fake["source"], fake["split"]) == (
        FAKE,
        "openforensics",
        "openforensics",
        "train",
    )
    x, y, side, _ = crop_box(canvas.shape, boxes[2], 1.3)
    assert (pixels(tmp_path / "out")[fake["path"]] == canvas[y : y + side, x : x + side, ::-1]).all()
    with open(tmp_path / "out" / fake["shard"], "rb") as file:
        file.seek(fake["mask_offset"])
        mask = cv2.imdecode(np.frombuffer(file.read(fake["mask_length"]), np.uint8), cv2.IMREAD_UNCHANGED)
    wanted = np.zeros(canvas.shape[:2], np.uint8)
    wanted[100:191, 300:391] = 255
    assert (mask == wanted[y : y + side, x : x + side]).all()
    assert fake["family"] == lines["Images/Train/a.png/1.png"]["family"], "all faces of a photograph"
    reasons = listed(tmp_path / "out")
    assert reasons["Images/Train/a.png/3.png"] == "real, and a forged one reaches into its square".replace(
        "one", "face"
    )
    assert reasons["Images/Train/a.png/4.png"] == "16 pixels with its margin, less than 32"


def test_a_photograph_of_another_size_than_its_boxes_is_listed(tmp_path):
    root = tmp_path / "set"
    (root / "Images/Train").mkdir(parents=True)
    names = [f"{n}.png" for n in range(30)]
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(0, 255, (100, 100, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "Images/Train" / name), image[: 90 if number == 3 else 100])
    coco = {
        "categories": [{"id": 0, "name": "Real Face"}, {"id": 1, "name": "Fake Face"}],
        "images": [{"id": n, "file_name": name, "width": 100, "height": 100} for n, name in enumerate(names)],
        "annotations": [
            {
                "image_id": n,
                "category_id": n % 2,
                "bbox": [30, 30, 40, 40],
                "segmentation": [[30, 30, 70, 30, 70, 70]],
            }
            for n in range(30)
        ],
    }
    (root / "Train_poly.json").write_text(json.dumps(coco))
    assert prepare(root, tmp_path / "out", workers=1).images == 29
    assert listed(tmp_path / "out") == {"Images/Train/3.png": "100 x 90 pixels; its boxes are of 100 x 100"}


@pytest.mark.slow
def test_celeb_df_and_dfdc_become_faces_whose_families_hold_together(tmp_path, yunet):
    celeb, part = tmp_path / "Celeb-DF-v2", tmp_path / "dfdc" / "dfdc_train_part_0"
    films = {number: moving(number, 6) for number in range(4)}  # even numbers are real
    for person, original, fake in ((0, 0, 1), (1, 2, 3)):
        for path, number in (
            (celeb / f"Celeb-real/id{person}_0000.mp4", original),
            (celeb / f"Celeb-synthesis/id{person}_id{person + 5}_0000.mp4", fake),
            (part / f"real{person}.mp4", original),
            (part / f"fake{person}.mp4", fake),
        ):
            film(path, films[number])
    facts = {f"real{n}.mp4": {"label": "REAL", "split": "train"} for n in (0, 1)}
    facts |= {f"fake{n}.mp4": {"label": "FAKE", "split": "train", "original": f"real{n}.mp4"} for n in (0, 1)}
    (part / "metadata.json").write_text(json.dumps(facts))
    for root, source in ((celeb, "celeb-df"), (tmp_path / "dfdc", "dfdc")):
        out = tmp_path / f"{source}-out"
        report = prepare(root, out, frames=2, faces=yunet, workers=1)
        assert report.reader == {"celeb-df": "celeb_df", "dfdc": "dfdc"}[source]
        table = load_table(out).to_pylist()
        assert Counter(row["label"] for row in table) == {REAL: 4, FAKE: 4}
        assert {row["source"] for row in table} == {source}
        families = Counter((row["family"], row["split"]) for row in table)
        assert sorted(families.values()) == [4, 4], "a fake stays with its original, in one split"
