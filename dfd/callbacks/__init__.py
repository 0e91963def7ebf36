"""What happens beside the training: pictures, predictions, freezing, progress."""

from dfd.callbacks.attack_stats import AttackStats
from dfd.callbacks.attribution import AttributionGrid
from dfd.callbacks.curves import Curves
from dfd.callbacks.frechet import FrechetDistance
from dfd.callbacks.freezing import FreezeThenUnfreeze
from dfd.callbacks.preemption import Preemption
from dfd.callbacks.progress import ProgressLines
from dfd.callbacks.sample_grid import SampleGrid
from dfd.callbacks.step_seed import StepSeed
from dfd.callbacks.verdicts import VerdictWriter

__all__ = [
    "AttackStats",
    "AttributionGrid",
    "Curves",
    "FrechetDistance",
    "FreezeThenUnfreeze",
    "Preemption",
    "ProgressLines",
    "SampleGrid",
    "StepSeed",
    "VerdictWriter",
]
