"""Head geometry: a rounded solid turned by yaw, pitch and roll, and where each point of a face is drawn."""

from __future__ import annotations

import math

import numpy as np

from dfd.synthetic.person import Person, Sitting

CROWN_TO_WIDEST = -0.08  # where the head is widest, in half head heights from its middle


class Head:
    """A person's head in one sitting.

    Two frames: (u, v) is the head as seen, upright, in half head heights; (X, Y) is the face as if seen from
    the front, on which features are placed. `place` goes from the second to the canvas, `face_at` back.
    """

    def __init__(self, person: Person, sitting: Sitting):
        self.person, self.sitting = person, sitting
        # plain floats keep float32 maps float32
        self.cos, self.sin = (math.cos(sitting.roll), math.sin(sitting.roll))
        # powers are slow, a table is not
        self._widths = self._outline(np.linspace(-1, 1, 4096)).astype(np.float32)

    def seen_at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(u, v) of places on the canvas."""
        dx, dy = (x - self.sitting.at_x) / self.sitting.scale, (y - self.sitting.at_y) / self.sitting.scale
        return self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx

    def half_width(self, v: np.ndarray) -> np.ndarray:
        """The outline's half width at heights v; 0 above the crown and below the chin."""
        at = np.clip((np.asarray(v, np.float32) + 1.0) * (len(self._widths) / 2), 0, len(self._widths) - 1)
        return self._widths[at.astype(np.int32)]

    def _outline(self, v: np.ndarray) -> np.ndarray:
        jaw = self.person.jaw
        below = np.clip((v - CROWN_TO_WIDEST) / (1.0 - CROWN_TO_WIDEST), 0.0, 1.0)
        above = np.clip((CROWN_TO_WIDEST - v) / (1.0 + CROWN_TO_WIDEST), 0.0, 1.0)
        lower = (1.0 - below ** (2.0 + 0.9 * jaw)) ** (1.0 / (1.55 + 0.5 * jaw))
        upper = (1.0 - above**2.3) ** (1.0 / 2.2)
        return self.person.width * np.where(v > CROWN_TO_WIDEST, lower, upper)

    def face_at(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(X, Y) of what is seen at (u, v), and the depth of the smooth solid there, 0 at the outline."""
        half = self.half_width(v)
        across = np.clip(u / np.maximum(half, 1e-3), -1.0, 1.0)
        high = np.clip(v, -1.0, 1.0)
        face_y = np.sin(np.clip(np.arcsin(high) - self.sitting.pitch, -1.5, 1.5))
        turn = np.arcsin(across) - self.sitting.yaw
        # Past a quarter turn lies the back of the head; let X grow on instead of folding the face over.
        folded = np.where(
            np.abs(turn) > np.pi / 2, np.sign(turn) * (1.0 + np.abs(turn) - np.pi / 2), np.sin(turn)
        )
        depth = np.sqrt(np.maximum(1.0 - across * across, 0.0)) * np.sqrt(
            np.maximum(1.0 - np.abs(high) ** 2.6, 0.0)
        )
        return folded * self.half_width(face_y), face_y, 0.8 * depth

    def place(self, points: np.ndarray, num: int) -> np.ndarray:
        """Pixels (K, 2) on a picture of `num` pixels a side, of points (K, 2) given as (X, Y)."""
        face_x, face_y = np.asarray(points, dtype=np.float64).T
        half = np.maximum(self.half_width(face_y), 1e-3)
        v = np.sin(np.clip(np.arcsin(np.clip(face_y, -1, 1)) + self.sitting.pitch, -1.5, 1.5))
        turn = np.clip(np.arcsin(np.clip(face_x / half, -1, 1)) + self.sitting.yaw, -1.5, 1.5)
        u = np.sin(turn) * self.half_width(v)
        x = self.sitting.at_x + self.sitting.scale * (self.cos * u - self.sin * v)
        y = self.sitting.at_y + self.sitting.scale * (self.sin * u + self.cos * v)
        return np.stack([x + 1.0, y + 1.0], axis=1) * (num / 2) - 0.5

    def landmarks(self) -> dict[str, np.ndarray]:
        """Named points (K, 2) as (X, Y): the eyes, the nose's tip, the mouth, and the outline of the inner
        face.
        """
        p, s = self.person, self.sitting
        mouth_y = p.eye_height + p.nose_length + p.mouth_height
        corner = p.mouth_width * (1.0 + 0.12 * s.smile)
        brow = p.eye_height - p.brow_height - 0.09
        side = p.eye_gap + p.eye_width
        right = [
            (0.2, brow),
            (side, brow + 0.06),
            (side + 0.04, 0.2),
            (corner + 0.1, mouth_y),
            (0.14, mouth_y + 0.2),
        ]
        inner = right + [(-x, y) for x, y in reversed(right)]
        return {
            "eyes": np.array([(-p.eye_gap, p.eye_height), (p.eye_gap, p.eye_height)]),
            "nose": np.array([(0.0, p.eye_height + p.nose_length - 0.05)]),
            "mouth": np.array([(-corner, mouth_y), (0.0, mouth_y), (corner, mouth_y)]),
            "inner": np.array(inner),
        }
