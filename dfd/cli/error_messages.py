"""Short error messages for a command line or a config, with the name that was probably meant.

jsonargparse answers a typo with 49 to 61 lines: usage, then every type that the value is not. The cause is
the line indented deepest; the lines above it say where it lies. What a constructor says is shown with the
option that it speaks of.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_type_hints

from dfd.terminal import printable

MAX_LINES = 10
MAX_LENGTH = 800  # letters of a line

# where a class named in a config usually comes from
HOMES = (
    "dfd.models",
    "dfd.tasks",
    "dfd.data",
    "dfd.augment",
    "dfd.callbacks",
    "lightning.pytorch.callbacks",
    "torch.optim",
)


# what other trainers call what dfd calls otherwise
OTHER_NAMES = {
    "model.optimizer.lr": ("lr", "learning_rate"),
    "model.optimizer.weight_decay": ("weight_decay", "wd"),
    "model.ema_decay": ("ema",),
    "trainer.max_epochs": ("epochs", "num_epochs", "n_epochs", "epoch"),
    "trainer.max_steps": ("steps", "num_steps"),
    "trainer.devices": ("gpus", "gpu", "ngpus", "devices"),
    "trainer.accelerator": ("device", "cpu", "cuda"),
    "trainer.precision": ("amp", "fp16", "bf16"),
    "data.batch_size": ("batch_size", "batch", "bs"),
    "data.num_workers": ("workers", "num_workers"),
    "data.roots": ("root", "roots", "data_dir", "data_path", "dataset"),
    "data.view.size": ("size", "img_size", "image_size", "resolution"),
    "seed_everything": ("seed",),
    "ckpt_path": ("resume", "checkpoint", "ckpt", "weights"),
    "run_folder": ("out", "output", "output_dir", "log_dir", "save_dir"),
}


class UsageError(ValueError):
    """The command line or a config is at fault: exit code 2."""


def closest(word: str, known: Iterable[str]) -> str:
    """ "Did you mean ...? " with the names of `known` next to `word`, or ""."""
    found = get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(found)}? " if found else ""


def shortened(text: str) -> str:
    """At most ten lines of `text`, none of them endless, and no command to the terminal among them."""
    lines = [
        line if len(line) <= MAX_LENGTH else _without_its_middle(line)
        for line in printable(text).strip().splitlines()
    ]
    return "\n".join(
        lines
        if len(lines) <= MAX_LINES
        else [*lines[: MAX_LINES - 1], f"... and {len(lines) - MAX_LINES + 1} more lines"]
    )


def _without_its_middle(line: str) -> str:
    """A long line with whole words; its end says what to do."""
    start, end = line[: MAX_LENGTH - 300], line[-295:]
    # a word of many letters is cut all the same
    head, tail = re.sub(r" \S{0,80}$", "", start), re.sub(r"^\S{0,80} ", "", end)
    return f"{head} ... {tail}"


def explain(message: str, options: Iterable[str]) -> str:
    """jsonargparse's `message` as its deepest cause.

    Args:
        options: the parser's full option names, without dashes, for "did you mean".
    """
    if found := re.match(r"unrecognized arguments: (\S+)", message):
        return _unknown(found[1], list(options))
    if found := re.match(r"Subcommand '\w+' does not accept option '(.+?)'", message):
        return _unknown(f"--{found[1]}", list(options))  # a key of a config
    if found := re.match(r"the following arguments are required: (.+)", message):
        needed = " and ".join(name.partition(".")[2] or name for name in found[1].split(", "))
        return f"it needs {needed}: name an experiment, for example --config dual_stream.yaml."
    where, within, cause = _deepest(message)
    return f"{where}: {_reason(cause, within)}" if where else _reason(cause, within)


def explain_fault(error: Exception, made: type, given: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What the constructor of `made` raised, given these arguments, with the option of the config that it
    speaks of.
    """
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    key = next(_asked(config, made, given), "")
    home, _, last = key.rpartition(".")
    if not key or text.startswith(f"{key}."):
        return text
    if home and text.startswith(f"{last}."):
        return f"{home}.{text}"
    named = re.match(r"(\w+)=", text)
    return f"{key}.{text}" if named and named[1] in given else f"{key}: {text}"


def _asked(config: Any, made: type, given: Mapping[str, Any], key: str = "") -> Iterator[str]:
    """The keys, as options have them, under which a config asks for a `made` with these arguments."""
    if isinstance(config, Mapping):
        arguments = config.get("init_args") or {} if "class_path" in config else config
        named = (
            str(config.get("class_path", "")).endswith(f".{made.__name__}") or config.keys() == given.keys()
        )
        if named and all(
            arguments[name] == value for name, value in given.items() if _plain(arguments.get(name))
        ):
            yield key
        for name, value in arguments.items():
            yield from _asked(value, made, given, f"{key}.{name}".lstrip("."))
    if isinstance(config, list):
        for value in config:
            yield from _asked(value, made, given, key)


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))


def _unknown(given: str, options: list[str]) -> str:
    if not given.startswith("-") and "." not in given:
        return (
            f"what is {given!r}? Options start with --: a config is named by --config {given}. Only "
            "validate, test and predict take a file as it is."
        )
    name = given.lstrip("-").partition("=")[0]
    parts = [(name, options)]
    parts += [(name.split(".")[at], {option.split(".")[at] for option in options}) for at in (-1, 0)]
    hint = _other_name(name) or next(filter(None, (closest(word, known) for word, known in parts)), "")
    return f"there is no option {name}. {hint}Options are written in full."


def _deepest(message: str) -> tuple[str, str, str]:
    """The deepest line of an indented message with its siblings: the dotted key it lies at, the class around
    it, the lines.
    """
    above: list[tuple[int, str]] = []
    deepest, where, within, causes = -1, "", "", [message]
    for line in filter(str.strip, message.splitlines()):
        text = line.strip().removeprefix("- ")
        depth = len(line) - len(line.lstrip())
        above = [(at, title) for at, title in above if at < depth]
        titles = "\n".join(title for _, title in above)
        key = ".".join(re.findall(r'Parser key "([^"]+)"', titles))
        if (
            text.startswith("Given value: ")
            and causes[0].startswith(("Expected", "Import path"))
            and depth < deepest
            and key == where
        ):
            causes.append(text)
            break
        if text.endswith(":"):
            above.append((depth, text))
        elif depth > deepest:
            deepest, where, within, causes = (
                depth,
                key,
                (re.findall(r"class_path '([^']+)'", titles) or [""])[-1],
                [text],
            )
        elif depth == deepest and key == where:
            causes.append(text)
    return where, within, "\n".join(causes)


def _reason(cause: str, within: str) -> str:
    given = re.search(r"(?:Got|Given) value: (.*?)(?:\. Got value|$)", cause, flags=re.MULTILINE)
    if found := re.search(r"arguments are required: (.+)", cause):
        return f"it needs a value for {found[1].replace(', ', ' and ')}."
    if found := re.search(r"Import path (\S* ?)does not correspond to a subclass of (\w+)", cause):
        return f"{found[1].strip() or (given[1] if given else 'that')} is no {found[2]}."
    if found := re.search(r"Group '(\S+)' does not accept option '(\S+?)'", cause):
        return _unknown_argument(f"{found[1]}.{found[2]}", within)
    if found := re.search(r"(?:Option '|unrecognized arguments: --)([\w.]+)", cause):
        inline = re.search(r"class_path='([^']+)'", cause)
        return _unknown_argument(found[1], inline[1] if inline else within)
    if found := re.search(r"module '(\S+)' has no attribute '(\S+)'", cause):
        missing = f"{found[1]}.{found[2]}"
        return _unknown_class(within if within.startswith(missing) else missing)
    if found := re.search(r"No module named '(\S+?)'", cause):
        if within and not within.startswith(found[1]):
            return f"importing {within} needs the package {found[1]!r}, which is not installed."
        return _unknown_class(within or found[1])
    if found := re.search(r"Expected an? typing\.Literal\[(.+?)\]", cause):
        words = re.findall(r"'(.+?)'", found[1])
        word = given[1] if given else "that"
        return f"{word!r} is not one of: {', '.join(words)}. {closest(word, words)}".rstrip()
    if expected := re.findall(r"Expected an? (<.+?>|None)", cause):
        kinds = [
            re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind).replace("NoneType", "null") for kind in expected
        ]
        text = f"expected {' or '.join(dict.fromkeys(kinds))}" + (f", got {given[1]!r}." if given else ".")
        # null alone: jsonargparse does not say that a class would do as well
        may_be_class = given and (given[1][:1].isupper() or kinds == ["null"])
        found = _classes_like(given[1]) if may_be_class else []
        return text + (f" Did you mean {' or '.join(found)}?" if found else "")
    return cause


def _unknown_argument(name: str, class_path: str) -> str:
    if class_path.startswith("lightning.") and class_path.endswith(
        ("LightningModule", "LightningDataModule")
    ):
        return f"{name} was given before any class. Name an experiment first: --config dual_stream.yaml."
    module, _, title = class_path.rpartition(".")
    try:
        owner: Any = getattr(import_module(module), title)
    except (ImportError, AttributeError, ValueError):
        owner = None
    *groups, word = name.split(".")
    for group in groups:
        accepted = _parameters(owner)
        if accepted and group not in accepted:  # the typo lies before the last word
            word = group
            break
        owner, title = accepted.get(group), f"{title}.{group}"
    accepted = _parameters(owner)
    takes = f"It takes: {', '.join(accepted)}." if accepted else ""
    near = closest(word, accepted)
    if not near and title == "ToyDataModule":  # of a shipped config, whose data are the drawn set
        near = "Shards of your own want --data data/140k.yaml before their options. "
    near = near or _other_name(word)
    return f"{title} has no option {word!r}. {near}{takes}".rstrip()


def _parameters(owner: Any) -> dict[str, Any]:
    """What a class can be called with, and the types; those of the classes that it hands its **kwargs on to
    as well.
    """
    found: dict[str, Any] = {}
    for cls in getattr(owner, "__mro__", ()):
        if "__init__" not in vars(cls):
            continue
        try:
            parameters, types = (
                inspect.signature(cls.__init__).parameters.values(),
                get_type_hints(cls.__init__),
            )
        except (NameError, TypeError, ValueError):  # written in C, or types that exist for type checkers only
            break
        named = [
            each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        ]
        found = found | {name: types.get(name) for name in named if name not in ("self", *found)}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    return found


def _other_name(option: str) -> str:
    """ "Did you mean --data.batch_size? " for what another trainer calls so, or ""."""
    word = option.replace("-", "_")
    return next((f"Did you mean --{ours}? " for ours, theirs in OTHER_NAMES.items() if word in theirs), "")


def _unknown_class(class_path: str) -> str:
    found = _classes_like(class_path)
    package = class_path.partition(".")[0]
    if _is_missing(package):
        near = f" Or did you mean {' or '.join(found)}?" if found else ""
        return f"there is no package {package!r} here, for {class_path}: is its folder on PYTHONPATH?{near}"
    return f"there is no class {class_path}. " + (
        f"Did you mean {' or '.join(found)}?" if found else "Write the path that Python would import."
    )


def _is_missing(package: str) -> bool:
    try:
        return find_spec(package) is None
    except (ImportError, ValueError):
        return True


def _classes_like(class_path: str) -> list[str]:
    """Whole paths of classes with a name like this one's, at home or where it says."""
    module, _, title = class_path.rpartition(".")
    known = {name: home for home in (*HOMES, module) for name in _public(home)}
    return [f"{known[name]}.{name}" for name in get_close_matches(title, known, n=3, cutoff=0.7)]


def _public(module: str) -> list[str]:
    try:
        loaded = import_module(module)
    except (ImportError, ValueError):
        return []
    return [name for name in getattr(loaded, "__all__", None) or dir(loaded) if name[:1].isupper()]
