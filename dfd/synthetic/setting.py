"""Background, body, ears, hair and glasses: what is drawn around a face."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.synthetic.canvas import grain, linear, paint, planes, step, strands, window
from dfd.synthetic.head import Head
from dfd.synthetic.person import Sitting

GREENS = ((58, 88, 42), (112, 132, 66), (36, 52, 34), (150, 158, 120))


def backdrop(rng: np.random.Generator, num: int) -> np.ndarray:
    """A canvas (3, num, num): a wall, a room, lights at night or leaves, blurred at random."""
    kind = rng.choice(["wall", "room", "lights", "leaves"])
    base = linear(rng.uniform(40, 220, 3) * 0.35 + rng.uniform(20, 150))
    ramp = rng.uniform(-0.45, 0.45, 2)
    line = np.linspace(-1, 1, num, dtype=np.float32)
    canvas = planes(base, np.exp(float(ramp[0]) * line[None, :] + float(ramp[1]) * line[:, None]))
    if kind == "wall":
        return canvas * np.exp(0.05 * grain(rng, num, 2.0, 5.0, 60.0))
    if kind == "leaves":
        for tone in GREENS:
            leaf = grain(rng, num, 6.0, 24.0, 50.0)
            paint(canvas, linear(tone), 0.8 * step(0.2, 0.9, leaf + rng.normal(0, 0.6)))
    picture = np.ascontiguousarray(canvas.transpose(1, 2, 0))
    if kind == "room":
        for _ in range(int(rng.integers(4, 10))):
            (left, top), (wide, high) = rng.uniform(-0.2, 0.9, 2) * num, rng.uniform(0.1, 0.5, 2) * num
            colour = linear(rng.uniform(20, 160) + rng.uniform(0, 70, 3))
            cv2.rectangle(
                picture, (int(left), int(top)), (int(left + wide), int(top + high)), colour.tolist(), -1
            )
    elif kind == "lights":
        picture *= 0.25
        for _ in range(int(rng.integers(10, 30))):
            at, colour = (
                tuple(int(a) for a in rng.uniform(0, num, 2)),
                linear(rng.uniform((150, 90, 50), 255)),
            )
            cv2.circle(
                picture, at, int(rng.uniform(0.02, 0.07) * num), (rng.uniform(0.2, 0.7) * colour).tolist(), -1
            )
    few = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # a blur needs no more
    few = cv2.GaussianBlur(few, (0, 0), rng.uniform(0.004, 0.015) * num)
    return np.ascontiguousarray(
        cv2.resize(few, (num, num), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    )


def under_lamp(facing: np.ndarray, sitting: Sitting) -> np.ndarray:
    """Light (3, H, W) that reaches matt things which face the lamp by `facing` (H, W)."""
    return sitting.ambient[:, None, None] + sitting.lamp[:, None, None] * facing


def neck_width(head: Head) -> float:
    """Half of it, in half head heights."""
    return (0.38 + 0.12 * head.person.jaw) * head.person.width / 0.74


def paint_body(
    canvas: np.ndarray, u: np.ndarray, v: np.ndarray, head: Head, rng: np.random.Generator
) -> None:
    """Neck, clothes and ears, in place; u, v (N, N) as the head sees them."""
    p, s, num = head.person, head.sitting, canvas.shape[-1]
    e = 2.0 / (num * s.scale)
    lx, _, lz = (float(part) for part in s.light)
    cut = window(v > 0.5)
    x, y, below = u[cut] - 0.12 * s.yaw, v[cut], canvas[(..., *cut)]
    flare = neck_width(head) + 0.5 * np.clip(y - 1.15, 0, 1) ** 2
    across = np.clip(x / flare, -1, 1)
    facing = np.clip(across * lx + np.sqrt(1 - across**2) * lz, 0, None)
    under_chin = 0.9 - 0.6 * step(1.35, 0.9, y)
    paint(
        below,
        p.skin[:, None, None] * under_lamp(facing, s) * under_chin,
        step(-2 * e, 2 * e, flare - np.abs(x)),
    )

    depth = rng.uniform(0.3, 3.0)
    neckline = 1.26 + 0.1 * depth * np.cos(across * (np.pi / 2))
    slope = np.maximum(neckline, 1.2 + 0.3 * np.clip(np.abs(x) - flare, 0, 3) ** 0.8)
    shape = slope.shape
    woven = rng.uniform() < 0.5
    weave = (
        np.sin(x * (1.5 / e)) * np.sin(y * (1.5 / e))
        if woven
        else grain(rng, num, 1.5, 4.0)[: shape[0], : shape[1]]
    )
    folds = grain(rng, num, 60.0, 110.0)[: shape[0], : shape[1]]
    facing = np.clip(lz + 0.5 * lx * x + 0.25 * folds, 0.05, None)
    hem = 1.0 - 0.35 * np.exp(-(((y - slope - 0.05) / 0.015) ** 2))
    threads = (1.0 + 0.1 * weave) * hem
    paint(below, s.cloth[:, None, None] * under_lamp(facing, s) * threads, step(-2 * e, 2 * e, y - slope))

    for side in (-1.0, 1.0):
        at_u, at_v = side * (p.width + 0.015) - 0.12 * s.yaw, p.eye_height + 0.12 + 0.4 * s.pitch
        cut = window((np.abs(u - at_u) < 0.15) & (np.abs(v - at_v) < 0.28))
        du, dv = (u[cut] - at_u) / (0.085 * p.ear), (v[cut] - at_v) / (0.2 * p.ear)
        away = np.hypot(du + 0.25 * side * dv, dv)
        rim = 0.75 + 0.35 * np.exp(-(((away - 0.75) / 0.2) ** 2)) - 0.4 * np.exp(-((away / 0.4) ** 2))
        light = s.ambient + s.lamp * max(0.55 * lz + 0.5 * side * lx, 0.05)
        paint(
            canvas[(..., *cut)],
            planes(p.skin * np.array([1.0, 0.84, 0.82], np.float32) * light, rim),
            step(1.0, 0.85, away),
        )


def paint_hair(
    canvas: np.ndarray, u: np.ndarray, v: np.ndarray, head: Head, rng: np.random.Generator, behind: bool
) -> None:
    """Hair in place: what hangs behind the head (`behind`, before it is painted) or what grows over it
    (after).
    """
    p, s, num = head.person, head.sitting, canvas.shape[-1]
    hangs = p.style in ("long", "fringe")
    if p.style == "bald" or (behind and not hangs):
        return
    e = 2.0 / (num * s.scale)
    thick = p.volume * (0.45 if p.style == "cropped" else 1.0)
    length = {"long": 1.5, "fringe": 0.8, "parted": 0.25, "cropped": 0.12}[p.style]
    cut = window((np.abs(u) < p.width + thick + 0.15) & (v > -1.1 - thick) & (v < length + 0.2))
    canvas, u, v = canvas[(..., *cut)], u[cut], v[cut]
    rough = [grain(rng, num, *cells)[: u.shape[0], : u.shape[1]] for cells in ((12.0, 30.0), (5.0, 10.0))]
    du, dv = u - p.parting * p.width * 0.6 - 0.3 * s.yaw, v + 1.05
    angle, reach = np.arctan2(du, dv + 0.15), np.hypot(du, dv)
    wave = p.curl * (0.12 * np.sin(14.0 * reach + 3.0 * angle) + 0.05 * rough[0])
    hairs = strands(rng, 0.42 * (angle + wave), reach + 3.0 * p.curl * wave, fine=0.8)
    ragged = 0.02 * hairs + 0.05 * p.curl * rough[1]
    ends = step(0.1, -0.1, v - length + 0.1 + 0.07 * hairs)
    if behind:
        crown = np.clip(-v, 0, 1 + thick) / (1 + thick)
        wide = (p.width + thick + 0.05 * np.clip(v, 0, 1)) * np.sqrt(1.0 - crown**2.3)
        alpha = step(-2 * e, 3 * e, wide - np.abs(u) + ragged) * ends * step(-1 - thick, -0.97 - thick, v)
    else:
        crown = np.clip((-v - 0.08) / (0.92 + thick), 0.0, 1.0)
        shell = (p.width + 0.8 * thick) * (1.0 - crown**2.3) ** (1 / 2.2)
        outer = step(-2 * e, 3 * e, shell - np.abs(u) + ragged) * step(-1 - thick, -0.97 - thick, v)
        X, Y, _ = head.face_at(u, v)
        rim = np.abs(X) / p.width
        line = p.hairline + 0.16 * rim**2 + 0.75 * step(0.78, 1.02, rim)  # temples, then down to the ears
        if p.style == "fringe":
            line = np.maximum(line, -0.32 + 0.05 * hairs + 0.1 * rim)
        elif p.style != "cropped":
            line = line + 0.18 * step(0.1, 0.75, np.abs(X - p.parting)) * step(1.0, 0.4, rim)
        bare = np.maximum(head.half_width(np.clip(v, -0.99, 0.99)), step(0.2, 0.7, v) * neck_width(head))
        outside = step(-e, 2 * e, np.abs(u) - bare + (0.06 if hangs else 0.0))
        alpha = outer * ends * np.maximum(step(0.03, -0.03, Y - line - 1.5 * ragged), outside)
        if p.style == "cropped":
            alpha = alpha * (0.9 + 0.1 * np.clip(hairs, -1, 1))
    lx, ly, lz = (float(part) for part in s.light)
    across = np.clip(u / (p.width + thick), -1, 1)
    facing = np.clip(0.75 * lz + 0.6 * lx * across + 0.5 * ly * np.clip(v, -1, 0.3), 0.05, None)
    band = np.exp(-(((reach - 0.55 + 0.06 * hairs) / 0.14) ** 2))  # the ring of gloss that round hair shows
    tone = np.exp(0.42 * hairs) * (0.5 if behind else 1.0)
    direct, gloss = facing * (0.8 + 0.9 * band * np.clip(0.6 + 0.6 * hairs, 0, 2)), 0.015 * band * facing
    paint(canvas, p.hair[:, None, None] * tone * under_lamp(direct, s) + s.lamp[:, None, None] * gloss, alpha)


def paint_glasses(canvas: np.ndarray, u: np.ndarray, v: np.ndarray, head: Head) -> None:
    """A frame around both eyes and a faint reflection, in place, for those who wear glasses."""
    p, s = head.person, head.sitting
    if not p.glasses:
        return
    cut = window((np.abs(u) < p.width + 0.05) & (np.abs(v - p.eye_height) < 0.5))
    canvas, u, v = canvas[(..., *cut)], u[cut], v[cut]
    own = np.random.default_rng(p.texture + 1)
    colour = linear(own.uniform(10, 90, 3)) * s.ambient * 2
    corner, thick = own.uniform(2.0, 4.0), own.uniform(0.014, 0.03)
    X, Y, _ = head.face_at(u, v)
    Y = Y - p.eye_height
    for side in (-1.0, 1.0):
        away = ((np.abs(X - side * 0.31) / 0.235) ** corner + (np.abs(Y - 0.03) / 0.17) ** corner) ** (
            1 / corner
        )
        paint(canvas, 0.9 * s.lamp, 0.05 * step(1.0, 0.95, away))
        paint(canvas, colour, 0.95 * np.exp(-(((away - 1.0) / (thick / 0.2)) ** 4)))
    bridge = np.exp(-(((Y + 0.02 - 0.3 * X * X) / thick) ** 4)) * (np.abs(X) < 0.09)
    temple = np.exp(-((Y / thick) ** 4)) * (np.abs(X) > 0.53) * (np.abs(u) < head.half_width(v))
    paint(canvas, colour, 0.95 * np.maximum(bridge, temple))
