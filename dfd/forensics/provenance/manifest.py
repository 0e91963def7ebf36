"""A C2PA manifest as dfd reads it itself: what it declares, and whether its hashes fit; no signatures.

C2PA Technical Specification 2.2, sections 9 (hard bindings), 10 (claims) and 18 (standard assertions).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dfd.forensics.provenance.cbor import read_cbor
from dfd.forensics.provenance.jumbf import Superbox, read_jumbf
from dfd.terminal import printable

MAX_WORD = 200  # letters of what a file says that are passed on
MAX_LISTED = 100  # actions, and ingredients
_CLAIMS = ("c2pa.claim.v2", "c2pa.claim")
_HASHES = {"sha256", "sha384", "sha512"}
# of https://cv.iptc.org/newscodes/digitalsourcetype: what a trained model made, in whole or in parts
AI_WHOLE = frozenset(("trainedAlgorithmicMedia",))
AI_PARTS = frozenset(("compositeWithTrainedAlgorithmicMedia",))

# changed: the picture is not the one that the hash was taken of. altered: an assertion is not the one that
# the claim names. match: both fit. unknown: hashed in a way that is not checked here.
Binding = Literal["changed", "altered", "match", "unknown"]


@dataclass(frozen=True)
class Manifest:
    """The active manifest of a store.

    Args:
        label: its name.
        generator: the program that made the claim.
        title: of the picture; "" where not said.
        actions: each as action, when, by which program, its digital source type; "" where not said.
        ingredients: each as title and relationship.
        source_types: the last words of all digital source types of its actions.
        binding: whether its hashes fit the file.
    """

    label: str
    generator: str
    title: str
    actions: Sequence[tuple[str, str, str, str]]
    ingredients: Sequence[tuple[str, str]]
    source_types: Sequence[str]
    binding: Binding

    @property
    def ai(self) -> Literal["", "whole", "parts"]:
        """Whether it declares a trained model's work."""
        if AI_WHOLE.intersection(self.source_types):
            return "whole"
        return "parts" if AI_PARTS.intersection(self.source_types) else ""


def read_manifest(store: bytes, data: bytes) -> Manifest:
    """The active manifest, the last one of a store.

    Args:
        store: JUMBF, as `manifest_store` gives it.
        data: the whole file, for its hashes.

    Raises:
        ValueError: the store or its claim cannot be read.
    """
    root = read_jumbf(store)
    if root.label != "c2pa" or not root.boxes:
        raise ValueError("no manifest in the store")
    active = root.boxes[-1]
    claim_box = next((box for label in _CLAIMS if (box := active.child(label))), None)
    claim = _map(_value(claim_box)) if claim_box else {}
    if not claim:
        raise ValueError("a manifest without a claim")
    assertions = active.child("c2pa.assertions")
    actions = list(_actions(assertions))
    return Manifest(
        label=_word(active.label),
        generator=_generator(claim),
        title=_word(claim.get("dc:title")),
        actions=actions,
        ingredients=list(_ingredients(assertions)),
        source_types=sorted({source for *_, source in actions if source}),
        binding=_binding(claim, assertions, data),
    )


def _generator(claim: dict[Any, Any]) -> str:
    info = claim.get("claim_generator_info")
    first = info[0] if isinstance(info, list) and info else info
    if isinstance(first, dict) and first.get("name"):
        return _word(f"{first['name']} {first.get('version') or ''}".strip())
    return _word(claim.get("claim_generator"))


def _actions(assertions: Superbox | None) -> Iterator[tuple[str, str, str, str]]:
    for box in _named(assertions, "c2pa.actions"):
        listed = _map(_value(box)).get("actions")
        for action in listed[:MAX_LISTED] if isinstance(listed, list) else ():
            said = _map(action)
            agent = said.get("softwareAgent")
            agent = _map(agent).get("name") if isinstance(agent, dict) else agent
            source = _word(said.get("digitalSourceType")).rstrip("/").rpartition("/")[2]
            yield _word(said.get("action")), _word(said.get("when")), _word(agent), source


def _ingredients(assertions: Superbox | None) -> Iterator[tuple[str, str]]:
    for box in _named(assertions, "c2pa.ingredient")[:MAX_LISTED]:
        said = _map(_value(box))
        yield _word(said.get("dc:title") or said.get("title")), _word(said.get("relationship"))


def _named(assertions: Superbox | None, name: str) -> list[Superbox]:
    """The assertions of a name, whatever their version and number: c2pa.actions.v2__1."""
    boxes = assertions.boxes if assertions else ()
    return [box for box in boxes if box.label == name or box.label.startswith((f"{name}.v", f"{name}__"))]


def _binding(claim: dict[Any, Any], assertions: Superbox | None, data: bytes) -> Binding:
    """Whether the hashes of the claim fit its assertions, and that of the picture the file."""
    alg = claim.get("alg")
    links = [
        each
        for name in ("assertions", "created_assertions", "gathered_assertions")
        for each in _list(claim.get(name))
    ]
    fits = [_fits(each, assertions, alg) for each in links]
    if False in fits or not links:
        return "altered"
    hashes = _named(assertions, "c2pa.hash.data")
    if len(hashes) != 1 or None in fits:  # by boxes, or of a video
        return "unknown"
    said = _map(_value(hashes[0]))
    kind = said.get("alg") or alg
    if kind not in _HASHES or not isinstance(said.get("hash"), bytes):
        return "unknown"
    return "match" if _data_hash(data, said.get("exclusions"), kind) == said["hash"] else "changed"


def _fits(link: Any, assertions: Superbox | None, alg: Any) -> bool | None:
    """Whether an assertion is there and is the one that a claim's link was made for; None where the link is
    of a kind that is not checked here.
    """
    said = _map(link)
    url, kind = said.get("url"), said.get("alg") or alg
    if not isinstance(url, str) or kind not in _HASHES:
        return None
    path, _, label = url.rpartition("/")
    if not path.endswith("c2pa.assertions"):
        return None
    box = assertions.child(label) if assertions else None
    return box is not None and hashlib.new(kind, box.payload).digest() == said.get("hash")


def _data_hash(data: bytes, exclusions: Any, kind: str) -> bytes:
    """The hash of the file without the ranges that are left out: those of the manifest itself."""
    digest, at, whole = hashlib.new(kind), 0, memoryview(data)
    ranges = [(_map(each).get("start"), _map(each).get("length")) for each in _list(exclusions)]
    for start, length in sorted(
        (start, length) for start, length in ranges if isinstance(start, int) and isinstance(length, int)
    ):
        if start > at:
            digest.update(whole[at:start])
        at = max(at, start + length)
    digest.update(whole[at:])
    return digest.digest()


def _value(box: Superbox) -> Any:
    """What an assertion holds, CBOR or JSON; None of pictures and of what cannot be read."""
    try:
        if (cbor := box.content("cbor")) is not None:
            return read_cbor(cbor)
        if (text := box.content("json")) is not None:
            return json.loads(text)
    except (ValueError, RecursionError):
        pass
    return None


def _map(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _word(value: Any) -> str:
    """What a stranger's file says, as a short text that can be printed; "" of what is no text."""
    return printable(value)[:MAX_WORD] if isinstance(value, str) else ""
