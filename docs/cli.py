"""Command line reference: prints docs/cli.md from the parsers. python docs/cli.py > docs/cli.md"""

from __future__ import annotations

import re

from dfd.cli import LIGHTNING_VERBS, PLAIN_VERBS, _app
from dfd.cli.parser import USAGE

HEAD = """# Command line

This page lists every verb of the command `dfd` and its options. `docs/cli.py` prints it from the parsers.

`dfd VERB --help` shows the same on a terminal. Exit codes: 0 done, 1 the input was at fault, 2 the command
line was, 75 saved and requeued, 130 interrupted, 143 told to end. `DFD_TRACEBACK=1` shows the traceback of
errors that are otherwise one line.
"""
TRAINING = """## Train and judge

These four read a YAML config, and options over it ([Configs](guides/configs.md)).
"""
# of some two hundred options, those that are no argument of a class
OPTIONS = """Options of all four:

| Name | Meaning |
|---|---|
| `--config CONFIG` | A file, or the name of a config that dfd ships; a second one lies over the first. |
| `--data FILE_OR_CLASS`, `--data.NAME=VALUE` | The data module, and its arguments. |
| `--model CLASS`, `--model.NAME=VALUE` | The task, and its arguments; `--model.net.NAME=VALUE` of its net. |
| `--trainer.NAME=VALUE` | Arguments of Lightning's Trainer: `devices`, `max_epochs`, `precision`, ... |
| `--data.help=CLASS`, `--model.help=CLASS` | Shows the arguments of a class. |
| `--run_folder DIR` | Where the run lives; by default `runs/<config>/<id>`. |
| `--ckpt_path FILE` | Of fit: the checkpoint to go on from. |
| `--allow PACKAGE` | A package beside dfd whose code the checkpoint may name; on PYTHONPATH. |
| `--seed_everything N` | Seed of weights; 0 by default, `true` draws one. Of the pictures: `--data.seed N`. |
| `--print_config` | Prints the resolved config and ends. |
"""
OTHER = "## Data and use\n"


def page() -> str:
    parts = [HEAD, TRAINING]
    for verb, text in LIGHTNING_VERBS.items():
        meaning = text.partition(": dfd")[0]
        parts.append(f"### dfd {verb}\n\n{meaning}.\n\n```text\n{USAGE[verb]}\n```\n")
    parts += [OPTIONS, OTHER]
    text_of = {}
    for section in _app().generate_docs(output_format="markdown").split("\n## "):
        title, _, text = section.partition("\n")
        text_of[title.split()[-1].strip("`")] = text
    parts += [f"### dfd {verb}\n\n{_tidy(text_of[verb])}" for verb in PLAIN_VERBS]
    return "\n".join(parts)


def _tidy(text: str) -> str:
    """cyclopts' Markdown of a verb, with its options as a table."""
    # a meaning in one line
    text = re.sub(r"\n +(?=\S)", " ", text.replace("```console", "```text"))
    text = re.sub(r" ?\*\[default: (False|\(\))\]\*", "", text.replace("**[required]**", "(required)"))
    text = re.sub(r"(?<=\n\n)(?=\* `)", "| Name | Meaning |\n|---|---|\n", text)
    text = re.sub(r"^\* `(.+?)`:? ?(.*)$", r"| `\1` | \2 |", text, flags=re.MULTILINE)
    return f"{text.strip()}\n"


if __name__ == "__main__":
    print(page(), end="")
