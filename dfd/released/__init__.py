"""Released detectors: a signed list of what can be fetched or reproduced, downloads, and what lies here."""

from dfd.released.entry import Entry, Figure
from dfd.released.model_list import ModelList, open_list
from dfd.released.store import resolve

__all__ = ["Entry", "Figure", "ModelList", "open_list", "resolve"]
