"""Faces cut out of videos and of larger pictures, before `dfd prepare` goes on with them as with any
pictures.
"""

from dfd.prepare.cut.cut_pass import FACES, Cutting, cut_faces, cut_pass, cutting_of, num_pieces

__all__ = ["FACES", "Cutting", "cut_faces", "cut_pass", "cutting_of", "num_pieces"]
