"""Resume: the checkpoint that a fit goes on from, whole even where the newest is damaged."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from dfd.models.checkpoint import read_checkpoint
from dfd.models.seal import previous

_log = logging.getLogger(__name__)


def resumable(folder: Path) -> Path | None:
    """The whole checkpoint in a folder with the most steps; None where the folder holds none at all.

    Damaged ones are named in the log.

    Raises:
        ValueError: all are damaged. To begin again would overwrite them.
    """
    steps: dict[Path, tuple[int, bool, int]] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.ckpt")):
        if path.is_file():
            try:
                checkpoint = read_checkpoint(path)
            except ValueError as error:
                faults.append(str(error))
                continue
            if {"loops", "optimizer_states"} <= checkpoint.keys():  # else weights alone
                # of equal steps the last one: best.ckpt was written before the callbacks knew of it
                steps[path] = checkpoint["global_step"], path.stem.startswith("last"), path.stat().st_mtime_ns
    if faults and not steps:
        told = f"{folder} holds no whole checkpoint to go on from. To begin again, give another --run_folder."
        raise ValueError("\n".join([told, *faults]))
    for fault in faults:
        _warn(fault)
    return max(steps, key=steps.__getitem__) if steps else None


def whole(checkpoint: Path) -> Path:
    """The checkpoint, or where it is damaged the version before it, with a warning in the log.

    Raises:
        ValueError: neither can be read.
    """
    try:
        read_checkpoint(checkpoint)
    except ValueError as error:
        before = previous(checkpoint)
        if not (checkpoint.is_file() and before.is_file()):
            raise
        try:
            read_checkpoint(before)
        except ValueError as also:
            raise ValueError(f"{error}\n{also}") from error
        _warn(f"{error} The run goes on from {before.name}.")
        return before
    return checkpoint


def steps_of(checkpoint: Path) -> int:
    """Training steps of a run when it saved a checkpoint, as its logs count them; 0 where it does not say."""
    progress = read_checkpoint(checkpoint).get("loops", {}).get("fit_loop")
    if not progress:
        return 0
    epoch = progress["epoch_progress"]["current"]
    # within a validation Lightning has not yet counted the step before it
    counted = epoch["processed"] == epoch["ready"]
    return progress["epoch_loop.state_dict"]["_batches_that_stepped"] + (not counted)


def check_whole_window(checkpoint: Path, accumulate: int) -> None:
    """Warns of a checkpoint that was saved between the batches whose gradients make one step."""
    if accumulate == 1 or "loops" not in (stored := read_checkpoint(checkpoint)):
        return
    progress = stored["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if (lost := progress["current"]["ready"] % accumulate) and not progress["is_last_batch"]:
        _warn(
            f"{checkpoint} was saved within an accumulation window: the gradients of {lost} of {accumulate} "
            "batches are lost, and the run will not end as the undisturbed one, to the bit."
        )


@rank_zero_only
def _warn(text: str) -> None:
    _log.warning(text)
