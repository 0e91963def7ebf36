"""Explanations of a detector's decisions: where in a picture they come from, which frequencies and streams
move them, and how far to believe each map.
"""

from dfd.explain.attribution import METHODS, Attribution, attribute, check_methods
from dfd.explain.decision import Decision
from dfd.explain.deletion import RandomOrders, random_orders
from dfd.explain.faithfulness import Faithfulness, faithfulness, how_far, sensitivity
from dfd.explain.frequency import FrequencyShares, band_edges, band_occlusion, frequency_attribution
from dfd.explain.infidelity import Removals, infidelity, removals
from dfd.explain.layers import Activations, activations, filters
from dfd.explain.localization import pointing_game, share_on
from dfd.explain.randomized import survival
from dfd.explain.streams import StreamContributions, has_streams, stream_contributions

__all__ = [
    "METHODS",
    "Activations",
    "Attribution",
    "Decision",
    "Faithfulness",
    "FrequencyShares",
    "RandomOrders",
    "Removals",
    "StreamContributions",
    "activations",
    "attribute",
    "band_edges",
    "band_occlusion",
    "check_methods",
    "faithfulness",
    "filters",
    "frequency_attribution",
    "has_streams",
    "how_far",
    "infidelity",
    "pointing_game",
    "random_orders",
    "removals",
    "sensitivity",
    "share_on",
    "stream_contributions",
    "survival",
]
