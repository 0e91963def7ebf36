"""Fingerprint of the training data in a checkpoint; a resumed run must match it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfd.shards.catalog import Contents

_CHUNK = 1 << 20  # rows at a time
_KEPT = 16  # hex digits of a shard's sha256: enough to tell two apart


def record(
    roots: Mapping[str, float],
    shards: list[dict[str, str]],
    contents: Contents,
    rows: np.ndarray,
    **order: Any,
) -> dict[str, Any]:
    """Plain values that say what the training split is and in which order it is shown.

    Args:
        roots: with their weights.
        shards: of each root, name -> sha256.
        rows: (R,) of the training split.
        order: the options that order and position depend on, by their names on the command line.
    """
    lines = hashlib.sha256()
    for column in (contents.shard, contents.offset, contents.label):
        for at in range(0, len(rows), _CHUNK):
            lines.update(np.ascontiguousarray(column[rows[at : at + _CHUNK]]).data)
    return {
        "roots": [
            {
                "root": root,
                "weight": float(weight),
                "shards": {name: digest[:_KEPT] for name, digest in each.items()},
            }
            for (root, weight), each in zip(roots.items(), shards, strict=True)
        ],
        "lines": lines.hexdigest(),
        **order,
    }


def check_same(was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ValueError that names what changed since a checkpoint recorded its data. Where the folders lie may
    differ.
    """
    if changes := [*_roots(was["roots"], now["roots"]), *_order(was, now)]:
        more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
        raise ValueError(
            f"the data are not those that the checkpoint was trained on: {'; '.join(changes[:4])}{more}. "
            "A run goes on with the data and the order that it began with. Give them back, or train anew in "
            "another run folder."
        )
    if was["lines"] != now["lines"]:
        raise ValueError(
            "the shards are those that the checkpoint was trained on, but their table is not: labels, splits "
            "or order "
            "changed. Bring the old samples.parquet back, or train anew in another run folder."
        )


def _order(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    options = [name for name in now if "." in name]
    return [f"{name} is {now[name]}, was {was.get(name)}" for name in options if was.get(name) != now[name]]


def _roots(was: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    if len(was) != len(now):
        return [f"data.roots names {len(now)} folders, was {len(was)}"]
    changes = []
    for before, after in zip(was, now, strict=True):
        root, old, new = after["root"], before["shards"], after["shards"]
        changes += [f"{root}/{name} is gone" for name in sorted(old.keys() - new.keys())]
        changes += [f"{root}/{name} is new" for name in sorted(new.keys() - old.keys())]
        changes += [
            f"{root}/{name} has other contents"
            for name in sorted(old.keys() & new.keys())
            if old[name] != new[name]
        ]
        if before["weight"] != after["weight"]:
            changes.append(f"the weight of {root} is {after['weight']:g}, was {before['weight']:g}")
    return changes
