"""Optuna study in a folder that workers on any number of nodes share.

Which trial comes next and which worker has it is decided under one lock and written in one line of the
journal. So a worker that is killed leaves a trial either not begun, or begun with all its parameters and the
worker's name; the next worker finds that name dead and goes on with the same parameters in the same folder.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd.sweep.lease import Lease, Lock
from dfd.sweep.space import Choice, Range, Scalar, Sweep
from dfd.sweep.storage import JOURNAL, LOCK, NAME, open_journal
from dfd.sweep.trial import GRACE, lingers, log_of

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

DEATHS = 3  # of workers that had a trial: then it is the trial that kills them
RUN = "run"  # the trial's attribute that says who has it


class TakenOver(Exception):
    """Another worker has this trial now: this one gave no sign of life, and so counted as dead."""


@dataclass(frozen=True)
class Claim:
    """A trial that this worker is to run. `attempt` is 1, or more where workers before it died or gave it
    back.
    """

    number: int
    attempt: int
    params: Mapping[str, Scalar]
    folder: Path


def state(trial: FrozenTrial) -> str:
    """complete, failed, pruned or running."""
    return "failed" if trial.state.name == "FAIL" else trial.state.name.lower()


def minutes(trial: FrozenTrial) -> float:
    """From a trial's begin to its end, its waiting for a next worker included; NaN of one that still runs."""
    return math.nan if trial.duration is None else trial.duration.total_seconds() / 60


def cost(trials: list[FrozenTrial]) -> str:
    """What a study cost, in words; "" before a trial has ended."""
    ended = [each for trial in trials if math.isfinite(each := minutes(trial))]
    if not ended:
        return ""
    whole, each = sum(ended) / 60, sum(ended) / len(ended)
    return f"cost: {whole:.2f} hours, all trials together; {each:.1f} minutes a trial"


class Study:
    """The study in `folder`, made where there is none.

    Args:
        seed: of random numbers; by default the study's own, or 0 for a new one. Trial n draws from (seed, n)
            alone, so that a random search has the same trials whoever runs them.

    Raises:
        ValueError: the folder holds a study of another sweep, or another seed.
    """

    def __init__(self, folder: Path, sweep: Sweep, worker: Lease, seed: int | None = None):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # constant_liar, since 2.8
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.folder, self.sweep, self.worker = folder, sweep, worker
        # trials whose worker is dead and whose process is not -> since when
        self._lingering: dict[int, float] = {}
        self.lock = Lock(folder / LOCK, worker)
        with self.lock:
            self.study = open_journal(folder / JOURNAL, self.lock, sweep)
            told = {"sweep": sweep.facts(), "seed": seed or 0}
            if not self.study.user_attrs and not self.trials:
                self.study.set_user_attr(NAME, told)
        known = self.study.user_attrs.get(NAME)
        if known is None:
            raise ValueError(
                f"{folder / JOURNAL} holds a study that is not dfd sweep's. Give another --study."
            )
        if differing := [name for name, value in told["sweep"].items() if known["sweep"].get(name) != value]:
            raise ValueError(
                f"{folder} holds the study of another sweep: {', '.join(differing)} differ. Give another "
                "--study."
            )
        self.seed = known["seed"]
        if seed is not None and seed != self.seed:
            raise ValueError(
                f"{folder} holds a study with --seed {self.seed}, not {seed}. Leave it out, or give another "
                "--study."
            )

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials begun, in their order; not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def unfinished(self) -> bool:
        """Whether a trial is running, here or elsewhere."""
        return any(not trial.state.is_finished() for trial in self.trials)

    def orphaned(self) -> bool:
        """Whether a trial is running that no living worker has; it can be claimed, now or once its process
        has ended.
        """
        return bool(self._orphans())

    def finished(self) -> int:
        """How many trials have come to an end, good or bad."""
        return sum(trial.state.is_finished() for trial in self.trials)

    def states(self) -> str:
        """How many trials are in which state, in words."""
        counts = Counter(map(state, self.trials))
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none yet"

    def best(self) -> FrozenTrial | None:
        """Of the complete trials the one with the best value, the first of equals."""
        complete = [trial for trial in self.trials if trial.state.name == "COMPLETE"]
        return (max if self.sweep.maximize else min)(complete, key=lambda trial: trial.value, default=None)

    def folder_of(self, trial: FrozenTrial) -> Path:
        """Its run folder."""
        return self._place(trial.number, trial.user_attrs[RUN])

    def claim(self, total: int) -> Claim | None:
        """The next trial to run: one whose worker died, or else a new one, of at most `total`. None: there is
        none now.
        """
        if not (len(self.trials) < total or self.orphaned()):
            return None
        with self.lock:
            for trial in self._orphans():
                if claim := self._take_over(trial):
                    return claim
            number = len(self.trials)
            return self._begin(number) if number < total else None

    def report(self, claim: Claim, step: int, value: float) -> bool:
        """Writes down the metric's value number `step`, from 1; whether the trial is to be stopped for it.

        Raises:
            TakenOver
        """
        with self.lock:
            trial = self._mine(claim)
            self._storage.set_trial_intermediate_value(trial._trial_id, step, value)
            pruner, trial = self.study.pruner, self.trials[claim.number]
        return trial.last_step == step and pruner.prune(self.study, trial)

    def finish(self, claim: Claim, state: str, value: float | None, reason: str = "") -> None:
        """Ends a trial as COMPLETE, PRUNED or FAIL, with its best value or the reason why it has none.

        Raises:
            TakenOver
        """
        with self.lock:
            self._close(self._mine(claim), state, value, reason)

    def give_back(self, claim: Claim) -> None:
        """Leaves a trial whose process has ended to the next worker; in the same folder dfd fit resumes.

        Raises:
            TakenOver
        """
        with self.lock:
            trial = self._mine(claim)
            self._storage.set_trial_user_attr(trial._trial_id, RUN, {**trial.user_attrs[RUN], "worker": ""})

    @property
    def _storage(self) -> Any:
        return self.study._storage

    def _orphans(self) -> list[FrozenTrial]:
        running = (trial for trial in self.trials if trial.state.name == "RUNNING")
        return [trial for trial in running if not self._alive(trial.user_attrs[RUN]["worker"])]

    def _alive(self, name: str) -> bool:
        return bool(name) and self.worker.alive(name)

    def _take_over(self, trial: FrozenTrial) -> Claim | None:
        """An orphan to go on with; None if its process still has to end, or too many workers died of it."""
        run = dict(trial.user_attrs[RUN])
        run["deaths"] += bool(run["worker"])  # a worker that was stopped gave it back
        if run["deaths"] >= DEATHS:
            self._close(trial, "FAIL", None, f"{run['deaths']} workers died while they ran it")
            return None
        if run["worker"] and lingers(self.folder_of(trial)):
            if time.monotonic() - self._lingering.setdefault(trial.number, time.monotonic()) < GRACE:
                return None
            # it was told to end and has not: two processes must not write into one folder
            run["place"] += 1
        run |= {"worker": self.worker.name, "attempt": run["attempt"] + 1}
        self._storage.set_trial_user_attr(trial._trial_id, RUN, run)
        return self._as_claim(trial.number, run, trial.params)

    def _begin(self, number: int) -> Claim:
        from optuna.trial import TrialState, create_trial

        space = {name: _distribution(domain) for name, domain in self.sweep.space.items()}
        params = self.sweep.point(number) if self.sweep.method == "grid" else self._sample(number, space)
        run = {"worker": self.worker.name, "attempt": 1, "deaths": 0, "place": 1}
        while os.path.lexists(taken := self._place(number, run)) or log_of(taken).exists():
            run["place"] += 1  # somebody's files lie there: they stay
        template = create_trial(
            state=TrialState.RUNNING, params=params, distributions=space, user_attrs={RUN: run}
        )
        self.study.add_trial(template)  # one line of the journal: parameters and owner together
        return self._as_claim(number, run, params)

    def _sample(self, number: int, space: dict[str, Any]) -> dict[str, Scalar]:
        """Drawn in a study in memory: in the journal's, a trial would begin before it has all of them."""
        import optuna

        memory = optuna.create_study(direction=self.study.direction, sampler=self._sampler(number))
        if self.sweep.method == "bayes":
            memory.add_trials(self.trials)
        params = memory.ask(space).params
        return {
            name: domain.tidy(params[name]) if isinstance(domain, Range) else params[name]
            for name, domain in self.sweep.space.items()
        }

    def _sampler(self, number: int) -> BaseSampler:
        import numpy as np
        from optuna.samplers import RandomSampler, TPESampler

        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        # the liar takes running trials for bad ones, so that workers do not all try the same place
        return (
            TPESampler(seed=seed, constant_liar=True)
            if self.sweep.method == "bayes"
            else RandomSampler(seed=seed)
        )

    def _mine(self, claim: Claim) -> FrozenTrial:
        trial = self.trials[claim.number]
        run = trial.user_attrs[RUN]
        if trial.state.is_finished() or (run["worker"], run["attempt"]) != (self.worker.name, claim.attempt):
            raise TakenOver
        return trial

    def _close(self, trial: FrozenTrial, state: str, value: float | None, reason: str) -> None:
        from optuna.trial import TrialState

        if reason:
            self._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        self._storage.set_trial_state_values(
            trial._trial_id, TrialState[state], None if value is None else [value]
        )

    def _as_claim(self, number: int, run: Mapping[str, Any], params: Mapping[str, Scalar]) -> Claim:
        return Claim(number, run["attempt"], params, self._place(number, run))

    def _place(self, number: int, run: Mapping[str, Any]) -> Path:
        """The run folder of the trial of that number, with this attribute RUN."""
        again = f"-{run['place']}" if run["place"] > 1 else ""
        return self.folder / f"{self.sweep.folder_name(number)}{again}"


def _distribution(domain: Choice | Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain.step, int):
        return IntDistribution(domain.low, domain.high, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
