"""The forensic tools, in the order in which a page shows them."""

from __future__ import annotations

from dfd.forensics import jpeg_quality
from dfd.forensics.examine import Tool

# what needs nothing but the picture; `dfd.forensics.tools.with_weights` adds what needs files of the user's
TOOLS: tuple[Tool, ...] = (Tool(jpeg_quality.METHOD, jpeg_quality.jpeg_quality, "file"),)
