"""Callbacks that a YAML adds to a run: curves, heat maps, attacks, freezing, preemption, progress."""

from dfd.callbacks.attack_stats import AttackStats
from dfd.callbacks.attribution import AttributionGrid
from dfd.callbacks.compile import Compile
from dfd.callbacks.curves import Curves
from dfd.callbacks.frechet import FrechetDistance
from dfd.callbacks.freezing import FreezeThenUnfreeze
from dfd.callbacks.masking_stats import MaskingStats
from dfd.callbacks.net_summary import NetSummary
from dfd.callbacks.non_finite import FiniteGuard
from dfd.callbacks.predictions import PredictionWriter
from dfd.callbacks.preemption import Preemption
from dfd.callbacks.progress_bar import ProgressLines, TerminalBar
from dfd.callbacks.relocated_checkpoints import RelocatedCheckpoints
from dfd.callbacks.run_status import RunStatus
from dfd.callbacks.sample_grid import SampleGrid
from dfd.callbacks.step_seed import StepSeed
from dfd.callbacks.time_limit import TimeLimit

__all__ = [
    "AttackStats",
    "AttributionGrid",
    "Compile",
    "Curves",
    "FiniteGuard",
    "FrechetDistance",
    "FreezeThenUnfreeze",
    "MaskingStats",
    "NetSummary",
    "PredictionWriter",
    "Preemption",
    "ProgressLines",
    "RelocatedCheckpoints",
    "RunStatus",
    "SampleGrid",
    "StepSeed",
    "TerminalBar",
    "TimeLimit",
]
