"""JUMBF (ISO/IEC 19566-5): the boxes in boxes that a C2PA manifest store is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_DEPTH = 16
MAX_BOXES = 20_000  # of one store
_SUPERBOX, _DESCRIPTION = b"jumb", b"jumd"
_HAS_LABEL = 2  # toggle of a description


@dataclass(frozen=True)
class Superbox:
    """A labelled box with boxes in it.

    Args:
        kind: the first four bytes of its type, "c2pa", "c2cl" (claim), "cbor", "json", ...
        label: its name among its neighbours.
        payload: all that follows its head: what C2PA's hashes of assertions are of.
        boxes: the superboxes in it.
        contents: the others, as type and bytes.
    """

    kind: str
    label: str
    payload: memoryview = field(repr=False)
    boxes: tuple[Superbox, ...] = ()
    contents: tuple[tuple[str, memoryview], ...] = ()

    def child(self, *labels: str) -> Superbox | None:
        """The box at the end of a path of labels; None where there is none."""
        box: Superbox | None = self
        for label in labels:
            box = next((each for each in box.boxes if each.label == label), None) if box else None
        return box

    def content(self, kind: str) -> bytes | None:
        return next((bytes(body) for name, body in self.contents if name == kind), None)


def read_jumbf(data: bytes) -> Superbox:
    """The first superbox of the bytes.

    Raises:
        ValueError: there is none, a box is cut off, or there are more than MAX_DEPTH levels or MAX_BOXES.
    """
    left = [MAX_BOXES]
    for kind, body in _boxes(memoryview(data), left):
        if kind == _SUPERBOX:
            return _superbox(body, MAX_DEPTH, left)
        break
    raise ValueError("JUMBF: the data do not begin with a superbox")


def _superbox(body: memoryview, depth: int, left: list[int]) -> Superbox:
    if not depth:
        raise ValueError(f"JUMBF: more than {MAX_DEPTH} levels")
    parts = list(_boxes(body, left))
    if not parts or parts[0][0] != _DESCRIPTION or len(parts[0][1]) < 17:
        raise ValueError("JUMBF: a superbox without a description")
    described = bytes(parts[0][1])
    label = b""
    if described[16] & _HAS_LABEL:
        label = described[17:].split(b"\0", 1)[0]
    return Superbox(
        kind=described[:4].decode("ascii", "replace"),
        label=label.decode("utf-8", "replace"),
        payload=body,
        boxes=tuple(_superbox(inner, depth - 1, left) for kind, inner in parts[1:] if kind == _SUPERBOX),
        contents=tuple(
            (kind.decode("ascii", "replace"), inner) for kind, inner in parts[1:] if kind != _SUPERBOX
        ),
    )


def _boxes(data: memoryview, left: list[int]) -> Iterator[tuple[bytes, memoryview]]:
    """Type and body of each box, one after another."""
    at = 0
    while at < len(data):
        left[0] -= 1
        if left[0] < 0:
            raise ValueError(f"JUMBF: more than {MAX_BOXES} boxes")
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + length if length else len(data)
        if (length and length < head) or end > len(data) or at + head > len(data):
            raise ValueError("JUMBF: a box that is cut off")
        yield bytes(data[at + 4 : at + 8]), data[at + head : end]
        at = end
