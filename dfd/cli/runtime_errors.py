"""Runtime errors (out of memory, a loader worker or a rank killed) as a sentence that says what to do."""

from __future__ import annotations

import math
import os
import re
from typing import Any

from lightning.pytorch import Trainer

from dfd.run_record import LOADER_KILLED, OUT_OF_MEMORY, RANK_LOST, RunFailure

_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|unable to allocate|bad_?alloc|MemoryError",
    re.IGNORECASE,
)
_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)"
)
_BATCH_NORM = re.compile(
    r"Expected more than 1 value per channel when training, got input size torch.Size\(\[(\d+)"
)
_NO_BATCH = re.compile(r"requested to check (\S+) of the `(\w+)_dataloader` but \S+ \* (\d+) < 1")
_RESTORE = os.path.join("connectors", "checkpoint_connector.py")
_PEER = re.compile(r"by peer|Broken pipe|remote process|ncclRemoteError|heartbeat timeout", re.IGNORECASE)


def explain_failure(error: BaseException, trainer: Trainer | None, data: Any) -> RunFailure | None:
    """What such an error means, or None where it is of another kind.

    Args:
        trainer, data: of the run, as far as they were made.
    """
    text = f"{type(error).__name__}: {error}"
    ranks = trainer.world_size if trainer is not None else 1
    if found := _WORKER.search(text):
        workers = getattr(data, "num_workers", 0)
        how = f"was killed ({found[2].strip()})" if found[2] else "ended without a word"
        return RunFailure(
            f"a loading process (pid {found[1].strip()}) {how}: mostly the system's memory is at its end, or "
            "what the job or the container may have of it, or /dev/shm is full. Use fewer than "
            f"--data.num_workers={workers}, or 0, or ask for more memory. The same command goes on from the "
            "last checkpoint.",
            LOADER_KILLED,
        )
    if isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, OSError)) and _NO_MEMORY.search(text)
    ):
        if "DataLoader worker" in text:
            workers = getattr(data, "num_workers", 0)
            return RunFailure(
                "out of memory of the machine, in a loading process. Use fewer than "
                f"--data.num_workers={workers}, or a smaller --data.batch_size, or ask for more memory. "
                "The same command goes on from the last checkpoint.",
                OUT_OF_MEMORY,
            )
        return RunFailure(f"out of memory: {_smaller(trainer, data, ranks)}", OUT_OF_MEMORY)
    if found := _NO_BATCH.search(text):
        share, stage, batches = found.groups()
        return RunFailure(
            f"trainer.limit_{stage}_batches={share} of {batches} batches is not one. Use 1 (a whole number "
            f"counts batches), or a share of {math.ceil(1000 / int(batches)) / 1000:g} or more."
        )
    if isinstance(error, ValueError) and (found := _BATCH_NORM.search(text)):
        batch = getattr(data, "batch_size", None)
        given = f"data.batch_size={batch}" + (f" on {ranks} ranks" if ranks > 1 else "")
        return RunFailure(
            f"BatchNorm needs two pictures or more to train on, and got {found[1]}: {given}. Use "
            f"--data.batch_size={2 * ranks} or more."
        )
    if ranks > 1 and isinstance(error, RuntimeError) and _PEER.search(text):
        return RunFailure(
            f"another of the {ranks} ranks has ended without a word: it was killed, as for want of memory, "
            "or its machine failed. The same command goes on from the last checkpoint.",
            RANK_LOST,
        )
    if not isinstance(error, (ValueError, OSError)) and isinstance(error, Exception) and _restores(error):
        why = text.strip().partition("\n")[0]
        return RunFailure(
            f"{getattr(trainer, 'ckpt_path', None) or 'the checkpoint'} cannot be gone on from: its state is "
            f"not as dfd writes it here, or belongs to another version ({why})."
        )
    return None


def _restores(error: BaseException) -> bool:
    """Whether an error was raised where Lightning puts a checkpoint's state back."""
    where = error.__traceback__
    while where is not None:
        code = where.tb_frame.f_code
        if code.co_filename.endswith(_RESTORE) and "restore" in code.co_name:
            return True
        where = where.tb_next
    return False


def _smaller(trainer: Trainer | None, data: Any, ranks: int) -> str:
    """Which batch to try next."""
    batch = getattr(data, "batch_size", None)
    if trainer is None or batch is None:
        return "give the job more of it."
    smaller = batch // 2 // ranks * ranks
    on = f" on {ranks} ranks" if ranks > 1 else ""
    if not smaller:
        return (
            f"data.batch_size={batch}{on} cannot be smaller. Use a smaller --data.view.size or net, or ask "
            "for more memory."
        )
    options = f"--data.batch_size={smaller}"
    if trainer.state.fn != "fit":
        return f"data.batch_size={batch}{on} does not fit. Use {options}, which changes no number."
    module = trainer.lightning_module
    if batch % smaller == 0 and (module is None or module.automatic_optimization):
        options += f" --trainer.accumulate_grad_batches={trainer.accumulate_grad_batches * batch // smaller}"
    return (
        f"data.batch_size={batch}{on} does not fit. Use {options}, as many pictures a step, or find the "
        "largest that fits: dfd tune-batch CONFIG."
    )
