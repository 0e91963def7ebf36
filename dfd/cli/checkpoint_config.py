"""Config of a checkpoint: task, net, data and view to evaluate it again, and checks before a run begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.accelerators import AcceleratorRegistry
from torch import nn

from dfd.cli.trusted_classes import foreign


def experiment_of(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A checkpoint's task and net, and its data where it names some, as a config with nothing to download;
    and its view.

    ValueError where the file does not give them, or names code from outside dfd.
    """
    from dfd.detector import load_net
    from dfd.models.net import recipe

    # refuses what is not ours; built, so that every `pretrained` in it is off
    net, card = load_net(checkpoint)
    average = {"ema_decay": card.ema_decay}
    task = card.task or {"class_path": "dfd.tasks.ClassificationTask", "init_args": average}
    data = card.data
    # these name classes to import, and belong to training or to another evaluation
    for what, made in (("task", task), ("data", data)):
        if made and not (isinstance(made, dict) and isinstance(made.get("init_args"), dict)):
            raise ValueError(
                f"{checkpoint} names a {what} without a class path and arguments: dfd did not write it."
            )
    task, data = _without(task, "net", "optimizer", "loss"), data and _without(data, "augment", "corruption")
    task["init_args"]["net"] = recipe(net)
    view = card.view
    for what, made in (("task", task), ("data", data), ("view", view)):
        if strange := next(foreign(made), None):
            raise ValueError(
                f"{checkpoint} names a {what} with code from outside dfd, {strange}, and a file may not "
                "choose code to run. Name the experiment yourself: --config CONFIG --ckpt_path CHECKPOINT."
            )
    stated = data and data["init_args"].get("view")
    if isinstance(stated, dict) and stated.get("margin", 0) is None and view:
        # the config left the margin to the shards that the net was trained on, not to those it is judged on
        data["init_args"]["view"] = {**stated, "margin": view.get("margin")}
    return {"model": task} | ({"data": data} if data else {}), view


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


def check_something_to_train(checkpoint: str | None, max_epochs: int | None) -> None:
    """ValueError where a fit, or a fit that goes on from a checkpoint, would end before its first step."""
    if max_epochs == 0:
        raise ValueError("trainer.max_epochs=0: nothing would be trained. Use 1 or more, or -1 for no end.")
    # Lightning's words, such as last, have no suffix
    if max_epochs is None or max_epochs < 0 or not checkpoint or not Path(checkpoint).suffix:
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
    if epochs >= max_epochs:
        raise ValueError(
            f"{checkpoint} is the end of epoch {epochs}, and trainer.max_epochs={max_epochs}: nothing is "
            f"left to train. Use --trainer.max_epochs={epochs + 10} for ten more."
        )


def check_same_net(checkpoint: Path, net: nn.Module) -> None:
    """ValueError with the arguments that differ, unless the checkpoint's weights fit the net that a config
    asks for.
    """
    from dfd.detector import load_net
    from dfd.models.net import class_paths, difference, recipe, shapes

    asked = recipe(net)
    stored, card = load_net(
        checkpoint, allow={f"{path.partition('.')[0]}." for path in class_paths(asked)}, role=None
    )
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
        ("data", stored["data"], config["data"]),
        ("optimizer", *(made["task"]["init_args"].get("optimizer") for made in (stored, config))),
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
    data = _differences(*(_without(made["data"], *others) for made in (stored, config)), at="data")
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
