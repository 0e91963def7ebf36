"""Originals of judged pictures: bytes, pixels and fingerprints, read from their shards by key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfd.media.decode import decode
from dfd.shards.duplicates import counted
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table, read_bytes, read_index

_HEAD = 15  # hex digits of a fingerprint, as in a checkpoint's `seen`


class Originals:
    """The pictures of some roots. A root that is not here is named in `absent`, with the reason.

    Args:
        roots: folders of finished shards, or patterns of some of their shards.
    """

    def __init__(self, roots: Sequence[str]):
        self.absent: dict[str, str] = {}
        # how often splits share related pictures, where the shards were prepared so
        self.leaks = ""
        self._lines: dict[str, tuple[Path, dict[str, Any]]] = {}
        for root in roots:
            try:
                table = load_table(
                    Path(root), ["key", "shard", "offset", "length", "label", "split", "sha256"]
                )
            except (ValueError, OSError) as error:
                self.absent[root] = str(error).splitlines()[0]
                continue
            folder = Path(parse_root(root).folder)
            self.leaks = self.leaks or counted(read_index(Path(root)).get("leaks", {}).get("counts", {}))
            for line in table.to_pylist():
                self._lines.setdefault(line["key"], (folder, line))

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def pixels(self, key: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright.

        Raises:
            OSError, ValueError: it cannot be read any more.
        """
        folder, line = self._lines[key]
        return decode(read_bytes(folder, line))

    def fingerprints(self, keys: Sequence[str]) -> np.ndarray:
        """(K,) int64 of the keys that are there, in no order of theirs."""
        heads = [self._lines[key][1]["sha256"][:_HEAD] for key in keys if key in self._lines]
        return np.array([int(head, 16) for head in heads], np.int64)
