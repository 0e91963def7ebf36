import pickle

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFace, DrawnMesh, portrait
from hypothesis import given
from hypothesis import strategies as st

from dfd.forensics import Catalogue
from dfd.forensics.face import FaceFinder, FaceGeometry, face_tools
from dfd.forensics.face.geometry import cut, filled
from dfd.media.decode import decode
from dfd.media.face_mesh import FaceMesh
from dfd.media.face_topology import JAW, MIDLINE, MIRRORED, NUM_POINTS, PARTS
from dfd.media.faces import FaceDetector

MESH = "mediapipe_face_landmark_468.tflite"


@pytest.fixture(scope="module")
def finder(real_weights):
    return FaceFinder(FaceDetector(real_weights / "yunet_n_640_640.onnx"), FaceMesh(real_weights / MESH))


@pytest.fixture(scope="module")
def frontal(real_data, finder):
    """Pixels and face of up to 20 real pictures of people who look into the camera."""
    files = sorted((real_data / "140k-real-and-fake-faces").rglob("real/*.jpg"))[::40]
    pictures = (decode(file.read_bytes()) for file in files)
    found = ((pixels, face) for pixels in pictures for face in finder(pixels)[:1])
    return [(pixels, face) for pixels, face in found if abs(face.yaw) < 0.15][:20]


def test_the_topology_names_each_point_once_a_part_and_pairs_no_point_with_itself():
    for numbers in (*PARTS.values(), JAW, MIDLINE):
        assert len(set(numbers)) == len(numbers) and all(0 <= number < NUM_POINTS for number in numbers)
    paired = [number for pair in MIRRORED for number in pair]
    assert len(set(paired)) == len(paired) and not set(paired) & set(MIDLINE)
    assert set(JAW) < set(PARTS["face"])
    # all points of the parts are paired, but for those on the midline
    assert {number for numbers in PARTS.values() for number in numbers} - set(paired) <= {
        10,
        152,
        0,
        17,
        13,
        14,
    }


def test_the_mesh_lies_on_the_face_and_its_parts_where_the_detector_sees_them(frontal):
    assert len(frontal) >= 10
    for _, face in frontal:
        assert face.mesh is not None
        for part, point in (("left_eye", 0), ("right_eye", 1)):
            assert np.linalg.norm(face.outline(part).mean(0) - face.points[point]) < 0.3 * face.unit
        corners = face.mesh[[61, 291], :2]
        assert np.linalg.norm(corners - face.points[3:], axis=1).max() < 0.3 * face.unit
        left, top, right, bottom = *face.outline("face").min(0), *face.outline("face").max(0)
        x, y, width, height = face.box
        shared = (min(right, x + width) - max(left, x)) * (min(bottom, y + height) - max(top, y))
        assert shared > 0.6 * width * height
        # a nose stands out
        assert face.mesh[1, 2] < face.mesh[[234, 454], 2].min()


def test_mirrored_points_are_mirrored_on_faces_seen_from_the_front(frontal):
    left, right = np.array(MIRRORED).T
    for _, face in frontal:
        middle = face.mesh[list(MIDLINE), :2]
        assert (face.mesh[left, 0] < face.mesh[right, 0]).all()
        heights = face.mesh[left, 1] - face.mesh[right, 1]
        roll = face.mesh[263, :2] - face.mesh[33, :2]
        lengths = face.mesh[right, 0] - face.mesh[left, 0]
        assert np.abs(heights + roll[1] / roll[0] * lengths).max() < 0.25 * face.unit
        assert np.ptp(middle[:, 0]) < face.unit


def test_the_ellipses_by_five_points_are_about_the_mesh(frontal):
    for pixels, face in frontal:
        plain = FaceGeometry(face.box, face.score, face.points)
        by_mesh, by_points = (filled(pixels.shape, each.outline("face")) for each in (face, plain))
        assert (by_mesh & by_points).sum() > 0.75 * (by_mesh | by_points).sum()


def test_the_mesh_turns_with_the_picture(frontal, finder):
    pixels, face = frontal[0]
    size = pixels.shape[0]
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), 20, 0.8)
    (turned,) = finder(cv2.warpAffine(pixels, turn, (size, size)))
    expected = face.mesh[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert np.median(np.linalg.norm(turned.mesh[:, :2] - expected, axis=1)) < 0.08 * face.unit


@pytest.mark.slow
def test_the_mesh_of_an_enlarged_face_is_the_enlarged_mesh(frontal, finder):
    for pixels, face in frontal[:3]:
        large = finder(cv2.resize(pixels, None, fx=7, fy=7, interpolation=cv2.INTER_CUBIC))[0]
        apart = np.linalg.norm(large.mesh[:, :2] / 7 - face.mesh[:, :2], axis=1)
        assert np.median(apart) < 0.06 * face.unit


@pytest.mark.parametrize("what", ["text", "other net", "missing", "cut off"])
def test_a_file_that_is_no_mesh_is_one_clear_error(tmp_path, real_weights, what):
    path = tmp_path / "mesh.tflite"
    if what == "text":
        path.write_text("no network at all")
    if what == "other net":
        path.write_bytes((real_weights / "yunet_n_640_640.onnx").read_bytes())
    if what == "cut off":
        path.write_bytes((real_weights / MESH).read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"(?s)mesh\.tflite.*(468 points).*leave the mesh"):
        FaceMesh(path)


def test_a_mesh_goes_to_a_spawned_worker(real_weights, frontal):
    pixels, face = frontal[0]
    mesh = FaceMesh(real_weights / MESH)
    (found,) = FaceDetector(real_weights / "yunet_n_640_640.onnx").find(pixels)
    assert np.array_equal(pickle.loads(pickle.dumps(mesh)).find(pixels, found), face.mesh)


def test_a_picture_is_searched_once_for_all_tools():
    calls = []

    class Counting(DrawnFace):
        def find(self, image):
            calls.append(image.shape)
            return super().find(image)

    tools = face_tools(Counting(), DrawnMesh())
    for size in (96, 128):
        pixels = np.zeros((size, size, 3), np.uint8)
        for tool in tools:
            tool.run(pixels)
    assert calls == [(96, 96, 3), (128, 128, 3)]


def test_without_a_detector_every_tool_abstains_and_says_what_to_install():
    for tool in face_tools(None):
        finding = tool.run(portrait(size=64).picture)
        assert finding.status == "abstained"
        assert "dfd[faces]" in Catalogue().answer(finding)


def test_drawn_faces_are_found_by_the_real_detector_where_the_stand_in_says(finder):
    for seed in range(3):
        pixels = portrait(seed).picture
        (face,) = finder(pixels)
        (drawn,) = DrawnFace().find(pixels)
        assert np.linalg.norm(face.points - drawn.landmarks, axis=1).max() < 0.3 * face.unit
        assert face.mesh is not None


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(-200, 400),
    st.floats(-200, 400),
    st.floats(1, 500),
    st.integers(8, 200),
)
def test_a_cutting_holds_the_pixels_of_the_picture_and_no_more_than_asked_for(shape, x, y, side, longest):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    x, y = min(max(x, 0), shape[1] - 1), min(max(y, 0), shape[0] - 1)
    box = (x, y, min(side, shape[1] - x), min(side, shape[0] - y))
    face = FaceGeometry(box, 1.0, np.full((5, 2), (x, y), float))
    part, moved = cut(pixels, face, 0.3, longest)
    assert max(part.shape[:2]) <= longest and part.size
    scale = moved.box[2] / box[2]
    if scale == 1:
        column, row = (round(face.points[0, axis] - moved.points[0, axis]) for axis in (0, 1))
        assert np.array_equal(part, pixels[row : row + part.shape[0], column : column + part.shape[1]])
