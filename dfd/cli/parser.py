"""LightningCLI parser: whole option names, configs found among dfd's own, short help and short errors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from dfd.cli.config_files import find_config
from dfd.cli.error_messages import UsageError, explain, explain_fault

CHECKPOINT = "runs/dual_stream/ID/checkpoints/best.ckpt"
ALLOW = "--allow my_package if it names code of yours, whose folder is then on PYTHONPATH."
USAGE = {  # printed as it is; what argparse would put here are two hundred lines
    "fit": """dfd fit --config CONFIG [options]

  dfd fit --config dual_stream
  dfd fit --config dual_stream --data data/140k.yaml --data.roots=shards/mine --trainer.max_epochs=20

CONFIG is a file, or the name of one that dfd ships. A second --config and all options lie on top of it.
--ckpt_path FILE goes on from a checkpoint; --allow my_package if it names code of yours, on PYTHONPATH.
--seed_everything N (true draws one) is the seed of weights; order and augmentation have --data.seed N.
The options of a class that a config names: dfd fit --data.help=dfd.data.ShardDataModule""",
    "validate": f"""dfd validate CHECKPOINT [options]

  dfd validate {CHECKPOINT}
  dfd validate {CHECKPOINT} --data.roots=shards/other

CHECKPOINT is a file that dfd fit wrote; net, data and preprocessing come from it. It is judged on the val
split, which chose its epoch and its thresholds.
{ALLOW}
The options of a class: dfd validate --data.help=dfd.data.ShardDataModule""",
    "test": f"""dfd test CHECKPOINT [options]

  dfd test {CHECKPOINT}
  dfd test {CHECKPOINT} --data.corruption=dfd.augment.Corruption \\
      --data.corruption.name=jpeg --data.corruption.severity=75

CHECKPOINT is a file that dfd fit wrote; net, data and preprocessing come from it. --data.roots=FOLDER judges
other data.
{ALLOW}
The options of a class: dfd test --data.help=dfd.data.ShardDataModule""",
    "predict": f"""dfd predict CHECKPOINT [options]

  dfd predict {CHECKPOINT}
  dfd predict {CHECKPOINT} --data.roots=shards/other

CHECKPOINT is a file that dfd fit wrote; net, data and preprocessing come from it. --data.roots=FOLDER judges
other data.
{ALLOW}
The options of a class: dfd predict --data.help=dfd.data.ShardDataModule""",
}


class Parser(LightningArgumentParser):
    """No abbreviated options, configs found among dfd's own, and errors as exceptions that `explain` can
    shorten.
    """

    def _get_option_tuples(self, option_string: str) -> list:
        # argparse's list of options that start like this one; `allow_abbrev=False` does not reach it in
        # jsonargparse
        return []

    def format_help(self) -> str:
        # jsonargparse joins --print_config and [=flags] by a backspace, for terminals that obey it
        return super().format_help().replace(" \b", "").replace("\b", "")

    def parse_args(self, args: Any = None, *rest: Any, **kwargs: Any) -> Namespace:
        # jsonargparse hands a nested null on to its inner parsers as the text None, as W&B's agents do
        args = args and [re.sub("=None$", "=null", arg) for arg in args]
        try:
            return super().parse_args(args, *rest, **kwargs)
        except RecursionError as error:
            raise UsageError("a config is nested too deeply to be read.") from error

    def parse_string(
        self, content: str, path: str | os.PathLike = "", *args: Any, **kwargs: Any
    ) -> Namespace:
        # jsonargparse is in the config's own folder now, so `data: data/toy.yaml` is looked for there first
        content = _with_files_json(content) if content.lstrip().startswith("{") else _with_files(content)
        return super().parse_string(content, path, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> None:
        if not self.exit_on_error:
            super().error(message, ex)
        options = getattr(self, "known_options", None) or [
            option for action in self._actions for option in action.option_strings
        ]
        raise UsageError(explain(message, [option.lstrip("-") for option in options])) from ex


def _with_files(content: str) -> str:
    """A config with the paths of the files that it names, and without keys with a dot, which `with_paths` has
    made options of, and what is indented below them.
    """
    content = re.sub(
        r"^((?:data|model|trainer): *)(\S+\.ya?ml) *$",
        lambda found: found[1] + str(find_config(found[2])),
        content,
        flags=re.MULTILINE,
    )
    return re.sub(r"^\w+\.[\w.]+\+?:.*\n?(?:(?:[ \t#-].*)?\n)*", "", f"{content}\n", flags=re.MULTILINE)


def _with_files_json(content: str) -> str:
    """The same of a config that is written as JSON; of what is no JSON, as it is."""
    try:
        config = json.loads(content)
    except json.JSONDecodeError:
        return content
    for key in ("data", "model", "trainer"):
        if str(config.get(key)).endswith((".yaml", ".yml")):
            config[key] = str(find_config(config[key]))
    return json.dumps({key: value for key, value in config.items() if "." not in key}, ensure_ascii=False)


class Maker:
    """Calls the constructors that a config names, and remembers what they raised.

    jsonargparse wraps that into a page about every type that the value might have had.
    """

    def __init__(self) -> None:
        self.faults: list[tuple[Exception, type, dict[str, Any]]] = []

    def __call__(self, cls: type, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return cls(*args, **kwargs)
        except AssertionError:  # our own slip
            raise
        except Exception as error:
            self.faults.append((error, cls, kwargs))
            raise

    def explain_constructor_error(self, error: Exception, config: Mapping[str, Any]) -> Exception:
        """What the constructor said that `error` repeats, with its option; or `error`, where none did."""
        for fault, cls, given in self.faults:
            if fault is error or (
                isinstance(error, ValueError) and str(fault).partition("\n")[0] in str(error)
            ):
                words = ValueError(explain_fault(fault, cls, given, config))
                words.__cause__ = fault
                return words
        return error
