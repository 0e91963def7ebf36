"""Config of a checkpoint: task, net, data and view to evaluate it again, and checks before a run begins."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.accelerators import AcceleratorRegistry
from torch import nn

from dfd.cli.trusted_classes import foreign
from dfd.detector.card_check import shown, strange_view
from dfd.models.net import class_paths

# what judges, of what dfd's data modules were trained with. The rest belongs to training, or would let a file
# choose where to write: no cache, no folder
JUDGING_DATA = {
    "ShardDataModule": (
        "roots", "view", "batch_size", "val_augment", "num_workers", "seed", "fakes", "pairs",
    ),
    "ToyDataModule": (
        "num_images", "picture", "toy_seed", "view", "batch_size", "val_augment", "num_workers", "seed",
    ),
}  # fmt: skip
JUDGE, JUDGING_TASK = "dfd.tasks.ClassificationTask", ("ema_decay", "channels_last")
TRAINING_TASK = ("net", "optimizer", "loss", "finetune", "init_from")
# up to these a file is believed; dfd draws the toy set anew where it is not there
LARGEST = {
    "batch_size": 4096,
    "num_workers": 64,
    "num_images": 20_000,
    "picture": 512,
    "seed": 1 << 32,
    "toy_seed": 1 << 32,
}


def experiment_of(
    checkpoint: Path, allow: Iterable[str] = (), roots: bool = True
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A checkpoint's task and net, and its data where it names some, as a config with nothing to download and
    nowhere to write; and its view.

    Args:
        checkpoint: file that `dfd fit` or `dfd export` wrote.
        allow: packages whose code the file may name, beside dfd.
        roots: whether its own roots are to be read; no address among them is.

    Raises:
        ValueError: the file does not give them, names code from outside `allow`, or what only a person may
            choose.
    """
    from dfd.detector import load_net
    from dfd.models.net import OURS, ForeignCode, packages, recipe

    allowed = packages(allow)
    theirs = tuple(each for each in allowed if each != OURS)
    # refuses what is not ours; built, so that every `pretrained` in it is off
    net, card = load_net(checkpoint, allow=allowed, merge=False)
    average = {"ema_decay": card.ema_decay}
    task = card.task or {"class_path": JUDGE, "init_args": average}
    data, view = card.data, card.view
    ours = not task["class_path"].startswith(theirs)
    task = _only(task, JUDGING_TASK) if ours else _without(task, *TRAINING_TASK)
    if data and not data["class_path"].startswith(theirs):
        data = _only(data, JUDGING_DATA.get(data["class_path"].rpartition(".")[2], ()))
        _check_data(data["init_args"], checkpoint, roots)
    for what, made in (("task", task), ("data", data), ("view", view)):
        if strange := next(foreign(made, allow=theirs), None):
            raise ForeignCode(strange, str(checkpoint), what)
    if data and (other := next(_no_data(data, theirs), None)):
        raise ValueError(
            f"{checkpoint} names {other} as data, and a file may choose data modules, transforms and views "
            "of dfd alone. Name the data yourself: --data data/140k.yaml."
        )
    if ours:
        # dfd's tasks differ in how they train: an adversarial one would ask for its attack
        task["class_path"] = JUDGE
    task["init_args"]["net"] = recipe(net)
    stated = data and data["init_args"].get("view")
    if isinstance(stated, dict) and stated.get("margin", 0) is None and view:
        # the config left the margin to the shards that the net was trained on, not to those it is judged on
        data["init_args"]["view"] = {**stated, "margin": view.get("margin")}
    return {"model": task} | ({"data": data} if data else {}), view


def _no_data(data: dict[str, Any], theirs: tuple[str, ...]) -> Iterator[str]:
    """Class paths that belong to no part of a data module, such as a net's, which might fetch weights."""
    yield from (
        path
        for path in class_paths(data)
        if not path.startswith(("dfd.data.", "dfd.augment.", "dfd.media.", *theirs))
    )


def _check_data(given: dict[str, Any], checkpoint: Path, roots: bool) -> None:
    """ValueError where a file's data would cost without bound, or reach out of this machine."""
    for name, largest in LARGEST.items():
        if name in given and not (type(given[name]) is int and 0 <= given[name] <= largest):
            raise ValueError(
                f"{checkpoint} asks for data.{name}={shown(given[name])}, and a file is believed from 0 to "
                f"{largest}. Name the data yourself: --data data/140k.yaml."
            )
    if isinstance(view := given.get("view"), dict) and (strange := strange_view(view)):
        raise ValueError(f"{checkpoint} has data whose view is {strange}: dfd did not write it.")
    named = given.get("roots", [])
    named = [named] if isinstance(named, str) else list(named) if isinstance(named, (list, dict)) else [None]
    if not all(isinstance(root, str) and root for root in named):
        raise ValueError(f"{checkpoint} names data.roots that are no folders: dfd did not write it.")
    if roots and (away := [root for root in named if "://" in root]):
        raise ValueError(
            f"{checkpoint} was trained on {', '.join(away[:3])}, and a file may not choose an address to "
            "ask. If you trust it, name it yourself: --data.roots=ADDRESS or FOLDER."
        )


def _only(made: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    given = made["init_args"]
    return {
        "class_path": made["class_path"],
        "init_args": {name: given[name] for name in names if name in given},
    }


def _without(made: dict[str, Any], *names: str) -> dict[str, Any]:
    return {
        **made,
        "init_args": {name: value for name, value in made["init_args"].items() if name not in names},
    }


def judged_as_trained(args: list[str], view: dict[str, Any] | None) -> list[str]:
    """The arguments with the checkpoint's view over that of another data config; options that follow still
    beat it.
    """
    seen: list[str] = []
    for arg, before in zip(args, ["", *args], strict=False):
        seen.append(arg)
        if view and (arg.startswith("--data=") or before == "--data"):
            seen.append(f"--data.init_args.view={json.dumps(view)}")
    return seen


def check_accelerator(name: Any) -> None:
    """ValueError with what this machine has, where it lacks the accelerator that the Trainer is to use."""
    here = [each for each in AcceleratorRegistry if AcceleratorRegistry[each]["accelerator"].is_available()]
    here = ["auto", *(["gpu"] if {"cuda", "mps"} & set(here) else []), *here]
    if isinstance(name, str) and name not in here:
        raise ValueError(
            f"trainer.accelerator={name}: torch finds no such device here. Use one of {', '.join(here)}."
        )


def check_something_to_train(checkpoint: str | None, trainer: Any, own: bool = False) -> None:
    """ValueError where a fit, or a fit that goes on from a checkpoint, would end before its first step.

    Args:
        trainer: the Trainer's options.
        own: the checkpoint is the run's own, which may be its planned end: it then lacks no more than the
            summary.
    """
    max_epochs, max_steps = trainer.max_epochs, trainer.max_steps
    if max_epochs == 0:
        raise ValueError("trainer.max_epochs=0: nothing would be trained. Use 1 or more, or -1 for no end.")
    if max_steps == 0:
        raise ValueError("trainer.max_steps=0: nothing would be trained. Use 1 or more, or -1 for no end.")
    if trainer.limit_train_batches == 0:
        raise ValueError(
            "trainer.limit_train_batches=0: nothing would be trained. Use 1 or more batches, or a share of "
            "them such as 0.1; to judge a checkpoint there is dfd validate."
        )
    # Lightning's words, such as last, have no suffix
    if not checkpoint or not Path(checkpoint).suffix:
        return
    from dfd.models.checkpoint import read_checkpoint

    stored = read_checkpoint(Path(checkpoint))
    # an export has neither, save_weights_only leaves the loops
    if not {"loops", "optimizer_states"} <= stored.keys():
        raise ValueError(
            f"{checkpoint} holds weights without the state of their training, so that cannot go on from it."
        )
    progress = stored["loops"]["fit_loop"]
    begun, done = (progress["epoch_progress"]["current"][name] for name in ("ready", "processed"))
    epochs = begun if progress["epoch_loop.batch_progress"]["is_last_batch"] else done
    if max_epochs is not None and 0 <= max_epochs <= epochs - own:
        raise ValueError(
            f"{checkpoint} is the end of epoch {epochs}, and trainer.max_epochs={max_epochs}: nothing is "
            f"left to train. Use --trainer.max_epochs={epochs + 10} for ten more."
        )
    if 0 <= max_steps <= (steps := stored["global_step"]) - own:
        raise ValueError(
            f"{checkpoint} is of step {steps}, and trainer.max_steps={max_steps}: nothing is left to train. "
            f"Use --trainer.max_steps={steps + 1000} for a thousand more."
        )


def check_same_net(checkpoint: Path, net: nn.Module, allow: Iterable[str] = ()) -> None:
    """ValueError with the arguments that differ, unless the checkpoint's weights fit the net that a config
    asks for. The file may name code of `allow`, and of the packages that the config itself names.
    """
    from dfd.detector import load_net
    from dfd.models.net import difference, recipe, shapes

    asked = recipe(net)
    named = {path.partition(".")[0] for path in class_paths(asked)}
    stored, card = load_net(checkpoint, allow={*named, *allow}, role=None, merge=False)
    if difference(shapes(stored), shapes(net)):
        differences = "; ".join(_differences(card.net, asked)[:4])
        raise ValueError(
            f"{checkpoint} holds another net than the config asks for: {differences}. Use its own config, or "
            "train anew."
        )


def other_settings(checkpoint: Path, config: dict[str, Any]) -> list[str]:
    """What task, augmentation and the like are now and were not when the checkpoint was made.

    ValueError where the checkpoint's state cannot go on under them.
    """
    from dfd.models.checkpoint import read_checkpoint

    stored = read_checkpoint(checkpoint)["dfd"]
    if "task" not in stored:  # made in a notebook, which writes down no arguments
        return []
    for what, was, now in (
        ("data", stored.get("data"), config["data"]),
        ("optimizer", *(made["task"]["init_args"].get("optimizer") for made in (stored, config))),
        ("finetune", *(made["task"]["init_args"].get("finetune") for made in (stored, config))),
    ):
        if (was or {}).get("class_path") != (now or {}).get("class_path"):
            raise ValueError(
                f"{checkpoint} was trained with {what} {was and was['class_path']}, this run has "
                f"{now and now['class_path']}: "
                "it cannot go on. Use what it was trained with, or train anew in another --run_folder."
            )
    task = _differences(*(_without(made["task"], "net") for made in (stored, config)), at="model")
    # of the others the data module knows whether they changed, and refuses
    others = ("roots", "batch_size", "seed", "window", "num_workers", "folder")
    data = _differences(
        *(made.get("data") and _without(made["data"], *others) for made in (stored, config)), at="data"
    )
    return [*task, *data]


def _differences(stored: Any, asked: Any, at: str = "net") -> list[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        keys = [key for key in {**stored, **asked} if key != "pretrained"]
        inner = [
            _differences(stored.get(key), asked.get(key), at if key == "init_args" else f"{at}.{key}")
            for key in keys
        ]
        return [line for lines in inner for line in lines]
    return [] if stored == asked else [f"{at} is {asked}, was {stored}"]
