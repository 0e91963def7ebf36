"""The embedded toy set: synthetic faces that dfd draws, a simulated camera, and three kinds of forgeries.

    person.py    who is drawn, and how they sit
    head.py      the shape of the head, and where each point of a face is on the canvas
    canvas.py    drawing functions: soft edges, bumps, noise
    face.py      skin, eyes, brows, nose, mouth, beard, and the light on them
    setting.py   what is around: background, body, ears, hair, glasses
    camera.py    light -> 8-bit picture -> JPEG
    portrait.py  one picture of one person
    forgery.py   upsampled, blended_swap, warped: picture and mask
    toy.py       the whole set as shards

They are drawings: a detector trained on them knows nothing of photographs.
"""

from dfd.synthetic.forgery import METHODS
from dfd.synthetic.portrait import Portrait, draw_person
from dfd.synthetic.toy import make_toy, toy_root

__all__ = ["METHODS", "Portrait", "draw_person", "make_toy", "toy_root"]
