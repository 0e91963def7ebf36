"""JPEG traces: what a file's headers, its stored coefficients and the blocks of its pixels say.

`headers` and `programs` read settings, `dct_coefficients` the quantized DCT as stored; each other module is a
tool or the statistics of one.
"""

from dfd.forensics.jpeg.dct_coefficients import Coefficients, Component, coefficients
from dfd.forensics.jpeg.headers import LUMINANCE, JpegFacts, jpeg_facts, nearest_quality

__all__ = [
    "LUMINANCE",
    "Coefficients",
    "Component",
    "JpegFacts",
    "coefficients",
    "jpeg_facts",
    "nearest_quality",
]
