"""What became of a source: the closing words of `dfd prepare`, the list of what was rejected, and when that
is too much.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.shards.duplicates import counted
from dfd.shards.format import count_classes
from dfd.shards.rejects import REJECTED, Reject, read_rejects

MAX_REJECTED = 0.05
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "AVIF": (".avif",), "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What a folder of shards holds, and how it came about; `str` of it is the command's answer."""

    out: Path
    images: int
    rejected: int
    classes: dict[str, int]  # pictures a class
    splits: dict[str, dict[str, int]]  # pictures a class and split
    families: int
    shards: int
    reader: str
    splits_from: dict[str, str] = field(
        default_factory=dict
    )  # "source", "train", "hash" or "": dfd.shards.splits.splits_from
    hashed_families: dict[str, int] = field(
        default_factory=dict
    )  # families that went by their hash: Settled.dealt
    moved_families: list[dict[str, str]] = field(
        default_factory=list
    )  # those that another split needed: dfd.shards.splits.Lent
    labels: dict[str, int] = field(
        default_factory=dict
    )  # how the labels of shards made elsewhere were read, and how often
    reasons: str = ""  # why files were rejected
    leaks: dict[str, int] = field(
        default_factory=dict
    )  # kinds of relation across official splits, and how often
    not_tried: str = ""  # what the reader passed over: dfd.prepare.readers.walk.not_tried
    misnamed: int = 0  # files whose name claims another format than their bytes have
    unmasked_fakes: int = 0  # fakes without a mask where others have one
    cut: dict[str, Any] = field(
        default_factory=dict
    )  # frames a video, margin, and how many faces were left out
    seconds: float = 0.0
    already: bool = False  # finished before; nothing was done

    @classmethod
    def of(cls, out: Path, index: Mapping[str, Any], **happened: Any) -> "Report":
        made_by = index["made_by"]
        return cls(
            out, index["images"], index["rejected"], index["classes"], index["splits"], index["families"],
            len(index["shards"]), made_by.get("reader", ""), made_by.get("splits_from", {}), made_by.get("dealt", {}),
            made_by.get("lent", []), made_by.get("labels", {}),
            commonest(read_rejects(out).values()), index["leaks"].get("counts", {}),
            cut=made_by.get("cut", {}), **happened,
        )  # fmt: skip

    def __str__(self) -> str:
        splits = "; ".join(
            f"{split} {count['real']} real + {count['fake']} fake" for split, count in self.splits.items()
        )
        held = f"{self.images} images in {self.shards} shards ({splits}), {self.families} families, {self.rejected} rejected"
        lines = [f"{self.out}: {held}"]
        if self.already:
            lines.append(
                "It was finished before and the source is as it was: left as it is. --overwrite makes it "
                "again."
            )
        if self.labels:
            lines.append(
                f"Labels read: {', '.join(f'{label} ({count})' for label, count in self.labels.items())}"
            )
        if self.rejected:
            lines.append(f"What was rejected and why: {self.out / REJECTED}. Most often: {self.reasons}.")
        if self.not_tried:
            lines.append(f"{self.not_tried}.")
        if self.cut:
            frames = f"{self.cut['frames']} frames a video, " if self.cut["frames"] else ""
            left = self.cut["left_out"]
            why = "no face, too small, a forged one beside a real one, or people of whom nothing says who is forged"
            lines.append(
                f"Faces cut out: {frames}squares of {self.cut['margin']:g} times the face, as PNG."
                + (f" {left} were left out ({why}): {REJECTED} lists each." if left else "")
            )
        if self.misnamed:
            lines.append(
                f"{self.misnamed} files are of another format than their name says; in the shards they have "
                "the true one."
            )
        if self.unmasked_fakes:
            lines.append(
                f"{self.unmasked_fakes} fakes have no mask while other pictures have one. They got none, since "
                'where they are forged is not known; Hugging Face\'s load_dataset("webdataset") may refuse '
                "such shards, dfd and webdataset read them."
            )
        if any(self.leaks.values()):
            lines.append(
                f"LEAK: related pictures in different splits, kept by --allow-leaks: {counted(self.leaks)}."
            )
        return "\n".join([*lines, *self._about_splits()])

    def _about_splits(self) -> list[str]:
        """What a reader of the numbers might not expect of the splits, and what to do where one is of no use."""
        lines = []
        if self.splits_from.get("val") == "train" and any(self.splits["val"].values()):
            lines.append(
                "The source states no val split: val is a tenth of its training families, picked by their "
                "hash."
            )
        lines += [
            f"By the hash alone {one['split']} had no {one['label']} image: one family came to it from "
            f"{one['home']}, the "
            "nearest by its hash."
            for one in self.moved_families
        ]
        lacking = [split for split, count in self.splits.items() if not all(count.values())]
        for split in lacking:
            real, fake = self.splits[split].values()
            lines.append(f"The {split} split has {real} real and {fake} fake images{self._why(split)}.")
        if lacking:
            lines.append(
                "`dfd fit` needs both classes in train and val, `dfd test` in test. State the splits in the "
                "source (folders "
                "train, val, test or a column `split`), add families, or judge on other shards with "
                "--data.roots."
            )
        return lines

    def _why(self, split: str) -> str:
        return {
            "hash": f": the hash deals whole families 80/10/10, and {self.hashed_families.get('hash', self.families)} are few",
            "train": f": the source states none, and its {self.hashed_families.get('train', 'few')} training families give none to spare",
            "": ": the source states none",
        }.get(self.splits_from.get(split, "source"), "")


def commonest(reasons: Iterable[str]) -> str:
    """The three reasons that come most often, with their numbers."""
    return "; ".join(
        f"{count} x {reason}" for reason, count in Counter(reason[:100] for reason in reasons).most_common(3)
    )


def check_rejects(source: Path, rejects: Sequence[Reject], num_good: int, unit: str = "files") -> None:
    """Raises ValueError where more than MAX_REJECTED of a source is unusable: then something else is wrong."""
    share = len(rejects) / max(len(rejects) + num_good, 1)
    if share > MAX_REJECTED:
        raise ValueError(
            f"{source}: {len(rejects)} of {len(rejects) + num_good} {unit} were rejected ({share:.1%}; "
            f"{MAX_REJECTED:.0%} may "
            f"be). Most often: {commonest(reject.reason for reject in rejects)}. {REJECTED} in the output "
            "folder names them "
            "all: mend them, or take them out of the source."
        )


def check_classes(source: Path, table: pa.Table, rejects: Sequence[Reject]) -> None:
    """Raises ValueError where a class has no pictures."""
    count = count_classes(table)
    if not all(count.values()):
        why = f" ({commonest(reject.reason for reject in rejects)})" if rejects else ""
        raise ValueError(
            f"{source}: {count['real']} real and {count['fake']} fake pictures, {len(rejects)} rejected or "
            f"left out{why}. A "
            "detector needs both classes; check the names of the folders or the label column."
        )
