import math

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFace, DrawnMesh, portrait
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from dfd.forensics import Catalogue
from dfd.forensics.face import FaceFinder, clip_cues, clip_findings
from dfd.forensics.face.clip_blinks import clip_blinks, find_blinks, openness
from dfd.forensics.face.clip_motion import NUM, jitter, square, unsteadiness
from dfd.media.decode import decode
from dfd.media.face_mesh import FaceMesh
from dfd.media.faces import FaceDetector
from dfd.media.formats import Undecodable

RATE = 25
FACES = "140k-real-and-fake-faces"


def lids(times: np.ndarray, blinks: list[float], length: float = 0.25) -> np.ndarray:
    """Openness of eyes that close at these seconds, with the wobble of a mesh."""
    wobble = 0.012 * np.random.default_rng(0).normal(size=len(times))
    closed = sum(np.exp(-(((times - at) / (length / 2.5)) ** 2)) for at in blinks)
    return 0.3 * (1 - 0.8 * np.clip(closed, 0, 1)) + wobble


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 19), max_size=8, unique=True),
    st.floats(0.15, 0.35),
    st.sampled_from([15, 25, 60]),
)
def test_blinks_are_counted_at_their_seconds(seconds, length, rate):
    times = np.arange(0, 20, 1 / rate)
    blinks = find_blinks(times, lids(times, sorted(seconds), length))
    assert len(blinks.times) == len(seconds)
    assert np.allclose(blinks.times, sorted(seconds), atol=0.1)
    assert blinks.low <= blinks.rate <= blinks.high


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_the_interval_of_the_rate_is_that_of_a_poisson_count(count):
    times = np.arange(0, 60, 1 / RATE)
    blinks = find_blinks(times, lids(times, list(np.linspace(1, 58, count)), 0.2))
    assert len(blinks.times) == count
    minutes = times[-1] / 60
    assert poisson.cdf(count, blinks.high * minutes) == pytest.approx(0.025, abs=1e-6)
    if count:
        assert poisson.sf(count - 1, blinks.low * minutes) == pytest.approx(0.025, abs=1e-6)


def test_a_long_look_downwards_is_no_blink():
    times = np.arange(0, 20, 1 / RATE)
    open_by = lids(times, [])
    open_by[(times > 8) & (times < 10)] *= 0.4
    assert not find_blinks(times, open_by).times


def test_drawn_eyes_are_as_open_as_they_are_drawn():
    drawn = [portrait(2, eyes_open=amount).picture for amount in (0.02, 0.4, 1.0)]
    finder = FaceFinder(DrawnFace())
    values = [openness(pixels, finder(pixels)[0]) for pixels in drawn]
    assert values == sorted(values) and values[0] < 0.7 * values[2]
    outside = FaceFinder(DrawnFace())(drawn[0])[0].moved(600, 600, 1)
    assert math.isnan(openness(drawn[0], outside))


def meshes(num: int) -> np.ndarray:
    (face,) = DrawnFace().find(portrait().picture)
    return np.repeat(DrawnMesh().find(portrait().picture, face)[None], num, axis=0)


def test_clips_that_are_too_short_slow_or_small_are_not_judged():
    eyes = np.full(100, 0.7)
    assert clip_blinks(np.arange(50) / RATE, eyes[:50], 30).answer == "short"
    assert clip_blinks(np.arange(30) / 5, eyes[:30], 30).answer == "slow"
    assert clip_blinks(np.arange(100) / RATE, eyes, 8).answer == "narrow"
    assert clip_blinks(np.arange(100) / RATE, 0.1 * eyes, 30).answer == "hidden"
    assert clip_blinks(np.arange(100) / RATE, np.full(100, np.nan), 30).answer == "short"
    assert clip_blinks(np.arange(100) / RATE, eyes, 30).status == "clear"


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 4), st.integers(0, 99))
def test_shake_is_that_of_the_points_and_not_of_the_head(amount, seed):
    rng = np.random.default_rng(seed)
    frames = meshes(60)
    angles, sizes = 0.2 * np.sin(np.arange(60) / 9), 1 + 0.1 * np.sin(np.arange(60) / 7)
    turns = np.array([[[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in angles])
    moved = np.einsum("fij,fkj->fki", turns * sizes[:, None, None], frames[..., :2])
    moved += 20 * np.cumsum(rng.normal(size=(60, 1, 2)), axis=0)
    shaken = np.concatenate([moved + amount * rng.normal(size=moved.shape), frames[..., 2:]], axis=2)
    shake, motion = jitter(shaken, 100.0)
    assert shake == pytest.approx(10 * amount, rel=0.2, abs=0.05)
    assert motion > 50


@pytest.mark.parametrize("alone", [False, True])
def test_an_inner_face_that_moves_to_and_fro_alone_is_told_from_a_head_that_does(alone):
    rng = np.random.default_rng(0)
    still = square(portrait().picture, DrawnFace().find(portrait().picture)[0].landmarks)
    still = cv2.add(still, rng.integers(0, 30, still.shape, dtype=np.uint8))
    weight = (np.hypot(*np.mgrid[-1 : 1 : NUM * 1j, -1 : 1 : NUM * 1j]) < 0.55).astype(np.float32)
    weight = cv2.GaussianBlur(weight, (0, 0), 3) if alone else np.ones_like(weight)
    frames = []
    for _ in range(12):
        shift = np.column_stack([np.eye(2), rng.normal(0, 1, 2)])
        moved = cv2.warpAffine(still, shift, (NUM, NUM), borderMode=cv2.BORDER_REPLICATE)
        frames.append((weight * moved + (1 - weight) * still).astype(np.uint8))
    inner, rim = unsteadiness(np.array(frames))
    if alone:
        assert inner > 20 and inner > 1.5 * rim
    else:
        assert inner < 10


def test_drawn_clips_are_answered_and_weights_are_asked_for():
    frames = [(at / RATE, portrait().picture) for at in range(20)]
    findings = clip_cues(frames, DrawnFace(), DrawnMesh())
    assert [finding.tool for finding in findings] == ["clip_blinks", "clip_jitter", "clip_warping"]
    assert [finding.status for finding in findings] == ["abstained", "clear", "clear"]
    assert findings[1].score == pytest.approx(0, abs=1e-6)
    words = Catalogue()
    for each in (
        *findings,
        *clip_cues(frames, None, None),
        *clip_cues(frames, DrawnFace(), None),
        *clip_cues([], DrawnFace(), DrawnMesh()),
    ):
        assert words.answer(each) and words.look(each.tool) and words.ignore(each.tool)
        assert each.status == "abstained" or each in findings


def animated(
    pixels: np.ndarray, face, seconds: float, blinks: list[float], swapped: bool, rng
) -> list[np.ndarray]:
    """A still face that moves as a head does; its lids close at these seconds; swapped: the inner face is drawn anew
    in every frame, softer and a little displaced."""
    size = pixels.shape[0]
    frames = []
    for at in np.arange(0, seconds, 1 / RATE):
        frame = pixels.copy()
        if swapped:
            weight = np.zeros((size, size), np.float32)
            cv2.fillPoly(weight, [np.rint(face.outline("face")).astype(np.int32)], 1.0)
            weight = cv2.GaussianBlur(cv2.erode(weight, np.ones((15, 15))), (0, 0), 4)[..., None]
            turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 0.7), 1 + rng.normal(0, 0.01))
            turn[:, 2] += rng.normal(0, 1.2, 2)
            other = cv2.warpAffine(
                cv2.GaussianBlur(frame, (0, 0), 1 + rng.uniform()), turn, (size, size), borderMode=1
            )
            frame = (frame * (1 - weight) + other * weight).astype(np.uint8)
        shut = max((math.exp(-(((at - blink) / 0.09) ** 2)) for blink in blinks), default=0.0)
        for part in ("left_eye", "right_eye"):
            _close(frame, face.outline(part), shut)
        head = cv2.getRotationMatrix2D((size / 2, size / 2), 4 * math.sin(at), 1 + 0.03 * math.sin(1.3 * at))
        head[:, 2] += 6 * math.sin(0.9 * at), 4 * math.cos(1.1 * at)
        frame = cv2.warpAffine(frame, head, (size, size), borderMode=1)
        frames.append(np.clip(frame + rng.normal(0, 1.5, frame.shape), 0, 255).astype(np.uint8))
    return frames


def _close(frame: np.ndarray, outline: np.ndarray, shut: float) -> None:
    """Draws the upper lid down over an eye, of the colour of the skin below it, with a line of lashes at its edge."""
    if shut < 0.05:
        return
    num = len(outline)
    lower, upper = outline[: num // 2 + 1], np.concatenate([outline[num // 2 :], outline[:1]])[::-1]
    edge = upper + shut * (lower - upper)
    x, y = np.rint(lower[num // 4] + (0, np.ptp(outline[:, 0]) / 3)).astype(int)
    skin = np.median(frame[y - 2 : y + 3, x - 4 : x + 5].reshape(-1, 3), axis=0)
    lid = np.concatenate([upper - (0, 1), edge[::-1]])
    cv2.fillPoly(frame, [np.rint(lid).astype(np.int32)], (0.93 * skin).tolist(), cv2.LINE_AA)
    cv2.polylines(frame, [np.rint(edge).astype(np.int32)], False, (0.5 * skin).tolist(), 1, cv2.LINE_AA)


def written(path, frames: list[np.ndarray]):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.mark.slow
def test_shut_eyes_of_real_faces_are_shut(real_data, real_weights):
    finder = FaceFinder(
        FaceDetector(real_weights / "yunet_n_640_640.onnx"),
        FaceMesh(real_weights / "mediapipe_face_landmark_468.tflite"),
    )
    folder = real_data / FACES / "real_vs_fake" / "real-vs-fake" / "train" / "real"
    shut = [folder / f"{name}.jpg" for name in ("27497", "22107", "33330", "57377", "22923")]
    if not all(file.is_file() for file in shut):
        pytest.skip("other faces of 140K than those that were looked at")
    values = []
    for file in (*shut, *sorted(folder.glob("*.jpg"))[::40]):
        pixels = decode(file.read_bytes())
        (face, *_) = finder(pixels)
        values.append(openness(pixels, face))
    # one in ten wears dark glasses
    assert max(values[:5]) < 0.15 < np.quantile(values[5:], 0.2)


@pytest.mark.slow
def test_a_film_of_a_real_face_has_its_blinks_counted_and_a_redrawn_one_shakes(
    tmp_path, real_data, real_weights
):
    detector = FaceDetector(real_weights / "yunet_n_640_640.onnx")
    mesh = FaceMesh(real_weights / "mediapipe_face_landmark_468.tflite")
    finder = FaceFinder(detector, mesh)
    rng = np.random.default_rng(0)
    counted, stronger = [], []
    for file in sorted((real_data / FACES).rglob("test/real/*.jpg"))[:40]:
        pixels = decode(file.read_bytes())
        (face, *_) = finder(pixels)
        if abs(face.yaw) > 0.15 or openness(pixels, face) < 0.6 or len(counted) == 2:
            continue
        blinks = [0.8, 2.0, 3.2]
        clips = [
            written(tmp_path / f"{swapped}.mp4", animated(pixels, face, 4, blinks, swapped, rng))
            for swapped in (False, True)
        ]
        honest, redrawn = (clip_findings(clip, detector, mesh) for clip in clips)
        counted.append(honest[0].facts["count"])
        stronger.append([one.score < other.score for one, other in zip(honest[1:], redrawn[1:], strict=True)])
        assert honest[0].facts["low"] < 3 / 4 * 60 < honest[0].facts["high"]
    assert counted == [3, 3]
    assert np.all(stronger)


def test_a_file_that_is_no_video_is_refused(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no film")
    with pytest.raises(Undecodable):
        clip_findings(path, DrawnFace(), DrawnMesh())
