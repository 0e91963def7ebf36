"""A checkpoint as an experiment: what it needs to be judged again, and whether it belongs to the config beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule


def experiment_of(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A checkpoint's task and net, and its data where it names some, as a config with nothing to download; and its view.

    ValueError where the file does not give them, or names code from outside dfd.
    """
    from dfd.models.checkpoint import load_net, recipe

    net, facts = load_net(checkpoint)  # refuses what is not ours; built, so that every `pretrained` in it is off
    task = facts.get("task") or {"class_path": "dfd.tasks.ClassificationTask", "init_args": {}}
    data = facts.get("data")
    for what, made in (("task", task), ("data", data)):
        if made and not made["class_path"].startswith("dfd."):
            raise ValueError(
                f"{checkpoint} names a {what} from outside dfd, {made['class_path']}, and a file may not choose code to run. "
                "Name the experiment yourself: --config CONFIG --ckpt_path CHECKPOINT."
            )
    # optimizer, augmentation and corruption name classes to import, and belong to training or to another evaluation
    init = {key: value for key, value in task["init_args"].items() if key not in ("net", "optimizer")}
    experiment: dict[str, Any] = {"model": {"class_path": task["class_path"], "init_args": {**init, "net": recipe(net)}}}
    if data:
        init = {key: value for key, value in data["init_args"].items() if key not in ("augment", "corruption")}
        experiment["data"] = {"class_path": data["class_path"], "init_args": init}
    return experiment, facts.get("view")


def judged_as_trained(args: list[str], view: dict[str, Any] | None) -> list[str]:
    """The arguments with the checkpoint's view over that of another data config; options that follow still beat it."""
    seen: list[str] = []
    for arg, before in zip(args, ["", *args], strict=False):
        seen.append(arg)
        if view and (arg.startswith("--data=") or before == "--data"):
            seen.append(f"--data.init_args.view={json.dumps(view)}")
    return seen


def check_same_net(checkpoint: Path, model: LightningModule) -> None:
    from dfd.models.checkpoint import load_net, recipe

    stored, facts = load_net(checkpoint, allow=("",))  # the config has named this code already
    if _shapes(stored) != _shapes(model.net):
        differences = "; ".join(_differences(facts["net"], recipe(model.net))[:4])
        raise ValueError(f"{checkpoint} holds another net than the config: {differences}. Use its own config, or train anew.")


def _shapes(net: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def _differences(stored: Any, asked: Any, at: str = "net") -> list[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        keys = [key for key in {**stored, **asked} if key != "pretrained"]
        inner = [_differences(stored.get(key), asked.get(key), at if key == "init_args" else f"{at}.{key}") for key in keys]
        return [line for lines in inner for line in lines]
    return [] if stored == asked else [f"{at} is {stored} there, {asked} here"]
