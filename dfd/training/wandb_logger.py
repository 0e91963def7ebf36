"""W&B logger whose failures neither end nor delay a run."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from dfd.metrics import METRICS
from dfd.run_record import RunFolder
from dfd.signals import stop_signals

# validation metrics by which runs are compared; of all others W&B keeps the last value
LOWER_IS_BETTER = ("loss", "nll", "brier", "ece", "eer", "attack_success_rate")
HIGHER_IS_BETTER = (*(name for name in METRICS if name not in LOWER_IS_BETTER), "robust_acc")
INIT = 30  # seconds for W&B's server to answer when a run begins
PATIENCE = 60  # seconds of the 180 that Slurm's warning grants, for W&B's uploads
UPLOAD = 600  # seconds for them at the end of a run that nobody told to stop
LARGE = 100 * 2**20  # bytes from which a file is not uploaded: the artifact then holds its place and checksum

_log = logging.getLogger(__name__)
_ending: threading.Thread | None = None
_warned = False


class TolerantWandbLogger(WandbLogger):
    """Lightning's W&B logger as a guest of the run: where W&B fails, the run goes on, and says so once.

    What W&B misses stands in metrics.csv. A run that cannot log online, without a key or a server that
    answers, logs offline, and `dfd sync` sends it later. W&B ranks runs by the best value of a validation
    metric, not by the last one.

    Args:
        log_model: whether the best checkpoint becomes an artifact when the run is done; by default what the
            environment variable WANDB_LOG_MODEL says, and else not.
        kwargs: of Lightning's WandbLogger.
    """

    def __init__(self, *, log_model: bool | None = None, **kwargs: Any):
        global _warned
        # W&B's reports on its own use hold up the end of a process for half a minute where no server answers
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        from wandb import Settings

        kwargs.setdefault("settings", Settings(silent=True, init_timeout=INIT))
        super().__init__(**kwargs)  # its own log_model uploads all checkpoints, and never offline
        _warned = False
        # wandb warns of it, even of the None that Lightning passes
        self._wandb_init.pop("anonymous", None)
        wanted = os.environ.get("WANDB_LOG_MODEL", "").lower() in ("true", "1", "end", "checkpoint")
        self.logs_model = wanted if log_model is None else log_model
        self._defined: set[str] = set()  # metrics of which W&B has been told what to keep

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, begun at the first use."""
        if self._experiment is None:
            self._begin()
        return self._experiment

    def _begin(self) -> None:
        for mode in dict.fromkeys((self._wandb_init.get("mode"), "offline", "disabled")):
            self._wandb_init["mode"] = mode
            try:
                super().experiment  # noqa: B018  it begins the run
                return
            except Exception as error:
                if mode == "disabled":
                    raise
                later = "" if mode == "offline" else "; what it logs offline is sent by dfd sync"
                _warn(f"W&B cannot log this run {mode or 'online'}: {_line(error)}{later}")
                sys.modules["wandb"].teardown()  # which still holds the run's id

    @property
    def begun(self) -> bool:
        """Whether W&B's run is; `experiment` would begin it."""
        return self._experiment is not None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        with tolerated():
            for name in metrics.keys() - self._defined:
                self._define(name)
            super().log_metrics(metrics, step)

    def _define(self, name: str) -> None:
        self._defined.add(name)
        if summary := _summary_of(name):
            # with a step of its own: an exact name takes nothing from Lightning's "*"
            step = {"step_metric": "trainer/global_step", "step_sync": True}
            self.experiment.define_metric(name, summary=summary, **step)

    def log_hyperparams(self, params: Any) -> None:
        with tolerated():
            super().log_hyperparams(params)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        with tolerated():
            super().log_image(key, images, step, **kwargs)

    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        with tolerated(), self._staging():
            super().log_table(key, columns, data, step=step)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Numbers and words of the whole run, which W&B lists beside its name."""
        with tolerated():
            self.experiment.summary.update(dict(values))

    @rank_zero_only
    def log_file(
        self, path: Path, name: str, kind: str, metadata: Mapping[str, Any], aliases: Sequence[str] = ()
    ) -> None:
        """A file as an artifact, of which W&B makes a new version where its contents are new.

        Args:
            path: has to stay there until it is sent; one larger than LARGE is never sent.
            kind: of artifact, such as dataset or model.
        """
        with tolerated(), self._staging():
            import wandb

            path, name = path.absolute(), re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:128]
            artifact = wandb.Artifact(name, kind, metadata=dict(metadata))
            if path.stat().st_size > LARGE:
                artifact.add_reference(f"file://{path}", name=path.name)
            else:
                artifact.add_file(str(path), name=path.name, policy="immutable")  # without a copy
            self.experiment.log_artifact(artifact, aliases=list(aliases))

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """A message to whoever has W&B's alerts on, by e-mail or Slack."""
        with tolerated():
            self.experiment.alert(title, text, level="ERROR")

    @contextmanager
    def _staging(self) -> Iterator[None]:
        """Keeps files that wait to be sent in the run folder; W&B's own place for them is the home folder."""
        if "WANDB_DATA_DIR" in os.environ:  # the user's choice
            yield
            return
        os.environ["WANDB_DATA_DIR"] = str(RunFolder(self.save_dir or ".").wandb.absolute() / "staging")
        try:
            yield
        finally:
            del os.environ["WANDB_DATA_DIR"]


def _summary_of(name: str) -> str | None:
    """Which value of a metric W&B is to keep: max, min, or None for the last."""
    split, _, metric = name.partition("/")
    metric = metric.partition("/")[0]  # auroc/SOURCE
    if split != "val" or name == "val/frechet_images":
        return None
    if metric in LOWER_IS_BETTER or metric.startswith("frechet_"):
        return "min"
    return "max" if metric in HIGHER_IS_BETTER else None


def close(exit_code: int) -> None:
    """Ends the W&B run of this process, if there is one; with 75 it counts as preempted, and not as finished.

    It waits for W&B's uploads for UPLOAD seconds at most, PATIENCE once the run was told to stop: its job
    would lose its time to a server that is gone, and not be requeued. What is not uploaded then stays in the
    run folder.
    """
    global _ending
    if "wandb" not in sys.modules or (_ending and _ending.is_alive()):
        return
    _ending = threading.Thread(target=_finish, args=(exit_code,), daemon=True)
    _ending.start()
    _ending.join(PATIENCE if stop_signals.requested else UPLOAD)
    if _ending.is_alive() and not stop_signals.requested:
        later = "wandb sync --include-online sends the rest"
        _warn(f"W&B has not taken everything within {UPLOAD // 60} min; {later}")


def _finish(exit_code: int) -> None:
    with tolerated():
        sys.modules["wandb"].finish(exit_code=exit_code)


@contextmanager
def tolerated() -> Iterator[None]:
    """Says once what W&B raises, and goes on; nothing once the run was told to stop, which ends W&B too."""
    try:
        yield
    except Exception as error:
        if not stop_signals.requested:
            _warn(f"W&B fails: {_line(error)}. What it misses stands in metrics.csv and the run folder")


def _warn(text: str) -> None:
    global _warned
    if not _warned:
        _log.warning("%s. The run goes on.", text)
    _warned = True


def _line(error: Exception) -> str:
    """The first line of what was raised."""
    return (str(error) or type(error).__name__).partition("\n")[0].rstrip(".")[:300]
