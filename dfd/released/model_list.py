"""List of released detectors: the package's own, or another one that a trusted key signed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dfd.released.download import place_of, read_small
from dfd.released.entry import Entry, entries_of
from dfd.released.signature import MOST_BYTES, SIGNATURE, TRUSTED, check_signature
from dfd.text_files import parse_yaml

SHIPPED = Path(__file__).with_name("detectors.yaml")
_LIST_BYTES = 4_000_000


@dataclass(frozen=True)
class ModelList:
    """A list whose signature was checked.

    Args:
        place: path or address that it came from.
        entries: in its order.
    """

    place: str
    entries: tuple[Entry, ...]

    def find(self, name: str) -> Entry:
        """Raises ValueError where the list has none of this name."""
        names = [entry.name for entry in self.entries]
        if name in names:
            return self.entries[names.index(name)]
        known = f"It has: {', '.join(names)}." if names else "It is empty."
        raise ValueError(f"{self.title} has no {name!r}. {closest(name, names)}{known}")

    @property
    def title(self) -> str:
        return "dfd's list" if self.place == str(SHIPPED) else self.place


def open_list(place: str | None = None, trusted: Path | None = None) -> ModelList:
    """A list, once its signature is right. Nothing of another one is read.

    Args:
        place: path or address; None for the package's own. The signature lies beside it, PLACE.sig.
        trusted: public keys in PEM; None for the one in the package.

    Raises:
        ValueError: the list or its signature is missing, wrong, or of another version of dfd.
        ModuleNotFoundError: cryptography is missing.
    """
    place = str(SHIPPED) if place is None else place_of(place, "")
    data = read_small(place, _LIST_BYTES)
    try:
        signature = read_small(f"{place}{SIGNATURE}", MOST_BYTES)
    except ValueError as error:
        raise ValueError(
            f"{place} has no signature, so nothing of it was read ({str(error).rstrip('.')}). Get the "
            f"{SIGNATURE} file that belongs to it; a list of your own is signed by `dfd sign`."
        ) from error
    check_signature(data, signature.decode("ascii", "replace"), trusted or TRUSTED, place)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is no text in UTF-8.") from error
    return ModelList(place, entries_of(parse_yaml(text, place), place))


def closest(name: str, known: Iterable[str]) -> str:
    """A sentence with the names that are most like this one; "" where none is."""
    like = get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(like)}? " if like else ""
