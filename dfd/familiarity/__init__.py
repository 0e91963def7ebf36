"""Familiarity: whether a picture, or a folder of them, is like what a detector was calibrated on. torch is
imported when a class is asked for that measures pictures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfd.calibration import UNFAMILIAR
from dfd.familiarity.gate import Gate

if TYPE_CHECKING:
    from dfd.familiarity.familiarity import Familiarity, Home
    from dfd.familiarity.features import Features

__all__ = ["UNFAMILIAR", "Familiarity", "Features", "Gate", "Home"]


def __getattr__(name: str) -> Any:
    homes = {"Familiarity": "familiarity", "Features": "features", "Home": "familiarity"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
