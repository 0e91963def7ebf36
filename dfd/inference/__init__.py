"""Using a detector on files: scores, exports, generated fakes. torch is imported when a checkpoint is loaded."""

from dfd.inference.predictor import Predictor
from dfd.inference.score import score_files

__all__ = ["Predictor", "score_files"]
