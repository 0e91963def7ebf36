"""Drawing a face: relief and colour of the skin, eyes, brows, nose, mouth, beard, and the light on them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfd.synthetic.canvas import bump, grain, paint, planes, step, strands, window
from dfd.synthetic.head import Head
from dfd.synthetic.person import Sitting

SCATTER = (0.42, 0.3, 0.24)  # red light travels furthest under the skin, and softens its shadows


@dataclass
class Skin:
    """A window of the canvas while it is being made up; X and Y are face coordinates, all maps (H, W)."""

    X: np.ndarray
    Y: np.ndarray
    albedo: np.ndarray  # (3, H, W)
    relief: np.ndarray  # towards the viewer, in half head heights
    gloss: np.ndarray
    soft: float  # one canvas pixel in half head heights: no edge is sharper

    def near(self, at_x: float, at_y: float, reach_x: float, reach_y: float) -> Skin:
        """The part (views, no copies) within reach of a point of the face."""
        cut = window((np.abs(self.X - at_x) < reach_x) & (np.abs(self.Y - at_y) < reach_y))
        return Skin(
            self.X[cut], self.Y[cut], self.albedo[(..., *cut)], self.relief[cut], self.gloss[cut], self.soft
        )


def paint_face(
    canvas: np.ndarray, u: np.ndarray, v: np.ndarray, head: Head, rng: np.random.Generator
) -> None:
    """Paints the head, without hair, onto the canvas in place; u, v (N, N) as the head sees them."""
    p, s, num = head.person, head.sitting, canvas.shape[-1]
    cut = window((np.abs(u) < p.width + 0.03) & (np.abs(v) < 1.03))
    u, v = u[cut], v[cut]
    X, Y, depth = head.face_at(u, v)
    pixel = 2.0 / (num * s.scale)
    skin = Skin(X, Y, planes(p.skin, np.ones_like(X)), depth, np.full_like(X, 0.5), pixel)
    _flesh(skin, head)
    _complexion(skin, head, rng, num)
    mouth_y = p.eye_height + p.nose_length + p.mouth_height
    _beard(skin, head, mouth_y, rng, num)
    _nose(skin, head)
    _mouth(skin, head, mouth_y, rng)
    _brows(skin, head, rng)
    sparks = [_eye(skin, head, side, rng) for side in (-1.0, 1.0)]
    lit = light_up(skin, s)
    for at_x, at_y, size in sparks:  # the lamp mirrored in the wet eye, brighter than anything lit
        paint(lit, 1.4 * s.lamp, np.clip(s.eyes_open * bump(X, Y, at_x, at_y, size, size), 0, 1))
    outline = step(-pixel, pixel, head.half_width(v) - np.abs(u)) * step(1.0 + pixel, 1.0 - pixel, np.abs(v))
    paint(canvas[(..., *cut)], lit, outline)


def light_up(skin: Skin, sitting: Sitting) -> np.ndarray:
    """Light (3, H, W) that comes back from the skin; Lambert with scattering, occlusion in hollows, and a
    soft gloss.
    """
    relief = cv2.GaussianBlur(skin.relief, (0, 0), 0.8)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * skin.soft))
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * skin.soft))
    steep = slope_x**2 + slope_y**2
    # at the outline the solid falls away forever; skin there is still lit from aside
    ease = 1.0 / np.sqrt(1.0 + steep / 9.0)
    norm = 1.0 / np.sqrt(steep * ease * ease + 1.0)
    nx, ny, nz = -slope_x * ease * norm, -slope_y * ease * norm, norm
    lx, ly, lz = (float(part) for part in sitting.light)
    facing = nx * lx + ny * ly + nz * lz
    reach = int(0.12 / skin.soft) * 2 + 1
    hollow = np.clip((relief - cv2.blur(relief, (reach, reach))) * 5.0, -0.35, 0.15)
    sky = 0.75 - 0.25 * ny + hollow
    length = float(np.sqrt(lx * lx + ly * ly + (lz + 1.0) ** 2))
    mirror = np.clip((nx * lx + ny * ly + nz * (lz + 1.0)) / length, 0.0, 1.0)
    mirror2 = mirror * mirror
    mirror8 = (mirror2 * mirror2) ** 2
    shine = skin.gloss * (0.05 * mirror8 + 0.1 * mirror8**4 * mirror8)
    lit = np.empty_like(skin.albedo)
    for plane, albedo, scatter, lamp, ambient in zip(
        lit, skin.albedo, SCATTER, sitting.lamp, sitting.ambient, strict=True
    ):
        wrapped = np.maximum((facing + scatter) / (1.0 + scatter), 0.0)
        plane[:] = albedo * (sky * ambient + wrapped * (1.0 + hollow) * lamp) + shine * lamp
    return lit


def _flesh(skin: Skin, head: Head) -> None:
    """Bones and flesh under the skin, and its folds."""
    p, s, X, Y, relief = head.person, head.sitting, skin.X, skin.Y, skin.relief
    eye, side, nose = p.eye_height, np.abs(X), p.eye_height + p.nose_length
    relief -= 0.06 * bump(side, Y, p.eye_gap - 0.05, eye - 0.03, 0.14, 0.07)
    relief += 0.035 * bump(side, Y, p.eye_gap, eye, 0.09, 0.06)
    relief += 0.03 * bump(side, Y, 0.2, eye - p.brow_height, 0.17, 0.05)
    relief += 0.05 * p.cheek * bump(side, Y, 0.42, eye + 0.3 - 0.04 * s.smile, 0.14, 0.13)
    relief += 0.05 * bump(X, Y, 0.0, 0.86, 0.16, 0.1)
    # from the nose's wing past the mouth's corner
    fold = np.abs(side - (0.15 + 0.35 * (Y - nose + 0.08))) / 0.03
    reach = step(0.0, 0.1, Y - nose + 0.1) * step(0.3, 0.1, Y - nose)
    relief -= (0.006 + 0.012 * p.age + 0.008 * max(s.smile, 0.0)) * np.exp(-0.5 * fold * fold) * reach
    relief -= 0.012 * (0.3 + p.age) * bump(side, Y, p.eye_gap - 0.02, eye + 0.12, 0.09, 0.02)
    if p.age > 0.35:
        own = np.random.default_rng(p.texture)
        lines = sum(
            np.sin((Y + own.normal(0, 0.02)) * f + 2.0 * X * X + own.uniform(0, 6)) for f in (70.0, 95.0)
        )
        relief += 0.002 * (p.age - 0.35) * lines * bump(X, Y, 0.0, -0.42, 0.3, 0.1)


def _complexion(skin: Skin, head: Head, rng: np.random.Generator, num: int) -> None:
    """Blush, mottle and pores; freckles and moles stay where the person has them."""
    p, X, Y, shape = head.person, skin.X, skin.Y, skin.X.shape
    eye, side = p.eye_height, np.abs(X)
    pores, mottle = (
        map_[: shape[0], : shape[1]] for map_ in (grain(rng, num, 1.5, 3.0), grain(rng, num, 14.0, 40.0))
    )
    skin.relief += 0.0005 * (0.5 + p.age) * pores
    blush = 0.5 * bump(side, Y, 0.36, eye + 0.32, 0.14, 0.12) + 0.5 * bump(
        X, Y, 0.0, eye + p.nose_length - 0.05, 0.1, 0.08
    )
    shade = 0.35 * bump(side, Y, p.eye_gap, eye + 0.02, 0.13, 0.07)
    skin.albedo *= np.exp(0.035 * mottle + 0.03 * pores - 0.35 * shade)
    skin.albedo[1:] *= 1.0 - 0.16 * blush - 0.1 * shade
    own = np.random.default_rng(p.texture + 2)
    spots = np.zeros(shape, np.float32)
    num_freckles, num_moles = int(90 * p.freckles), int(own.integers(0, 4))
    freckles = [
        (own.normal(0, 0.3), own.normal(eye + 0.2, 0.16), own.uniform(0.006, 0.013), 0.4)
        for _ in range(num_freckles)
    ]
    moles = [
        (own.uniform(-0.5, 0.5), own.uniform(-0.3, 0.8), own.uniform(0.008, 0.014), 0.8)
        for _ in range(num_moles)
    ]
    for at_x, at_y, size, alpha in freckles + moles:
        row = int(np.argmin(np.abs(Y[:, shape[1] // 2] - at_y)))
        column = int(np.argmin(np.abs(X[row] - at_x)))
        spot = (slice(max(row - 6, 0), row + 7), slice(max(column - 6, 0), column + 7))
        spots[spot] += alpha * bump(X[spot], Y[spot], at_x, at_y, size, size)
    paint(skin.albedo, p.skin * np.array([0.45, 0.3, 0.25], np.float32), np.clip(spots, 0.0, 0.8))
    skin.gloss *= np.clip(0.7 + 0.5 * bump(X, Y, 0.0, -0.1, 0.3, 0.5) + 0.12 * pores, 0.1, 1.5)


def _nose(skin: Skin, head: Head) -> None:
    p, light = head.person, head.sitting.light
    bottom = p.eye_height + p.nose_length
    part = skin.near(0.0, bottom - 0.15, 0.4, 0.4)
    X, Y, side, w = part.X, part.Y, np.abs(part.X), p.nose_width
    # the ridge rises from between the eyes to the tip
    grow = np.clip((Y - p.eye_height + 0.1) / p.nose_length, 0.0, 1.0)
    ridge = (0.06 + 0.13 * grow) * p.nose_bridge * np.exp(-0.5 * (X / (0.035 + 0.3 * w * grow)) ** 2)
    part.relief += (
        ridge * step(p.eye_height - 0.14, p.eye_height + 0.12, Y) * step(bottom + 0.04, bottom - 0.05, Y)
    )
    part.relief += 0.06 * bump(X, Y, 0.0, bottom - 0.055, 0.42 * w, 0.05)
    part.relief += 0.045 * bump(side, Y, 0.78 * w, bottom - 0.035, 0.035, 0.04)
    part.relief -= 0.008 * bump(X, Y, 0.0, bottom + 0.08, 0.025, 0.05)
    holes = bump(side, Y, 0.46 * w, bottom, 0.028, 0.016)
    crease = bump(side, Y, 1.05 * w, bottom - 0.03, 0.014, 0.04)
    cast = bump(X, Y, -0.14 * float(light[0]), bottom + 0.05, 0.09, 0.035)
    beside = bump(X, Y, -(0.06 + 0.6 * w) * float(np.sign(light[0])), bottom - 0.14, 0.035, 0.11) * abs(
        float(light[0])
    )
    paint(part.albedo, p.skin * np.array([0.2, 0.13, 0.12], np.float32), np.clip(0.9 * holes, 0, 1))
    shadow = np.clip(0.45 * crease + 0.4 * cast + 0.35 * beside, 0, 1)
    paint(part.albedo, p.skin * np.array([0.5, 0.38, 0.34], np.float32), shadow)
    part.gloss += 0.6 * bump(X, Y, 0.0, bottom - 0.08, 0.05, 0.06)


def _mouth(skin: Skin, head: Head, mouth_y: float, rng: np.random.Generator) -> None:
    p, s = head.person, head.sitting
    corner = p.mouth_width * (1.0 + 0.12 * s.smile)
    part = skin.near(0.0, mouth_y, 0.5, 0.3)
    X, Y, e = part.X, part.Y, part.soft
    across = np.abs(X) / corner
    hump = np.clip(1.0 - across * across, 0.0, 1.0)
    line = mouth_y - 0.055 * s.smile * across**2 + 0.02 * s.smile
    gap_up, gap_down = 0.012 * s.mouth_open * hump, 0.12 * s.mouth_open * hump
    cupid = 1.0 - 0.3 * np.exp(-((across / 0.12) ** 2))
    thin = 1.0 - 0.2 * max(s.smile, 0.0)
    top = line - gap_up - thin * p.lip_upper * np.clip(1.0 - across**1.9, 0, 1) * cupid
    end = line + gap_down + thin * p.lip_lower * hump**0.75
    within = hump > 0
    upper = step(-2 * e, 2 * e, Y - top) * step(e, -e, Y - line + gap_up) * within
    lower = step(-e, e, Y - line - gap_down) * step(2.5 * e, -2.5 * e, Y - end) * within
    hole = step(-e, e, Y - line + gap_up) * step(e, -e, Y - line - gap_down) * within
    body = ((upper + lower) > 0.5) * hump
    part.relief += 0.035 * body * np.sin(np.clip((Y - top) / np.maximum(end - top, 1e-3), 0, 1) * np.pi)
    part.relief -= 0.02 * bump(X, Y, 0.0, mouth_y + p.lip_lower + 0.07, 0.13, 0.03)
    paint(
        part.albedo,
        planes(p.lips, np.exp(0.07 * strands(rng, X, 0.3 * Y))),
        0.9 * np.maximum(0.95 * upper, lower),
    )
    part.gloss += 0.7 * lower
    paint(part.albedo, np.array([0.06, 0.02, 0.02], np.float32), hole)
    teeth = hole * step(0.055, 0.03, Y - line + gap_up) * step(0.8, 0.6, across)
    gaps = 1.0 - 0.25 * np.exp(-(((X / 0.052) % 1.0 - 0.5) ** 2) / 0.004)
    paint(part.albedo, planes(np.array([0.6, 0.56, 0.49], np.float32), gaps), 0.95 * teeth)
    seam = (
        np.exp(-0.5 * ((Y - line) / 0.011) ** 2)
        * step(1.12, 0.95, across)
        * (1.0 - min(1.0, 3 * s.mouth_open))
    )
    corners = bump(np.abs(X), Y, corner, mouth_y - 0.035 * s.smile, 0.025, 0.018)
    paint(
        part.albedo,
        p.lips * np.array([0.25, 0.16, 0.16], np.float32),
        np.clip(0.8 * seam + 0.5 * corners, 0, 1),
    )


def _eye(skin: Skin, head: Head, side: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """One eye; returns where its spark is and how large."""
    p, s = head.person, head.sitting
    at_x, at_y, width = side * p.eye_gap, p.eye_height, p.eye_width
    part = skin.near(at_x, at_y, 0.27, 0.16)
    X, Y, e = part.X, part.Y, part.soft
    out = side * (X - at_x) / width  # -1 at the nose's side, 1 outside
    f = Y - at_y + p.eye_tilt * width * out
    inside = np.clip(1.0 - np.abs(out) ** 2.2, 0.0, 1.0)
    opened = p.eye_open * s.eyes_open
    lid = -opened * inside**0.8 * (1.0 + 0.15 * out)
    under = 0.6 * opened * inside
    visible = step(-e, e, f - lid) * step(e, -e, f - under) * (np.abs(out) < 1.0)
    under_lid = step(0.035, 0.0, f - lid)
    white = np.array([0.56, 0.52, 0.5], np.float32)
    paint(part.albedo, planes(white, 1.0 - 0.3 * out * out - 0.45 * under_lid), visible)
    paint(
        part.albedo, p.lips * np.array([1.0, 0.7, 0.7], np.float32), 0.7 * visible * step(-0.75, -0.92, out)
    )
    radius = 0.44 * width
    iris_x, iris_y = at_x + s.gaze_x * width, at_y - 0.012 + s.gaze_y * width
    away = np.hypot(X - iris_x, Y - iris_y) / radius
    angle = np.arctan2(Y - iris_y, X - iris_x)
    fibres = sum(np.cos(k * angle + rng.uniform(0, 6.28)) for k in (9, 17, 26)) / 3
    edge = e / radius
    iris = planes(p.iris, 1.15 + 0.25 * fibres - 0.5 * step(0.72, 1.0, away))
    paint(part.albedo, iris, visible * step(1.0 + edge, 1.0 - edge, away))
    paint(part.albedo, np.full(3, 0.01, np.float32), visible * step(0.45 + edge, 0.45 - edge, away))
    part.albedo *= 1.0 - 0.35 * visible * under_lid
    # The eyeball is smooth: what the skin around it does must not show in its light.
    part.relief += visible * (float(part.relief.mean()) - part.relief)
    part.gloss *= 1.0 - visible
    crease = np.exp(-0.5 * ((f - lid + 0.032) / 0.009) ** 2) * step(1.2, 0.9, np.abs(out))
    bag = np.exp(-0.5 * ((f - under - 0.012) / 0.008) ** 2) * step(1.0, 0.6, np.abs(out))
    paint(
        part.albedo,
        p.skin * np.array([0.5, 0.38, 0.33], np.float32),
        np.clip(0.6 * crease + 0.25 * bag, 0, 1),
    )
    lashes = np.exp(-0.5 * ((f - lid + 0.005) / (0.009 + 0.006 * step(-0.5, 1.0, out))) ** 2) * step(
        1.15, 0.95, np.abs(out)
    )
    lashes = lashes * (0.85 + 0.15 * strands(rng, X, Y))
    lower = 0.3 * np.exp(-0.5 * ((f - under) / 0.006) ** 2) * step(1.05, 0.8, np.abs(out))
    paint(part.albedo, np.array([0.025, 0.018, 0.015], np.float32), np.clip(lashes + lower, 0, 0.95))
    spark = 0.5 * radius * s.light
    return iris_x + float(spark[0]), max(iris_y + float(spark[1]), at_y - 0.6 * opened), 0.15 * radius


def _brows(skin: Skin, head: Head, rng: np.random.Generator) -> None:
    p, s = head.person, head.sitting
    for side in (-1.0, 1.0):
        part = skin.near(side * p.eye_gap, p.eye_height - p.brow_height, 0.36, 0.2)
        out = side * (part.X - side * p.eye_gap) / p.eye_width  # runs from about -1.2 to 1.5
        middle = p.eye_height - p.brow_height - s.brow_raise - p.brow_arch * (1.0 - (0.55 * (out - 0.4)) ** 2)
        thick = p.brow_thick * np.clip(1.0 - 0.45 * np.clip(out, 0, 2), 0.2, 1.0)
        band = np.exp(-(((part.Y - middle) / thick) ** 2)) * step(-1.3, -0.9, out) * step(1.55, 1.0, out)
        hairs = strands(rng, out * 0.12 + 0.5 * (part.Y - middle), part.Y - middle, fine=1.2)
        paint(part.albedo, 0.45 * p.hair, np.clip(band * (0.8 + 0.3 * hairs), 0.0, 0.95))


def _beard(skin: Skin, head: Head, mouth_y: float, rng: np.random.Generator, num: int) -> None:
    p, X, Y = head.person, skin.X, skin.Y
    if p.beard == 0.0:
        return
    side = np.abs(X)
    wave = grain(rng, num, 6.0, 20.0)[: X.shape[0], : X.shape[1]]
    jaw_line = mouth_y - 0.02 - 1.1 * np.clip(side - 0.3, 0, 0.4)  # from the chin's middle up to the ears
    moustache = np.minimum(1.4 * bump(side, Y, 0.13, mouth_y - 0.1, 0.13, 0.04), 1.0)
    area = np.maximum(step(-0.05, 0.09, Y - jaw_line + 0.02 * wave), moustache)
    dots = grain(rng, num, 1.0, 2.0)[: X.shape[0], : X.shape[1]]
    hairs = strands(rng, X + 0.15 * X * Y + 0.02 * wave, Y, fine=1.4) if p.beard > 0.5 else dots
    cover = area * p.beard * (0.7 + 0.25 * hairs)
    paint(skin.albedo, 0.5 * p.hair, np.clip(cover, 0.0, 0.93))
    skin.relief += (0.02 * area + 0.004 * area * hairs) * (p.beard > 0.5)
    skin.gloss *= 1.0 - 0.8 * area
