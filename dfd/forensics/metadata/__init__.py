"""Metadata: everything that a file says of itself beside its pixels, and whether it holds together.

`read_metadata` reads; `rules` has what is looked for, with weights and reasons; `metadata` is the tool.
"""

from dfd.forensics.metadata.read import Field, Metadata, Thumbnail, read_metadata
from dfd.forensics.metadata.tool import METHOD, metadata

__all__ = ["METHOD", "Field", "Metadata", "Thumbnail", "metadata", "read_metadata"]
