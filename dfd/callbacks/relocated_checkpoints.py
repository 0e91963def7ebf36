"""Relocated checkpoints: a run folder that was moved or copied keeps its own best checkpoint."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class RelocatedCheckpoints(Callback):
    """Tells the callbacks that keep checkpoints where these lie now.

    Lightning's ModelCheckpoint forgets what was best where its folder is called otherwise than before, and
    would take the next validation for the best. Checkpoints that did not come along are forgotten still.
    """

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        for callback in trainer.checkpoint_callbacks:
            state, here = (
                checkpoint.get("callbacks", {}).get(callback.state_key),
                getattr(callback, "dirpath", None),
            )
            if not state or not here or state.get("dirpath") in (None, here):
                continue
            best = state.get("best_model_path")
            if best and not (Path(here) / Path(best).name).is_file():
                continue
            moved = {
                old: str(Path(here) / Path(old).name)
                for old in [*state["best_k_models"], *(state[name] for name in _PATHS)]
            }
            state |= {name: moved[state[name]] for name in _PATHS if state[name]}
            state["best_k_models"] = {moved[old]: score for old, score in state["best_k_models"].items()}
            state["dirpath"] = here
