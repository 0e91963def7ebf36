"""Pictures of shards: which of them train, choose and judge a net, and what the tables know of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from dfd.data.checks import check_distinct, fake_share, weighed
from dfd.data.cues import cues_of
from dfd.data.left_out import leave_out
from dfd.data.pairs import MADE, AnyMaker, Pairing, check_maker, leave_out_fakes, pairing_of
from dfd.data.strata import Strata, parse_balance, strata_of
from dfd.detector.card import TOY
from dfd.shards.cache import Cache
from dfd.shards.catalog import Catalog, Contents
from dfd.synthetic.toy import NOTE


class ShardPictures:
    """
    Args:
        roots, cache, balance, pairs, fakes, leave_out: as of `ShardDataModule`.
        augment: transforms of training, of which some turn reals into fakes.
        mix: what mixes training pictures, if anything does.
    """

    def __init__(
        self,
        roots: str | list[str] | dict[str, float],
        cache: Cache,
        augment: list[Callable],
        mix: Callable | None,
        leave_out: list[str] | None,
        balance: str | list[str] | None,
        pairs: AnyMaker,
        fakes: bool | list[str],
    ):
        super().__init__()
        self.roots, self.cache = weighed(roots), cache
        self.augment, self.mix = augment, mix
        self.leave_out, self.balance = list(leave_out or []), parse_balance(balance)
        self.fakes = fakes or False
        self.pairs = None if pairs is None else check_maker(pairs, self.augment, self.fakes)
        self.catalog: Catalog | None = None
        self._learns = False  # whether the catalog has been made ready for training
        self._pairing: Pairing | None = None
        self._cues: np.ndarray | None = None

    def open_catalog(self, learning: bool = True) -> None:
        """Reads the tables of the roots, which is all that `rows`, `describe` and `label_counts` need.

        Args:
            learning: with what training and validation need beside them; a test needs no fakes of a name, no
                landmarks and no reconstructions.
        """
        if self.catalog is None:
            self.catalog = Catalog(self.roots, self.cache)
            check_distinct(self.catalog, list(map(str, self.roots)))
        if learning and not self._learns:
            self._learns = True
            # before sources are left out, whose fakes may be named as well
            if self.fakes is not True:
                leave_out_fakes(self.catalog, self.fakes or [])
            if self.leave_out:
                leave_out(self.catalog, self.leave_out)
            if self.pairs is not None:
                self._pairing = pairing_of(self.pairs, self.catalog, list(self.roots))

    def deliver_cues(self, names: Sequence[str], version: int) -> None:
        """Batches have "cues" (B, C) float32 from now on, in the order of `names`, as the tables hold them.

        Raises:
            ValueError: a root has no cues, other ones, or pairs are made, which have no file to measure.
        """
        if self.pairs is not None:
            raise ValueError(
                "data.pairs makes pictures that never were a file, so they have no forensic cues. Train a "
                "net that reads cues without pairs."
            )
        if self.mix is not None:
            raise ValueError(
                "data.mix makes one picture of two, and no file has the forensic cues of both. Train a net "
                "that reads cues without it."
            )
        self.open_catalog()
        self._cues = cues_of(list(self.roots), names, version)

    def withhold_cues(self) -> None:
        """Batches have no cues from now on."""
        self._cues = None

    @property
    def title(self) -> str:
        """What verdicts say they rest on: the roots' last names, and what is left out of them, or that all of
        them are the toy set's.
        """
        if self.catalog and all(made_by.get("what") == NOTE for made_by in self.catalog.made_by):
            return TOY
        names = ", ".join(root.rstrip("/").rpartition("/")[2] for root in self.roots)
        if self.leave_out:
            names = f"{names} without {', '.join(self.leave_out)}"
        if isinstance(self.fakes, list):
            return f"{names}, with the fakes of {', '.join(self.fakes)} alone"
        return names if self.fakes else f"the reals of {names}, and fakes made of them"

    @property
    def face_detector(self) -> str:
        """What found the faces that the roots were cut by, as `FaceDetector.identity`; "" where none did."""
        return ", ".join(sorted({*self.catalog.face_detectors.values()}))

    @property
    def contents(self) -> Contents:
        return self.catalog.contents

    @property
    def leaks(self) -> dict[str, str]:
        """Of each root that was prepared with --allow-leaks: how often splits share pictures."""
        return self.catalog.leaks

    def rows(self, split: str) -> np.ndarray:
        """(R,) rows of a split, in the order of the tables. Where validation shows pairs, the row of what is
        made of row r is r + the number of all rows.
        """
        rows = self.catalog.rows[split]
        if not (split == "val" and self._val_pairs):
            return rows
        paired = rows.astype(np.int64).repeat(1 + self._pairing.makes(rows))
        paired[1:][np.diff(paired) == 0] += len(self.contents)
        return paired

    @property
    def _val_pairs(self) -> bool:
        return self._pairing is not None and not self.fakes

    def shown_rows(self, split: str) -> np.ndarray:
        """(R,) rows whose files a fit sees of a split: also reconstructions that stand beside their reals."""
        rows = self.rows(split)
        remade = None if self._pairing is None else self._pairing.remade
        return rows if remade is None or split != "train" else np.concatenate([rows, remade.rows()])

    @cached_property
    def strata(self) -> Strata:
        """How often an epoch shows each training sample."""
        return strata_of(self.catalog, self.roots, self.balance)

    def roots_of(self, split: str) -> list[str]:
        """Those with images of the split; all of them before the tables were read."""
        if self.catalog is None:
            return list(map(str, self.roots))
        held = self.catalog.images_of(split).sum(1)
        return [str(root) for root, images in zip(self.roots, held, strict=True) if images]

    def label_counts(self, split: str) -> tuple[int, int]:
        """Real and fake images of a split; in training as an epoch shows them: roots by weight, a share of
        the real forged.
        """
        shown = self.strata.shown() if split == "train" else self.catalog.images_of(split).sum(0)
        real, fake = map(float, shown)
        if self._pairing is not None and split == "train":
            fake += real * self._pairing.share
        elif split == "val" and self._val_pairs:
            fake += len(self.rows("val")) - real
        left = real * np.prod([1 - fake_share(each) for each in self.augment]) if split == "train" else real
        return round(left), round(fake + real - left)

    def describe(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the table knows of `rows`: key, path, split, source, method, family and clip, as
        arrays of str.
        """
        rows = np.asarray(rows)
        made = rows >= len(self.contents)
        facts = self.catalog.describe(rows % len(self.contents))
        if made.any():
            facts["method"] = np.where(made, self.pairs.method, facts["method"])
            facts["key"] = np.where(made, np.char.add(facts["key"], MADE), facts["key"])
        return facts

    def fingerprints(self, rows: np.ndarray) -> np.ndarray:
        """(R,) int64 of the bytes of each picture's file: the head of its SHA-256."""
        return self.catalog.fingerprints(np.asarray(rows) % len(self.contents))

    def _name(self, row: int) -> str:
        key, path, _ = self._facts(row)
        return f"{key} ({path})"

    def _facts(self, row: int) -> tuple[str, str, str]:
        facts = self.describe(np.array([row]))
        return tuple(str(facts[name][0]) for name in ("key", "path", "split"))
