"""Config files by name: among those that dfd ships, or in the current folder."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from dfd.cli.error_messages import UsageError, closest
from dfd.resources import config_named, own_config, run_name, shipped
from dfd.text_files import read_yaml

_log = logging.getLogger(__name__)


def config_folder() -> Path:
    """The configs that dfd ships."""
    return shipped("configs")


def find_config(name: str) -> Path:
    """A config by path, by name, or by name without .yaml: among those that dfd ships first, then in the
    current folder. A config is a program: what lies in a stranger's folder takes no name of dfd's own.

    UsageError where there is none.
    """
    found, own = config_named(name), own_config(name)
    if found and own and found != own:
        _log.info("config %s: the one that dfd ships. For that of this folder write ./%s", name, name)
    elif found and found == own and not Path(name).suffix:
        _log.info("config %s: %s of this folder", name, os.path.relpath(found))
    if found is None:
        own = config_folder()
        known = sorted(path.relative_to(own).as_posix() for path in own.rglob("*.yaml"))
        hint = closest(name, [*known, *(f"configs/{each}" for each in known)])
        raise UsageError(
            f"there is no config {name!r}, here or among dfd's own. {hint}dfd has: {', '.join(known)}."
        )
    return found


def config_name(config: Path | None) -> str:
    return "unnamed" if config is None else run_name(config)


def with_paths(args: list[str]) -> tuple[Path | None, list[str]]:
    """The first config, and the arguments with every config and data file that they name as a path that
    exists.

    A config's keys with a dot, such as `trainer.max_epochs: 8`, become options behind it.
    """
    first, found, args, overlay, tuned = None, [], list(args), None, None
    while args:
        option, equals, value = args.pop(0).partition("=")
        if option not in ("-c", "--config", "--data", "--model", "--trainer"):
            found.append(option + equals + value)
            continue
        value = value if equals else (args.pop(0) if args else "")
        is_config = option in ("-c", "--config")
        by_name = value.endswith((".yaml", ".yml")) or ("/" in value and value[0] not in "{[")
        if not is_config and not by_name:  # a class path, or a value
            found += [option, value]
            continue
        path = find_config(value)
        config = _read(path)
        if option == "--data" and overlay:
            raise UsageError(
                f"--data {value} would undo what --config {overlay} says of the data. Put --data before it."
            )
        if is_config and _overlays_data(config):
            overlay = value
        if is_config and _overlays_finetuning(config):
            if tuned:
                raise UsageError(
                    f"--config {tuned} and --config {value} each say which weights learn, and how fast: of "
                    "both together one would get the other's learning rate. Give one of them."
                )
            tuned = value
        first = first or (path if is_config else None)
        found += [option, str(path)]
        if is_config:
            # jsonargparse would forget the file of `trainer: FILE` for a `trainer.max_epochs: 8` beside it
            found += [f"--{key}={_as_option(value)}" for key, value in config.items() if "." in str(key)]
    return first, found


def _overlays_data(config: dict[str, Any]) -> bool:
    """Whether a config changes the data of another one instead of naming its own."""
    if isinstance(config.get("data"), dict):
        return "class_path" not in config["data"]
    return "data" not in config and any(str(key).startswith("data.") for key in config)


def _overlays_finetuning(config: dict[str, Any]) -> bool:
    """Whether a config says how another one's net is fine-tuned."""
    if "model.finetune" in config:
        return True
    model = config.get("model")
    if not isinstance(model, dict) or "class_path" in model:
        return False
    return "finetune" in model or "finetune" in (model.get("init_args") or {})


def _as_option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} is not a config: it holds no `key: value` at its top level.")
    return config
