"""Familiarity: whether a picture, or a folder of them, is like what a detector was calibrated on."""

from dfd.calibration import UNFAMILIAR
from dfd.familiarity.features import Features
from dfd.familiarity.gate import Familiarity, Home

__all__ = ["UNFAMILIAR", "Familiarity", "Features", "Home"]
