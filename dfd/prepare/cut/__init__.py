"""Face cutting: faces of videos and of larger pictures as pictures of their own, for `dfd prepare`."""

from dfd.prepare.cut.cut_pass import (
    FACES,
    MARGIN,
    CutFaces,
    Cutting,
    cut_faces,
    cut_pass,
    cutting_of,
    num_pieces,
)

__all__ = ["FACES", "MARGIN", "CutFaces", "Cutting", "cut_faces", "cut_pass", "cutting_of", "num_pieces"]
