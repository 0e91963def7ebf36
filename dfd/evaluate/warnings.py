"""Warnings that go with the figures of a cell: one word each in its line, and the sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfd.detector.selection import chosen_on

FLAGS = {
    "seen": "the net was trained on some of these pictures",
    "chosen": "the net, its calibration or its thresholds were chosen on some of these pictures",
    "unknown_training": "the checkpoint does not say which pictures trained it",
    "uncalibrated": "the net was never calibrated on a validation set: no verdicts",
    "drawings": "this detector has seen drawings alone: no verdicts on photographs",
    "leaks": "related pictures lie in different splits of the data",
    "strange": "pictures of a source come from a world this detector has not seen",
    "file_facts_match": "file facts alone reach as much: the score shows nothing about forgery",
    "color_match": "colour alone reaches as much: the score shows nothing about forgery",
    "limited": "a quick look at some of the pictures, and no figure to quote",
    "masked_gradients": "an attack failed, which does not make the detector robust: its gradients are masked",
    "left_out": "the source was left out when this net was trained, to judge it on what it has not seen",
}
# with these, figures do not hold for what they seem to say
SPOILT = ("seen", "chosen", "leaks", "file_facts_match", "color_match", "masked_gradients")


def flags_of(facts: Mapping[str, Any]) -> list[str]:
    """The words of FLAGS for a cell, from what its prediction file says; what only a comparison of cells
    shows is added in the table.
    """
    calibrated_on = facts["calibrated_on"] or {}
    # val chooses: a split of that name which the checkpoint cannot tell from its own may have chosen it
    may_have_chosen = facts["num_chosen_on"] is None and facts["split"] == "val"
    fitted_here = facts["split"] != "val" and bool(
        chosen_on(facts["split"], calibrated_on, facts["selected_on"])
    )
    holds = {
        "seen": bool(facts["num_trained_on"]),
        "chosen": bool(facts["num_chosen_on"]) or may_have_chosen or fitted_here,
        "unknown_training": facts["num_trained_on"] is None,
        "uncalibrated": not calibrated_on,
        "drawings": not facts["speaks"],
        "leaks": bool(facts["leaks"]),
        "strange": bool(facts.get("strange")),
        "limited": facts["limit"] is not None,
        "left_out": bool(facts.get("left_out")),
    }
    return [flag for flag in FLAGS if holds.get(flag)]
