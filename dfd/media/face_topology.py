"""Topology of the 468-point face mesh: which points outline which part.

Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019 (1907.06724).
Left and right are the picture's, not the person's. Each outline is closed, in order; those of a pair begin at
corresponding points and run in mirrored directions, so that a left point's mirror is the right one of its
place.
"""

from __future__ import annotations

NUM_POINTS = 468

# from the middle of the forehead over the left temple to the chin, and by the right temple to the forehead
_LEFT_OVAL = (109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148)
_RIGHT_OVAL = (338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
_FOREHEAD, _CHIN = 10, 152

# of an eye: the outer corner, the lower lid, the inner corner, the upper lid
_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
_RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)

# of the lips: the left corner, the lower edge, the right corner, the upper edge
_OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)

# of a brow: its lower edge from the outer end, then the upper edge back
_LEFT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
_RIGHT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)

PARTS: dict[str, tuple[int, ...]] = {
    "face": (_FOREHEAD, *_LEFT_OVAL, _CHIN, *reversed(_RIGHT_OVAL)),
    "left_eye": _LEFT_EYE,
    "right_eye": _RIGHT_EYE,
    "left_brow": _LEFT_BROW,
    "right_brow": _RIGHT_BROW,
    "mouth": _OUTER_LIPS,
    "inner_mouth": _INNER_LIPS,
}

# the lower outline from ear to ear
JAW: tuple[int, ...] = (*_LEFT_OVAL[7:], _CHIN, *reversed(_RIGHT_OVAL[7:]))

# on the line that mirrors the face: forehead, between the brows, bridge, tip and base of the nose, lips, chin
MIDLINE: tuple[int, ...] = (_FOREHEAD, 9, 168, 6, 197, 195, 5, 4, 1, 2, 0, 17, _CHIN)


def _halves_of_lips(lips: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The lips' points left of their middle, each with its mirror."""
    return tuple((lips[place], lips[(10 - place) % 20]) for place in (*range(5), *range(16, 20)))


# (left, right) points of one place
MIRRORED: tuple[tuple[int, int], ...] = (
    *zip(_LEFT_OVAL, _RIGHT_OVAL, strict=True),
    *zip(_LEFT_EYE, _RIGHT_EYE, strict=True),
    *zip(_LEFT_BROW, _RIGHT_BROW, strict=True),
    *_halves_of_lips(_OUTER_LIPS),
    *_halves_of_lips(_INNER_LIPS),
)
