"""Features: numbers that describe a picture, for shallow classifiers and for clusters.

    pixels      the whole picture, small
    spectrum    the azimuthal profile of its power spectrum (Durall et al., 2003.01826)
    cues        the forensic cues of its file, which `dfd cues` puts in the table
    metadata    those of the cues that only say how the file was written: headers, tables, size, metadata
    embeddings  what a net makes of it: a checkpoint of dfd, or a timm backbone, both frozen

Pictures come through the loader and the crops that nets are judged by. Of several crops the mean is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dfd.batch import LoadedBatch
from dfd.evaluate.classical.embeddings import load_embedder
from dfd.evaluate.classical.models import ModelKind
from dfd.evaluate.conditions import CLEAN, Condition
from dfd.evaluate.plan import NamedRoot
from dfd.forensics.cues import KINDS, kinds
from dfd.forensics.spectrum.power import ROUNDING, azimuthal_profile, power_spectrum
from dfd.media.crops import View
from dfd.shards.cue_table import read_cues
from dfd.shards.table import load_table

NAMES = ("pixels", "spectrum", "cues", "metadata", "embeddings")
OF_TABLE = {"cues": KINDS, "metadata": KINDS[:1]}  # kinds of cues
PIXELS, SQUARE = 64, 128  # sides: of a whole picture, of a crop
COMPONENTS = 128  # principal components of pixels
MOST_BYTES = 8 << 30  # of the numbers of all pictures of a split
AS_FOUND = Condition(CLEAN)
Measure = Callable[[torch.Tensor], np.ndarray]  # crops (B, N, size, size, 3) uint8 -> (B, F)
Watch = Callable[[Any], Iterable[LoadedBatch]]


class Described(NamedTuple):
    """Pictures of a root by their features."""

    row: np.ndarray  # (K,) int64, of those that could be described
    values: np.ndarray  # (K, F) float32
    faults: dict[int, str]  # of the others: row -> why


@dataclass(frozen=True)
class Features:
    """One kind of features.

    Args:
        name: one of NAMES.
        title: for people.
        view: how pictures are cut.
        measure: what is measured in the crops; None where the numbers stand in the table.
        model: the classifier that goes with them.
        components: principal components that a model sees instead; None for the features themselves.
        made_of: what else they depend on, such as a net's file; plain values.
        seen: fingerprints (R,) int64 of pictures that a net behind them was trained with.
        knows_labels: whether that net was trained to tell real from fake.
    """

    name: str
    title: str
    view: View
    measure: Measure | None
    model: ModelKind = "logistic"
    components: int | None = None
    made_of: dict[str, Any] | None = None
    seen: np.ndarray | None = None
    knows_labels: bool = False

    @property
    def of_table(self) -> bool:
        return self.measure is None

    def columns(self, root: NamedRoot) -> tuple[str, ...]:
        """Names of the features, where they have any."""
        if not self.of_table:
            return ()
        names = read_cues(Path(root.path)).names
        return tuple(names[at] for at in kinds(names, OF_TABLE[self.name]))

    def describe(
        self,
        root: NamedRoot,
        advance: Callable[[int], None],
        condition: Condition = AS_FOUND,
        watched: Watch | None = None,
    ) -> Described:
        """The pictures of a root's split, in the order of their rows.

        Args:
            advance: told how many pictures are done.
            condition: what happens to them first.
            watched: sees the loader's batches on their way.

        Raises:
            ValueError: the root has no cues, or the pictures are too many for these features.
        """
        if self.measure is None:
            values = cues_of(root, OF_TABLE[self.name])
            advance(len(values))
            return Described(root.rows, values, {})
        rows, found, faults = [np.zeros(0, np.int64)], [], {}
        loader = root.loader(condition, self.view)
        for batch in loader if watched is None else watched(loader):
            faults.update(batch.get("faults", []))
            if batch["valid"].any():
                rows.append(batch["row"].numpy())
                found.append(self.measure(batch["image"]).astype(np.float32))
                _check_room(found[0], len(root.rows), self)
            advance(int(batch["valid"].sum()) + len(batch.get("faults", [])))
        row = np.concatenate(rows)
        values = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
        order = np.argsort(row, kind="stable")
        return Described(row[order], values[order], faults)


def features_named(
    name: str,
    *,
    size: int | None = None,
    components: int | None = None,
    checkpoint: str | Path | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
) -> Features:
    """The features of a name.

    Args:
        size: side in pixels of the whole picture for pixels, of a crop for spectrum and a backbone.
        components: principal components that a model sees instead; by default 128 of pixels.
        checkpoint: for embeddings: file of a net that dfd trained.
        backbone: for embeddings: timm's name of a net.
        weights: file of the backbone's weights; None takes those of the hub or its cache.
        allow: packages beside dfd whose code the checkpoint may name.

    Raises:
        ValueError: no such features, or options that do not go with them.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"--on {name!r}: there are no such features.{hint} There are {', '.join(NAMES)}.")
    if name != "embeddings" and (given := _given(checkpoint=checkpoint, backbone=backbone, weights=weights)):
        raise ValueError(f"--{given[0]} is for --on embeddings; {name} need no net. Leave it out.")
    if size is not None and (name in OF_TABLE or checkpoint is not None):
        why = "its own view cuts the pictures" if checkpoint else f"{name} stand in the table"
        raise ValueError(f"--size {size}: {why}. Leave it out.")
    if components is not None and components < 1:
        raise ValueError(f"--components {components}: at least one, such as 64, or none for all features.")
    if name in OF_TABLE:
        title = (
            "how the file was written" if name == "metadata" else "forensic cues, the file's facts included"
        )
        return Features(name, title, View(), None, components=components)
    if name == "pixels":
        side = size or PIXELS
        return Features(
            name,
            f"pixels at {side} px",
            View(side, longest=None, resize=True),
            _pixels,
            "svm",
            components or COMPONENTS,
        )
    if name == "spectrum":
        side = size or SQUARE
        view = View(side, longest=max(256, side))
        return Features(name, f"azimuthal spectrum, {side} px", view, _profiles, components=components)
    net = load_embedder(checkpoint, backbone, weights, size or SQUARE, device, allow)
    title = f"embeddings of {net.title}"
    made_of = {"net": net.digest, "title": net.title}
    return Features(
        name,
        title,
        net.view,
        net,
        components=components,
        made_of=made_of,
        seen=net.seen,
        knows_labels=net.learnt_labels,
    )


def cues_of(root: NamedRoot, keep: Iterable[str]) -> np.ndarray:
    """(R, C) float32: cues of some kinds of the rows of a root.

    Raises:
        ValueError: it has no cues.
    """
    cues = read_cues(Path(root.path))
    keys = load_table(Path(root.path), ["key", "shard", "offset", "length", "label", "split"])["key"]
    place = {key: at for at, key in enumerate(keys.to_pylist())}
    at = [place[key] for key in root.data.describe(root.rows)["key"].tolist()]
    return cues.values[at][:, kinds(cues.names, keep)]


def _pixels(crops: torch.Tensor) -> np.ndarray:
    return crops[:, -1].flatten(1).numpy().astype(np.float32) / 255


def _profiles(crops: torch.Tensor) -> np.ndarray:
    """Mean over the crops of the log of their profiles."""
    return np.stack([np.mean([_profile(crop) for crop in picture], axis=0) for picture in crops.numpy()])


def _profile(crop: np.ndarray) -> np.ndarray:
    return np.log(azimuthal_profile(power_spectrum(crop, len(crop))) + ROUNDING)


def _given(**options: object) -> list[str]:
    return [name for name, value in options.items() if value is not None]


def _check_room(values: np.ndarray, num: int, features: Features) -> None:
    size = num * values.shape[1] * values.itemsize
    if size > MOST_BYTES:
        raise ValueError(
            f"{num} pictures of {values.shape[1]} numbers each take {size / 2**30:.0f} GiB. Lower --size, or "
            "take other features."
        )
