import math

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFace, DrawnMesh, portrait
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.forensics.face import FaceFinder
from dfd.forensics.face.eyes import NUM, Eye, disagreement, face_eyes, measure, pupil_iou
from dfd.forensics.face.iris import disc, find_iris, from_middle, unrolled

DRAWN = FaceFinder(DrawnFace(), DrawnMesh())
CORNERS = np.linspace(0, 2 * np.pi, 24, endpoint=False)
LIDS = np.stack([80 + 60 * np.cos(CORNERS), 60 + 22 * np.sin(CORNERS)], axis=1)


def eye_with(x: float, y: float, radius: float, highlight: tuple[float, float] | None = None) -> np.ndarray:
    """(120, 160) float32: an eye 120 pixels wide, white, with a grey iris and a black pupil."""
    gray = np.full((120, 160), 150, np.uint8)
    cv2.fillPoly(gray, [np.rint(LIDS * 16).astype(np.int32)], 210, cv2.LINE_AA, 4)
    for size, value in ((radius, 90), (0.4 * radius, 25)):
        cv2.circle(gray, (round(x * 16), round(y * 16)), round(size * 16), value, -1, cv2.LINE_AA, 4)
    if highlight:
        at = (round(x + highlight[0] * radius), round(y + highlight[1] * radius))
        cv2.circle(gray, at, 3, 250, -1)
    skin = np.full_like(gray, 150)
    inside = np.zeros_like(gray)
    cv2.fillPoly(inside, [np.rint(LIDS).astype(np.int32)], 1)
    return cv2.GaussianBlur(np.where(inside, gray, skin), (0, 0), 0.8).astype(np.float32)


@settings(max_examples=25)
@given(st.floats(64, 96), st.floats(55, 63), st.floats(20, 28))
def test_an_iris_is_found_where_it_was_drawn(x, y, radius):
    iris = find_iris(eye_with(x, y, radius), LIDS)
    assert math.hypot(iris.x - x, iris.y - y) < 0.25 * radius
    assert iris.radius == pytest.approx(radius, rel=0.2) and iris.contrast > 40


def test_an_empty_eye_has_no_iris():
    assert find_iris(np.full((120, 160), 200, np.float32), LIDS).contrast < 5


def test_highlights_are_counted_and_their_place_is_told():
    picture = portrait(0).picture
    left, right = measure(picture, DRAWN(picture)[0])
    for eye in (left, right):
        assert eye.iris is not None and eye.num_highlights == 1
    assert np.hypot(*np.subtract(from_middle(left.highlights), from_middle(right.highlights))) < 0.4
    finding = face_eyes(picture, DRAWN)
    assert finding.status == "clear" and finding.score == pytest.approx(disagreement(left, right))


def test_a_highlight_that_moves_in_one_eye_alone_is_a_disagreement():
    picture = portrait(0, 700).picture
    (face,) = DRAWN(picture)
    before = measure(picture, face)
    iris = before[0].iris
    changed = picture.copy()
    cv2.circle(changed, (round(iris.x), round(iris.y)), round(0.7 * iris.radius), (60, 50, 40), -1)
    at = (round(iris.x + 0.4 * iris.radius), round(iris.y + 0.3 * iris.radius))
    cv2.circle(changed, at, max(2, round(0.15 * iris.radius)), (255, 255, 255), -1)
    after = measure(changed, face)
    assert disagreement(*after) > disagreement(*before) + 0.2


def spots(*places: tuple[int, int]) -> Eye:
    mask = np.zeros((NUM, NUM), bool)
    for x, y in places:
        mask[y : y + 5, x : x + 5] = True
    return Eye(60, None, mask, len(places), math.nan)


def test_overlap_is_that_of_the_masks_at_the_best_small_shift():
    assert disagreement(spots((20, 20)), spots((20, 20))) == 0
    assert disagreement(spots((20, 20)), spots((22, 20))) == 0  # within a sixth of the iris
    assert disagreement(spots((20, 20)), spots((34, 20))) == 1
    assert disagreement(spots((20, 20), (30, 30)), spots((20, 20))) == pytest.approx(0.5)
    assert disagreement(spots((20, 20)), spots()) == 1
    assert math.isnan(disagreement(spots(), spots()))


@settings(max_examples=15)
@given(st.floats(0.75, 1.0), st.floats(0, 180))
def test_an_elliptic_pupil_is_an_ellipse_and_a_star_is_none(flat, angle):
    num = 2 * NUM

    def drawn(radius_at) -> np.ndarray:
        turn = np.radians(angle)
        steps = np.linspace(0, 2 * np.pi, 200)
        radius = radius_at(steps)
        x, y = radius * np.cos(steps), flat * radius * np.sin(steps)
        outline = num / 2 + np.stack(
            [x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1
        )
        gray = np.full((num, num), 120, np.uint8)
        cv2.fillPoly(gray, [np.rint(outline * 16).astype(np.int32)], 20, cv2.LINE_AA, 4)
        return gray.astype(np.float32)

    ellipse = pupil_iou(drawn(lambda steps: np.full_like(steps, 20)))
    star = pupil_iou(drawn(lambda steps: 20 + 6 * np.cos(5 * steps)))
    assert ellipse > 0.8 and star < ellipse - 0.25


def test_an_even_iris_has_no_pupil():
    assert math.isnan(pupil_iou(np.full((96, 96), 80, np.float32)))


def test_unrolling_brings_the_iris_to_the_disc():
    iris = find_iris(eye_with(80, 60, 24), LIDS)
    seen = unrolled(eye_with(80, 60, 24), iris, NUM)
    assert seen[disc(NUM, 0.6)].mean() < 100 < seen[~disc(NUM, 1.15)].mean()


def test_narrow_eyes_and_pictures_without_a_face_are_not_judged():
    assert face_eyes(portrait(size=128).picture, DRAWN).answer == "narrow"

    class Nothing:
        def find(self, image):
            return []

    assert face_eyes(portrait(size=128).picture, FaceFinder(Nothing())).status == "abstained"
