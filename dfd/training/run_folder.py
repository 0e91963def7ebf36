"""Run folder: `runs/<config>/<id>`, made once by rank 0, found again by other ranks and after a requeue."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

from dfd import run_record
from dfd.durable import atomic_write, meant_name, probe_folder
from dfd.locks import take
from dfd.outputs import check_file, remove_leftovers
from dfd.run_record import RunFolder
from dfd.text_files import read_yaml
from dfd.training.folder_owner import FAULT, LOCK, check_owner, config_head
from dfd.training.wandb_results import log_data

if TYPE_CHECKING:
    from filelock import FileLock

SHARED = "DFD_RUN_FOLDER"  # set by rank 0 for the processes that Lightning starts

_HELD: dict[Path, FileLock] = {}
_MADE: set[Path] = set()  # run folders that this process made


def run_id() -> tuple[str, bool]:
    """A name for this run, and whether it is only the time, so that another run may have the same.

    A Slurm job's or torchrun's id is the same for all ranks and after a requeue. W&B's agent begins many runs
    within one job.
    """
    if "WANDB_SWEEP_ID" in os.environ and os.environ.get("WANDB_RUN_ID"):
        return os.environ["WANDB_RUN_ID"], False
    if "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive", None):
        return os.environ["SLURM_JOB_ID"], False
    shared = os.environ.get("TORCHELASTIC_RUN_ID")
    if shared == "none" and "WORLD_SIZE" in os.environ:
        raise ValueError(
            "torchrun's ranks cannot agree on a run folder: give --run_folder DIR, or torchrun --rdzv-id "
            "NAME."
        )
    return (shared, False) if shared else (datetime.now().strftime("%Y%m%d-%H%M%S"), True)


def open_run_folder(wanted: Path, fresh: bool, rank: int, verb: str = "fit") -> Path:
    """Makes the folder on rank 0 and returns it; other ranks get the same one.

    Args:
        fresh: take a free name beside `wanted` if that one is taken.

    Raises:
        ValueError: the folder cannot be made, is not this verb's (`check_owner`), or holds a finished run.
    """
    folder = wanted.absolute()
    if rank > 0:
        return Path(os.environ.get(SHARED) or folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for again in range(2, 1000):
            with suppress(FileExistsError):
                folder.mkdir()
                _MADE.add(folder)
                break
            if not folder.is_dir():
                raise NotADirectoryError(20, "a file of that name is in the way")
            if not fresh:
                break
            folder = wanted.absolute().with_name(f"{wanted.name}-{again}")
        probe_folder(folder)
        for file in _files(folder):
            check_file(file, str(file))
    except OSError as error:
        raise ValueError(
            f"cannot write the run folder {folder}: {error.strerror}. Give another with --run_folder DIR."
        ) from error
    check_owner(folder, verb)
    if RunFolder(folder).summary.exists():
        raise ValueError(f"{folder} holds a finished run. {_way_on(RunFolder(folder))}")
    (folder / FAULT).unlink(missing_ok=True)
    os.environ[SHARED] = str(folder)
    return folder


def _way_on(run: RunFolder) -> str:
    """How to train again, or further, than a finished run."""
    anew = "To train anew, give another --run_folder."
    if not run.last.exists():
        return anew
    ended, trainer = _mapping(run.summary), _mapping(run.config, "trainer")
    steps, limit = ended.get("steps"), trainer.get("max_steps")
    if isinstance(steps, int) and isinstance(limit, int) and 0 < limit <= steps:
        more = f"a --trainer.max_steps above {limit}"
    elif why := ended.get("stopped early"):
        more = f"without what stopped it early ({why})"
    else:
        more = f"a --trainer.max_epochs above {ended.get('epochs', trainer.get('max_epochs'))}"
    last = os.path.relpath(run.last)
    return f"{anew} To train on where it ended, give that, --ckpt_path {last}, and {more}."


def _mapping(path: Path, *keys: str) -> dict[str, Any]:
    """What stands under the keys of a YAML file; nothing where it is damaged or gone."""
    try:
        found = read_yaml(path)
        for key in keys:
            found = found[key]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> tuple[Path, ...]:
    """What a run may write beside its folders."""
    files = RunFolder(folder)
    return files.record, files.config, files.summary, files.metrics, files.undecodable, files.not_finite


def hold(folder: Path) -> None:
    """Keeps other fits out of a run folder until this process ends, in whatever way.

    Raises:
        ValueError: another one trains there; says which.
    """
    path = (folder / LOCK).absolute()
    if path in _HELD:  # by an earlier fit of this process
        _HELD.pop(path).release()
    try:
        lock = take(path)
    except BlockingIOError as error:
        holder = ""
        with suppress(OSError):  # Windows lets nobody read a locked file,
            holder = path.read_text(encoding="utf-8")
        raise ValueError(
            f"{folder}: another dfd fit ({holder or 'unknown'}) trains there. Wait for it, or give another "
            "--run_folder."
        ) from error
    if lock is not None:
        remove_leftovers(folder, {file.name for file in _files(folder)})
        _HELD[path] = lock
        with suppress(OSError):  # nor write it
            path.write_text(f"pid {os.getpid()} on {socket.gethostname()}", encoding="utf-8")


def remember(folder: Path) -> dict[Path, bytes | str | None]:
    """What a start replaces in the folder of an earlier run, as `restore` takes it; nothing of a new one.

    Returns:
        Path -> content of a file, where a link leads, None for a folder: record, config, table of metrics,
        and what lies in W&B's folder.
    """
    if run_record.read(folder) is None:
        return {}
    run = RunFolder(folder)
    kept: dict[Path, bytes | str | None] = {}
    for path in (run.record, run.config, run.metrics, *run.wandb.glob("*")):
        with suppress(OSError):
            link = os.readlink(path) if path.is_symlink() else None
            kept[path] = link or (path.read_bytes() if path.is_file() else None)
    return kept


def restore(kept: Mapping[Path, bytes | str | None]) -> None:
    """Makes a run's folder again what `remember` found there, after a start that was refused: W&B's part of
    that start goes too.
    """
    record = next(path for path in kept if path.name == run_record.RECORD)
    for path in RunFolder(record.parent).wandb.glob("*"):
        with suppress(OSError):
            if path.is_symlink() or (path not in kept and path.is_file()):
                path.unlink()
            elif path not in kept:
                rmtree(path)
    for path, content in kept.items():
        with suppress(OSError):  # a full disk: its last word stays
            if isinstance(content, str):
                path.symlink_to(content)
            elif content is not None:
                with atomic_write(path) as temporary:
                    temporary.write_bytes(content)


class SaveConfig(SaveConfigCallback):
    """The resolved config, in the run folder and once in W&B, where the data's fingerprint goes too.

    It does not name the run folder, so that it can be run again.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config = self.config.clone()
        config.pop("run_folder", None)
        config.pop("allow", None)
        path = RunFolder(trainer.default_root_dir).config
        # nulls stay: what was switched off must not come back as a default
        text = config_head(TrainerFn(stage).value) + self.parser.dump(config, skip_none=False)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(yaml.safe_load(path.read_text(encoding="utf-8")))
        log_data(trainer)


def drawn_seed(config: Path) -> int:
    """A seed drawn by chance for a new run; of one that goes on that in its config.

    Args:
        config: the run's resolved config, there or not.

    Raises:
        ValueError: processes that a launcher started cannot agree on one.
    """
    with suppress(OSError, yaml.YAMLError, AttributeError):
        seed = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("seed_everything")
        if isinstance(seed, int) and not isinstance(seed, bool):
            return seed
    several = any(int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    if several and (shared := os.environ.get("PL_GLOBAL_SEED")):  # of the process that started this one
        return int(shared)
    if several:
        raise ValueError(
            "seed_everything=true: processes that a launcher started would each draw a seed of their own. "
            "Give them one: --seed_everything=NUMBER."
        )
    return secrets.randbelow(2**32)


def write_summary(folder: Path, facts: Mapping[str, Any]) -> str:
    """Writes summary.yaml, which marks a finished run, whole or not at all, and returns its text."""
    text = as_yaml(facts)
    with atomic_write(RunFolder(folder).summary) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def as_yaml(facts: Mapping[str, Any]) -> str:
    """Facts as a person reads them, a line each."""
    return yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=1000)


def first_to_fail(folder: Path, node: int) -> bool:
    """True on one rank: an error that all of them meet is reported once."""
    try:
        (folder / FAULT).touch(exist_ok=False)
    except FileExistsError:
        return False
    except FileNotFoundError:  # rank 0 has failed and removed it, or it lies on another node's disk
        return node > 0
    except OSError:
        return True
    return True


def discard(folder: Path, parents: Sequence[Path]) -> None:
    """Removes what a run writes before it trains, where a folder that was empty before holds no more than
    that, and then the folder and its parents as far as they were made for it.

    An empty folder of the user's own is kept: he may be in it.

    Args:
        parents: those that were made, the nearest first.
    """
    files = RunFolder(folder)
    before_training = {files.config.name, files.record.name, files.wandb.name, FAULT, LOCK}
    names = {
        meant_name(top := path.relative_to(folder).parts[0]) or top
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    if names <= before_training:
        for _ in range(5):  # another rank may still write into it
            with suppress(OSError):
                for path in folder.iterdir():
                    rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                if folder in _MADE:
                    folder.rmdir()
                break
            time.sleep(0.1)
        with suppress(OSError):
            for parent in parents:
                parent.rmdir()


def safe_name(text: str) -> str:
    """Letters, digits, dot, dash and underscore: what W&B takes as a run id."""
    return re.sub(r"[^\w.-]+", "-", text)
