"""Trial runner of one worker: starts trials, watches them and records their results."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from dfd.sweep.lease import Lock
from dfd.sweep.storage import PAGE, WORKERS
from dfd.sweep.study import Claim, Study, TakenOver, cost
from dfd.sweep.trial import Trial
from dfd.sweep.wandb_page import log_page

POLL, IDLE = 0.25, 1.0  # seconds between two looks at the trials: at those that run here, at those of others
PAGES = 60.0  # seconds between two pages, of all workers together, while trials run
TOLD_TO_GO = (-signal.SIGTERM, 128 + signal.SIGTERM, 75)  # exit codes of a trial that somebody else stopped
# trials of a worker that fail in a row, before one has succeeded and after: the others would fail too
HOPELESS, BROKEN = 5, 20
ROOM = 1 << 20  # bytes that must be free, or all trials would fail for the disk


@dataclass
class TrialRunner:
    """The trials that run here, by slot; `devices` of each slot. `completed` is told the run folder of each
    that ended well, where trials do not compete: then there is no best one, and no page of it.
    """

    study: Study
    total: int
    devices: list[list[str] | None]
    completed: Callable[[Path], None] | None = None
    running: dict[int, tuple[Claim, Trial]] = field(default_factory=dict)
    failed: int = 0  # in a row
    succeeded: bool = False
    hopeless: bool = False  # no trial can succeed
    ask_at: float = 0.0  # when to look again for trials, where there were none
    last: bool = True  # the study came to its end here, or there was nothing to do

    def work(self, requested: list[int]) -> None:
        """Runs trials until there are none for this worker, all of them fail, or a signal was heard."""
        watch = Lock(self.study.folder / ".watch", self.study.worker)
        watching = False
        while not requested and not self._hopeless():
            self._fill()
            if not self.running:
                # of the workers with nothing to do one stays and watches: one that runs a trial may die
                watching = watching or watch.try_acquire()
                if not (self.study.orphaned() or (watching and self.study.unfinished())):
                    break
            time.sleep(POLL if self.running else IDLE)
            for slot, (claim, trial) in list(self.running.items()):
                if trial.exit_code() in TOLD_TO_GO and not trial.pruned:
                    # a scheduler that ends a job may signal the trial first, and then this worker
                    time.sleep(IDLE)
                if requested:
                    break
                if self._over(claim, trial):
                    del self.running[slot]
        if watching:
            watch.release()

    def leave(self) -> None:
        """Stops what still runs, waits for its end and gives it back."""
        # asked before they are stopped: some end with 0 then, too
        ended = [claim for claim, trial in self.running.values() if trial.exit_code() == 0]
        for _, trial in self.running.values():
            trial.stop()
        for claim, trial in self.running.values():
            while trial.exit_code() is None:
                time.sleep(POLL)
            if claim in ended or trial.pruned:
                self._over(claim, trial)
                continue
            with suppress(TakenOver):
                self.study.give_back(claim)
                _say(claim, "stopped and given back: the same command goes on with it")
        self.running.clear()

    def kill(self) -> None:
        """Ends what still runs at once."""
        for _, trial in self.running.values():
            trial.kill()

    def outcome(self) -> str:
        """The study's outcome in a few lines; the worker that ended the last trial writes the page.

        Raises:
            ValueError: all of its trials failed, or so many of this worker's that it went no further.
        """
        trials, best, told = self.study.trials, self.study.best(), self.study.sweep
        failures = Counter(trial.user_attrs["reason"] for trial in trials if trial.state.name == "FAIL")
        if self._hopeless() or (trials and failures.total() == len(trials)):
            reason, times = failures.most_common(1)[0]
            raise ValueError(
                f"{failures.total()} of {len(trials)} trials failed; {times} of them ended so: {reason}\n"
                f"Their logs are in {self.study.folder}. Mend the cause; then the same command goes on with "
                "the rest, and another --study begins anew."
            )
        lines = [f"{len(trials)} of {max(self.total, len(trials))} trials: {self.study.states()}"]
        if self.study.unfinished():
            return f"{lines[0]}. Nothing is left to begin; other workers see to the rest."
        if best is not None:
            lines.append(
                f"best {told.metric} ({told.direction}): {best.value:.6g}, trial {best.number} in "
                f"{self.study.folder_of(best)}"
            )
            lines.append(f"its command: {told.shown_command(best.params)}")
        if spent := cost(trials):
            lines.append(spent)
        if self.last:
            from dfd.sweep.report import write_page  # with matplotlib

            page = write_page(self.study, self.total)
            log_page(page, self.study.folder.name)
            lines.append(f"page: {page}")
        return "\n".join(lines)

    def _hopeless(self) -> bool:
        return self.hopeless or self.failed >= (BROKEN if self.succeeded else HOPELESS)

    def _fill(self) -> None:
        """Begins trials where a slot is free."""
        if self.running and time.monotonic() < self.ask_at:
            return
        for slot, devices in enumerate(self.devices):
            if slot in self.running:
                continue
            if (claim := self.study.claim(self.total)) is None:
                self.ask_at = time.monotonic() + IDLE
                return
            _say(claim, " ".join(f"{name}={value}" for name, value in claim.params.items()))
            command = self.study.sweep.trial_command(claim.params, claim.folder)
            try:
                self.running[slot] = claim, Trial(command, claim.folder, self.study.sweep.metric, devices)
            except FileNotFoundError as error:
                with suppress(TakenOver):
                    self._end(claim, "FAIL", [], f"{error.filename}: {error.strerror}")
                    self.hopeless = True

    def _over(self, claim: Claim, trial: Trial) -> bool:
        """Whether a trial has ended; its result is then recorded."""
        code = trial.exit_code()  # asked before its values: what has ended writes no more
        try:
            values = trial.values()
            while trial.reported < len(values):
                trial.reported += 1
                if self.study.report(claim, trial.reported, values[trial.reported - 1]) and code is None:
                    trial.pruned = True
                    trial.stop()
            if code is None:
                return False
            if trial.pruned:
                self._end(claim, "PRUNED", values, f"stopped at value {len(values)}")
            elif code == 0 and values:
                self._end(claim, "COMPLETE", values)
            else:
                _check_disk(self.study.folder)
                self._end(claim, "FAIL", [], trial.complaint())
                # what one never reports, none does
                self.hopeless |= trial.mute() and self.study.best() is None
        except TakenOver:
            trial.kill()
            _say(claim, "taken over by another worker, since this one was silent")
        return True

    def _end(self, claim: Claim, state: str, values: list[float], reason: str = "") -> None:
        told = self.study.sweep
        value = (max if told.maximize else min)(values, default=None)
        self.study.finish(claim, state, value, reason)
        self.last = not self.study.unfinished()
        self.failed = self.failed + 1 if state == "FAIL" else 0
        self.succeeded |= state != "FAIL"
        best = self.study.best()
        words = [f"{told.metric} {value:.6g}"] if value is not None else []
        words += [f"failed, {reason}" if state == "FAIL" else reason] if reason else []
        if best is not None and not self.completed:
            words.append(f"best {best.value:.6g} of trial {best.number}")
        _say(claim, "; ".join([*words, f"{self.study.finished()} of {self.total} done"]))
        if self.completed:  # trials that do not compete have no page of the best
            if state == "COMPLETE":
                self.completed(claim.folder)
            return
        page = self.study.folder / PAGE
        if time.time() - (page if page.exists() else self.study.folder / WORKERS).stat().st_mtime > PAGES:
            from dfd.sweep.report import write_page

            write_page(self.study, self.total)


def _check_disk(folder: Path) -> None:
    """OSError where it is full: then a failure says nothing of the trial, which is tried again."""
    with TemporaryFile(dir=folder) as probe:
        probe.write(bytes(ROOM))


def _say(claim: Claim, text: str) -> None:
    print(f"trial {claim.number}: {text}", flush=True)
