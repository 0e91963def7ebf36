"""W&B logger whose failures neither end nor delay a run."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from shutil import rmtree
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment as NoExperiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from dfd.metrics import METRICS
from dfd.run_record import RunFolder
from dfd.signals import stop_signals
from dfd.training.wandb_sync import has_end, mark_sent
from dfd.wandb_mode import wandb_mode

# validation metrics by which runs are compared; of all others W&B keeps the last value
LOWER_IS_BETTER = (
    "loss", "nll", "brier", "ece", "eer", "aurc", "risk@cov80", "risk@cov50", "attack_success_rate",
)  # fmt: skip
HIGHER_IS_BETTER = (*(name for name in METRICS if name not in LOWER_IS_BETTER), "robust_acc")
PATIENCE = 10  # seconds that a run waits for W&B: as it begins, for any one answer, and at its end
SERVER = 4  # of them for W&B's server to answer as a run begins
LOCAL = (
    30  # seconds for W&B's own process to start, which takes one, but on a machine that is busy with others
)
WRITES = 2  # seconds for it to write the last lines
LARGE = 100 * 2**20  # bytes from which a file is not uploaded: the artifact then holds its place and checksum

_log = logging.getLogger(__name__)
_warned = False


def own_server() -> str:
    """The address of W&B's server as the user's own settings have it (`wandb login --host`).

    W&B would also ask wandb/settings in the current folder: a stranger's could have the key sent elsewhere.
    """
    import wandb

    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    settings = ConfigParser(interpolation=None)
    with suppress(OSError, ConfigParserError, UnicodeDecodeError):
        settings.read(folder / "settings")
    return settings.get("default", "base_url", fallback=wandb.Settings.model_fields["base_url"].default)


class TolerantWandbLogger(WandbLogger):
    """Lightning's W&B logger as a guest of the run: where W&B fails, the run goes on, and says so once.

    It waits for W&B for PATIENCE at most. A run that cannot log online, without a key or a server that
    answers, logs offline, and so does one whose W&B fails on its way; `dfd sync` sends both later. Where W&B
    fails twice, it is let go: what it misses stands in metrics.csv. W&B ranks runs by the best value of a
    validation metric, not by the last one.

    Args:
        log_model: whether the best checkpoint becomes an artifact when the run is done; by default what the
            environment variable WANDB_LOG_MODEL says, and else not.
        kwargs: of Lightning's WandbLogger.
    """

    def __init__(self, *, log_model: bool | None = None, **kwargs: Any):
        global _warned
        # W&B's reports on its own use hold up the end of a process for half a minute where no server answers
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        # its sockets, where its own process is gone
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        os.environ.setdefault("WANDB_SILENT", "true")  # when it logs in, it looks at no other setting
        if rank_zero_only.rank == 0 and "WANDB_BASE_URL" not in os.environ:
            os.environ["WANDB_BASE_URL"] = own_server()
        limits = {"init_timeout": SERVER, "finish_timeout": PATIENCE - 2, "finish_timeout_raises": True}
        # no Settings, which raise what may be wrong in the environment here and now
        wandb_mode()  # of which W&B looks at the environment's, whatever it is told
        kwargs.setdefault("settings", {"silent": True, **limits})
        super().__init__(**kwargs)  # its own log_model uploads all checkpoints, and never offline
        _warned = False
        # wandb warns of it, even of the None that Lightning passes
        self._wandb_init.pop("anonymous", None)
        wanted = os.environ.get("WANDB_LOG_MODEL", "").lower() in ("true", "1", "end", "checkpoint")
        self.logs_model = wanted if log_model is None else log_model
        self._defined: set[str] = set()  # metrics of which W&B has been told what to keep
        self._params: Any = None  # to be told anew where W&B begins anew
        self._failed = False  # once already, after it had begun

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, begun at the first use."""
        if self._experiment is None:
            self._begin()
        return self._experiment

    def _begin(self) -> None:
        fault, modes = "", dict.fromkeys((self._wandb_init.get("mode") or "online", "offline"))
        for mode in modes:
            self._wandb_init["mode"] = mode
            before = self._folders()
            try:
                within(
                    PATIENCE if mode == "online" else LOCAL,
                    lambda: super(TolerantWandbLogger, self).experiment,
                )
                if fault:
                    _warn(f"{fault}; it logs offline, and dfd sync sends it")
                return
            except Exception as error:
                fault = fault or f"W&B cannot log this run {mode}: {_line(error)}"
                _end_service()  # which still holds the run's id
                for folder in self._folders() - before:  # of a run that has not begun
                    rmtree(folder, ignore_errors=True)
        _warn(fault)
        self._experiment = NoExperiment()

    def _folders(self) -> set[Path]:
        """One for each time that W&B's run was begun."""
        return set(RunFolder(self.save_dir or ".").wandb.glob("*run-*"))

    def _ask(self, call: Callable[[], Any]) -> None:
        """Has W&B do something, if it still can. Where it fails, it begins anew, offline; once."""
        try:
            if not isinstance(self.experiment, NoExperiment):
                within(PATIENCE, call)
        except Exception as error:
            # W&B got the signal that the run got too
            again = not (self._failed or stop_signals.requested)
            if not stop_signals.requested:
                rest = "It goes on offline, and dfd sync sends it" if again else "It is let go"
                _warn(f"W&B fails: {_line(error)}. {rest}; what it misses stands in metrics.csv")
            _end_service()
            self._experiment = None if again else NoExperiment()
            self._wandb_init["mode"], self._failed = "offline", True
            self._defined.clear()
            if again:
                if self._params is not None:
                    self.log_hyperparams(self._params)
                self._ask(call)

    @property
    def begun(self) -> bool:
        """Whether W&B's run is; `experiment` would begin it."""
        return self._experiment is not None and not isinstance(self._experiment, NoExperiment)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._ask(lambda: self._log_metrics(metrics, step))

    def _log_metrics(self, metrics: Mapping[str, Any], step: int | None) -> None:
        for name in metrics.keys() - self._defined:
            self._define(name)
        super().log_metrics(metrics, step)

    def _define(self, name: str) -> None:
        self._defined.add(name)
        if summary := _summary_of(name):
            # with a step of its own: an exact name takes nothing from Lightning's "*"
            step = {"step_metric": "trainer/global_step", "step_sync": True}
            # a dot would be a path within a dict
            self.experiment.define_metric(name.replace(".", r"\."), summary=summary, **step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        log, self._params = super().log_hyperparams, params
        self._ask(lambda: log(params))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        log = super().log_image
        self._ask(lambda: log(key, images, step, **kwargs))

    @rank_zero_only
    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        log = super().log_table
        with self._staging():
            self._ask(lambda: log(key, columns, data, step=step))

    @rank_zero_only
    def log_page(self, key: str, page: Path) -> None:
        """An HTML page as it is."""
        import wandb

        with self._staging():
            self._ask(lambda: self.experiment.log({key: wandb.Html(str(page), inject=False)}))

    @rank_zero_only
    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Numbers and words of the whole run, which W&B lists beside its name."""
        self._ask(lambda: self.experiment.summary.update(dict(values)))

    @rank_zero_only
    def log_file(
        self, path: Path, name: str, kind: str, metadata: Mapping[str, Any], aliases: Sequence[str] = ()
    ) -> None:
        """A file as an artifact, of which W&B makes a new version where its contents are new.

        One that W&B refuses costs neither the run nor what it logs otherwise.

        Args:
            path: has to stay there until it is sent; one larger than LARGE is never sent.
            kind: of artifact, such as dataset or model.
        """
        refused: list[Exception] = []

        def log() -> None:
            try:
                self._log_file(path.absolute(), name, kind, metadata, aliases)
            except Exception as error:
                if _is_away(error):
                    raise
                refused.append(error)

        with self._staging():
            self._ask(log)
        if refused:
            why = _line(refused[0])
            _log.warning("W&B refuses %s: %s. It stays at %s; the run goes on.", name, why, path)

    def _log_file(
        self, path: Path, name: str, kind: str, metadata: Mapping[str, Any], aliases: Sequence[str]
    ) -> None:
        import wandb

        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:128]
        artifact = wandb.Artifact(name, kind, metadata=dict(metadata))
        if path.stat().st_size > LARGE:
            artifact.add_reference(f"file://{path}", name=path.name)
        else:
            artifact.add_file(str(path), name=path.name, policy="immutable")  # without a copy
        self.experiment.log_artifact(artifact, aliases=list(aliases))

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """A message to whoever has W&B's alerts on, by e-mail or Slack."""
        self._ask(lambda: self.experiment.alert(title, text, level="ERROR"))

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

    It waits for W&B's uploads for PATIENCE seconds at most, for the job may end soon, and leaves nothing of
    W&B's that the end of this process would wait for. What is not uploaded stays in the run folder.
    """
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is None:
        return
    try:
        within(PATIENCE, lambda: sys.modules["wandb"].finish(exit_code=exit_code))
        file = Path(run.settings.sync_file)
        if not run.settings._offline:
            mark_sent(file)
        elif not _written(file):
            raise OSError(f"it could not write {file.parent.name} to its end")
    except Exception as error:
        if not stop_signals.requested:
            _warn(f"W&B has not got everything: {_line(error)}. dfd sync sends what is there")
        _end_service()


def _written(file: Path) -> bool:
    """Whether W&B's file has its end, for which W&B's own process takes a moment longer than for its word."""
    deadline = time.monotonic() + WRITES
    while not (whole := has_end(file)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return whole


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What a call returns or raises; TimeoutError where it has done neither by then, and its thread is left
    alone.
    """
    answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:
            answers.put((None, error))

    loud, logging.raiseExceptions = logging.raiseExceptions, False  # W&B's own log file, on a full disk
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    finally:
        logging.raiseExceptions = loud
    if error is not None:
        raise error
    return answer


def _is_away(error: Exception) -> bool:
    """Whether W&B's own process did not answer, or is no more, rather than refuse what it was asked."""
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    return isinstance(error, (OSError, HandleAbandonedError, MailboxClosedError))


def _end_service() -> None:
    """Ends W&B's own process, for which Python would wait at its end, and whatever waits for its answer."""
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import module

    connection = wandb_setup.singleton()._connection
    process = connection._proc._process if connection is not None and connection._proc is not None else None
    if process is not None:
        process.terminate()  # it writes what it holds
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
    with suppress(Exception):
        within(PATIENCE / 2, sys.modules["wandb"].teardown)
    module.unset_globals()


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
    """The first line of what was raised; of a setting that W&B refuses, all of it."""
    text = str(error) or type(error).__name__
    if "validation error" in text:
        text = re.sub(r" \[type=.*", "", " ".join(text.split()))
    return text.partition("\n")[0].rstrip(".")[:300]
