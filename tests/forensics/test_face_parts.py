"""Teeth, symmetry and light of a face."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFace, DrawnMesh, portrait
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import lpmv

from dfd.forensics.face import FaceFinder, face_tools
from dfd.forensics.face.geometry import FaceGeometry
from dfd.forensics.face.light import Light, difference, face_light, fit, harmonics, measure
from dfd.forensics.face.symmetry import detail_asymmetry, face_symmetry, shape_asymmetry
from dfd.forensics.face.teeth import face_teeth
from dfd.forensics.face.teeth import measure as measure_teeth
from dfd.media.face_topology import MIDLINE, MIRRORED

DRAWN = FaceFinder(DrawnFace(), DrawnMesh())
PLAIN = FaceFinder(DrawnFace())


def test_teeth_without_gaps_are_smoother():
    picture = portrait(1, mouth_open=0.6).picture
    (face,) = DRAWN(picture)
    low, high = (
        edge.astype(int) for edge in (face.outline("inner_mouth").min(0), face.outline("inner_mouth").max(0))
    )
    mouth = np.s_[low[1] : high[1], low[0] : high[0]]
    gapless, gaps = picture.copy(), picture.copy()
    gapless[mouth] = 215
    gaps[mouth] = 215
    gaps[mouth][:, :: max(4, (high[0] - low[0]) // 10)] = 120
    assert measure_teeth(gapless, face)[0] > measure_teeth(gaps, face)[0] + 1
    assert face_teeth(gaps, DRAWN).status == "clear"


def test_a_closed_mouth_shows_no_teeth():
    picture = portrait(1).picture
    (face,) = DRAWN(picture)
    mesh = face.mesh.copy()
    middle = face.outline("inner_mouth").mean(0)[1]
    mesh[:, 1] = np.where(np.abs(mesh[:, 1] - middle) < 60, middle + 0.02 * (mesh[:, 1] - middle), mesh[:, 1])
    assert math.isnan(measure_teeth(picture, replace(face, mesh=mesh))[0])


@pytest.mark.parametrize("tool", ["face_teeth", "face_symmetry", "face_light"])
def test_without_a_mesh_the_tools_that_need_it_abstain(tool):
    (chosen,) = (each for each in face_tools(DrawnFace(), None) if each.name == tool)
    finding = chosen.run(portrait().picture)
    assert (finding.status, finding.answer) == ("abstained", "no_mesh")


def symmetric(seed: int) -> np.ndarray:
    """(468, 3) mirrored in x = 0."""
    rng = np.random.default_rng(seed)
    mesh = rng.normal(0, 30, (468, 3))
    for left, right in MIRRORED:
        mesh[right] = mesh[left] * (-1, 1, 1)
    mesh[list(MIDLINE), 0] = 0
    return mesh


@settings(max_examples=25)
@given(st.integers(0, 99), st.tuples(*[st.floats(-60, 60)] * 3), st.floats(-500, 500))
def test_a_turned_head_is_as_symmetric_as_before(seed, angles, shift):
    turn = Rotation.from_euler("yxz", angles, degrees=True)
    even = symmetric(seed)
    assert shape_asymmetry(turn.apply(even) + shift, 60) < 1e-6
    uneven = even + np.random.default_rng(seed + 1).normal(0, 3, even.shape)
    assert shape_asymmetry(turn.apply(uneven) + shift, 60) == pytest.approx(
        shape_asymmetry(uneven, 60), rel=0.1
    )


def test_a_mirrored_picture_has_the_same_detail_on_both_sides():
    half = portrait(2).picture[:, :256]
    mirrored = np.concatenate([half, half[:, ::-1]], axis=1)
    (face,) = DRAWN(mirrored)
    shift = 255.5 - face.mesh[list(MIDLINE), 0].mean()
    middle = face.mesh + np.array([shift, 0, 0])
    for left, right in MIRRORED:
        middle[right] = middle[left] * (-1, 1, 1) + (511, 0, 0)
    middle[list(MIDLINE), 0] = 255.5
    even = replace(face, mesh=middle)
    assert detail_asymmetry(mirrored, even) < 0.1
    noise = np.random.default_rng(0).integers(0, 256, mirrored.shape, dtype=np.uint8)
    assert detail_asymmetry(noise, even) > 0.7


def test_symmetry_of_a_turned_face_is_not_judged():
    face = DRAWN(portrait().picture)[0]
    turned = FaceGeometry(face.box, 1.0, face.points + np.outer(np.eye(5)[2], (40, 0)), face.mesh)
    finder = FaceFinder(DrawnFace(), DrawnMesh())
    finder.detector = type("Turned", (), {"find": lambda self, image: [_face(turned)]})()
    assert face_symmetry(portrait().picture, finder).answer == "turned"


def _face(geometry: FaceGeometry):
    from dfd.media.faces import Face

    return Face(geometry.box, geometry.score, geometry.points)


def sphere(num: int = 2000, seed: int = 0) -> np.ndarray:
    """(num, 3) directions, evenly over the half that faces the viewer."""
    directions = np.random.default_rng(seed).normal(size=(num, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:, 2] = -np.abs(directions[:, 2])
    return directions


def test_harmonics_are_those_of_scipy_times_the_matt_surface():
    normals = np.random.default_rng(0).normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    ours = harmonics(normals)
    polar, azimuth = np.arccos(normals[:, 2]), np.arctan2(normals[:, 1], normals[:, 0])
    kept = {0: np.pi, 1: 2 * np.pi / 3, 2: np.pi / 4}
    at = 0
    for degree in range(3):
        for order in range(-degree, degree + 1):
            m = abs(order)
            size = math.sqrt(
                (2 * degree + 1) / (4 * np.pi) * math.factorial(degree - m) / math.factorial(degree + m)
            )
            # lpmv has the sign (-1) ** m of quantum mechanics, which real harmonics go without
            value = (-1) ** m * size * lpmv(m, degree, np.cos(polar))
            wave = 1.0 if order == 0 else math.sqrt(2) * (np.sin if order < 0 else np.cos)(m * azimuth)
            assert np.allclose(ours[:, at], kept[degree] * value * wave)
            at += 1


@settings(max_examples=20)
@given(st.floats(-50, 50), st.floats(-40, 40))
def test_the_direction_of_a_lamp_is_found_on_a_sphere(sideways, upwards):
    a, b = math.radians(sideways), math.radians(upwards)
    lamp = np.array([math.sin(a) * math.cos(b), -math.sin(b), -math.cos(a) * math.cos(b)])
    normals = sphere()
    light = fit(normals, 0.3 + np.clip(normals @ lamp, 0, None))
    # half a sphere and nine numbers do not tell a lamp at its side to the degree
    assert math.degrees(math.acos(light.direction @ lamp)) < 20
    assert light.residual < 0.08


def test_other_lights_are_apart_and_paint_is_no_light():
    normals = sphere()
    left, right = (
        fit(normals, 0.3 + np.clip(normals @ np.array(lamp), 0, None))
        for lamp in ((-0.8, 0, -0.6), (0.8, 0, -0.6))
    )
    assert difference(left, right) > 60 and difference(left, left) < 1e-3
    assert difference(left, Light(np.eye(9)[0], 0.0)) == 0
    painted = np.random.default_rng(0).uniform(0, 1, len(normals))
    assert fit(normals, painted).residual > 5 * left.residual


def test_a_face_lit_from_the_left_is_told_from_one_lit_from_the_right():
    picture = portrait(0).picture
    (face,) = DRAWN(picture)
    across = np.linspace(1.3, 0.5, 512)[None, :, None]
    lit = [np.clip(picture * side, 0, 255).astype(np.uint8) for side in (across, across[:, ::-1])]
    left, right = (measure(pixels, face) for pixels in lit)
    assert left.direction[0] < 0 < right.direction[0]


def test_faces_in_two_lights_are_said_to_be_so():
    class Two:
        def find(self, image):
            (face,) = DrawnFace().find(image[:, :512])
            x, y, width, height = face.box
            return [
                face,
                replace(face, box=(x + 512, y, width, height), landmarks=face.landmarks + np.array([512, 0])),
            ]

    across = np.linspace(1.3, 0.5, 512)[None, :, None]
    picture = portrait(0).picture
    pair = np.concatenate([picture * across, picture * across[:, ::-1]], axis=1).clip(0, 255).astype(np.uint8)
    finding = face_light(pair, FaceFinder(Two(), DrawnMesh()))
    same = face_light(np.concatenate([picture, picture], axis=1), FaceFinder(Two(), DrawnMesh()))
    assert finding.facts["count"] == same.facts["count"] == 2
    assert finding.facts["apart"] > 20 > same.facts["apart"]


def test_a_dark_face_has_no_light_to_measure():
    assert face_light(np.zeros((512, 512, 3), np.uint8), DRAWN).answer == "no_skin"
    assert measure(cv2.merge([np.zeros((512, 512), np.uint8)] * 3), DRAWN(portrait().picture)[0]) is None
