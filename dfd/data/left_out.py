"""Leaving sources out of a training, so that the net can be judged on what it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfd.shards.catalog import Catalog

LEARNT = ("train", "val")  # splits that make and choose a net


def leave_out(catalog: Catalog, sources: Sequence[str]) -> None:
    """Takes sources out of the splits that make and choose a net, and with them every picture of a family
    that they have a part in, and every file of the same bytes in another source.

    The test split stays whole.

    Raises:
        ValueError: there is no such source.
    """
    rows = np.arange(len(catalog.contents))
    facts = catalog.describe(rows)
    known = np.unique(facts["source"]).tolist()
    if unknown := [source for source in sources if source not in known]:
        raise ValueError(
            f"data.leave_out names {', '.join(unknown)}, and the roots hold the sources {', '.join(known)}."
        )
    out = np.isin(facts["source"], list(sources))
    # a family's name says something within its root alone
    _, family = np.unique(
        np.char.add(np.char.add(catalog.contents.root.astype(str), " "), facts["family"]), return_inverse=True
    )
    prints = catalog.fingerprints(rows)
    out |= np.isin(family, family[out]) | np.isin(prints, prints[out])
    for split in LEARNT:
        kept = catalog.rows[split]
        catalog.keep(split, kept[~out[kept]])
