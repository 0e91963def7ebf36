"""Detector: a trained net with its card, the one way from pixels to a decision. torch is imported when one is
loaded.
"""

from dfd.detector.card import Card, load_net
from dfd.detector.detector import Detector, load
from dfd.detector.score import Score

__all__ = ["Card", "Detector", "Score", "load", "load_net"]
