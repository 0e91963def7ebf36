"""Optuna's study in a journal that many processes write to: one line a change, and a lock that a dead one
cannot keep.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.sweep.lease import Lock
from dfd.sweep.space import Sweep

if TYPE_CHECKING:
    from optuna.study import Study

NAME = "sweep"  # of the study in it
JOURNAL, WORKERS, LOCK, PAGE = "journal.log", "workers", ".lock", "sweep.html"
_TRIAL = re.compile(r"\d{6}(-\d+)?(\.log)?")  # folder and log of a trial
FOREIGN = "{journal} holds a study that is not dfd sweep's. Give another --study."
_LINE = b'{"op_code"'  # how each line of Optuna's journals begins


def check_study(folder: Path) -> None:
    """Raises ValueError, before anything is written, where somebody's files have the names that a study and
    its trials write.
    """
    if not folder.is_dir():
        return
    names = sorted(os.listdir(folder))  # before the journal is read: another worker begins with that
    for name, look, fits in (
        (JOURNAL, os.stat, stat.S_ISREG),
        (WORKERS, os.stat, stat.S_ISDIR),
        (LOCK, os.lstat, stat.S_ISLNK),
    ):
        with suppress(FileNotFoundError):
            if not fits(look(folder / name).st_mode):
                raise ValueError(_way_on(folder, name, "a study has another kind of thing of that name"))
    head = b""
    if (folder / JOURNAL).exists():
        with open(folder / JOURNAL, "rb") as file:
            head = file.read(len(_LINE))
        if not _LINE.startswith(head):
            raise ValueError(_way_on(folder, JOURNAL, "it is no journal of Optuna's"))
    for name in names if not head else ():
        if name == PAGE or _TRIAL.fullmatch(name):
            raise ValueError(_way_on(folder, name, "the folder has no study that it is of"))


def _way_on(folder: Path, name: str, why: str) -> str:
    return (
        f"{folder / name} is not dfd sweep's: {why}. Give --study a folder of its own, such as "
        f"{folder / 'study'}."
    )


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
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"{journal} is no journal of Optuna's, or one of its lines is damaged. Give another --study."
        ) from error
    pruner = optuna.pruners.NopPruner()
    if sweep.rungs:
        first, eta = sweep.rungs
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=eta)
    direction = "maximize" if sweep.maximize else "minimize"
    try:
        return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)
    except KeyError:
        if storage.get_all_studies():
            raise ValueError(
                f"{journal} holds a study that is not dfd sweep's. Give another --study."
            ) from None
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
