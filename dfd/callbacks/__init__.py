"""What happens beside the training: pictures, predictions, freezing, progress."""

from dfd.callbacks.attack_stats import AttackStats
from dfd.callbacks.attribution import AttributionGrid
from dfd.callbacks.curves import Curves
from dfd.callbacks.freezing import FreezeThenUnfreeze
from dfd.callbacks.progress import ProgressLines
from dfd.callbacks.verdicts import VerdictWriter

__all__ = ["AttackStats", "AttributionGrid", "Curves", "FreezeThenUnfreeze", "ProgressLines", "VerdictWriter"]
