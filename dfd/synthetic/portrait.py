"""Drawing a portrait: one picture of a person, of a sitting and a camera; usable alone in a notebook."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfd.synthetic.camera import Camera
from dfd.synthetic.canvas import grid
from dfd.synthetic.face import paint_face
from dfd.synthetic.head import Head
from dfd.synthetic.person import Person, Sitting
from dfd.synthetic.setting import backdrop, paint_body, paint_glasses, paint_hair

OVERSAMPLING = 1.25  # canvas pixels a picture pixel; edges are soft already, the lens does the rest


@dataclass(frozen=True)
class Portrait:
    """A photographed drawing."""

    picture: np.ndarray  # (size, size, 3) uint8 RGB
    # named points (K, 2) as x, y in pixels: eyes, nose, mouth, inner (the inner face's outline)
    marks: dict[str, np.ndarray]
    sitting: Sitting


def draw_person(
    identity: int, rng: np.random.Generator, size: int = 160, sitting: Sitting | None = None
) -> Portrait:
    """Draws and photographs a person.

    Args:
        identity: who; the same number is the same person in every picture.
        rng: all that changes from picture to picture: background, camera and, without `sitting`, pose,
            expression and light.
        size: side of the picture in pixels.
    """
    sitting = sitting or Sitting.draw(rng)
    head = Head(Person.born(identity), sitting)
    num = round(size * OVERSAMPLING)
    light = backdrop(rng, num)
    u, v = head.seen_at(*grid(num))
    paint_hair(light, u, v, head, rng, behind=True)
    paint_body(light, u, v, head, rng)
    paint_face(light, u, v, head, rng)
    paint_hair(light, u, v, head, rng, behind=False)
    paint_glasses(light, u, v, head)
    marks = {name: head.place(points, size) for name, points in head.landmarks().items()}
    return Portrait(Camera.draw(rng).photograph(light, size, rng), marks, sitting)
