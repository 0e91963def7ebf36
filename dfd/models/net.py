"""Net, the base class of all models: records class path and arguments, so that checkpoints can rebuild it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from dfd.terminal import printable

OURS = "dfd."
WORDS_AND_DOTS = re.compile(r"[\w.]*")
# class paths that checkpoints of earlier days hold, and where the class is now
MOVED = {
    "dfd.models.backbones.TimmBackbone": "dfd.models.TimmBackbone",
    "dfd.models.cnn.SmallCNN": "dfd.models.SmallCNN",
    "dfd.models.detectors.DualStream": "dfd.models.DualStream",
    "dfd.models.detectors.SingleStream": "dfd.models.SingleStream",
    "dfd.models.gan.Discriminator": "dfd.models.Discriminator",
    "dfd.models.gan.Generator": "dfd.models.Generator",
    "dfd.models.spectral.LocalSpectrum": "dfd.models.LocalSpectrum",
    "dfd.models.spectral.LogSpectrum": "dfd.models.LogSpectrum",
    "dfd.data.faces.FaceDetector": "dfd.media.FaceDetector",
}
# arguments that they hold as words and that are nets now, by class path and name
WORDS = {
    ("dfd.models.DualStream", "fusion"): {
        "concat": {"class_path": "dfd.models.Concat", "init_args": {}},
        "gate": {"class_path": "dfd.models.Gate", "init_args": {}},
    },
}


class Net(nn.Module):
    """An nn.Module that records the arguments that it was called with, for `recipe`.

    Subclass it as you would nn.Module. Arguments may be numbers, strings, None, lists and dicts of them, and
    other Nets. `dfd.models.Backbone`, `Spectrum` and `Fusion` say what the parts of a detector have besides.
    """

    role = "detector"  # what a checkpoint of this net is for, "detector" or "generator"

    def __new__(cls, *args: Any, **kwargs: Any) -> Net:
        # not in __init__: subclasses need not cooperate, and a chain of them is seen once, from the outside
        self = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        except TypeError:
            # wrong arguments: __init__ is about to say so; none at all: pickle or deepcopy restores __dict__
            return self
        bound.apply_defaults()  # a checkpoint outlives today's defaults
        given: dict[str, Any] = {}
        for name, parameter in list(bound.signature.parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= bound.arguments[name]
            else:
                given[name] = bound.arguments[name]
        self.__dict__["_given"] = {name: _frozen(value) for name, value in given.items()}
        return self

    def __init__(self) -> None:
        # nn.Module's takes *args and **kwargs, which are no arguments of a net that has none
        super().__init__()

    def merged(self) -> Net:
        """The net as it judges: itself, or a plain one where training alone needs this, as with `LoRANet`."""
        return self


def check_pictures(image: torch.Tensor, least: int = 1) -> None:
    """ValueError where an image is not (B, 3, H, W), or has a side of less than `least` pixels."""
    if image.dim() != 4 or image.shape[1] != 3:
        raise ValueError(
            f"pictures are (B, 3, H, W), a batch in red, green and blue, and this is {tuple(image.shape)}."
        )
    if min(image.shape[2:]) < least:
        raise ValueError(
            f"a picture of {image.shape[2]} x {image.shape[3]} is too small: use {least} pixels a side or "
            "more, by --data.view.size."
        )


def at_least_one(**numbers: int) -> None:
    """ValueError where an argument is below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}={number}: use 1 or more.")


def recipe(net: nn.Module) -> dict[str, Any]:
    """{"class_path", "init_args"}: all that `build` needs to make this net again, in plain values.

    Raises:
        ValueError: the net could not be rebuilt. Ask before training, not after it.
    """
    made = _describe(net)
    if "_shapes" not in net.__dict__:
        with torch.random.fork_rng(devices=[]):  # saving a checkpoint must not change what is drawn next
            net.__dict__["_shapes"] = shapes(build(made, allow=("",)))
    if differs := difference(net.__dict__["_shapes"], shapes(net)):
        raise ValueError(
            f"{type(net).__name__} was changed after it was made ({differs}), so its arguments alone do not "
            "give it back. Make the change in the __init__ of a subclass of dfd.models.Net."
        )
    return made


def build(recipe: dict[str, Any], allow: Iterable[str] = (OURS,)) -> Net:
    """A net with fresh weights. Every `pretrained` in the recipe counts as False, so nothing is downloaded.

    Args:
        recipe: what `recipe` gave, by this version of dfd or an earlier one.
        allow: packages beside dfd whose code the recipe may import: ("my_package.",).

    Raises:
        ValueError: it is no recipe, or names code that is not allowed, missing, or of another version.
    """
    made = recipe if isinstance(recipe, dict) else {}
    path, arguments = made.get("class_path"), made.get("init_args")
    path = MOVED.get(path, path) if isinstance(path, str) else path
    if not (isinstance(path, str) and isinstance(arguments, dict) and WORDS_AND_DOTS.fullmatch(path)):
        raise ValueError(
            f"A net's recipe is a class path and its arguments, not {str(recipe)[:80]}: dfd did not write "
            "this."
        )
    allowed = packages(allow)
    if not path.startswith(allowed):
        raise ForeignCode(path)
    module, _, name = path.rpartition(".")
    if runs(path):
        raise ValueError(f"{path} is not a dfd.models.Net. A checkpoint may name nets only.")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"The net is a {path}, which cannot be imported here: {error}. {how_to_import(path)}"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Net)):
        raise ValueError(f"{path} is not a dfd.models.Net. A checkpoint may name nets only.")
    arguments = {
        name: False if name == "pretrained" else _build_inside(_migrated(path, name, value), allowed)
        for name, value in arguments.items()
    }
    try:
        return cls(**arguments)
    except ValueError:
        raise
    except Exception as error:  # arguments out of a file may bring a constructor to anything
        why = printable(str(error).strip().partition("\n")[0], keep="")[:300]
        raise ValueError(
            f"{path} does not take the arguments {sorted(arguments)[:20]} that were stored: {why}. "
            "The checkpoint belongs to another version of this code."
        ) from error


class ForeignCode(ValueError):
    """A file names code that is not dfd's, and nobody allowed its package.

    Args:
        path: the class path.
        where: what to call the file; "" for none.
        what: "net", "task" or "data".
    """

    def __init__(self, path: str, where: str = "", what: str = "net"):
        self.path = path = printable(path)[:200]
        package = path.partition(".")[0]
        start = f"{where}: the {what} is" if where else f"The {what} is"
        start += f" a {path}, code from outside dfd. If you trust where the file came from, say so with"
        # two ways to say it, and each reader has one of them
        self.on_command_line = f"{start} --allow {package}; the package's folder has to be on PYTHONPATH."
        super().__init__(f'{start} allow=("{package}.",).')


def how_to_import(path: str) -> str:
    """What to do where the package of a class path is not found."""
    package = path.partition(".")[0]
    try:
        there = importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        there = False
    if there:
        return "Install or upgrade its package, unless it is as it was."
    return f"There is no package {package!r} here: is its folder on PYTHONPATH?"


def packages(allow: Iterable[str]) -> tuple[str, ...]:
    """Beginnings of the class paths that a file may name: dfd's own, and those of the packages in `allow`,
    with or without a dot at their end.
    """
    names = (allow,) if isinstance(allow, str) else allow
    return (OURS, *(f"{name.rstrip('.')}." if name else "" for name in names))


def class_paths(made: Any) -> Iterator[Any]:
    """Every class path in a config or a recipe, whatever it is."""
    if isinstance(made, dict):
        if "class_path" in made:
            yield made["class_path"]
        made = list(made.values())
    if isinstance(made, (list, tuple)):
        for value in made:
            yield from class_paths(value)


def runs(path: str) -> bool:
    """Whether importing a class path would start a program: it leads through a `__main__`."""
    return any(part.startswith("__") for part in path.split("."))


def public_path(cls: type) -> str:
    """The path by which people import a class: from its module's package, where that has it."""
    package = cls.__module__.rpartition(".")[0]
    public = package and getattr(importlib.import_module(package), cls.__name__, None) is cls
    return f"{package if public else cls.__module__}.{cls.__qualname__}"


def _frozen(value: Any) -> Any:
    """A copy of plain containers, against later changes of the caller's; nets are kept by reference."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_frozen(item) for item in value]
    return value


def _describe(net: nn.Module) -> dict[str, Any]:
    # FSDP2 makes a class of its own of the net's
    cls = next(cls for cls in type(net).__mro__ if not cls.__module__.startswith("torch.distributed."))
    path = f"{cls.__module__}.{cls.__qualname__}"
    if not isinstance(net, Net):
        raise ValueError(
            f"{path} could not be rebuilt from a checkpoint: it does not record its arguments. Derive it "
            "from dfd.models.Net."
        )
    if cls.__module__ == "__main__" or "." in cls.__qualname__:
        raise ValueError(
            f"{path} could not be rebuilt from a checkpoint: it is defined in a notebook, a script, a "
            "function or a class. Move it to the top level of a module that can be imported."
        )
    path = public_path(cls)
    arguments = {name: _plain(value, f"{path}({name}=...)") for name, value in net._given.items()}
    return {"class_path": path, "init_args": arguments}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, nn.Module):
        return _describe(value)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, where) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # numpy's float64 is a float too, but weights_only=True would not read it
    if value is None:
        return None
    raise ValueError(
        f"{where} could not be rebuilt from a checkpoint: it was given a {type(value).__name__}. "
        "Give numbers, strings, None, lists or dicts of them, or nets derived from dfd.models.Net."
    )


def _migrated(path: str, name: str, value: Any) -> Any:
    """An argument as the class at `path` takes it today."""
    return WORDS.get((path, name), {}).get(value, value) if isinstance(value, str) else value


def _build_inside(value: Any, allowed: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"class_path", "init_args"}:
            return build(value, allowed)
        return {
            key: False if key == "pretrained" else _build_inside(item, allowed) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_build_inside(item, allowed) for item in value]
    return copy.copy(value)


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def difference(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """The first few names on which two sets of weights disagree; empty where they agree."""
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    shaped = [
        f"{name} {found[name]} for {wanted[name]}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    lists = {"missing": missing, "not asked for": extra, "of another shape": shaped}
    return "; ".join(
        f"{what}: {', '.join(names[:2])}{f' and {len(names) - 2} more' * (len(names) > 2)}"
        for what, names in lists.items()
        if names
    )
