"""Readers: one file a layout. A reader is a function `rows(root: Path) -> Iterator[Row | Reject]`.

A new one needs no entry here: `dfd prepare SOURCE --reader my_package.my_module:rows`. The built-in ones are modules of this
package and are called by their name; each also says what it misses in a folder (`mismatch`), by which layouts are recognised.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

from dfd.data.readers.row import Reject, Row

Reader = Callable[[Path], Iterator[Row | Reject]]
BUILT_IN = ("faces_140k", "table", "class_folders")  # in the order in which they are tried: the most particular first


def recognise(root: Path) -> str:
    """The name of the built-in reader whose layout `root` has.

    Raises:
        ValueError: none fits; names what each expected first.
    """
    expected = {}
    for name in BUILT_IN:
        expected[name] = importlib.import_module(f"{__name__}.{name}").mismatch(root)
        if not expected[name]:
            return name
    lines = "\n".join(f"  {name}: {path}" for name, path in expected.items())
    raise ValueError(
        f"{root} has none of the layouts that are known. Expected:\n{lines}\nOr write a reader: --reader package.module:rows"
    )


def find_reader(name: str) -> Reader:
    """A built-in reader by name, or any function by its dotted path "package.module:function".

    Raises:
        ValueError: there is no such reader.
    """
    if name in BUILT_IN:
        return importlib.import_module(f"{__name__}.{name}").rows
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(f"reader {name!r} is none of {', '.join(BUILT_IN)}. One of your own is named package.module:function.")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"reader {name!r} cannot be imported: {error}. Is its folder on PYTHONPATH?") from error
    if not callable(found):
        raise ValueError(f"reader {name!r} is no function. It should be `def {function}(root: Path) -> Iterator[Row]`.")
    return found
