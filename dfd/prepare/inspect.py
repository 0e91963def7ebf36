"""File inspection: each picture of a source read once, checked and hashed."""

import hashlib
from typing import NamedTuple

import numpy as np

from dfd.media.decode import Undecodable, image_info, image_info_and_luma
from dfd.media.files import read_inside
from dfd.media.perceptual_hash import perceptual_hash


class FileInfo(NamedTuple):
    """The facts of one file; `reason` says why it is refused, "" where it is not."""

    reason: str
    sha256: str = ""
    length: int = 0  # bytes
    format: str = ""
    width: int = 0  # upright
    height: int = 0
    mask_length: int = 0
    phash: bytes = b""  # of `perceptual_hash`
    cues: np.ndarray | None = None  # (C,) float32, where they were asked for


def inspect_file(root: str, path: str, mask: str | None, cues: bool = False) -> FileInfo:
    """Reads and checks a picture, and its mask where it has one; measures its cues where they are asked
    for.
    """
    try:
        data = read_inside(root, path)
        facts, luma = image_info_and_luma(data)
        mask_length = _check_mask(root, mask, facts.width, facts.height) if mask else 0
        vector = _cues(data) if cues else None
    except Undecodable as error:
        return FileInfo(str(error))
    return FileInfo(
        "", hashlib.sha256(data).hexdigest(), len(data), *facts, mask_length, perceptual_hash(luma), vector
    )


def _cues(data: bytes) -> np.ndarray:
    from dfd.forensics.cues import describe  # SciPy, which nothing else here needs

    return describe(data)


def _check_mask(root: str, mask: str, width: int, height: int) -> int:
    try:
        data = read_inside(root, mask)
        facts = image_info(data)
    except Undecodable as error:
        raise Undecodable(f"mask {mask}: {error}") from error
    if facts != ("PNG", width, height):
        raise Undecodable(
            f"mask {mask}: {facts.format}, {facts.width} x {facts.height}; needed is PNG, {width} x {height}"
        )
    return len(data)
