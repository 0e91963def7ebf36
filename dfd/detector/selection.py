"""Selection: what of a detector was chosen on a split, in words that go beside its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def chosen_on(split: str, calibrated_on: Mapping[str, Any] | None, selected_on: str | None) -> list[str]:
    """What of a detector was chosen on pictures of a split of this name: "calibration and thresholds",
    "checkpoint"; empty for nothing.

    A fit chooses on val alone. A checkpoint that says test was calibrated or chosen by hand, and its figures
    on test are those of pictures that it knows.
    """
    chosen = []
    if (calibrated_on or {}).get("split") == split:
        chosen.append("calibration and thresholds")
    # "val/auroc (best so far, split: val, step 40)"
    told = selected_on or ""
    if told.startswith(f"{split}/") or f"split: {split}" in told:
        chosen.append("checkpoint")
    return chosen


def warning(split: str, calibrated_on: Mapping[str, Any] | None, selected_on: str | None) -> str:
    """A line for the screen where something was chosen on test; "" where nothing was.

    Args:
        split: of the judged pictures; "" for pictures of no split.
    """
    chosen = chosen_on("test", calibrated_on, selected_on)
    if not chosen:
        return ""
    of = (calibrated_on or {}).get("data")
    where = f" of {of}" if of else ""
    figures = "These figures do" if split == "test" else "Its figures on that split do"
    return (
        f"CHOSEN ON TEST: {' and '.join(chosen)} come from the test split{where}. {figures} not hold for "
        "pictures that the detector has not seen."
    )
