"""Identities of the toy set: a person's lasting traits, and one picture's pose, expression and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfd.synthetic.canvas import linear

SKIN = (
    (250, 219, 198),
    (238, 196, 168),
    (221, 172, 138),
    (193, 142, 106),
    (150, 104, 74),
    (106, 70, 50),
    (72, 47, 36),
)
HAIR = (
    (28, 22, 20),
    (48, 33, 25),
    (78, 52, 34),
    (116, 78, 46),
    (168, 126, 76),
    (206, 172, 118),
    (128, 58, 30),
    (150,) * 3,
)
IRIS = ((66, 42, 26), (92, 62, 34), (122, 92, 52), (88, 104, 74), (92, 122, 146), (126, 142, 150))
CLOTH = (
    (32, 38, 58),
    (120, 30, 34),
    (210, 206, 196),
    (48, 84, 70),
    (70, 70, 76),
    (168, 140, 96),
    (60, 90, 140),
    (140, 92, 99),
)


def _between(rng: np.random.Generator, table: tuple, at: float) -> np.ndarray:
    """The colour (3,) at a place in [0, 1] of a table of sRGB colours, a little off, in linear light."""
    place = at * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    mixed = linear(table[low]) + (place - low) * (linear(table[low + 1]) - linear(table[low]))
    return (mixed * np.exp(rng.normal(0, 0.06, 3))).astype(np.float32)


@dataclass(frozen=True)
class Person:
    """Lasting traits. Lengths are in half head heights (crown to chin is 2), colours in linear light."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    width: float  # half the head's width
    jaw: float  # 0 pointed, 1 square
    eye_gap: float  # from the middle to an eye
    eye_width: float
    eye_open: float
    eye_tilt: float
    eye_height: float
    brow_thick: float
    brow_arch: float
    brow_height: float
    nose_width: float
    nose_length: float
    nose_bridge: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    mouth_height: float
    cheek: float
    ear: float
    style: str  # bald, cropped, parted, fringe, long
    hairline: float
    volume: float
    curl: float
    parting: float
    beard: float  # 0 none, to 1 full
    freckles: float
    age: float
    glasses: bool
    texture: int  # seeds moles, freckles and wrinkles, the same in each picture

    @classmethod
    def born(cls, identity: int) -> Person:
        """The person of an identity number of 0 or more; the same number is the same person everywhere."""
        rng = np.random.default_rng((0xFACE, identity))
        tone, age = rng.uniform(), rng.uniform() ** 1.4
        dark = tone > 0.5
        hair = rng.uniform(0, 0.35) if dark else rng.uniform(0, 0.75)
        hair = 0.9 if rng.uniform() < 0.06 and not dark else hair
        hair = 1.0 if age > 0.72 and rng.uniform() < 0.6 else hair
        skin = _between(rng, SKIN, tone)
        masculine = rng.uniform() < 0.5
        styles = {"bald": 0.12, "cropped": 0.48, "parted": 0.32, "fringe": 0.08}
        if not masculine:
            styles = {"cropped": 0.08, "parted": 0.2, "fringe": 0.27, "long": 0.45}
        rosy = np.array([0.9, 0.62, 0.62]) if masculine else np.array([0.95, 0.48, 0.5])
        return cls(
            skin=skin,
            hair=_between(rng, HAIR, hair),
            iris=_between(rng, IRIS, rng.uniform(0, 0.3) if dark else rng.uniform()),
            lips=(skin * (rosy + rng.normal(0, 0.05, 3))).astype(np.float32),
            width=rng.uniform(0.69, 0.79),
            jaw=rng.uniform(0.3, 1.0) if masculine else rng.uniform(0.0, 0.6),
            eye_gap=rng.uniform(0.28, 0.325),
            eye_width=rng.uniform(0.138, 0.168),
            eye_open=rng.uniform(0.056, 0.084),
            eye_tilt=rng.normal(0.05, 0.06),
            eye_height=rng.uniform(-0.03, 0.03),
            brow_thick=rng.uniform(0.03, 0.055) if masculine else rng.uniform(0.018, 0.036),
            brow_arch=rng.uniform(0.02, 0.07),
            brow_height=rng.uniform(0.155, 0.2),
            nose_width=rng.uniform(0.115, 0.19),
            nose_length=rng.uniform(0.33, 0.42),
            nose_bridge=rng.uniform(0.6, 1.2),
            mouth_width=rng.uniform(0.24, 0.33),
            lip_upper=rng.uniform(0.04, 0.075),
            lip_lower=rng.uniform(0.06, 0.1),
            mouth_height=rng.uniform(0.19, 0.24),
            cheek=rng.uniform(0.4, 1.2),
            ear=rng.uniform(0.8, 1.2),
            style=str(rng.choice(list(styles), p=list(styles.values()))),
            hairline=rng.uniform(-0.7, -0.52),
            volume=rng.uniform(0.06, 0.16),
            curl=rng.uniform() ** 2,
            parting=rng.uniform(-0.4, 0.4),
            beard=float(rng.choice([0.0, 0.3, 1.0], p=[0.45, 0.3, 0.25])) * rng.uniform(0.6, 1.0)
            if masculine
            else 0.0,
            freckles=max(0.0, rng.uniform(-1.5, 1.0)),
            age=age,
            glasses=bool(rng.uniform() < 0.14),
            texture=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Sitting:
    """One picture of somebody: angles in radians, places in half canvases, colours in linear light."""

    yaw: float
    pitch: float
    roll: float
    at_x: float
    at_y: float
    scale: float  # half the head's height, in half canvases
    smile: float
    mouth_open: float
    eyes_open: float
    brow_raise: float
    gaze_x: float
    gaze_y: float
    light: np.ndarray  # (3,) towards the lamp
    lamp: np.ndarray  # (3,) its colour
    ambient: np.ndarray  # (3,)
    cloth: np.ndarray  # (3,)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sitting:
        side, up = rng.normal(0, 0.55), rng.uniform(0.1, 0.75)
        light = np.array([side, -up, rng.uniform(0.6, 1.0)])
        warmth = rng.normal(0, 0.07)
        lamp = np.array([1 + warmth, 1.0, 1 - 1.4 * warmth])
        sky = rng.normal(0, 0.05)
        ambient = rng.uniform(0.22, 0.5) * np.array([1 - sky, 1.0, 1 + 1.5 * sky])
        return cls(
            yaw=float(np.clip(rng.normal(0, 0.22), -0.5, 0.5)),
            pitch=float(np.clip(rng.normal(0, 0.09), -0.2, 0.2)),
            roll=float(rng.normal(0, 0.07)),
            at_x=rng.normal(0, 0.05),
            at_y=rng.uniform(-0.08, 0.06),
            scale=rng.uniform(0.62, 0.74),
            smile=rng.uniform(-0.25, 1.0),
            mouth_open=max(0.0, rng.uniform(-0.8, 0.8)),
            eyes_open=rng.uniform(0.75, 1.15),
            brow_raise=rng.normal(0, 0.02),
            gaze_x=rng.normal(0, 0.15),
            gaze_y=rng.normal(0, 0.08),
            light=(light / np.linalg.norm(light)).astype(np.float32),
            lamp=(rng.uniform(0.75, 1.05) * lamp).astype(np.float32),
            ambient=ambient.astype(np.float32),
            cloth=_between(rng, CLOTH, rng.uniform()),
        )
