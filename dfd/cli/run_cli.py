"""RunCLI: LightningCLI with run folders, checkpoints that need no config, and short errors."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from dfd import run_record
from dfd.calibration import check_prior
from dfd.callbacks.conditions import best_interval, conditions, sentence
from dfd.callbacks.preemption import Preempted, restarts_left
from dfd.cli.checkpoint_config import (
    check_accelerator,
    check_same_net,
    check_something_to_train,
    other_settings,
)
from dfd.cli.fit_summary import best_facts, data_facts, ending, ending_facts, shown
from dfd.cli.parser import USAGE, Maker, Parser
from dfd.cli.runtime_errors import explain_failure
from dfd.cli.trainer_defaults import leave_out_waiting, save_durably, time_limit, with_defaults
from dfd.cli.trainer_options import check_callbacks, check_options
from dfd.launcher import find_launch, forget_ranks, rank_among
from dfd.run_record import INTERRUPTED, NOT_FINITE, RunFolder
from dfd.signals import stop_signals
from dfd.terminal import printable
from dfd.training.checkpoint_io import refuse_code
from dfd.training.metrics_csv import ResumableCSVLogger
from dfd.training.resume import check_whole_window, resumable, steps_of, whole
from dfd.training.run_folder import (
    SaveConfig,
    as_yaml,
    discard,
    drawn_seed,
    first_to_fail,
    hold,
    open_run_folder,
    remember,
    restore,
    run_id,
    safe_name,
    write_summary,
)
from dfd.training.trainer import HEAD_START, Trainer, num_devices
from dfd.training.wandb_logger import TolerantWandbLogger, close
from dfd.training.wandb_results import log_alert, log_best
from dfd.wandb_mode import wandb_mode


def end_wandb() -> None:
    """Ends this process's W&B run: as failed or preempted while such an error is handled."""
    error = sys.exc_info()[1]
    close(error.exit_code if isinstance(error, Preempted) else int(error is not None))


class RunCLI(LightningCLI):
    """One verb of one run.

    Args:
        verb: fit, validate, test or predict.
        name: the config's, as in runs/<name>/<id>.
        place: the run's folder instead of that one, unless --run_folder or trainer.default_root_dir names it.
        args: what follows the verb on the command line.
        typed: the command line as it was typed, verb and all.
        allow: packages beside dfd whose code a checkpoint may name.
    """

    def __init__(
        self,
        verb: str,
        name: str,
        place: Path | None,
        args: list[str],
        typed: list[str],
        allow: tuple[str, ...] = (),
    ):
        self.allow = allow
        self.verb, self.name, self.place, self.typed = verb, name, place, typed
        self.config = self.trainer = self.folder = None
        # until the Trainer's devices are known; where Lightning finds its environment right, it stays None
        self.rank: int = 0
        self.environment: type[ClusterEnvironment] | None = None
        self.make, self.ours = Maker(), False  # ours: the run folder was empty when this run came
        self.before: dict[Path, bytes | str | None] = {}  # what this start replaces of an earlier one
        self.made: list[Path] = []  # parents of the run folder that were not there, the nearest first
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                save_config_callback=SaveConfig,
                save_config_kwargs={"save_to_log_dir": False, "overwrite": True},
                trainer_class=Trainer,
                trainer_defaults={
                    "use_distributed_sampler": False,
                    "num_sanity_val_steps": 0,
                    "log_every_n_steps": 10,
                },
                seed_everything_default=0,
                parser_class=Parser,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,  # the net records itself
                args=[verb, *args],
            )
        except BaseException as error:
            known = explain_failure(error, self.trainer, getattr(self, "datamodule", None)) or error
            of_input = isinstance(known, (ValueError, OSError, MisconfigurationException))
            said = of_input and self._said_by_another_rank()
            if self.before and of_input and not self._has_trained():
                end_wandb()  # which writes into the folder until then
                restore(self.before)
            else:
                if verb == "fit" and self.folder is not None and not said:
                    self._record_end(known)
                if verb == "fit" and self.trainer is not None:
                    self._log_end(known)
            if self.ours:
                end_wandb()
                discard(self.folder, self.made)
            if said:
                raise SystemExit(1) from error
            if known is not error:
                raise known from error
            if self.make.faults:
                words = self.make.explain_constructor_error(error, self.config[verb].as_dict())
                if words is not error:
                    raise words from words.__cause__
            raise

    def _has_trained(self) -> bool:
        """Whether this process has begun a step: until then a fault refuses the start, and the run that was
        to go on is what it was.
        """
        loop = self.trainer and self.trainer.fit_loop
        return bool(loop) and 0 <= loop.begun_at < loop.batches

    def _record_end(self, error: BaseException) -> None:
        # Lightning turns a KeyboardInterrupt into a SystemExit
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        if isinstance(error, (Preempted, SIGTERMException)):
            run_record.end(self.folder, "preempted", str(error) or "told to stop")
        elif interrupted or isinstance(error, KeyboardInterrupt):
            run_record.end(self.folder, "failed", "interrupted from the keyboard", reason_code=INTERRUPTED)
            record = run_record.read(self.folder)
            if record and any(RunFolder(self.folder).checkpoints.glob("*.ckpt")):
                self._say(f"from the last checkpoint it goes on by: {run_record.again(self.folder, record)}")
        elif not isinstance(error, SystemExit):  # of a rank that leaves the word to another
            facts = {"reason_code": getattr(error, "reason_code", "")}
            if self.trainer is not None:
                facts["ranks"] = self.trainer.world_size
            run_record.end(self.folder, "failed", str(error) or type(error).__name__, **facts)

    def _log_end(self, error: BaseException) -> None:
        """Logs to W&B what a run that did not finish leaves: its best so far, and an alert where it needs
        somebody.
        """
        log_best(self.trainer, self.model)
        if getattr(error, "reason_code", "") == NOT_FINITE:
            log_alert(self.trainer, "NaN or Inf ended the run", str(error))
        elif isinstance(error, Preempted) and error.requeue and restarts_left() <= 0:
            log_alert(self.trainer, "Preempted for the last time", f"{error}: not requeued any more.")

    def _said_by_another_rank(self) -> bool:
        several = self.trainer is not None and self.trainer.world_size > 1
        return several and not first_to_fail(self.folder, self.trainer.node_rank)

    def subcommands(self) -> dict[str, set[str]]:
        return {self.verb: LightningCLI.subcommands()[self.verb]}  # a parser takes a third of a second

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_folder",
            type=str | None,
            default=None,
            help="Where the run lives (default: runs/<config>/<id>).",
        )
        # for the help page: `lightning_verbs` has taken it out of the command line
        parser.add_argument(
            "--allow",
            type=str | None,
            default=None,
            help="A package beside dfd whose code the checkpoint may name, on PYTHONPATH; may be repeated.",
        )

        if self.verb != "fit":
            parser.add_argument(
                "--prior",
                type=float | None,
                default=None,
                help="Share of fakes among such pictures, between 0 and 1, which P(fake) is corrected to.",
            )

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        super().setup_parser(*args, **kwargs)
        inner = self._subcommand_parsers[self.verb]
        self.parser.known_options = [option for action in inner._actions for option in action.option_strings]
        inner.usage, inner.description = USAGE[self.verb], None
        inner.set_defaults(
            {"weights_only": True} | ({"verbose": False} if self.verb in ("validate", "test") else {})
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        config = self.config[self.verb].trainer
        check_accelerator(config.accelerator)
        check_options(config, self.verb)
        if (prior := self.config[self.verb].get("prior")) is not None:
            check_prior(prior)
        self.rank = self._join(config)

    def instantiate_classes(self) -> None:
        self.parser.add_instantiator(self.make, object)
        super().instantiate_classes()

    def _parse_ckpt_path(self) -> None:
        """LightningCLI would put hyperparameters stored in the checkpoint above the command line's: dfd
        stores none.
        """

    def _set_seed(self) -> None:
        """`true` draws a number, which a run that goes on and all its ranks keep."""
        config = self.config[self.verb]
        if config.seed_everything is True:
            config.seed_everything = drawn_seed(RunFolder(self._wanted_folder()[0]).config)
            self._say(
                f"seed_everything={config.seed_everything}, drawn. The order and the augmentation of the "
                "pictures have data.seed, which stays as it is."
            )
        super()._set_seed()

    def _wanted_folder(self) -> tuple[Path, bool]:
        """Where the run is to live, and whether it takes a free name beside that if it is taken."""
        config = self.config[self.verb]
        if given := config.run_folder or config.trainer.default_root_dir:
            return Path(given), False
        if self.place:
            return self.place, True
        identity, fresh = run_id()
        return Path("runs") / self.name / (
            identity if self.verb == "fit" else f"{identity}-{self.verb}"
        ), fresh

    def before_instantiate_classes(self) -> None:
        config = self.config[self.verb]
        wanted, fresh = self._wanted_folder()
        refuse_code(config.weights_only)
        if self.verb == "fit":
            # Lightning's own words, such as last, have no suffix
            if config.ckpt_path and Path(config.ckpt_path).suffix:
                config.ckpt_path = str(whole(Path(config.ckpt_path)))
            check_something_to_train(config.ckpt_path, config.trainer)
        self.made = [parent for parent in wanted.absolute().parents if not parent.exists()]
        folder = open_run_folder(wanted, fresh, self.rank, self.verb)
        ours = self.rank == 0 and not any(folder.iterdir())
        if config.trainer.fast_dev_run and any(RunFolder(folder).checkpoints.glob("*.ckpt")):
            raise ValueError(
                f"{folder} holds a run, and a trial of trainer.fast_dev_run goes on with none and saves "
                "nothing. Give it another --run_folder."
            )
        if self.verb == "fit" and self.rank == 0:
            hold(folder)  # before the folder counts as this run's: another's record is left as it is
            self.before = remember(folder)
            run_record.begin(folder, self.typed)
        self.folder, self.ours = folder, ours
        # an unfinished run: of a finished one it is refused
        last = resumable(RunFolder(self.folder).checkpoints) if self.verb == "fit" else None
        # a run that began with another one's checkpoint goes on with its own
        begun_elsewhere = config.ckpt_path and not Path(config.ckpt_path).absolute().is_relative_to(
            self.folder
        )
        if last and (not config.ckpt_path or begun_elsewhere):
            # even its end: a job that was cut after its last epoch lacks no more than the summary
            config.ckpt_path = str(last)
            check_something_to_train(config.ckpt_path, config.trainer, own=True)
            self._say(f"goes on from {shown(last)}")
        if self.verb == "fit" and config.ckpt_path and Path(config.ckpt_path).suffix:
            check_whole_window(Path(config.ckpt_path), config.trainer.accumulate_grad_batches)

    def _join(self, config: Any) -> int:
        """This process's rank, which dfd and Lightning agree on from here on.

        Raises:
            ValueError: a launcher started another number of processes than the Trainer has ranks.
            SystemExit: another rank says so.
        """
        launch = find_launch()
        devices = num_devices(config.devices, config.accelerator)
        try:
            rank = rank_among(devices * config.num_nodes, devices, launch)
        except ValueError:
            if launch.launcher and launch.rank:
                # torchrun ends the others, once rank 0 has said it and is gone
                time.sleep(5 * HEAD_START)
                if stop_signals.requested or os.environ.get("SLURM_TASK_PID") == str(os.getpid()):
                    raise SystemExit(1) from None
            raise
        if launch.processes == 1:
            # an allocation's shell has Slurm's variables too, though its one process was started by hand
            forget_ranks(keep_node=config.num_nodes > 1)
            self.environment = LightningEnvironment
        elif launch.launcher == "srun":
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices))  # Lightning asks for it
            self.environment = SLURMEnvironment
        rank_zero_only.rank = rank
        return rank

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        own = config.callbacks or []
        seed = self._get(self.config_init, "seed_everything")
        callbacks = with_defaults(
            own if isinstance(own, list) else [own],
            self.verb,
            seed=seed if isinstance(seed, int) else 0,
            progress=config.enable_progress_bar is not False,
            summary=config.enable_model_summary is not False,
            prior=None if self.verb == "fit" else self._get(self.config_init, "prior"),
        )
        kwargs = {"default_root_dir": str(self.folder), "callbacks": callbacks, **kwargs}
        if config.logger is None or config.logger is True:
            kwargs["logger"] = self._default_loggers()
        plugins = config.plugins or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        if self.environment is not None and not any(isinstance(each, ClusterEnvironment) for each in plugins):
            kwargs["plugins"] = [*plugins, self.environment()]
        if not any(isinstance(callback, ProgressBar) for callback in callbacks):
            kwargs["enable_progress_bar"] = False
        if self.verb != "fit":
            kwargs["enable_model_summary"] = False
        if self.verb == "fit":
            kwargs |= time_limit(config.max_time, callbacks)
            if config.limit_val_batches == 0:
                self._say(leave_out_waiting(callbacks))
        check_callbacks(callbacks, saves=config.enable_checkpointing is not False)
        trainer = super().instantiate_trainer(**kwargs)
        save_durably(trainer, self.folder, self.verb)
        return trainer

    def _default_loggers(self) -> list[Logger]:
        table = ResumableCSVLogger(self.folder)
        checkpoint = self._get(self.config_init, "ckpt_path") or ""
        if self.rank == 0:
            goes_on = self.verb == "fit" and Path(checkpoint).suffix
            table.go_on(steps_of(Path(checkpoint)) if goes_on else 0)
        if self.verb != "fit":
            table.pictures = self._pictures()
        if self.verb != "fit" or (mode := wandb_mode()) == "disabled":
            return [table]
        identity = safe_name(f"{self.folder.parent.name}-{self.folder.name}")
        wandb_logger = TolerantWandbLogger(
            name=identity, id=identity, project="dfd", save_dir=str(self.folder), mode=mode
        )
        return [table, wandb_logger]

    def _pictures(self) -> dict[str, str]:
        return conditions(self.datamodule, "val" if self.verb in ("fit", "validate") else self.verb)

    def after_instantiate_classes(self) -> None:
        checkpoint = self.config_init[self.verb].get("ckpt_path")
        if hasattr(self.model, "config"):  # a task of dfd's, or one that keeps its ways
            plain = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.verb]
            self.model.config = {"task": plain["model"], "data": plain["data"]}
            if checkpoint and Path(checkpoint).suffix:  # Lightning's own words, such as last, have none
                check_same_net(Path(checkpoint), self.model.net, self.allow)
                if self.verb == "fit" and (settings := other_settings(Path(checkpoint), self.model.config)):
                    schedule = (
                        " The schedule is rescaled to it."
                        if any("optimizer.lr " in each for each in settings)
                        else ""
                    )
                    self._say(
                        "other settings than the checkpoint's, from here on: "
                        f"{'; '.join(settings)}.{schedule}"
                    )
        gc.enable()
        gc.freeze()  # what was imported stays: later collections need not walk it
        self._say(f"run folder: {shown(self.folder)}")

    def after_fit(self) -> None:
        trainer = self.trainer
        loop = trainer.fit_loop
        if loop.batches == loop.begun_at and loop.stopped_by:
            raise ValueError(
                f"nothing was trained: {ending(trainer)}, before its first step. Give it more time "
                "(--trainer.max_time), or take out what stops it."
            )
        if not trainer.is_global_zero:
            return
        ends = None
        if trainer.chooser is not None:
            ends = best_interval(trainer.chooser, getattr(self.model, "chosen_by", None))
        facts: dict[str, Any] = {"run folder": shown(self.folder)}
        facts |= best_facts(trainer, self.model, ends) | data_facts(self.datamodule)
        if trainer.enable_validation:
            facts["validated on"] = sentence(self._pictures())
        facts |= self._pages() | ending_facts(trainer)
        if trainer.fast_dev_run:
            self._end_trial()
            return
        if loop.stopped_by:
            run_record.end(self.folder, "stopped", ending(trainer))
            text = as_yaml(facts | {"to go on": "the same command"})
        else:
            text = write_summary(self.folder, facts)
            run_record.end(self.folder, "done")
        log_best(trainer, self.model, ends, done=not loop.stopped_by)
        self._say(text.rstrip())  # last: what is printed may fail, as where nobody reads it any more

    def _end_trial(self) -> None:
        text = f"a trial of trainer.fast_dev_run={self.trainer.max_steps}: nothing was saved"
        run_record.end(self.folder, "stopped", text, epoch=0, step=0, best=None)
        self._say(f"{text}. To train, take trainer.fast_dev_run out.")

    def _after_judging(self) -> None:
        self._say(as_yaml({"run folder": shown(self.folder), **self._pages()}).rstrip())

    after_validate = after_test = after_predict = _after_judging

    def _pages(self) -> dict[str, str]:
        files = RunFolder(self.folder)
        pages = {
            "table": files.metrics,
            "predictions": files.predictions("val" if self.verb == "validate" else self.verb),
            "plots": files.plots,
            "pictures left out": files.undecodable,
            "steps skipped": files.not_finite,
        }
        return {what: shown(page) for what, page in pages.items() if page.exists()}

    @rank_zero_only
    def _say(self, text: str) -> None:
        print(printable(text), flush=True)
