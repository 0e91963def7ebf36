"""Check of a stored card: each fact has the type and the range that dfd writes, before anybody uses it.

A checkpoint may come from a stranger, or from another version of dfd. What is checked here is read without
torch; weights are checked where they are loaded, class paths where a class is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

from dfd import __version__
from dfd.batch import LABELS
from dfd.calibration import UNFITTED
from dfd.media.crops import PLACES, View
from dfd.terminal import printable

# far beyond what dfd writes, and still cheap to walk, to compare and to print
DEPTH, VALUES, LETTERS, LARGEST = 32, 100_000, 10_000, 1 << 63
SIDE = 4096  # of a net's pictures; a view may enlarge small ones to it
TEMPERATURE = (1e-6, 1e6)
KNOTS = 10_000  # of an isotonic calibration
MEMBERS = 64  # of an ensemble, each with a view of its own
COUNTS = ("images", "errors", "right")  # of a source's class, at the thresholds


def check_card(plain: Mapping[str, Any], where: str) -> None:
    """ValueError in one line, with the fact and the version of dfd that the card names, where one of its
    facts is not as `Card.to_plain` gives it.

    Args:
        plain: what is stored under "dfd"; facts that a card does not know pass.
        where: what to call the file.
    """
    for name, check in CHECKS.items():
        if name in plain and (strange := check(plain[name])):
            raise ValueError(other_version(where, f"{name} {strange}", plain))
    # earlier versions stored a temperature
    known = "thresholds" in plain and ("calibration" in plain or "temperature" in plain)
    if plain.get("calibrated_on") and not known:
        raise ValueError(
            other_version(where, f"a calibration without thresholds {', '.join(UNFITTED)}", plain)
        )


def other_version(where: str, what: str, plain: Mapping[str, Any]) -> str:
    """The error for a file with something strange in its card."""
    stated = plain.get("version")
    stated = printable(stated) if isinstance(stated, str) and len(stated) <= 40 else "unknown"
    return (
        f"{where} has {what}: dfd did not write it, or it belongs to another version of dfd "
        f"(the file says {stated}, this is {__version__})."
    )


def made_view(view: Mapping[str, Any], where: str, plain: Mapping[str, Any]) -> View:
    """The `View` of a card.

    Raises:
        ValueError: it has fields that this version's lacks, or values that make no view.
    """
    known = {field.name for field in fields(View)}
    if unknown := sorted(view.keys() - known):
        raise ValueError(
            other_version(where, f"a view with {', '.join(map(repr, unknown[:3]))}, unknown here", plain)
        )
    try:
        return View(**view)
    except ValueError as error:
        raise ValueError(other_version(where, f"a view that is none ({error})", plain)) from error


def shown(value: Any) -> str:
    """A stored value in a few letters."""
    if isinstance(value, (str, bytes)):
        text = repr(value[:40])
    elif isinstance(value, int):
        # Python refuses to write an int of thousands of digits
        text = str(value) if abs(value) < LARGEST else "a whole number beyond 64 bits"
    elif isinstance(value, (dict, list, tuple, set)):
        text = f"a {type(value).__name__} of {len(value)}"
    elif value is None or isinstance(value, float):
        text = str(value)
    else:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value: Any, finite: bool = False) -> str:
    """What keeps a value from being plain, "" for nothing: numbers, strings, None, lists and dicts of them.

    With `finite` no number is NaN or infinite.
    """
    waiting, seen = [(value, 0)], 0
    while waiting:
        each, depth = waiting.pop()
        seen += 1
        if depth > DEPTH:
            return f"nested more than {DEPTH} deep"
        if seen > VALUES:
            return f"of more than {VALUES} values"
        if isinstance(each, dict):
            if strange := next((key for key in each if not isinstance(key, str)), None):
                return f"with the key {shown(strange)}"
            waiting += [(item, depth + 1) for pair in each.items() for item in pair]
        elif isinstance(each, (list, tuple)):
            waiting += [(item, depth + 1) for item in each]
        elif isinstance(each, str):
            if len(each) > LETTERS:
                return f"with a text of {len(each)} letters"
        elif isinstance(each, int):
            if abs(each) >= LARGEST:
                return f"with {shown(each)}"
        elif not (each is None or isinstance(each, float)) or (finite and each and not _is_number(each)):
            return f"with {shown(each)}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(low: float, high: float) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        # an int beyond floats is no float either
        inside = not _plain(value) and _is_number(value) and low <= value <= high
        return "" if inside else f"{shown(value)}, which is no number from {low:g} to {high:g}"

    return check


def _text(value: Any) -> str:
    return _plain(value) if isinstance(value, str) else f"{shown(value)}, which is no text"


def _optional(check: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None else check(value)


def _instance(value: Any) -> str:
    """A class path and its arguments."""
    if not (
        isinstance(value, dict)
        and isinstance(value.get("class_path"), str)
        and isinstance(value.get("init_args"), dict)
    ):
        return f"{shown(value)}, without a class path and arguments"
    return _plain(value)


def _net(value: Any) -> str:
    if value == {}:
        return ""  # `build` says what a recipe is
    return _instance(value) or _plain(value, finite=True)


def strange_view(value: Any) -> str:
    """The facts that a view of this version has; others are for `made_view` to refuse, where one is made."""
    if not isinstance(value, dict) or (strange := _plain(value)):
        return strange if isinstance(value, dict) else shown(value)
    whole: dict[str, Callable[[Any], bool]] = {
        "size": lambda size: type(size) is int and 1 <= size <= SIDE,
        "crops": lambda crops: type(crops) is int and crops in PLACES,
        "longest": lambda side: side is None or (type(side) is int and side >= 1),
        "resize": lambda resize: type(resize) is bool,
        "margin": lambda margin: margin is None or (_is_number(margin) and 0 < margin <= 100),
    }
    for name, holds in whole.items():
        if name in value and not holds(value[name]):
            return f"with {name}={shown(value[name])}"
    beside = value.get("beside")
    if beside is None:
        return ""
    if not isinstance(beside, list) or len(beside) > MEMBERS:
        return f"with beside={shown(beside)}"
    return next((strange for each in beside if (strange := strange_view(each))), "")


def _calibration(value: Any) -> str:
    if not isinstance(value, dict) or (strange := _plain(value, finite=True)):
        return strange if isinstance(value, dict) else shown(value)
    kinds: dict[str, dict[str, Callable[[Any], str]]] = {
        "temperature": {"temperature": _number(*TEMPERATURE)},
        "platt": {"slope": _number(*TEMPERATURE), "offset": _number(-1e9, 1e9)},
        "isotonic": {"logits": _rising, "log_odds": _rising},
    }
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        return f"of the kind {shown(kind)}, which is none of {', '.join(kinds)}"
    for name, check in kinds[kind].items():
        if strange := check(value.get(name)):
            return f"with {name}={strange}"
    if kind == "isotonic" and len(value["logits"]) != len(value["log_odds"]):
        return "with knots that lack a side"
    return ""


def _rising(value: Any) -> str:
    """Of an isotonic calibration: one side of its knots."""
    if not isinstance(value, list) or not 1 <= len(value) <= KNOTS or any(map(_number(-1e9, 1e9), value)):
        return f"{shown(value)}, which are no knots"
    return "" if all(low <= high for low, high in pairwise(value)) else "knots that do not rise"


def _thresholds(value: Any) -> str:
    if not (isinstance(value, dict) and value.keys() == UNFITTED.keys()):
        return f"{shown(value)}, which are not {', '.join(UNFITTED)}"
    for name, number in value.items():
        # infinite ones are strings in JSON
        infinite = isinstance(number, (str, float)) and number in ("inf", "-inf", math.inf, -math.inf)
        if not (infinite and name != "balanced") and (_plain(number) or not _is_number(number)):
            return f"with {name}={shown(number)}, which is no calibration"
    return ""


def _calibrated_on(value: Any) -> str:
    if not isinstance(value, dict):
        return shown(value)
    if strange := _plain(value):
        return strange
    if not value:
        return ""  # on nothing
    counts = all(type(value.get(name)) is int and value[name] >= 0 for name in ("images", "groups"))
    texts = all(isinstance(value.get(name, ""), str) for name in ("data", "face_detector"))
    texts = texts and isinstance(value.get("split"), str)
    if not (counts and texts):
        return "without a split and its numbers of images and groups"
    return _sources(value.get("sources", {}))


def _sources(value: Any) -> str:
    """Errors at the thresholds, by source and class."""
    if not isinstance(value, dict) or not all(isinstance(of, dict) for of in value.values()):
        return f"with sources {shown(value)}"
    for name, counts in (pair for of in value.values() for pair in of.items()):
        if (
            name not in LABELS
            or not isinstance(counts, dict)
            or counts.keys() != {*COUNTS, "independent", "bound"}
        ):
            return f"with {shown(name)} {shown(counts)} of a source"
        whole = all(type(counts[each]) is int and 0 <= counts[each] <= counts["images"] for each in COUNTS)
        if not whole or counts["images"] < 1:
            return f"with numbers of {name}s that are none"
        if counts["errors"] + counts["right"] > counts["images"] or _number(0, 1)(counts["bound"]):
            return f"with errors of {name}s that are none"
        if _number(0, counts["images"])(counts["independent"]):
            return f"with {name}s worth {shown(counts['independent'])} independent ones"
    return ""


def _seen(value: Any) -> str:
    import torch

    from dfd.models.checkpoint import strange_tensor

    if not isinstance(value, dict):
        return shown(value)
    for name, prints in value.items():
        if name not in ("train", "val"):
            return f"of {shown(name)}"
        if not isinstance(prints, torch.Tensor) or prints.dtype != torch.int64 or prints.dim() != 1:
            return f"with {shown(prints)}, which are no fingerprints"
        if strange := strange_tensor(prints):
            return f"with {strange}"
    return ""


def _familiarity(value: Any) -> str:
    from dfd.familiarity.state import strange_state

    return strange_state(value) or _plain(value["facts"])


CHECKS: dict[str, Callable[[Any], str]] = {
    "version": _text,
    "net": _net,
    "weights_in": _text,
    "view": _optional(strange_view),
    "calibration": _calibration,
    "temperature": _number(*TEMPERATURE),
    "thresholds": _thresholds,
    "calibrated_on": _optional(_calibrated_on),
    "familiarity": _optional(_familiarity),
    "selected_on": _optional(_text),
    "seen": _seen,
    "ema_decay": _optional(_number(0.0, 1.0)),
    "task": _optional(_instance),
    "data": _optional(_instance),
    "weights": _optional(_text),
    "checkpoint_sha256": _optional(_text),
}
