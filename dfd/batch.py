"""The contract between the rooms: labels, samples, batches, the prediction table, and Protocols of what meets
in a run.

Data modules, tasks and callbacks are strangers to one another: YAML introduces them, and what they may ask of
each other stands here. No torch at import.

Shape letters: B images in a batch, N crops of one image, H and W pixels, F features, C forensic cues, M rows
of a prediction table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

REAL, FAKE = 0, 1
LABELS = ("real", "fake")
UNREADABLE = "unreadable"  # status of an image that cannot be decoded
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: BT.601, as in JPEG
NUM_BINS = 15  # of P(fake), in the calibration error and in the reliability diagram (Guo et al., 1706.04599)


class Sample(TypedDict, total=False):
    """One image on its way through the transforms, before collate."""

    image: np.ndarray  # (H, W, 3) uint8 RGB; (N, H, W, 3) once evaluation has cut its crops
    # (H, W) uint8, 255 where the picture is forged, cropped with the image; a batch has it with data.masks
    mask: np.ndarray
    landmarks: np.ndarray  # (468, 2) float32, x and y in pixels of the image: for makers of pairs
    remade: np.ndarray  # (H, W, 3) uint8, a reconstruction of this very image: for makers of pairs
    cues: np.ndarray  # (C,) float32: what forensics measured in the file
    label: int  # REAL or FAKE; a transform of training may turn a real image into a fake
    row: int  # line of the table; everything else is looked up by it
    fault: str  # why there is no image: then `image` is black, and collate leaves the sample out


class LoadedBatch(TypedDict):
    """What a loader gives, on the host."""

    image: torch.Tensor  # (B, H, W, 3) or (B, N, H, W, 3) uint8
    label: torch.Tensor  # (B,) int64
    row: torch.Tensor  # (B,) int64
    valid: torch.Tensor  # (B,) bool
    cues: NotRequired[torch.Tensor]  # (B, C) float32
    mask: NotRequired[torch.Tensor]  # (B, H, W) uint8
    masked: NotRequired[torch.Tensor]  # (B,) bool: whether the mask is known
    faults: NotRequired[list[tuple[int, str]]]  # row and reason of each sample that was left out


class Batch(TypedDict):
    """What a task sees, on its device."""

    image: torch.Tensor  # (B, 3, H, W), or (B, N, 3, H, W) with several crops of one image; float32 in [0, 1]
    label: torch.Tensor  # (B,) int64; float32 in [REAL, FAKE] where training mixes images
    row: torch.Tensor  # (B,) int64; a real and the fake that was made of it in training share one
    # (B,) bool; False: a black image in place of a batch that could not be decoded, for no loss
    valid: torch.Tensor
    cues: NotRequired[torch.Tensor]  # (B, C) float32, where the data have them and a net takes them
    # (B, H, W) float32 in [0, 1], 1 where forged, NaN where that is not known; in training, with data.masks
    mask: NotRequired[torch.Tensor]


@dataclass(frozen=True)
class Predictions:
    """The prediction table: one row an image. Metrics, calibration, CSV and intervals are functions of it.

    `logit` is raw (before calibration); a row with label -1 has no known truth. `family` keeps related images
    together and is what intervals are drawn over; `clip` is the video that an image was cut from, "" for
    none. An image of no family is its own. A row whose `status` is not "ok" has no logit (NaN) and counts in
    the coverage alone: a failure is no verdict.
    """

    row: np.ndarray  # (M,) int64
    logit: np.ndarray  # (M,) float64
    label: np.ndarray  # (M,) int64: REAL, FAKE, or -1 unknown
    source: np.ndarray  # (M,) str
    method: np.ndarray  # (M,) str, "" for real or unknown
    family: np.ndarray  # (M,) str
    clip: np.ndarray  # (M,) str
    status: np.ndarray | None = None  # (M,) str: "ok", or why there is no logit; all "ok" where not given
    # (M,) float64 in [0, 1]: share of the images of home that are at least as strange; NaN where not known
    familiarity: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.status is None:
            object.__setattr__(self, "status", np.full(len(self.row), "ok"))
        if self.familiarity is None:
            object.__setattr__(self, "familiarity", np.full(len(self.row), np.nan))

    @classmethod
    def of(
        cls, row: np.ndarray, logit: np.ndarray, label: np.ndarray, facts: Mapping[str, np.ndarray]
    ) -> Predictions:
        """With what a data module's `describe` says of the rows; what it leaves out is unknown."""
        unknown = np.full(len(row), "")
        return cls(
            row=row,
            logit=logit,
            label=label,
            source=facts.get("source", unknown),
            method=facts.get("method", unknown),
            family=facts.get("family", row.astype(str)),
            clip=facts.get("clip", unknown),
        )

    def with_unjudged(self, missing: Unjudged, facts: Mapping[str, np.ndarray]) -> Predictions:
        """The table with the rows that have no logit, in the order of the rows.

        Args:
            facts: what a data module's `describe` says of these.
        """
        nothing = np.full(len(missing.row), np.nan)
        others = replace(Predictions.of(missing.row, nothing, missing.label, facts), status=missing.status)
        both = {
            name: np.concatenate([getattr(self, name), getattr(others, name)])
            for name in self.__dataclass_fields__
        }
        return Predictions(**both).where(np.argsort(both["row"], kind="stable"))

    @property
    def judged(self) -> Predictions:
        """The rows that have a logit."""
        return self.where(self.status == "ok")

    @property
    def num_families(self) -> int:
        return len(np.unique(self.family))

    def __len__(self) -> int:
        return len(self.row)

    def where(self, keep: np.ndarray) -> Predictions:
        """The rows that a boolean mask or an index array (M',) picks."""
        return Predictions(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


class Unjudged(NamedTuple):
    """Images that an evaluation met and could not judge."""

    row: np.ndarray  # (K,) int64
    label: np.ndarray  # (K,) int64: REAL, FAKE, or -1 unknown
    status: np.ndarray  # (K,) str: why there is no logit


@runtime_checkable
class DetectionData(Protocol):
    """What a task and callbacks ask of a data module, `dfd.data.ShardDataModule` or one of your own."""

    view: Any  # how images are cropped: a dataclass, stored in the checkpoint
    roots: Sequence[str] | Mapping[str, float]  # where the images come from, by name
    corruption: Sequence[Any]  # transforms of evaluation
    val_augment: Sequence[Any]  # transforms of validation
    augment: Sequence[Any]  # transforms of training
    mix: Any  # mixes a training batch; None for nothing
    leaks: Mapping[str, str]  # root -> how often its splits share images, where they do

    @property
    def title(self) -> str:
        """What the decisions of a detector rest on, in a few words."""

    def rows(self, split: str) -> np.ndarray:
        """(R,) int64 rows of a split."""

    def label_counts(self, split: str) -> tuple[int, int]:
        """Real and fake images of a split."""

    def describe(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """key, path, split, source, method, family and clip of rows, arrays of str."""

    def fingerprints(self, rows: np.ndarray) -> np.ndarray:
        """(R,) int64 of each image's bytes."""

    def roots_of(self, split: str) -> list[str]:
        """The roots that have images of a split."""

    def check_ledger(self, split: str, rows: np.ndarray, complete: bool = True) -> Unjudged | None:
        """The images that could not be judged; raises unless each other row of the split was judged exactly
        once, at most once if not `complete`.
        """


@runtime_checkable
class HomeData(Protocol):
    """A data module whose pictures can be had beside training, for what a detector learns of its sources."""

    def home(self, split: str, num: int, draws: int) -> Iterator[LoadedBatch]:
        """This rank's share of at most `num` pictures of a split: "image" is (B, 1 + draws, size, size, 3)
        uint8, the middle crop as it is and after each delivery. Nothing that training draws may be drawn.
        """


@runtime_checkable
class CueData(Protocol):
    """A data module whose batches can have forensic cues."""

    def deliver_cues(self, names: Sequence[str], version: int) -> None:
        """Batches have "cues" (B, C) float32 from now on, in the order of their names.

        Raises:
            ValueError: the pictures have none, or of another version.
        """


@runtime_checkable
class JudgingTask(Protocol):
    """What callbacks and the command line ask of a task, `dfd.tasks.DetectionTask` or one of your own."""

    net: nn.Module
    eval_net: nn.Module  # the net that decisions come from: the average where there is one
    predictions: Predictions | None  # of the last pass
    chosen_by: Predictions | None  # of the validation whose checkpoint is the best so far
    calibration: Callable[[np.ndarray], np.ndarray]  # raw logits -> calibrated log odds
    thresholds: dict[str, float]  # raw logits, by name
    calibrated_on: dict[str, Any] | None  # split, data, images and families of the calibration
    selected_on: str  # what the checkpoint was chosen by
    seen: dict[str, torch.Tensor]  # fingerprints of the images that trained it ("train") and chose it ("val")
    config: dict[str, Any]  # the command line's task and data, as plain values

    def calibrate(self, predictions: Predictions) -> tuple[Any, dict[str, float]]:
        """Calibration and thresholds that fit a table best."""

    def use_prior(self, prior: float) -> None:
        """Corrects P(fake) to a share of fakes, in (0, 1)."""


def transform_name(transform: Callable) -> str:
    """As people wrote it: a class of theirs need not say how it is printed."""
    if type(transform).__repr__ is object.__repr__:
        return type(transform).__name__
    return getattr(transform, "__name__", repr(transform))
