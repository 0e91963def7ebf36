"""Report of `dfd prepare` and its like: what the shards hold, and what became of the source."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.prepare.checks import commonest
from dfd.shards.duplicates import counted
from dfd.shards.rejects import REJECTED, Reject, read_rejects

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "AVIF": (".avif",), "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "HEIF": (".heic", ".heif", ".hif"),
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What a folder of shards holds, and how it came about; `str` of it is the command's answer."""

    out: Path
    images: int
    rejected: int
    # pictures a class, and of each split
    classes: dict[str, int]
    splits: dict[str, dict[str, int]]
    families: int
    shards: int
    reader: str
    # "source", "train", "hash" or "" of each split: `dfd.shards.splits.splits_from`
    splits_from: dict[str, str] = field(default_factory=dict)
    # families that went by their hash: `Assigned.hashed_families`
    hashed_families: dict[str, int] = field(default_factory=dict)
    # those that another split needed, as index.json lists them: `dfd.shards.splits.MovedFamily`
    moved_families: list[dict[str, str]] = field(default_factory=list)
    # how the labels of shards made elsewhere were read, and how often
    labels: dict[str, int] = field(default_factory=dict)
    # why files were rejected
    reasons: str = ""
    # kinds of relation across official splits, and how often
    leaks: dict[str, int] = field(default_factory=dict)
    # what the reader passed over: `Source.not_tried`
    not_tried: str = ""
    # that most pictures are no face crops: `FaceSample`
    face_sample: str = ""
    # files whose name claims another format than their bytes have
    misnamed: int = 0
    # fakes without a mask where others have one
    unmasked_fakes: int = 0
    # frames a video, margin, and how many faces were left out
    cut: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    # finished before; nothing was done
    already: bool = False

    @classmethod
    def of(cls, out: Path, index: Mapping[str, Any], **happened: Any) -> "Report":
        """What index.json says of finished shards, and what else `happened` when they were made."""
        made_by = index["made_by"]
        return cls(
            out=out,
            images=index["images"],
            rejected=index["rejected"],
            classes=index["classes"],
            splits=index["splits"],
            families=index["families"],
            shards=len(index["shards"]),
            reader=made_by.get("reader", ""),
            splits_from=made_by.get("splits_from", {}),
            hashed_families=made_by.get("dealt", {}),
            moved_families=made_by.get("lent", []),
            labels=made_by.get("labels", {}),
            reasons=commonest(Reject(*line) for line in read_rejects(out).items()),
            leaks=index["leaks"].get("counts", {}),
            cut=made_by.get("cut", {}),
            **happened,
        )

    def __str__(self) -> str:
        splits = "; ".join(
            f"{split} {count['real']} real + {count['fake']} fake" for split, count in self.splits.items()
        )
        lines = [
            f"{self.out}: {self.images} images in {self.shards} shards ({splits}), {self.families} families, "
            f"{self.rejected} rejected"
        ]
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
            lines.append(self._about_faces())
        if self.face_sample:
            lines.append(self.face_sample)
        if self.misnamed:
            lines.append(
                f"{self.misnamed} files are of another format than their name says; in the shards they have "
                "the true one."
            )
        if self.unmasked_fakes:
            lines.append(
                f"{self.unmasked_fakes} fakes have no mask while other pictures have one. They got none, "
                'since where they are forged is not known; Hugging Face\'s load_dataset("webdataset") may '
                "refuse such shards, dfd and webdataset read them."
            )
        if any(self.leaks.values()):
            lines.append(
                f"LEAK: related pictures in different splits, kept by --allow-leaks: {counted(self.leaks)}."
            )
        return "\n".join([*lines, *self._about_splits()])

    def _about_faces(self) -> str:
        frames = f"{self.cut['frames']} frames a video, " if self.cut["frames"] else ""
        cut = f"Faces cut out: {frames}squares of {self.cut['margin']:g} times the face, as PNG."
        if not self.cut["left_out"]:
            return cut
        return (
            f"{cut} {self.cut['left_out']} were left out (no face, too small, a forged one beside a real "
            f"one, or people of whom nothing says who is forged): {REJECTED} lists each."
        )

    def _about_splits(self) -> list[str]:
        """What is unusual about the splits, and what to do about one that cannot be used."""
        lines = []
        if self.splits_from.get("val") == "train" and any(self.splits["val"].values()):
            lines.append(
                "The source states no val split: val is a tenth of its training families, picked by their "
                "hash."
            )
        lines += [
            f"By the hash alone {one['split']} had no {one['label']} image: one family came to it from "
            f"{one['home']}, the nearest by its hash."
            for one in self.moved_families
        ]
        lacking = [split for split, count in self.splits.items() if not all(count.values())]
        if not all(self.classes.values()):
            return [*lines, self._about_one_class()]
        for split in lacking:
            real, fake = self.splits[split].values()
            lines.append(f"The {split} split has {real} real and {fake} fake images{self._why(split)}.")
        if lacking and all(self.classes.values()):
            lines.append(
                "`dfd fit` needs both classes in train and val, `dfd test` in test. State the splits in the "
                "source (folders train, val, test or a column `split`), add families, or judge on other "
                "shards with --data.roots."
            )
        return lines

    def _about_one_class(self) -> str:
        """What a set of one class is good for."""
        has, lacks = sorted(self.classes, key=lambda label: -self.classes[label])
        return (
            f"All pictures are {has}. `dfd fit` and metrics of ranking need {lacks} ones too: name shards "
            f"that have some beside these, --data.roots '[{self.out}, OTHERS]'. `dfd test` judges the "
            "test split; a folder test, or a column split, puts all pictures there."
        )

    def _why(self, split: str) -> str:
        """Why a split may lack a class."""
        origin = self.splits_from.get(split, "source")
        if origin == "hash":
            few = self.hashed_families.get("hash", self.families)
            return f": the hash deals whole families 80/10/10, and {few} are few"
        if origin == "train":
            few = self.hashed_families.get("train", "few")
            return f": the source states none, and its {few} training families give none to spare"
        return ": the source states none" if origin == "" else ""


def num_misnamed(table: pa.Table) -> int:
    """Files whose name claims another format than their bytes have."""
    suffixes = (Path(path).suffix.lower() for path in table["path"].to_pylist())
    pairs = Counter(zip(suffixes, table["format"].to_pylist(), strict=True))
    return sum(count for (suffix, name), count in pairs.items() if suffix and suffix not in SUFFIXES[name])
