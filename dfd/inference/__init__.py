"""Using a trained detector: pictures in, one score a face out. torch is imported when a checkpoint is loaded,
not before.
"""

from dfd.inference.predictor import Predictor, Score
from dfd.inference.score import score_files

__all__ = ["Predictor", "Score", "score_files"]
