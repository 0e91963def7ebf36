"""`dfd submit`: a training as a Slurm job, checked before it waits in a queue."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from dfd.interpreters import fresh, users_environment
from dfd.resources import config_named, run_name, shipped

_TAKEN = ("trainer.devices", "trainer.num_nodes")  # the script's own
# options of sbatch that options of ours stand for
_OURS = {
    "nodes": "nodes",
    "ntasks-per-node": "gpus",
    "cpus-per-task": "cpus",
    "time": "time",
    "signal": "notice",
}


@dataclass(frozen=True)
class Job:
    """What is asked of Slurm.

    Args:
        nodes: how many, and
        gpus: of each, with one process a GPU; 0 is one process a node, without a GPU.
        cpus: of each process.
        time: as sbatch takes it; "90" are minutes.
        notice: seconds before the end at which the run is told to save itself.
        more: further options of sbatch, such as --partition=long; they beat the script's.
    """

    nodes: int = 1
    gpus: int = 1
    cpus: int = 8
    time: str = "24:00:00"
    notice: int = 180
    more: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("gpus", 0), ("cpus", 1), ("notice", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}={getattr(self, name)}: it takes at least {least}.")
        if self.notice > 65535:
            raise ValueError(f"--notice={self.notice}: sbatch takes at most 65535 seconds.")
        if self.seconds <= self.notice:
            raise ValueError(
                f"--time={self.time} is {_spoken(self.seconds)}, and --notice={self.notice} s before its end "
                "the run saves itself: nothing would be trained. Give more time; a number alone is minutes."
            )
        for option in self.more:
            if not option.startswith("--"):
                raise ValueError(
                    f"--sbatch={option}: write an option of sbatch in full, such as "
                    "--sbatch=--partition=long."
                )
            if ours := _OURS.get(option[2:].partition("=")[0]):
                raise ValueError(
                    f"--sbatch={option}: say it by --{ours}, so that ranks, devices and batches agree."
                )

    @property
    def seconds(self) -> int:
        """The time asked for: minutes[:seconds], hours:minutes:seconds or days-hours[:minutes[:seconds]]."""
        days, dash, rest = self.time.rpartition("-")
        parts = rest.split(":")
        if len(parts) > 3 or not all(part.isdecimal() for part in (*([days] if dash else []), *parts)):
            example = "Write hours:minutes:seconds, such as 24:00:00, or days-hours, such as 2-12."
            raise ValueError(f"--time={self.time} is no time. {example}")
        units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
        return 86400 * int(days or 0) + sum(
            int(part) * unit for part, unit in zip(parts, units, strict=False)
        )

    @property
    def tasks(self) -> int:
        """Processes of a node."""
        return max(1, self.gpus)

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks

    def settings(self) -> dict[str, str | None]:
        """Long options of sbatch by name; None leaves one out."""
        own: dict[str, str | None] = {
            "nodes": str(self.nodes),
            "ntasks-per-node": str(self.tasks),
            "gpus-per-node": str(self.gpus) if self.gpus else None,
            "cpus-per-task": str(self.cpus),
            "time": self.time,
            "signal": f"SIGUSR1@{self.notice}",
        }
        return own | {name: value for name, _, value in (option[2:].partition("=") for option in self.more)}


def submit(config: str, options: Sequence[str], job: Job, dry_run: bool) -> None:
    """Prints the filled script, lints it where there is sbatch, submits it, and says how to watch it.

    Args:
        options: further ones of dfd fit.
        dry_run: all but submit; needs no Slurm. Without Lightning the options of dfd fit are not checked.

    Raises:
        ValueError: dfd fit would not take the options, its shards are not here, the ranks cannot share the
            global batch, or sbatch refuses the job.
    """
    fit = ["--config", config, *options]
    checked = find_spec("lightning") is not None or not dry_run
    batch_size = _batch_size(_experiment(fit), job) if checked else None
    script = filled((shipped("slurm") / "train.sbatch").read_text(encoding="utf-8"), job.settings(), fit)
    print(f"{script.rstrip()}\n")
    print(_summary(job, batch_size))
    here = (
        shutil.which("sbatch") and not subprocess.run(["sbatch", "--version"], capture_output=True).returncode
    )
    if not (here or dry_run):
        raise ValueError(
            "there is no Slurm here. Submit on a login node of the cluster, or look at the script with "
            "--dry-run."
        )
    if here:
        print("$ sbatch --test-only < the above")
        print(_sbatch(script, "--test-only").stderr.strip().removeprefix("sbatch: "))
    if dry_run:
        print("dry run: nothing is submitted.")
        if not checked:
            print("The options of dfd fit are not checked: that needs pip install 'dfd[train]'.")
        return
    if shutil.which("dfd") is None:
        raise ValueError(
            "the job would not find the command dfd: it is not on PATH. Activate its environment first."
        )
    print("$ sbatch < the above")
    number = _sbatch(script, "--parsable").stdout.strip().partition(";")[0]
    print(_advice(number, fit, log=job.settings().get("output") or "slurm-%j.log"))


def _summary(job: Job, batch_size: int | None) -> str:
    share = (
        f"of {batch_size // job.ranks} images, {batch_size} together"
        if batch_size
        else "of data.batch_size / ranks images"
    )
    ranks = "1 rank" if job.ranks == 1 else f"{job.ranks} ranks"
    nodes = "1 node" if job.nodes == 1 else f"{job.nodes} nodes"
    gpus = "no GPU" if not job.gpus else "1 GPU" if job.gpus == 1 else f"{job.gpus} GPUs"
    return f"{nodes} with {gpus}: {ranks}, each with batches {share}; at most {_spoken(job.seconds)}"


def filled(script: str, settings: Mapping[str, str | None], options: Sequence[str]) -> str:
    """The script with these options of sbatch for its own, and with `options` for its arguments."""
    lines, left = [], dict(settings)
    for line in script.splitlines():
        name = re.match(r"#SBATCH --([\w-]+)", line)
        if name and name[1] in left:
            line = _sbatch_line(name[1], left.pop(name[1]))
        elif left and lines and not line.startswith("#"):  # below the last of its own
            lines += [_sbatch_line(name, value) for name, value in left.items()]
            left = {}
        lines.append(line)
    assert script.count('"$@"') == 1, "the script hands its arguments on, once"
    return "\n".join(line for line in lines if line is not None).replace('"$@"', shlex.join(options)) + "\n"


def _sbatch_line(name: str, value: str | None) -> str | None:
    return None if value is None else f"#SBATCH --{name}={value}" if value else f"#SBATCH --{name}"


def _experiment(fit: Sequence[str]) -> dict[str, Any]:
    """The whole experiment that dfd fit makes of these options; ValueError with its own words where it could
    not.
    """
    for option, _ in _pairs(fit):
        if option.lstrip("-") in _TAKEN:
            raise ValueError(f"{option} is the script's own: say how many by --gpus and --nodes.")
    parsed = subprocess.run(
        fresh("-m", "dfd.cli", "fit", *fit, "--print_config"), capture_output=True, text=True
    )
    if parsed.returncode:
        raise ValueError(f"the job would end at once. It says:\n{parsed.stderr.strip()}")
    return yaml.safe_load(parsed.stdout)


def _batch_size(experiment: Mapping[str, Any], job: Job) -> int | None:
    """The global batch size, where the data have one; ValueError where the ranks cannot share it or the data
    are not here.
    """
    from dfd.shards.pattern import parse_root

    data = experiment["data"].get("init_args", {})
    roots = data.get("roots") or []
    for root in [roots] if isinstance(roots, str) else roots:
        if "://" not in root and not Path(parse_root(root).folder).exists():
            hint = "" if Path(root).is_absolute() else " Submit from the folder that the job shall run in."
            raise ValueError(f"data.roots: {root} is not here.{hint}")
    batch_size = data.get("batch_size")
    if batch_size and batch_size % job.ranks:
        below, above = batch_size // job.ranks * job.ranks, -(-batch_size // job.ranks) * job.ranks
        raise ValueError(
            f"data.batch_size={batch_size} is global and does not divide by {job.ranks} ranks "
            f"(--nodes={job.nodes}, --gpus={job.gpus}). Add: -- --data.batch_size={below or above}"
        )
    return batch_size


def _pairs(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values, written --name=value or --name value."""
    for arg, after in zip(args, [*args[1:], ""], strict=True):
        option, equals, value = arg.partition("=")
        if option.startswith("-"):
            yield option, value if equals else after


def _sbatch(script: str, option: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["sbatch", option], input=script, env=users_environment(), capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"sbatch {option} refuses the job: {done.stderr.strip() or done.stdout.strip()}")
    return done


def _advice(number: str, fit: Sequence[str], log: str) -> str:
    folder = dict(_pairs(fit)).get("--run_folder") or Path("runs") / run_name(config_named(fit[1])) / number
    return (
        f"job {number}; its run lives in {folder}, after a requeue too\n"
        f"  squeue --jobs {number}            whether it runs\n"
        f"  tail -F {log.replace('%j', number)}        what it says\n"
        f"  scancel --signal=USR1 {number}    save itself and begin again where it stood\n"
        f"  scancel {number}                  save itself and end"
    )


def _spoken(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    parts = [
        f"{hours // 24} d" * (hours >= 24),
        f"{hours % 24} h" * (hours % 24 > 0),
        f"{rest // 60} min" * (rest >= 60),
    ]
    return " ".join([part for part in (*parts, f"{rest % 60} s" * (rest % 60 > 0)) if part]) or "no time"
