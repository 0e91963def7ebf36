"""Readers: one file a data set's layout. A reader is a function `rows(root: Path) -> Iterator[Row | Reject]`.

A new one needs no entry here: `dfd prepare SOURCE --reader my_package.my_module:rows`. The built-in ones are
modules of this package and are called by their name; each also says what it misses in a folder (`mismatch`),
by which layouts are recognised.
"""

import importlib
import shlex
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import wrap

from dfd.prepare.readers.class_names import NO_NAMES, ClassNames
from dfd.prepare.readers.contents import Contents, refuse_other_files
from dfd.prepare.readers.row import FaceBox, Row, label_of, split_of
from dfd.prepare.readers.walk import listed
from dfd.shards.rejects import Reject

__all__ = ["BUILT_IN", "FaceBox", "Reader", "Reject", "Row", "find_reader", "recognise"]

Reader = Callable[[Path], Iterator[Row | Reject]]
BUILT_IN = (  # in the order in which they are tried: the most particular first
    "combined",
    "faces_140k",
    "manjilkarki",
    "ciplab",
    "dagnelies",
    "faceforensics",
    "celeb_df",
    "dfdc",
    "openforensics",
    "genimage",
    "table",
    "class_folders",
)
NAMED = ("table", "class_folders")  # these may be told what the classes are called there
# of a folder around the source; the others find their folders at any level below, whatever else is there
_AROUND = tuple(name for name in BUILT_IN if name not in (*NAMED, "dfdc", "genimage"))
_MAX_INSIDE, _MAX_AROUND = 20, 4  # folders whose layout is looked at where that of the source is unknown
_INDENTED = {
    "initial_indent": "  ",
    "subsequent_indent": "  ",
    "break_long_words": False,
    "break_on_hyphens": False,
}


def recognise(root: Path, class_names: ClassNames = NO_NAMES) -> str:
    """The name of the built-in reader whose layout `root` has.

    Raises:
        ValueError: none fits; says what `root` is or holds, the shortest way on, and what each expected.
    """
    refuse_other_files(root)
    expected = {}
    for name in NAMED if class_names else BUILT_IN:
        expected[name] = _mismatch(name, root, class_names)
        if not expected[name]:
            return name
    held = Contents.of(root)
    if packed := held.packed(root):
        raise ValueError(f"{root} holds no picture that can be read: {held}.\n" + "\n".join(packed))
    # these two are for data of one's own; the others are of public sets
    own = {name: expected.pop(name) for name in ("class_folders", "table")}
    others = "; ".join(f"{name}: {path.replace(f'{root}/', '')}" for name, path in expected.items())
    lines = [
        f"{root} has none of the layouts that are known. It holds: {held}.",
        *filter(None, [" ".join(_other_levels(root) or held.ways_on(root))]),
        "Expected:",
        *(f"  {name}: {path}" for name, path in own.items()),
        "or one of your own, --reader package.module:rows" + ("; or a public set:" if others else "."),
        *wrap(others, 300, **_INDENTED),
    ]
    raise ValueError("\n".join(lines))


def _mismatch(name: str, root: Path, class_names: ClassNames = NO_NAMES) -> str:
    module = importlib.import_module(f"{__name__}.{name}")
    return module.mismatch(root, class_names) if name == "class_folders" else module.mismatch(root)


def _other_levels(root: Path) -> list[str]:
    """That a folder inside or around `root` has a known layout, as a sentence."""
    if not root.is_dir():
        return []
    inside = sorted(entry.name for entry in listed(root) if entry.is_dir(follow_symlinks=False))
    tried = [(root / name, BUILT_IN) for name in inside[:_MAX_INSIDE]]
    whole = root.resolve()
    # class folders and tables around it may have nothing to do with it
    part = label_of(whole.name) is not None or split_of(whole.name) is not None
    tried += [(folder, BUILT_IN if part else _AROUND) for folder in list(whole.parents)[:_MAX_AROUND]]
    for folder, readers in tried:
        if fits := next((name for name in readers if not _mismatch(name, folder)), ""):
            return [f"{folder} has the layout of {fits}: dfd prepare {shlex.quote(str(folder))} --out OUT."]
    return []


def find_reader(name: str, videos: bool = False, class_names: ClassNames = NO_NAMES) -> Reader:
    """A built-in reader by name, or any function by its dotted path "package.module:function".

    Args:
        videos: take the videos of a layout that may hold both videos and frames extracted from them.
        class_names: what the classes are called, for a reader of NAMED.

    Raises:
        ValueError: there is no such reader, it knows its classes' names itself, or importing it fails; once
            called, one that is not built in raises it for any error inside.
    """
    if class_names and name not in NAMED:
        raise ValueError(
            f"--real and --fake are for {' and '.join(NAMED)}; the reader {name} knows its classes itself. "
            "Leave them out."
        )
    if name in NAMED:
        module = importlib.import_module(f"{__name__}.{name}")
        return lambda root: module.rows(root, class_names)
    if name in BUILT_IN:
        module = importlib.import_module(f"{__name__}.{name}")
        return module.videos if videos and hasattr(module, "videos") else module.rows
    path, _, function = name.partition(":")
    if not function:
        raise ValueError(
            f"reader {name!r} is none of {', '.join(BUILT_IN)}. One of your own is named "
            "package.module:function."
        )
    try:
        found = getattr(importlib.import_module(path), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"reader {name!r} cannot be imported: {error}. Is its folder on PYTHONPATH?"
        ) from error
    except Exception as error:
        raise ValueError(f"reader {name!r} cannot be imported: {_told(error)}.") from error
    if not callable(found):
        raise ValueError(
            f"reader {name!r} is no function. It should be `def {function}(root: Path) -> Iterator[Row]`."
        )
    return lambda root: _watched(found, name, root)


def _watched(reader: Reader, name: str, root: Path) -> Iterator[Row | Reject]:
    """What a user's reader yields; an error in it becomes a ValueError that says where it was raised."""
    try:
        yield from map(_checked, reader(root))
    except Exception as error:
        raise ValueError(
            f"reader {name!r} failed on {root}: {_told(error, reader)}. Mend it there and run again."
        ) from error


def _checked(item: Row | Reject) -> Row | Reject:
    if not isinstance(item, (Row, Reject)):
        raise TypeError(f"it yields {item!r:.80}; needed is a dfd.prepare.readers.Row or Reject")
    return item


def _told(error: Exception, reader: Reader | None = None) -> str:
    """What an error is and where: the last line in the reader's file that led to it, or where none did the
    reader's first.
    """
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    code = getattr(reader, "__code__", None)
    if code is None:
        return f"{type(error).__name__}: {error} ({frames[-1].filename}:{frames[-1].lineno})"
    lines = [frame.lineno for frame in frames if frame.filename == code.co_filename]
    return (
        f"{type(error).__name__}: {error} ({code.co_filename}:{lines[-1] if lines else code.co_firstlineno})"
    )
