"""Cues: some hundred numbers of one picture file, in a fixed order, for classifiers and for tables.

    file (headers) · jpeg (blocks and their DCT) · noise · spectrum · pixels

A name's first part says where its number comes from. The numbers of `file.` are what shortcuts are made of:
where fakes went through other programs than reals, they tell the programs apart. `kinds` leaves them out.
"""

from dfd.forensics.cues.describe import CUES, CUES_VERSION, KINDS, describe, kinds

__all__ = ["CUES", "CUES_VERSION", "KINDS", "describe", "kinds"]
