"""Fits of leave-one-source-out as trials of a study: their command, and what they were begun with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd.evaluate.loso_sources import opened
from dfd.evaluate.names import clean_name
from dfd.outputs import output_file
from dfd.resources import config_named, shipped
from dfd.sweep.space import Choice, Scalar, Sweep
from dfd.text_files import read_object, read_text, read_yaml

BEGUN = "begun.json"  # what the fits are made of, by digest
SHARDS = "data/140k.yaml"  # data of a config that names the toy set, which has no sources


@dataclass(frozen=True)
class Fits(Sweep):
    """The trials: each source left out with the first seed, then with the next."""

    @property
    def points(self) -> int:
        return len(self.names)

    def point(self, number: int) -> dict[str, Scalar]:
        sources = self.space["data.leave_out"].values
        seed, source = divmod(number, len(sources))
        return {"data.leave_out": sources[source], "seed_everything": seed, "data.seed": seed}


def fits_of(command: tuple[str, ...], folders: Mapping[str, str], sources: Sequence[str], seeds: int) -> Fits:
    """The fits as a grid of trials."""
    numbers = tuple(range(seeds))
    return Fits(
        method="grid",
        metric="val/auroc",
        maximize=True,
        command=command,
        program="",
        fixed={"data.roots": json.dumps(list(folders.values()))},
        space={
            "data.leave_out": Choice(tuple(json.dumps([source]) for source in sources)),
            "seed_everything": Choice(numbers),
            "data.seed": Choice(numbers),
        },
        rungs=None,
        cap=None,
        names=tuple(f"{clean_name(source)}/seed{seed}" for seed in numbers for source in sources),
    )


def fit_command(configs: Sequence[str]) -> tuple[str, ...]:
    """The command line of a fit, but for the options of its trial.

    Args:
        configs: see `leave_one_out`. Where the first has the toy set's data or none, shards take their place.

    Raises:
        ValueError: there is none, or none of that name.
    """
    if not configs:
        raise ValueError(
            "--loso names no config: dfd evaluate --loso single_stream --on ROOT --on ROOT --out DIR."
        )
    for name in configs:
        if config_named(name) is None:
            own = shipped("configs")
            known = ", ".join(sorted(path.stem for path in own.glob("*.yaml")))
            raise ValueError(f"--loso {name}: there is no such config, here or among dfd's own: {known}.")
    first = read_yaml(config_named(configs[0]))
    data = first.get("data") if isinstance(first, dict) else None
    toy = data == "data/toy.yaml" or (
        isinstance(data, dict) and str(data.get("class_path")).endswith("ToyDataModule")
    )
    overlays = [word for name in configs[1:] for word in ("--config", name)]
    shards = ["--data", SHARDS] if toy or data is None else []
    fit = ["${env}", "${interpreter}", "-m", "dfd.cli", "fit", "--config", configs[0]]
    return (*fit, *shards, *overlays, "${args}")


def check_begun(path: Path, configs: Sequence[str], folders: Mapping[str, str]) -> None:
    """Writes down what the fits are made of; ValueError where earlier ones were made of anything else, since
    one table is not to mix two recipes.
    """
    digests = opened(folders).catalog.digests
    now = {name: _digest(read_text(config_named(name))) for name in configs}
    now |= {root: _digest(json.dumps(of_root)) for root, of_root in zip(folders, digests, strict=True)}
    if path.is_file():
        was = read_object(path)
        if changed := [name for name in {**was, **now} if was.get(name) != now.get(name)]:
            raise ValueError(
                f"{', '.join(changed)} changed since the fits in {path.parent} were begun. One table is not "
                "to mix two recipes: choose another --out, or bring back what it was."
            )
        return
    with output_file(path) as temporary:
        temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
