"""LightningCLI verbs fit, validate, test, predict: from a command line to a run, and from its end to an exit
code.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import sys
import warnings
from pathlib import Path

from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from dfd.callbacks.preemption import Preempted, requeue
from dfd.cli.checkpoint_config import experiment_of, judged_as_trained
from dfd.cli.config_files import config_name, with_paths
from dfd.cli.error_messages import UsageError
from dfd.cli.run_cli import RunCLI, end_wandb
from dfd.malloc import keep_pages
from dfd.released import resolve
from dfd.run_record import RunFolder
from dfd.shards.pattern import parse_root
from dfd.training.run_folder import SHARED

_log = logging.getLogger(__name__)

# what Lightning says that a user of dfd cannot or need not act upon
CHATTER = (
    ".*does not have many workers.*",  # the shards are read by offset: two workers are enough
    ".*custom batch sampler.*for prediction.*",  # it shows every sample once, and the ledger checks it
    ".*predict returned None.*",  # predictions are in the prediction table
    ".*callbacks used to create the checkpoint need to be provided.*",  # not to judge it
    ".*logging interval.*",
    ".*srun. command is available.*",  # a login node or a job step: what is started here is meant
    ".*your dataloader is not resumable.*",  # the sampler goes on where the run stood
    # the prediction table is gathered before it is measured: every rank logs the same numbers
    ".*sync_dist=True.*",
    ".*dirpath has changed.*",  # a run folder may be moved
    ".*exists and is not empty.*",  # the run folder, made a moment ago
    ".*returned a view tensor.*",  # of a sharded net: nobody writes into logits
    ".*isinstance.treespec, LeafSpec.*",  # Lightning's own affair with torch
    ".*skip_none parameter was deprecated.*",  # Lightning and jsonargparse 4
)


def run(args: list[str]) -> int:
    """Runs one of the four verbs and returns the exit code. ValueError is the input's fault."""
    verb, rest = args[0], args[1:]
    keep_pages()
    _quiet()
    allow, rest = _allowed(rest)
    config, rest = with_paths(rest)
    place = None
    if verb != "fit":
        place, rest = _with_checkpoint(verb, rest, allow)
    try:
        RunCLI(verb, config_name(config), place, rest, args, allow)
    except SIGTERMException:  # Lightning would exit with 0, as if the run had finished
        return 143
    except SystemExit as leave:
        # Lightning turns it into an exit without a word
        if isinstance(leave.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        gc.freeze()  # after --help a collection would walk all that was imported: a quarter of a second
        raise
    except Preempted as going:
        if rank_zero_only.rank:
            # rank 0 speaks for the run: srun would end it at another's bad exit code, before it asks to be
            # requeued
            return 0
        end_wandb()
        print(f"{going}.", file=sys.stderr, flush=True)
        what = requeue() if going.requeue else "the same command goes on from there."
        print(what, file=sys.stderr, flush=True)
        return going.exit_code
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    finally:
        gc.enable()
        os.environ.pop(SHARED, None)
        end_wandb()  # a second run in this process must not be written into the first one's files
    return 0


def _allowed(args: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The packages of all `--allow PACKAGE`, and the other arguments."""
    packages: list[str] = []
    others: list[str] = []
    args = list(args)
    while args:
        option, equals, value = args.pop(0).partition("=")
        if option != "--allow":
            others.append(option + equals + value)
            continue
        if not equals and (not args or args[0].startswith("-")):
            raise UsageError("--allow needs a package: --allow my_package.")
        packages.append(value if equals else args.pop(0))
    return tuple(packages), others


def _with_checkpoint(verb: str, args: list[str], allow: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    """A leading CHECKPOINT as options, its experiment first so that all others beat it; and the folder to
    judge it in.
    """
    if not args or args[0].startswith("-"):
        if not any(re.match(r"--ckpt_path|-h|--(\w+\.)?help", arg) for arg in args):
            raise UsageError(
                f"it needs a checkpoint: dfd {verb} CHECKPOINT, or --config CONFIG --ckpt_path CHECKPOINT."
            )
        return None, args
    checkpoint, rest = resolve(args[0]), args[1:]
    own = not any(re.match(r"--data(\.init_args)?(\.roots)?(=|$)", arg) for arg in rest)
    experiment, view = experiment_of(checkpoint, allow, roots=own)
    if "data" not in experiment and "--data" not in rest:
        raise ValueError(
            f"{checkpoint} does not say what data it was trained on. Name some: --data data/140k.yaml."
        )
    roots = experiment.get("data", {}).get("init_args", {}).get("roots", [])
    gone = [
        root
        for root in ([roots] if isinstance(roots, str) else roots)
        if "://" not in root and not Path(parse_root(root).folder).exists()
    ]
    if gone and own:
        raise ValueError(
            f"{checkpoint} was trained on {', '.join(gone)}, which is not here. Name other data: "
            "--data.roots=FOLDER."
        )
    if roots and own:
        # a file chooses what is read: its user is to know
        named = ", ".join([roots] if isinstance(roots, str) else roots)
        _log.info("judged on the data that the checkpoint names: %s (others: --data.roots=FOLDER)", named)
    options = [
        "--config",
        json.dumps(experiment),
        *judged_as_trained(rest, view),
        f"--ckpt_path={checkpoint}",
    ]
    return _beside(checkpoint, verb), options


def _beside(checkpoint: Path, verb: str) -> Path | None:
    """Next to the run that made the checkpoint, if that one lies below the current folder."""
    folder = checkpoint.absolute().parent
    run = folder.parent
    known = folder == RunFolder(run).checkpoints and run.parent.is_relative_to(Path.cwd())
    return run.with_name(f"{run.name}-{verb}") if known else None


def _quiet() -> None:
    for message in CHATTER:
        warnings.filterwarnings("ignore", message)
    # "GPU available", "Tip: try litlogger" and the like; warnings and errors stay
    for package in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{package}.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
