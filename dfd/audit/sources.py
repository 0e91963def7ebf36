"""Sources that hold one class alone: there, nobody can tell what is the source's from what is the label's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfd.batch import FAKE, LABELS, REAL
from dfd.terminal import printable

_NAMED = 4  # sources that a sentence names


@dataclass(frozen=True)
class Sources:
    """Which sources hold which class.

    Args:
        both: names of those that hold reals and fakes.
        alone: of each class the names of those that hold no other.
        num_alone: images in these.
        num_images: in all.
    """

    both: tuple[str, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    num_alone: int
    num_images: int

    @classmethod
    def of(cls, source: np.ndarray, label: np.ndarray) -> Sources:
        """Of images (M,) with a source and a label each."""
        names, at = np.unique(source, return_inverse=True)
        held = np.stack([np.bincount(at[label == kind], minlength=len(names)) for kind in (REAL, FAKE)])
        single = (held > 0).sum(0) == 1
        alone = tuple(tuple(names[single & (held[kind] > 0)].tolist()) for kind in (REAL, FAKE))
        return cls(
            tuple(names[~single].tolist()), (alone[0], alone[1]), int(held[:, single].sum()), len(label)
        )

    @property
    def confounded(self) -> bool:
        """Whether the source tells the label of every image, although there are both classes."""
        return not self.both and all(self.alone)

    @property
    def partly(self) -> bool:
        """Whether it does so of some images."""
        return bool(self.both) and any(self.alone)

    def __str__(self) -> str:
        """A sentence or two; "" where each source holds both classes, and where there is one class alone."""
        if not (self.confounded or self.partly):
            return ""
        held = "; ".join(
            f"{_hold(names)} {LABELS[kind]} images alone" for kind, names in enumerate(self.alone) if names
        )
        needed = " or ".join(
            f"{LABELS[1 - kind]} images of {_listed(names)}" for kind, names in enumerate(self.alone) if names
        )
        add = f"add {needed}, made and encoded in the same way."
        if self.confounded:
            return (
                f"Source and label cannot be told apart here: {held}. Whatever a camera, crop or encoder "
                "left in a source's images tells the label, so a detector's score on them says nothing about "
                f"forgery, whatever else was found or not found. To mend that, {add}"
            )
        return (
            f"Source and label cannot be told apart for {self.num_alone} of {self.num_images} images: "
            f"{held}. Read a detector's figures on the others apart ({_hold(self.both)} both classes), or "
            f"{add}"
        )


def _hold(names: Sequence[str]) -> str:
    return f"{_listed(names)} {'holds' if len(names) == 1 else 'hold'}"


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = [printable(name, keep="")[:60] or "the unnamed source" for name in names[:_NAMED]]
    if left := len(names) - len(shown):
        shown.append(f"{left} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
