"""Using a detector on files: scores, exports, generated fakes. torch waits until a checkpoint is loaded."""

from dfd.inference.predictor import Predictor
from dfd.inference.score import score_files

__all__ = ["Predictor", "score_files"]
