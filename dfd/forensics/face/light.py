"""Light on a face: spherical harmonics fitted to its brightness over the directions of its skin.

Johnson and Farid, "Exposing digital forgeries in complex lighting environments", IEEE TIFS 2007; Kee and
Farid, "Exposing digital forgeries from 3-D lighting environments", WIFS 2010: what a matt surface shows of
any distant light is nine numbers, so two faces in one light have the same nine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dfd.forensics.face.geometry import FaceFinder, FaceGeometry, filled
from dfd.forensics.finding import Finding, Method, Region, Table
from dfd.media.face_mesh import BY_MESH
from dfd.media.warp import sampled

METHOD = Method("face_light", "Johnson and Farid 2007; Kee and Farid 2010", kind="shows")
MIN_UNIT = 24  # about the distance of the eyes, in pixels
NUM = 64  # side of the grid on which a face is measured
MAX_FACES = 8  # the largest ones
NO_MESH = f"the directions of skin come from the mesh of 468 points: {BY_MESH}"


@dataclass(frozen=True)
class Light:
    """What falls on a face, as its skin tells.

    Args:
        coefficients: (9,) of the real spherical harmonics up to degree 2, for a face of mean brightness 1.
        residual: root mean square of what they leave, in mean brightnesses.
    """

    coefficients: np.ndarray
    residual: float

    @property
    def direction(self) -> np.ndarray:
        """(3,) towards the light: right, down, away from the viewer; of length 0 in even light."""
        towards = self.coefficients[[3, 1, 2]]
        length = float(np.linalg.norm(towards))
        return towards / length if length > 1e-6 else np.zeros(3)


def face_light(pixels: np.ndarray, finder: FaceFinder) -> Finding:
    """Where the light on each face comes from, and how far apart that is between them.

    It never says "found": beards, hats and make-up turn the light of a real face by tens of degrees.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        finder: of faces, with a mesh.
    """
    located = finder(pixels)
    if not located:
        return METHOD("abstained", "no_face")
    if located[0].mesh is None:
        return METHOD("abstained", "no_mesh", facts={"why": NO_MESH})
    if located[0].unit < MIN_UNIT:
        return METHOD("abstained", "near", facts={"unit": round(located[0].unit), "needed": MIN_UNIT})
    lit: list[tuple[int, FaceGeometry, Light]] = []
    for number, face in enumerate(located[:MAX_FACES]):
        if face.mesh is not None and face.unit >= MIN_UNIT:
            light = measure(pixels, face)
            if light is not None:
                lit.append((number, face, light))
    if not lit:
        return METHOD("abstained", "no_skin")
    rows = tuple((number + 1, *_angles(light), round(light.residual, 3)) for number, _, light in lit)
    regions = tuple(Region(face.box, "face", number) for number, face, _ in lit)
    values = {"table": Table(("face", "sideways", "upwards", "residual"), rows), "regions": regions}
    residual = lit[0][2].residual
    if len(lit) == 1:
        _, sideways, upwards, _ = rows[0]
        facts = {"residual": residual, "sideways": abs(sideways), "upwards": upwards}
        answer = "from_left" if sideways < 0 else "from_right"
        return METHOD("clear", answer, facts=facts, score=residual, unit="residual", **values)
    apart = max(difference(one, other) for _, _, one in lit for _, _, other in lit)
    facts = {"count": len(lit), "apart": round(apart), "residual": residual}
    return METHOD("clear", "several", facts=facts, score=residual, unit="residual", **values)


def difference(one: Light, other: Light) -> float:
    """Degrees between the directions of two lights; 0 where one of them is even."""
    cosine = float(one.direction @ other.direction)
    if not one.direction.any() or not other.direction.any():
        return 0.0
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def measure(pixels: np.ndarray, face: FaceGeometry) -> Light | None:
    """The light on a face; None where too little of it is skin of a measurable brightness."""
    seen = _surface(pixels, face)
    if seen is None:
        return None
    normals, brightness = seen
    return fit(normals, brightness)


def fit(normals: np.ndarray, brightness: np.ndarray) -> Light:
    """The nine coefficients by least squares, twice: what is far off after the first time (brows,
    highlights, hair) does not count in the second.

    Args:
        normals: (K, 3) outward, of length 1.
        brightness: (K,) linear light.
    """
    values = brightness / max(float(brightness.mean()), 1e-6)
    base = harmonics(normals)
    # a face shows half of all directions: without a little weight on small numbers they balance one another
    weight = 0.01 * len(values) * np.eye(9)
    weight[0, 0] = 0
    chosen = np.ones(len(values), bool)
    coefficients = np.zeros(9)
    for _ in range(2):
        rows = base[chosen]
        coefficients = np.linalg.solve(rows.T @ rows + weight, rows.T @ values[chosen])
        apart = np.abs(base @ coefficients - values)
        chosen = apart <= 2.5 * 1.4826 * np.median(apart) + 1e-6
    residual = float(np.sqrt(np.mean((base[chosen] @ coefficients - values[chosen]) ** 2)))
    return Light(coefficients, residual)


def harmonics(normals: np.ndarray) -> np.ndarray:
    """(K, 9) real spherical harmonics of degree 0, 1 and 2 at directions (K, 3), each times what a matt
    surface keeps of its degree: pi, 2 pi / 3, pi / 4 (Ramamoorthi and Hanrahan 2001)."""
    x, y, z = normals.T
    one, two, three = math.pi, 2 * math.pi / 3, math.pi / 4
    return np.stack(
        [
            one * np.full_like(x, 0.5 * math.sqrt(1 / math.pi)),
            two * math.sqrt(3 / (4 * math.pi)) * y,
            two * math.sqrt(3 / (4 * math.pi)) * z,
            two * math.sqrt(3 / (4 * math.pi)) * x,
            three * 0.5 * math.sqrt(15 / math.pi) * x * y,
            three * 0.5 * math.sqrt(15 / math.pi) * y * z,
            three * 0.25 * math.sqrt(5 / math.pi) * (3 * z * z - 1),
            three * 0.5 * math.sqrt(15 / math.pi) * x * z,
            three * 0.25 * math.sqrt(15 / math.pi) * (x * x - y * y),
        ],
        axis=1,
    )


def _surface(pixels: np.ndarray, face: FaceGeometry) -> tuple[np.ndarray, np.ndarray] | None:
    """Normals (K, 3) and linear brightness (K,) of a face's skin, on a grid of 64 places over its longer
    side; None of less than 400 places."""
    outline = face.outline("face")
    low = outline.min(0)
    step = max(float(np.ptp(outline, axis=0).max()) / NUM, 1e-3)
    normals, known = _normals(face, low, step)
    skin = known & filled(known.shape, (outline - low) / step)
    for part in ("left_eye", "right_eye", "left_brow", "right_brow", "mouth"):
        skin &= ~filled(known.shape, (face.outline(part) - low) / step)
    # what is seen from the side the mesh guesses
    skin &= normals[..., 2] < -0.25
    to_grid = np.array([[1 / step, 0, -low[0] / step], [0, 1 / step, -low[1] / step]])
    luma = cv2.cvtColor(sampled(pixels, to_grid, NUM), cv2.COLOR_RGB2GRAY)
    skin &= (luma > 12) & (luma < 250)
    if skin.sum() < 400:
        return None
    linear = (luma.astype(float) / 255) ** 2.2
    return normals[skin], linear[skin]


def _normals(face: FaceGeometry, low: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(64, 64, 3) outward normals of the mesh's surface on a grid that begins at `low`, and where it has
    one."""
    # a third of a second to import, for faces alone
    from scipy.interpolate import LinearNDInterpolator

    assert face.mesh is not None
    surface = LinearNDInterpolator((face.mesh[:, :2] - low) / step, face.mesh[:, 2] / step)
    columns, rows = np.meshgrid(np.arange(NUM), np.arange(NUM))
    depth = surface(columns, rows)
    known = np.isfinite(depth)
    # the mesh is made of flat triangles, skin is not
    weight = cv2.GaussianBlur(known.astype(float), (0, 0), 1.5)
    depth = cv2.GaussianBlur(np.where(known, depth, 0), (0, 0), 1.5) / np.maximum(weight, 1e-6)
    across, down = (cv2.Sobel(depth, cv2.CV_64F, *axis) / 8 for axis in ((1, 0), (0, 1)))
    # nearer is less depth, so outward is towards the viewer: -1
    normals = np.stack([across, down, -np.ones_like(depth)], axis=-1)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True), weight > 0.95


def _angles(light: Light) -> tuple[int, int]:
    """Degrees by which the light stands to the viewer's right and above, from straight ahead."""
    x, y, z = light.direction
    return round(math.degrees(math.atan2(x, -z))), round(math.degrees(math.asin(max(-1.0, min(1.0, -y)))))
