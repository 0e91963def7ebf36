"""Entry of the list of released detectors: its files, what trained it and on which terms, and its figures."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

FORMAT = 1  # of a list; another one belongs to another version of dfd
WEIGHTS = (".safetensors", ".onnx", ".ckpt")
MOST_BYTES = 1 << 36  # of one file
METRICS = ("auroc", "ap", "balanced_acc")  # where more is better
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,63}")  # no dot and no slash: never the name of a checkpoint's file
_FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONDITION = re.compile(r"clean|[a-z_]+@\d+(\.\d+)?")


@dataclass(frozen=True)
class ListedFile:
    """A file to fetch.

    Args:
        name: beside the others of its detector.
        bytes: its length.
        sha256: hex.
        mirrors: where it lies, tried in this order: https:// or http:// addresses, absolute paths, or names
            beside the list.
    """

    name: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class Material:
    """Pictures or weights that a detector was made of.

    Args:
        name: what it is.
        use: what it did: trained, chose the epoch, ...
        terms: what its owners allow.
        stated: where they say so.
    """

    name: str
    use: str
    terms: str
    stated: str


@dataclass(frozen=True)
class Figure:
    """A metric on test pictures of one source.

    Args:
        source: whose pictures, as their table calls it.
        condition: what was done to them: clean, or a corruption with its severity, such as jpeg@50.
        metric: one of METRICS.
        value, low, high: the mean over seeds, and its 95% interval over families.
        images, families: that it rests on.
        seeds: trainings that it is the mean of.
    """

    source: str
    condition: str
    metric: str
    value: float
    low: float
    high: float
    images: int
    families: int
    seeds: int


@dataclass(frozen=True)
class Recipe:
    """How a detector is made again of public data.

    Args:
        reader: of dfd prepare, for the data's layout.
        source: of the pictures, by which its figures are known.
        needs: the data in words, with its folders.
        where: where one gets it.
        fit: options of dfd fit, but for data, epochs and folders.
        epochs: of the whole training.
        takes: how long that is.
        pretrained: option of dfd fit that names a file of weights where there is no hub; None for none.
    """

    reader: str
    source: str
    needs: str
    where: str
    fit: tuple[str, ...]
    epochs: int
    takes: str
    pretrained: str | None = None


@dataclass(frozen=True)
class Entry:
    """A released detector.

    Args:
        name: small letters, digits and dashes.
        version: whole number; a changed file is another version.
        about: one line.
        net, parameters, view: of its card, for people.
        terms: on which its own weights are given.
        materials: what it was made of.
        chosen_on: what chose epoch and thresholds.
        figures: on test pictures, of each source that was judged.
        stated: the page that the figures come from.
        not_for: what the figures do not hold for.
        files: to fetch; none where nobody hosts it.
        recipe: how it is made again; None for a secret.
    """

    name: str
    version: int
    about: str
    net: str
    parameters: int
    view: str
    terms: str
    materials: tuple[Material, ...]
    chosen_on: str
    figures: tuple[Figure, ...]
    stated: str
    not_for: tuple[str, ...]
    files: tuple[ListedFile, ...] = ()
    recipe: Recipe | None = None

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def weights(self) -> ListedFile:
        """The file that is the detector; there must be files."""
        return next(file for file in self.files if file.name.endswith(WEIGHTS))


def entries_of(plain: Any, where: str) -> tuple[Entry, ...]:
    """The entries of a list as YAML gives it.

    Args:
        where: what to call the list in an error.

    Raises:
        ValueError: it is no list of this version of dfd; names the place and what is wrong there.
    """
    if not isinstance(plain, Mapping) or "format" not in plain:
        raise ValueError(f"{where} is no list of released detectors: it begins with no `format: {FORMAT}`.")
    if plain["format"] != FORMAT:
        raise ValueError(
            f"{where} has format {plain['format']!r}, and this dfd reads {FORMAT}: take a newer dfd."
        )
    found = _made(tuple[Entry, ...], plain.get("detectors"), f"{where}: detectors")
    names = [entry.name for entry in found]
    for entry in found:
        _check(entry, f"{where}: {entry.name}")
        if names.count(entry.name) > 1:
            raise ValueError(f"{where} has {entry.name} twice. A list has one version of a detector.")
    return found


def _check(entry: Entry, where: str) -> None:
    detectors = [file for file in entry.files if file.name.endswith(WEIGHTS)]
    for wrong, what in (
        (not _NAME.fullmatch(entry.name), "a name is small letters, digits and dashes"),
        (entry.version < 1, f"version {entry.version}, where 1 is the first"),
        (not entry.figures, "no figures: a detector that nobody has judged is not released"),
        (not entry.files and entry.recipe is None, "neither files to fetch nor a recipe"),
        (
            bool(entry.files) and len(detectors) != 1,
            f"{len(detectors)} of its files are a detector ({', '.join(WEIGHTS)}), where one is",
        ),
        (len({file.name for file in entry.files}) < len(entry.files), "two files of one name"),
    ):
        if wrong:
            raise ValueError(f"{where}: {what}.")
    for file in entry.files:
        for wrong, what in (
            (not _FILE.fullmatch(file.name), "the name of a file has letters, digits, dots and dashes"),
            (not 0 < file.bytes <= MOST_BYTES, f"{file.bytes} bytes"),
            (not _SHA256.fullmatch(file.sha256), "a sha256 is 64 hex digits"),
            (not file.mirrors, "no mirror"),
        ):
            if wrong:
                raise ValueError(f"{where}: {file.name[:100]!r}: {what}.")
    for figure in entry.figures:
        of = f"{where}: {figure.metric} of {figure.source}"
        if not 0 <= figure.low <= figure.high <= 1:
            raise ValueError(f"{of}: its interval ({figure.low}, {figure.high}) is none from 0 to 1.")
        if not figure.low <= figure.value <= figure.high:
            raise ValueError(f"{of}: {figure.value} lies outside its interval ({figure.low}, {figure.high}).")
        if figure.metric not in METRICS:
            raise ValueError(f"{of}: a list has figures of {', '.join(METRICS)}.")
        if not _CONDITION.fullmatch(figure.condition):
            raise ValueError(f"{of}: the condition {figure.condition!r} is neither clean nor NAME@SEVERITY.")


def _made(kind: Any, plain: Any, where: str) -> Any:
    """A plain value as what a type hint says: a dataclass of these, a tuple, a text or a number."""
    if isinstance(kind, types.UnionType):
        return None if plain is None else _made(get_args(kind)[0], plain, where)
    if get_origin(kind) is tuple:
        if not isinstance(plain, list):
            raise ValueError(f"{where} is {_called(plain)}, where a list was expected.")
        return tuple(_made(get_args(kind)[0], each, f"{where}[{at}]") for at, each in enumerate(plain))
    if kind is float and type(plain) is int:
        return float(plain)
    if kind in (str, int, float):
        # no line of a list is to make two lines on the screen
        if type(plain) is not kind or (kind is str and not plain.isprintable()):
            raise ValueError(f"{where} is {_called(plain)}, where {_WORDS[kind]} was expected.")
        return plain
    if not isinstance(plain, Mapping):
        raise ValueError(f"{where} is {_called(plain)}, where names and values were expected.")
    hints = get_type_hints(kind)
    where = f"{where} ({plain['name']})" if isinstance(plain.get("name"), str) else where
    if strange := [name for name in plain if name not in hints]:
        raise ValueError(f"{where} has {strange[0]!r}, which is no part of it: {', '.join(hints)}.")
    for field in fields(kind):
        if field.name not in plain and field.default is MISSING:
            raise ValueError(f"{where} has no {field.name}.")
    return kind(**{name: _made(hints[name], value, f"{where}.{name}") for name, value in plain.items()})


_WORDS = {str: "a line of text", int: "a whole number", float: "a number"}


def _called(plain: Any) -> str:
    return "nothing" if plain is None else repr(plain)[:60]
