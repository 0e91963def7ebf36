"""Names of a run's files, the record that it keeps of itself in run.json, and the engine of `dfd runs`."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from dfd.durable import TEMPORARY, check_folder
from dfd.terminal import printable
from dfd.text_files import read_object

RECORD = "run.json"
MAX_RECORD = 1_000_000  # bytes; a command line may be long
UNDECODABLE_FILE = "undecodable.csv"
STAGES = {"validate": "val", "test": "test", "predict": "predict"}  # verb -> stage in its table's name
# why a run failed, for programs, which would have to parse the sentence otherwise
OUT_OF_MEMORY, BATCH_NOT_DIVISIBLE, NOT_FINITE = "out_of_memory", "batch_not_divisible", "not_finite"
LOADER_KILLED, RANK_LOST, INTERRUPTED = "loader_killed", "rank_lost", "interrupted"
# seconds without an update after which a run on another machine counts as dead; it writes every minute
SILENCE = 900.0
_END_OF_TIME = 253402300800.0  # seconds since 1970 of the last day that calendars of four digits know
_MAX_CELL, _MAX_REASON, _MAX_COMMAND = 60, 400, 4000  # letters of a record that `listing` shows


class RunFolder:
    """Paths of a run's files, whether they are there or not."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    @property
    def record(self) -> Path:
        """State, reason and progress: `Record`."""
        return self.path / RECORD

    @property
    def config(self) -> Path:
        """The resolved config, from which the run can be started again."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """A line for each step or epoch that was logged."""
        return self.path / "metrics.csv"

    @property
    def summary(self) -> Path:
        """Written last: a folder that holds one is a finished run."""
        return self.path / "summary.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def undecodable(self) -> Path:
        """Pictures that could not be decoded and were left out."""
        return self.path / UNDECODABLE_FILE

    @property
    def not_finite(self) -> Path:
        """Steps that were skipped, since loss or gradients were NaN or Inf."""
        return self.path / "not_finite.csv"

    @property
    def wandb(self) -> Path:
        """W&B's own folder: a folder in it for each time that the run was started."""
        return self.path / "wandb"

    def predictions(self, stage: str) -> Path:
        """The prediction table of a stage: val, test or predict."""
        return self.path / f"predictions-{stage}.csv"


class RunFailure(ValueError):
    """A fault that ends a run, with a code by which other programs know it: see `Record.reason_code`."""

    def __init__(self, text: str, reason_code: str = ""):
        super().__init__(text)
        self.reason_code = reason_code


@dataclass(frozen=True)
class Record:
    """Times are seconds since 1970, of the run's own clock."""

    # running, done (at its planned end), stopped (by max_time or a callback before that), preempted or
    # failed, as the run last wrote it: a killed one is still "running"
    state: str
    command: list[str]  # as it was typed
    cwd: str
    host: str
    pid: int
    process: str  # tells this process from a later one of the same number
    started: float
    heard: float
    reason: str = ""  # for people
    reason_code: str = ""  # for programs, "" for a reason that has none: OUT_OF_MEMORY and the others above
    ranks: int | None = None  # None: it failed before that was known
    epoch: int = 0  # finished ones
    epochs: int | None = None  # None: no end
    step: int = 0
    metric: str = "val/auroc"
    best: float | None = None
    images_per_second: float | None = None
    seconds: float = 0.0  # of training and validation, over all its starts
    joules: float | None = None  # likewise, where the machine tells

    @property
    def alive(self) -> bool:
        """Whether the process still runs; of another machine's, whether it was heard of lately."""
        if self.host == socket.gethostname():
            return _process(self.pid) == self.process
        return time.time() - self.heard < SILENCE


def begin(folder: Path, command: Sequence[str]) -> None:
    """The record of a run that starts, or starts again: then its best metric stays."""
    now = time.time()
    before = read(folder)
    record = Record(
        "running",
        list(command),
        os.getcwd(),
        socket.gethostname(),
        os.getpid(),
        _process(os.getpid()),
        now,
        now,
    )
    if before is not None:
        record = replace(
            record, started=before.started, epoch=before.epoch, epochs=before.epochs, step=before.step
        )
        record = replace(record, metric=before.metric, best=before.best)
        record = replace(record, seconds=before.seconds, joules=before.joules)
    _write(folder, record)


def note(folder: Path, **changes: Any) -> None:
    """Changes the record of a run, if it has one; on a disk that is full or gone it stays as it was."""
    record = read(folder)
    if record is not None:
        _write(folder, replace(record, heard=time.time(), **changes))


def end(folder: Path, state: str, reason: str = "", **changes: Any) -> None:
    """How a run ended; of several ranks the first that calls this is heard."""
    record = read(folder)
    if record is not None and record.state == "running":
        note(folder, state=state, reason=" ".join(reason.split())[:400], **changes)


def read(folder: Path) -> Record | None:
    try:
        record = Record(**read_object(RunFolder(folder).record, MAX_RECORD))
    except (OSError, ValueError, TypeError):  # none, or no record of ours
        return None
    types = get_type_hints(Record)
    whole = all(_is(getattr(record, field.name), types[field.name]) for field in fields(record))
    whole = whole and all(0 <= when < _END_OF_TIME for when in (record.started, record.heard))
    return record if whole else None


def _is(value: Any, wanted: Any) -> bool:
    """Whether a value out of a JSON file has the type of its field."""
    if get_origin(wanted) is list:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) >= 1 << 63):
        return False
    kinds = get_args(wanted) or (wanted,)
    return isinstance(value, (*kinds, int) if float in kinds else kinds)


def _write(folder: Path, record: Record) -> None:
    part = folder / f"{RECORD}{TEMPORARY}{secrets.token_hex(4)}"
    with suppress(OSError):  # such as a folder that another rank has just discarded: it is not made again
        part.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        os.replace(part, RunFolder(folder).record)


def _process(pid: int) -> str:
    """The process of this number by its start, so that a later one of the same number is another; "" if there
    is none.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        state, *rest = stat[stat.rindex(")") + 2 :].split()  # a command's name may hold anything
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return "" if state in "ZX" else f"{boot} {rest[18]}"
    except (OSError, ValueError, IndexError):
        if Path("/proc/self").exists():
            return ""
    try:  # no Linux: the number alone
        os.kill(pid, 0)
    except OSError:
        return ""
    return str(pid)


def found(folder: Path) -> tuple[list[tuple[Path, Record]], list[Path]]:
    """The runs below a folder, or the folder itself, the latest last; and those without a whole record."""
    records = []
    for path, folders, files in os.walk(folder):
        if RECORD in files:
            folders.clear()  # what is in a run is no run
            records.append((Path(path), read(Path(path))))
    known = sorted(
        ((path, record) for path, record in records if record), key=lambda each: (each[1].started, each[0])
    )
    return known, sorted(path for path, record in records if not record)


def state(record: Record) -> tuple[str, str]:
    """State and reason, where a run whose process is gone counts as failed."""
    if record.state != "running" or record.alive:
        return record.state, record.reason
    ago = _ago(time.time() - record.heard)
    if record.host == socket.gethostname():
        return "failed", f"killed: its process is gone; it was heard of {ago} ago"
    return "failed", f"not heard of for {ago}, on {record.host}"


def again(folder: Path, record: Record) -> str:
    """The command that resumes a run, from any folder."""
    words = list(record.command)
    if not any(word.partition("=")[0] == "--run_folder" for word in words):
        words.append(f"--run_folder={folder.absolute()}")
    here = "" if os.getcwd() == record.cwd else f"cd {shlex.quote(record.cwd)} && "
    return f"{here}dfd {shlex.join(words)}"


def _go_on(folder: Path, record: Record) -> str:
    """The same as it is shown: whole, or where one cannot copy it, where it is found."""
    command = again(folder, record)
    if command.isprintable() and len(command) <= _MAX_COMMAND:
        return command
    what = "is too long to be shown" if command.isprintable() else "has letters that cannot be printed"
    return f"its command {what}: see {_shown(RunFolder(folder).record)}"


def _shown(fact: object, most: int = _MAX_COMMAND) -> str:
    """A fact of a record, which may be anybody's, in a line of its own and of so many letters at most."""
    text = printable(str(fact), keep="")
    return text if len(text) <= most else f"{text[:most]}..."


def listing(folder: Path) -> str:
    """The runs below a folder as text: a line each, with reason and command to resume where it is not done.
    Whatever the records hold, they add no line of their own.

    Raises:
        ValueError: no such folder, or no run in it.
    """
    needed = "dfd fit makes one a run, in runs/<config>/<id> unless told otherwise."
    check_folder(folder, missing=needed, needed=needed)
    runs, damaged = found(folder)
    unread = [
        f"{_shown(path / RECORD)}: no record that dfd can read; the run's checkpoints and tables are as they "
        "were."
        for path in damaged
    ]
    if not runs and not unread:
        raise ValueError(f"{folder} holds no run of dfd fit (none of its folders has a {RECORD}).")
    if not runs:
        return "\n".join(unread)
    lines: list[tuple[str, ...]] = [("run", "state", "epoch", "best", "images/s", "heard")]
    for path, record in runs:
        best = "" if record.best is None else f"{record.metric} {record.best:.4f}"
        speed = "" if record.images_per_second is None else f"{record.images_per_second:.0f}"
        epoch = f"{record.epoch}/{record.epochs or '-'}"
        name = str(path.relative_to(folder)) if path != folder else path.name
        heard = f"{_ago(time.time() - record.heard)} ago"
        cells = (_shown(cell, _MAX_CELL) for cell in (state(record)[0], epoch, best, speed, heard))
        lines.append((_shown(name), *cells))
    text = _columns(lines)
    told = text[:1]
    for line, (path, record) in zip(text[1:], runs, strict=True):
        told.append(line)
        now, reason = state(record)
        if reason:
            told.append(f"    {_shown(reason, _MAX_REASON)}")
        if now in ("stopped", "preempted", "failed"):
            told.append(f"    go on: {_go_on(path, record)}")
    return "\n".join(told + unread)


def _columns(lines: Iterable[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
