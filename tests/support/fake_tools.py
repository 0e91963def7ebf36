"""Tools whose worth is known, and pictures on which to measure them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.evaluate.forensic_benchmark.pictures import Picture
from dfd.forensics import Finding, Map, Method, Region, Tool
from dfd.media.encode import encode_png

RED = np.array([255, 0, 0], np.uint8)


@dataclass(frozen=True)
class Painted:
    """Gray noise, every second picture with a red rectangle: its edit."""

    num: int
    name: str = "painted"
    conditions: tuple[str, ...] = ("png", "jpeg75")
    folders: tuple[str, ...] = ()
    seed: int = 0

    def __len__(self) -> int:
        return self.num

    def identity(self) -> dict:
        return {"painted": self.num, "seed": self.seed}

    def picture(self, number: int, condition: str) -> Picture:
        rng = np.random.default_rng((self.seed, number, condition == "png"))
        pixels = rng.integers(80, 160, (40, 48, 1), dtype=np.uint8).repeat(3, 2)
        mask = np.zeros((40, 48), bool)
        edited = number % 2 == 1
        if edited:
            y, x = rng.integers(0, 25), rng.integers(0, 30)
            mask[y : y + 12, x : x + 15] = True
            pixels[mask] = RED
        label = FAKE if edited else REAL
        method = ("", "red", "", "scarlet")[number % 4]
        return Picture(f"{number:03d}", f"family {number // 2}", label, method, encode_png(pixels), mask)


def red(pixels: np.ndarray) -> np.ndarray:
    return (pixels == RED).all(axis=2)


def _number(pixels: np.ndarray) -> int:
    """A number that follows from a picture, whatever was done to it."""
    return int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8], "big")


ORACLE, COIN, QUIET, HALF = (Method(name, "tests") for name in ("oracle", "coin", "quiet", "half"))
BROKEN, BOXES, ACCUSER = (Method(name, "tests") for name in ("broken", "boxes", "accuser"))
TELLER = Method("teller", "tests", kind="describes")


def oracle(pixels: np.ndarray) -> Finding:
    """The mask itself."""
    where = red(pixels)
    found = Map(where.astype(np.float32), 0.0, 1.0, "x")
    return ORACLE("found" if where.any() else "clear", "a", score=float(where.mean()), map=found)


def coin(pixels: np.ndarray) -> Finding:
    """Chance."""
    rng = np.random.default_rng(_number(pixels))
    found = Map(rng.random(pixels.shape[:2], np.float32), 0.0, 1.0, "x")
    return COIN("found" if rng.random() < 0.05 else "clear", "a", score=float(rng.random()), map=found)


def quiet(pixels: np.ndarray) -> Finding:
    return QUIET("abstained", "a", score=1.0)


def half(pixels: np.ndarray) -> Finding:
    """Right where it answers, and on every other picture it does not."""
    if _number(pixels) % 2:
        return HALF("abstained", "a")
    return oracle(pixels).__class__(**{**vars(oracle(pixels)), "tool": "half"})


def broken(data: bytes) -> Finding:
    raise RuntimeError("out of ink")


def teller(data: bytes) -> Finding:
    """It only describes."""
    return TELLER("clear", "a")


def boxes(pixels: np.ndarray) -> Finding:
    """The mask as a rectangle, without a map."""
    where = np.argwhere(red(pixels))
    if not len(where):
        return BOXES("clear", "a", score=0.0)
    (top, left), (bottom, right) = where.min(axis=0), where.max(axis=0) + 1
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return BOXES("found", "a", score=1.0, regions=(Region(box, "x"),))


def accuser(pixels: np.ndarray) -> Finding:
    return ACCUSER("found", "a", score=float(red(pixels).mean()))


TOOLS = tuple(
    Tool(method, run, "file" if run in (broken, teller) else "pixels")
    for method, run in (
        (ORACLE, oracle), (COIN, coin), (QUIET, quiet), (HALF, half),
        (BROKEN, broken), (TELLER, teller), (BOXES, boxes), (ACCUSER, accuser),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Toolbox:
    """These tools, or some of them."""

    names: tuple[str, ...] = ()

    def __call__(self) -> tuple[Tool, ...]:
        return tuple(tool for tool in TOOLS if not self.names or tool.name in self.names)


@dataclass(frozen=True)
class NewCoin:
    """The oracle, a later version of the coin, and the teller."""

    def __call__(self) -> tuple[Tool, ...]:
        return TOOLS[0], Tool(replace(COIN, version=2), coin, "pixels"), TOOLS[5]
