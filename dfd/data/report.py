"""What became of a source: the closing words of `dfd prepare`, the list of what was rejected, and when that is too much."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.data.durable import appearing
from dfd.data.readers.row import Reject
from dfd.data.shards import count_classes

REJECTED = "rejected.csv"
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
    families_crossing: int = 0  # official splits, with allow_leaks
    misnamed: int = 0  # files whose name claims another format than their bytes have
    seconds: float = 0.0
    already: bool = False  # finished before; nothing was done

    @classmethod
    def of(cls, out: Path, index: Mapping[str, Any], **happened: Any) -> "Report":
        return cls(
            out, index["images"], index["rejected"], index["classes"], index["splits"], index["families"],
            len(index["shards"]), index["made_by"].get("reader", ""), **happened,
        )  # fmt: skip

    def __str__(self) -> str:
        splits = "; ".join(f"{split} {count['real']} real + {count['fake']} fake" for split, count in self.splits.items())
        held = f"{self.images} images in {self.shards} shards ({splits}), {self.families} families, {self.rejected} rejected"
        lines = [f"{self.out}: {held}"]
        if self.already:
            lines.append("It was finished before and is left as it is; --overwrite makes it again.")
        if self.rejected:
            lines.append(f"What was rejected and why: {self.out / REJECTED}")
        if self.misnamed:
            lines.append(
                f"{self.misnamed} files are of another format than their name says; in the shards they have the true one."
            )
        if self.families_crossing:
            lines.append(f"LEAK: {self.families_crossing} families are in several splits, kept by --allow-leaks.")
        for split, count in self.splits.items():
            if not all(count.values()):
                lines.append(
                    f"The {split} split has {count['real']} real and {count['fake']} fake images: it cannot be used alone."
                )
        return "\n".join(lines)


def write_rejects(out: Path, rejects: Sequence[Reject]) -> None:
    with appearing(out / REJECTED) as part, open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "reason"))
        writer.writerows(sorted((reject.path, reject.reason) for reject in rejects))


def check_rejects(source: Path, rejects: Sequence[Reject], num_good: int) -> None:
    """Raises ValueError where more than MAX_REJECTED of a source is unusable: then something else is wrong."""
    share = len(rejects) / (len(rejects) + num_good)
    if share > MAX_REJECTED:
        common = "; ".join(
            f"{count} x {reason}" for reason, count in Counter(reject.reason[:80] for reject in rejects).most_common(3)
        )
        raise ValueError(
            f"{source}: {len(rejects)} of {len(rejects) + num_good} files were rejected ({share:.1%}; {MAX_REJECTED:.0%} may "
            f"be). Most often: {common}. {REJECTED} in the output folder names them all."
        )


def check_classes(source: Path, table: pa.Table, num_rejected: int) -> None:
    """Raises ValueError where a class has no pictures."""
    count = count_classes(table)
    if not all(count.values()):
        raise ValueError(
            f"{source}: {count['real']} real and {count['fake']} fake pictures, {num_rejected} rejected. A detector needs "
            "both classes; check the names of the folders or the label column."
        )
