"""Forensics of image files: what a file says of its own making. No torch, no trained detector.

Each tool is a function of a file's bytes or of its pixels to a `Finding`; `examine` runs them all.
"""

from dfd.forensics.catalogue import Catalogue
from dfd.forensics.examine import Examination, Tool, examine
from dfd.forensics.finding import STATUSES, Finding, Map, Method, Region, Table
from dfd.forensics.jpeg.headers import JpegFacts, jpeg_facts
from dfd.forensics.tools import TOOLS

__all__ = [
    "STATUSES",
    "TOOLS",
    "Catalogue",
    "Examination",
    "Finding",
    "JpegFacts",
    "Map",
    "Method",
    "Region",
    "Table",
    "Tool",
    "examine",
    "jpeg_facts",
]
