"""One pass over pictures of a root that are attacked first, for one detector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dfd.data import ShardDataModule
from dfd.detector import Detector
from dfd.evaluate.attack_conditions import PictureAttack
from dfd.evaluate.attacks import attack_pictures, pick
from dfd.evaluate.judging import EnoughPixels, Judged, collected
from dfd.media.crops import View

AT_ONCE = 64  # pictures that wait in memory for an attack


@dataclass(frozen=True)
class Attacked:
    """What a detector says of the attacked pictures: `rows` (M,) of the root, and for how many of those that
    were attacked the net's gradient was exactly zero.
    """

    judged: Judged
    rows: np.ndarray
    num_attacked: int
    num_flat: int


class WholePictures(View):
    """A picture as its file holds it, as its only crop."""

    def eval_crops(self, image: np.ndarray) -> np.ndarray:
        return image[None]


def judge_attacked(
    detector: Detector,
    victim: Detector,
    attack: PictureAttack,
    data: ShardDataModule,
    split: str,
    advance: Callable[[int], None],
) -> Attacked:
    """What a detector says of pictures of a split that were changed so that the victim gets them wrong.

    Args:
        victim: the detector itself, or the one that a transferred attack is made on.
        data: describes the split, and is left as it was.
        advance: told how many pictures are done.

    Raises:
        ValueError: the victim gives no gradients for this attack.
    """
    rows = data.rows(split)
    rows = rows[pick(data.contents.label[rows], attack.images)]
    logits, ranks, order, faults, num_flat = [], [], [], {}, 0
    for numbers, pictures, missing in _read(data, rows, split, detector.view):
        faults |= missing
        label = data.contents.label[numbers]
        attacked, flat = attack_pictures(attack, victim, pictures, label, seed=len(order))
        crops = [detector.view.eval_crops(picture) for picture in attacked]
        logits += detector.logits(crops)
        ranks += detector.familiarity(crops)
        order += numbers.tolist()
        num_flat += int(flat.sum())
        advance(len(numbers) + len(missing))
    shown = np.array(order, np.int64)
    found = np.array(logits, np.float64), np.array(ranks, np.float64)
    judged = collected(rows, shown, *found, faults, data)
    return Attacked(judged, rows, len(order), num_flat)


def _read(
    data: ShardDataModule, rows: np.ndarray, split: str, view: View
) -> Iterator[tuple[np.ndarray, list[np.ndarray], dict[int, str]]]:
    """Rows, pictures and faults of these rows, some at a time."""
    # shallow copies, whose own attributes are then other ones
    data = copy.copy(data)
    data.catalog = copy.copy(data.catalog)
    data.catalog.keep(split, rows)
    # a picture a batch, since their sizes differ, and no processes: what costs time is the attack
    data.view, data.batch_size, data.num_workers = WholePictures(view.size, 1, None), 1, 0
    data.corruption = [EnoughPixels(view)]
    numbers: list[int] = []
    pictures: list[np.ndarray] = []
    faults: dict[int, str] = {}
    for batch in data.val_dataloader() if split == "val" else data.test_dataloader():
        faults.update(batch.get("faults", []))
        for at in torch.nonzero(batch["valid"]).flatten().tolist():
            numbers.append(int(batch["row"][at]))
            pictures.append(batch["image"][at, 0].numpy().copy())
        if len(numbers) == AT_ONCE:
            yield np.array(numbers, np.int64), pictures, faults
            numbers, pictures, faults = [], [], {}
    yield np.array(numbers, np.int64), pictures, faults
