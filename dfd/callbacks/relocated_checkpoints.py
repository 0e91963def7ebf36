"""Relocated checkpoints: a run folder that was moved, copied or damaged keeps its own best checkpoint."""

import logging
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dfd.models.checkpoint import read_checkpoint
from dfd.models.seal import previous

_log = logging.getLogger(__name__)
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class RelocatedCheckpoints(Callback):
    """Tells the callbacks that keep checkpoints where these lie now.

    Lightning's ModelCheckpoint forgets what was best where its folder is called otherwise than before, and
    would take the next validation for the best. Checkpoints that did not come along are forgotten still.

    A best checkpoint that is damaged or gone is forgotten too, or no later one would replace it: the version
    before it takes its place and its score, or else the next validation's does.
    """

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("callbacks", {})
        for callback in trainer.checkpoint_callbacks:
            key, here = callback.state_key, getattr(callback, "dirpath", None)
            if not states.get(key) or not here:
                continue
            if getattr(callback, "monitor", None) and (best := states[key].get("best_model_path")):
                path = Path(here) / Path(best).name
                left = _best_left(path, key, states[key]) if trainer.is_global_zero else None
                if (state := trainer.strategy.broadcast(left)) is None:
                    del states[key]
                    continue
                states[key] = state
            _relocate(states[key], here)


def _best_left(best: Path, key: str, state: dict[str, Any]) -> dict[str, Any] | None:
    """What a callback is to know of its best checkpoint: `state`, where that is whole or lies elsewhere.

    Of a damaged one what it knew of the version before, which takes its place; None where there is none.
    """
    if best.is_dir() or (not best.exists() and state.get("dirpath") != str(best.parent)):
        return state
    try:
        read_checkpoint(best)
        return state
    except ValueError as error:
        fault = str(error)
    try:
        before = read_checkpoint(previous(best))["callbacks"][key]
        os.replace(previous(best), best)
    except (ValueError, OSError, KeyError):
        _log.warning(f"the best checkpoint is lost: {fault} The next validation chooses anew.")
        return None
    _log.warning(f"the best checkpoint is lost, and the best one before it takes its place: {fault}")
    return before


def _relocate(state: dict[str, Any], here: str) -> None:
    if state.get("dirpath") in (None, here):
        return
    best = state.get("best_model_path")
    if best and not (Path(here) / Path(best).name).is_file():
        return
    moved = {
        old: str(Path(here) / Path(old).name)
        for old in [*state["best_k_models"], *(state[name] for name in _PATHS)]
    }
    state |= {name: moved[state[name]] for name in _PATHS if state[name]}
    state["best_k_models"] = {moved[old]: score for old, score in state["best_k_models"].items()}
    state["dirpath"] = here
