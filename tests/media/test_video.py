"""Videos as they come: which stream is the film, and how its display matrix shows it."""

import io
import itertools
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dfd.media.decode import Undecodable
from dfd.media.video import count_frames, frames_at, timed_frames

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
# no two of its eight turns and mirrorings are alike
CORNERS = np.zeros((64, 96, 3), np.uint8)
CORNERS[:32, :48], CORNERS[:32, 48:], CORNERS[32:, :48] = 230, 160, 90


def add(file, codec: str, pixels: np.ndarray, disposition: str = "", options=None):
    """A stream of one size; how it is encoded is said later."""
    stream = file.add_stream(codec, rate=25, options=options or {})
    stream.width, stream.height = pixels.shape[1], pixels.shape[0]
    stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
    if disposition:
        stream.disposition = av.stream.Disposition[disposition]
    return stream


def show(file, stream, pixels: np.ndarray, count: int) -> None:
    for at in range(count):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = at
        file.mux(stream.encode(frame))
    file.mux(stream.encode())


def film(path: Path, *streams: tuple) -> io.BytesIO:
    """A file of streams (codec, pixels, number of frames[, disposition])."""
    with av.open(str(path), "w") as file:
        made = [add(file, codec, pixels, *more) for codec, pixels, _, *more in streams]
        for stream, (_, pixels, count, *_) in zip(made, streams, strict=True):
            show(file, stream, pixels, count)
    return io.BytesIO(path.read_bytes())


def first(file: io.BytesIO) -> np.ndarray:
    return next(frames_at(file, [0]))[1].astype(int)


COVER = np.full((48, 48, 3), 200, np.uint8)
OTHER = np.full((32, 48, 3), 40, np.uint8)


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_a_cover_is_no_film_wherever_it_lies(codec, tmp_path):
    cover, clip = (codec, COVER, 1, "attached_pic"), ("libx264", CORNERS, 24)
    for at, streams in enumerate(((cover, clip), (clip, cover), (clip,))):
        file = film(tmp_path / f"{at}.mp4", *streams)
        assert count_frames(file) == 24
        assert np.abs(first(file) - CORNERS).mean() < 4


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_the_longest_film_is_taken_and_said(suffix, tmp_path, caplog):
    """A preview of one frame, which nothing marks; the same film in another order."""
    preview, clip = ("libx264", OTHER, 1), ("libx264", CORNERS, 24)
    for at, streams in enumerate(((preview, clip), (clip, preview))):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert count_frames(film(tmp_path / f"{at}.{suffix}", *streams), "its/name.mp4") == 24
        assert f"its/name.mp4: of 2 films stream {1 - at} is taken (96 x 64), not {at}." in caplog.text


def test_of_films_of_one_length_the_largest_is_taken(tmp_path):
    file = film(tmp_path / "two.mp4", ("libx264", OTHER, 12), ("libx264", CORNERS, 12))
    assert first(file).shape == CORNERS.shape


def test_sound_before_the_film(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        sound, stream = file.add_stream("aac", rate=44100), add(file, "libx264", CORNERS)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux(sound.encode(frame))
        file.mux(sound.encode())
        show(file, stream, CORNERS, 5)
    assert count_frames(io.BytesIO((tmp_path / "sound.mp4").read_bytes())) == 5


def test_a_cover_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as file:
        sound = file.add_stream("aac", rate=44100)
        cover = add(file, "mjpeg", COVER, "attached_pic")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux(sound.encode(frame))
        file.mux(sound.encode())
        show(file, cover, COVER, 1)
    with pytest.raises(Undecodable, match="no video in it, only a cover"):
        count_frames(io.BytesIO((tmp_path / "song.mp4").read_bytes()))


def with_matrix(file: io.BytesIO, *matrix: float) -> io.BytesIO:
    """a, b, c, d of the matrix of the track's header (ISO 14496-12, 8.3.2)."""
    content = bytearray(file.getvalue())
    at = content.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[at + place : at + place + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    return io.BytesIO(content)


def shown_by(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """The second opinion: each stored pixel put where the standard says, x' = a x + c y, y' = b x + d y."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    shown = np.empty((down.max() + 1, across.max() + 1, 3), pixels.dtype)
    shown[down, across] = pixels
    return shown


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> io.BytesIO:
    return film(tmp_path_factory.mktemp("clip") / "clip.mp4", ("libx264", CORNERS, 2))


RIGHT_ANGLES = [
    matrix
    for matrix in itertools.product((-1, 0, 1), repeat=4)
    if abs(matrix[0] * matrix[3] - matrix[1] * matrix[2]) == 1 and sum(map(abs, matrix)) == 2
]


@pytest.mark.parametrize("matrix", RIGHT_ANGLES)
def test_all_turns_and_mirrorings_are_shown(matrix, clip):
    assert len(RIGHT_ANGLES) == 8
    image = first(with_matrix(clip, *matrix))
    wanted = shown_by(CORNERS, *matrix).astype(int)
    assert image.shape == wanted.shape and np.abs(image - wanted).mean() < 4


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (2, 0, 0, 1), (0.5, 0.004, -0.004, 0.5)])
def test_a_matrix_that_turns_nothing_turns_nothing(matrix, clip):
    image = first(with_matrix(clip, *matrix))
    assert image.shape == CORNERS.shape and np.abs(image - CORNERS).mean() < 4


def test_a_turn_by_no_right_angle_is_refused(clip):
    angle = np.radians(30)
    with pytest.raises(Undecodable, match="turned by 30 degrees, no right angle"):
        first(with_matrix(clip, np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)))


def test_pixels_that_are_not_square_are_not_stretched(tmp_path):
    with av.open(str(tmp_path / "wide.mp4"), "w") as file:
        stream = add(file, "libx264", CORNERS)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        show(file, stream, CORNERS, 2)
    assert first(io.BytesIO((tmp_path / "wide.mp4").read_bytes())).shape == CORNERS.shape


def test_timed_frames_are_all_frames_with_their_seconds(tmp_path):
    file = film(tmp_path / "clip.mp4", ("libx264", CORNERS, 12))
    timed = list(timed_frames(file))
    assert np.allclose([seconds for seconds, _ in timed], np.arange(12) / 25, atol=1e-3)
    numbered = list(frames_at(file, range(12)))
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(timed, numbered, strict=True))
