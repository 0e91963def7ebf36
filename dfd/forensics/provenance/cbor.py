"""CBOR (RFC 8949): the values of C2PA claims and assertions, read in bounded time and memory."""

from __future__ import annotations

import struct
from typing import Any

MAX_DEPTH = 32
MAX_ITEMS = 100_000  # of one value, all levels together
_INDEFINITE, _BREAK = 31, 0xFF
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def read_cbor(data: bytes) -> Any:
    """The first value of the bytes: int, bytes, str, list, dict, bool, float or None. What a tag says of its
    value is passed over.

    Raises:
        ValueError: no CBOR, cut off, or more than MAX_DEPTH levels or MAX_ITEMS items.
    """
    reader = _Reader(data)
    value = reader.value(MAX_DEPTH)
    if value is _END:
        raise ValueError("CBOR: a break outside of anything")
    return value


_END = object()  # of what has no length


class _Reader:
    def __init__(self, data: bytes):
        self._data, self._at, self._left = data, 0, MAX_ITEMS

    def value(self, depth: int) -> Any:
        self._left -= 1
        if not depth or self._left < 0:
            raise ValueError(f"CBOR: more than {MAX_DEPTH} levels or {MAX_ITEMS} items")
        first = self._take(1)[0]
        if first == _BREAK:
            return _END
        major, info = first >> 5, first & 31
        if major == 7:
            return self._simple(info)
        length = None if info == _INDEFINITE else self._number(info)
        if length is None and major not in (2, 3, 4, 5):
            raise ValueError("CBOR: a number without an end")
        match major:
            case 0:
                return length
            case 1:
                return -1 - length
            case 2:
                return self._bytes(length, depth, bytes)
            case 3:
                return self._bytes(length, depth, str)
            case 4:
                return list(self._items(length, depth))
            case 5:
                return self._map(length, depth)
        return self._whole(depth)  # after a tag

    def _simple(self, info: int) -> Any:
        if info in _FLOATS:
            kind = _FLOATS[info]
            return struct.unpack(kind, self._take(struct.calcsize(kind)))[0]
        return _SIMPLE.get(self._number(info))

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise ValueError("CBOR: a length that is none")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _bytes(self, length: int | None, depth: int, kind: type) -> bytes | str:
        if length is None:
            parts = list(self._items(None, depth))
            if not all(isinstance(part, kind) for part in parts):
                raise ValueError("CBOR: a text of other things than texts")
            return kind().join(parts)
        taken = self._take(length)
        return taken if kind is bytes else taken.decode("utf-8", "replace")

    def _items(self, length: int | None, depth: int) -> Any:
        while length is None or length > 0:
            value = self.value(depth - 1)
            if value is _END:
                if length is not None:
                    raise ValueError("CBOR: a break in the middle")
                return
            yield value
            length = None if length is None else length - 1

    def _map(self, length: int | None, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key in self._items(length, depth):
            if isinstance(key, (list, dict)):
                raise ValueError("CBOR: a key that is no word")
            found[key] = self._whole(depth)
        return found

    def _whole(self, depth: int) -> Any:
        value = self.value(depth - 1)
        if value is _END:
            raise ValueError("CBOR: a break in the middle")
        return value

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise ValueError("CBOR: cut off")
        taken, self._at = self._data[self._at : end], end
        return taken
