"""Pairs: a real picture and a fake that is made of it, which share a batch, a delivery and a crop.

A net that sees both learns what making changed and nothing else: their content, their source, their
compression and their crop are the same. A maker draws a fake of a real (`dfd.augment`), or finds one among
the table's rows that was made of it before: its groups hold `of:` and the SHA-256 of the real's file.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Callable, Sequence
from inspect import get_annotations
from typing import Protocol, cast

import numpy as np

from dfd.batch import FAKE, REAL, Sample, transform_name
from dfd.data.checks import fake_share
from dfd.shards.catalog import Catalog
from dfd.shards.fetch import Remote
from dfd.shards.landmark_table import Landmarks, landmarks_of

MADE = "~made"  # end of the key of a fake that validation shows of a real
OF = "of:"  # beginning of the group that says of which file a picture was made


class Maker(Protocol):
    """Makes of a real picture a fake of the same size; returns the sample as it is where it cannot.

    `needs_landmarks` and `needs_remade` say whether it reads sample["landmarks"] and sample["remade"];
    `method` names its fakes in tables.
    """

    method: str
    needs_landmarks: bool
    needs_remade: bool

    def __call__(self, sample: Sample, rng: np.random.Generator, /) -> Sample: ...


# as a config names it: jsonargparse finds a protocol met by classes alone that write the same types
AnyMaker = Callable[[Sample, np.random.Generator], Sample] | None


class Pairing:
    """A maker with what it needs of the table.

    Args:
        remade: which rows were made of which, for a maker that needs it.
        landmarks: of each row, for a maker that needs them.
    """

    def __init__(self, maker: Maker, remade: Remade | None = None, landmarks: Landmarks | None = None):
        self.maker, self.remade, self.landmarks = maker, remade, landmarks
        self.share = 1.0 if remade is None else remade.share  # of the training reals that stand beside a fake

    def makes(self, rows: np.ndarray) -> np.ndarray:
        """(R,) bool: of which real rows it makes fakes of its own; of none whose face was not found."""
        if self.remade is not None:
            return np.zeros(len(rows), bool)
        if self.landmarks is None:
            return np.ones(len(rows), bool)
        return np.array([self.landmarks.has_face(row) for row in rows.tolist()], bool)

    def given(self, sample: Sample, rng: np.random.Generator, load: Callable[[int], Sample]) -> Sample | None:
        """The real sample as the maker takes it; None where there is nothing to make a fake of.

        Args:
            load: row -> its sample, for a picture that was made of this one.
        """
        row = sample["row"]
        if self.landmarks is not None:
            if not self.landmarks.has_face(row):
                return None
            sample = {**sample, "landmarks": self.landmarks.of(row, sample["image"].shape)}
        if self.remade is not None:
            other = self.remade.draw(row, rng)
            return None if other is None else {**sample, "remade": load(other)["image"]}
        return sample


class Remade:
    """Which rows of the training split were made of which real rows, and a draw among them.

    Raises:
        ValueError: none was made of any.
    """

    def __init__(self, catalog: Catalog):
        rows = catalog.rows["train"]
        reals = rows[catalog.contents.label[rows] == REAL]
        fakes = rows[catalog.contents.label[rows] == FAKE]
        real_of = dict(zip(catalog.digests_of(reals), reals.tolist(), strict=True))
        made: dict[int, list[int]] = defaultdict(list)
        for row, groups in zip(fakes.tolist(), catalog.groups_of(fakes), strict=True):
            for group in groups:
                if group.startswith(OF) and (real := real_of.get(group.removeprefix(OF))) is not None:
                    made[real].append(row)
        if not made:
            raise ValueError(
                "data.pairs asks for reconstructions of the training reals, and the roots hold none. "
                "`dfd generate AUTOENCODER.ckpt --like SHARDS --out REMADE` writes them; name both: "
                "--data.roots '[SHARDS, REMADE]'."
            )
        self.of = {real: np.array(rows) for real, rows in made.items()}
        self._reals = len(reals)

    @property
    def share(self) -> float:
        """Of the training reals, how many a fake was made of."""
        return len(self.of) / self._reals

    def keep(self, wanted: Callable[[int], bool]) -> None:
        """Forgets what was made of the real rows that are not wanted."""
        self.of = {real: made for real, made in self.of.items() if wanted(real)}

    def rows(self) -> np.ndarray:
        """All rows that were made of another."""
        return np.concatenate(list(self.of.values()))

    def draw(self, real: int, rng: np.random.Generator) -> int | None:
        """A row that was made of a real one."""
        made = self.of.get(real)
        return None if made is None else int(made[rng.integers(len(made))])


def pairing_of(maker: Maker, catalog: Catalog, roots: Sequence[str]) -> Pairing:
    """A maker with what it needs of the tables. Reconstructions are shown beside their reals alone, and leave
    the training split's rows.

    Raises:
        ValueError: the roots do not hold what it needs.
    """
    if not maker.needs_remade:
        pairing = Pairing(maker, landmarks=landmarks_of(roots) if maker.needs_landmarks else None)
        rows = catalog.rows["train"]
        made = pairing.makes(rows[catalog.contents.label[rows] == REAL])
        if not made.any():
            raise ValueError(f"data.pairs has {maker}, and no face was found in any real training picture.")
        pairing.share = float(made.mean())
        return pairing
    remade = Remade(catalog)
    shards = np.unique(catalog.contents.shard[remade.rows()]).tolist()
    if remote := [each for number in shards if isinstance(each := catalog.contents.shards[number], Remote)]:
        raise ValueError(
            f"{remote[0]}: reconstructions for data.pairs are read from shards on disk alone. Copy them here "
            "first."
        )
    rows = catalog.rows["train"]
    catalog.keep("train", rows[~np.isin(rows, remade.rows())])
    if not maker.needs_landmarks:
        return Pairing(maker, remade=remade)
    landmarks = landmarks_of(roots, np.array(list(remade.of)))
    remade.keep(landmarks.has_face)
    if not remade.of:
        raise ValueError(f"data.pairs has {maker}, and no face was found in any real with a reconstruction.")
    return Pairing(maker, remade=remade, landmarks=landmarks)


def check_maker(maker: Callable, augment: list, fakes: bool | list[str]) -> Maker:
    """The maker; ValueError where it is none, or cannot work beside the other options of a data module."""
    if lacking := [name for name in get_annotations(Maker) if not hasattr(maker, name)]:
        raise ValueError(
            f"data.pairs: {transform_name(maker)} is no maker of pairs: it has no {', '.join(lacking)}. Give "
            "its class method, the name of its fakes in tables; needs_landmarks, needs_remade: true or false."
        )
    if fake_share(maker) not in (0.0, 1.0):
        raise ValueError(
            f"data.pairs makes a fake of every real, and {maker} of a share of them. Leave its p out."
        )
    if forging := [each for each in augment if fake_share(each)]:
        raise ValueError(
            f"data.pairs makes a fake of every real, and data.augment has {forging[0]}, which makes fakes of "
            "reals too: the two of a pair would not be alike. Leave one of them out."
        )
    if fakes is False and getattr(maker, "needs_remade", False):
        raise ValueError(
            "data.fakes is false, which leaves out every fake of the tables, and data.pairs asks for "
            "reconstructions, which are such. Leave data.fakes out."
        )
    return cast(Maker, maker)


def leave_out_fakes(catalog: Catalog, keep: Sequence[str]) -> None:
    """Takes the tables' fakes out of what trains and chooses a net, but for those of some sources or methods.
    The test split stays whole.

    Args:
        keep: names of sources or methods; "reconstruction-*" stands for all that begin so.

    Raises:
        ValueError: one of these has no fake.
    """
    rows = np.concatenate([catalog.rows[split] for split in ("train", "val")])
    fakes = rows[catalog.contents.label[rows] == FAKE]
    facts = catalog.describe(fakes)
    names = np.stack([facts["source"], facts["method"]], axis=1)  # (F, 2)
    known = sorted(set(names.reshape(-1).tolist()) - {""})
    kept = np.zeros(len(fakes), bool)
    for name in keep:
        fitting = fnmatch.filter(known, name)
        if not fitting:
            raise ValueError(f"data.fakes names {name!r}; the fakes are of {', '.join(known)}.")
        kept |= np.isin(names, fitting).any(axis=1)
    out = fakes[~kept]
    for split in ("train", "val"):
        catalog.keep(split, np.setdiff1d(catalog.rows[split], out, assume_unique=True))
