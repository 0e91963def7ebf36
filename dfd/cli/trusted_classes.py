"""Trusted classes: a config that is stored in a checkpoint may name dfd's own classes alone.

On a command line any class may be named. jsonargparse takes a class as a mapping with `class_path`, as a
string wherever an object is wanted, and as a string that YAML reads as such a mapping, and imports each
before it looks whether it fits.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dfd.models.net import OURS, runs

PLAIN = {str, int, float, bool, Path, NoneType}  # types for which a string is never looked up
WORD = re.compile(r"[\w.+-]*")  # what YAML never reads as a mapping


def foreign(made: Any, wanted: Any = object, allow: tuple[str, ...] = ()) -> Iterator[str]:
    """All in `made`, the plain value of a parameter of type `wanted`, that would or might import what dfd
    does not define, and what lies in no package of `allow`, by its beginning: ("my_package.",).
    """
    if isinstance(made, str):
        if made.startswith(allow) and WORD.fullmatch(made) and not runs(made):
            return
        objects = {leaf for leaf in _leaves(wanted) if leaf not in PLAIN and get_origin(leaf) is not Literal}
        if objects and not (objects == {Any} and WORD.fullmatch(made)) and _ours(made) is None:
            yield made
    elif isinstance(made, (list, tuple)):
        for value in made:
            yield from foreign(value, wanted, allow)
    elif isinstance(made, dict) and "class_path" in made:
        path = made["class_path"]
        theirs = isinstance(path, str) and path.startswith(allow) and not runs(path)
        if (cls := _ours(path)) is None and not theirs:
            yield str(path)
            return
        types, arguments = {} if cls is None else _types(cls), made.get("init_args")
        for name, value in arguments.items() if isinstance(arguments, dict) else ():
            yield from foreign(value, types.get(name, str if cls is None else object), allow)
        for name in made.keys() - {"class_path", "init_args"}:
            yield from foreign(made[name], allow=allow)
    elif isinstance(made, dict):
        fields: dict[str, Any] = {}  # of one of dfd's own classes, whose path jsonargparse does not need
        for leaf in _leaves(wanted):
            if isinstance(leaf, type) and leaf.__module__.startswith(OURS):
                fields |= _types(leaf)
        for name, value in made.items():
            yield from foreign(value, fields.get(name, wanted), allow)


def _ours(path: Any) -> type | None:
    """The class at a path, if dfd defines it: dfd.media.decode.os.system lies within dfd and is not."""
    if not isinstance(path, str) or not path.startswith(OURS) or runs(path):
        return None
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) and found.__module__.startswith(OURS) else None


def _types(cls: type) -> dict[str, Any]:
    """The types of the arguments of `cls`, and of those that it passes on to the classes that it derives
    from.
    """
    types: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        if "__init__" in vars(each) and each.__module__.startswith(OURS):
            types |= get_type_hints(each.__init__)
    return types


def _leaves(hint: Any) -> Iterator[Any]:
    """The types that a union or a container is made of."""
    inside = get_args(hint)
    if not inside or get_origin(hint) in (Literal, type, Callable):
        yield hint
        return
    for each in inside:
        if each is not ...:
            yield from _leaves(each)
