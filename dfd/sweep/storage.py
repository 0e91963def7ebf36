"""Optuna's study in a journal that many processes write to: one line a change, and a lock that a dead one
cannot keep.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.sweep.lease import Lock
from dfd.sweep.space import Sweep

if TYPE_CHECKING:
    from optuna.study import Study

NAME = "sweep"  # of the study in it


def open_journal(journal: Path, lock: Lock, sweep: Sweep) -> Study:
    """The one Optuna study in the file, made where there is none; to be called with the lock.

    Raises:
        ValueError: it is no journal.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalLock(journal, lock)))
    except (ValueError, KeyError, AssertionError) as error:
        raise ValueError(
            f"{journal} is no journal of Optuna's, or damaged: {error!r}. Give another --study."
        ) from error
    pruner = optuna.pruners.NopPruner()
    if sweep.rungs:
        first, eta = sweep.rungs
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=eta)
    direction = "maximize" if sweep.maximize else "minimize"
    try:
        return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)
    except KeyError:
        return optuna.create_study(study_name=NAME, storage=storage, direction=direction, pruner=pruner)


class JournalLock:
    """Our lock for Optuna's journal. What a machine that lost its power has left half written goes first.

    After a kill -9 of its holder Optuna's own locks let all others wait for 30 s, and then may let in two at
    once.
    """

    def __init__(self, journal: Path, lock: Lock):
        self.journal, self.lock = journal, lock

    def acquire(self) -> bool:
        self.lock.acquire()
        with open(self.journal, "rb+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            if end and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()
