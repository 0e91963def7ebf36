"""Shortcuts beside a score: what file facts and colour reach without looking at a forgery.

The small models are those of `dfd audit`. Each says of a picture what it has learnt from other families of
the same pictures, so that its AUROC stands beside a detector's, for all of them or for a part.

Colour is that of the crops as the detector was shown them: under a corruption, of corrupted ones. File facts
are those of the files as found, under every condition. A delivery writes new headers, but what an encoder
left in the pixels outlasts it (of a double JPEG the first quality is seen in the DCT histograms: Lukas and
Fridrich, DFRWS 2003), so under a corruption they are the most that the files could give away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np
import pyarrow as pa

from dfd.audit.pictures import COLORS, Encoding, Pictures, color_of, encoding_of
from dfd.audit.shortcuts import (
    CHANCE,
    STRONG,
    Shortcut,
    color_facts,
    file_facts,
    out_of_family,
    whole_families,
)
from dfd.batch import Predictions
from dfd.media.headers import picture_header
from dfd.metrics import detection_metrics, interval
from dfd.shards.catalog import Contents
from dfd.shards.fetch import Remote

MOST = 2000  # pictures that are asked about: seconds, and an interval of .05 at the widest
TREES = 50  # of 340 pictures .3 s, of 2000 .4 s of one core
FILE_FACTS, COLOR = "file_facts", "color"  # as columns are called: file_facts_auroc
TITLES = {FILE_FACTS: "file facts", COLOR: "colour"}
ENCODED = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
PICTURE = {"row": pa.int64(), "label": pa.int8(), "family": pa.string()}
FACTS = {
    FILE_FACTS: pa.schema(
        {
            **PICTURE,
            **dict.fromkeys(("width", "height", "length"), pa.int64()),
            "format": pa.string(),
            **{name: ENCODED[kind] for name, kind in get_type_hints(Encoding).items()},
        }
    ),
    COLOR: pa.schema({**PICTURE, **dict.fromkeys(COLORS, pa.float32())}),
}  # columns of what is known of each picture


def asked_rows(rows: np.ndarray, label: np.ndarray, family: np.ndarray) -> np.ndarray:
    """Those of `rows` (R,) that the small models are asked about: of known label, whole families, the same
    ones each time.
    """
    known = np.flatnonzero(label >= 0)
    return rows[known[np.sort(whole_families(family[known], np.random.default_rng(0), MOST))]]


class ShownColors:
    """Colour and brightness of pictures as a detector is shown them, gathered while it judges.

    Args:
        rows: the ones that are wanted, see `asked_rows`.
    """

    def __init__(self, rows: np.ndarray):
        self._wanted = set(rows.tolist())
        self.found: dict[int, np.ndarray] = {}  # row -> COLORS

    def wants(self, row: np.ndarray) -> np.ndarray:
        """Which pictures of a batch (B,) are to be added: bool."""
        return np.array([each in self._wanted for each in row.tolist()], bool)

    def add(self, row: np.ndarray, crops: np.ndarray) -> None:
        """
        Args:
            row: (B,) of pictures that were decoded.
            crops: (B, N, H, W, 3) uint8, all that the net is shown of each.
        """
        for number, picture in zip(row.tolist(), crops, strict=True):
            self.found[number] = color_of(picture.reshape(-1, *picture.shape[2:]))


def ask_color(
    found: Mapping[int, np.ndarray], rows: np.ndarray, label: np.ndarray, family: np.ndarray
) -> Predictions | None:
    """What colour alone says of the pictures whose colours were found; None where families are too few.

    Args:
        rows, label, family: (R,) of all judged pictures.
    """
    return told_by(color_table(found, rows, label, family))


def ask_files(
    contents: Contents, rows: np.ndarray, label: np.ndarray, family: np.ndarray
) -> Predictions | None:
    """What file facts alone say of `asked_rows`; None where families are too few, or shards lie elsewhere."""
    table = file_table(contents, rows, label, family)
    return None if table is None else told_by(table)


def color_table(
    found: Mapping[int, np.ndarray], rows: np.ndarray, label: np.ndarray, family: np.ndarray
) -> pa.Table:
    """Colours of pictures of known label, a line each; arguments as of `ask_color`."""
    at = np.flatnonzero(np.isin(rows, np.fromiter(found, np.int64, len(found))) & (label >= 0))
    color = np.array([found[row] for row in rows[at].tolist()], np.float32).reshape(-1, len(COLORS))
    return _table(COLOR, [rows[at], label[at], family[at], *color.T])


def file_table(
    contents: Contents, rows: np.ndarray, label: np.ndarray, family: np.ndarray
) -> pa.Table | None:
    """What the files of `asked_rows` say, a line each; None where shards lie elsewhere.

    Reads the files' headers; nothing is decoded.
    """
    wanted = asked_rows(rows, label, family)
    if any(isinstance(contents.shards[shard], Remote) for shard in np.unique(contents.shard[wanted])):
        return None
    place = {row: at for at, row in enumerate(rows.tolist())}
    lines = []
    for row, data in _files(contents, wanted):
        if (header := _header(data)) is not None:
            at = place[row]
            lines.append((row, label[at], family[at], *header, *encoding_of(data, {})))
    return _table(FILE_FACTS, list(zip(*lines, strict=True)))


def told_by(table: pa.Table) -> Predictions | None:
    """What a small model says of each picture from one kind of fact, having learnt from other families; None
    where families are too few.

    Args:
        table: see `color_table` and `file_table`. Where it has a column `source`, each class of each source
            weighs the same: to know the source of a picture, which is easy, then says nothing of its label,
            but where all of the source is of one class.
    """
    row, label, family = (table[name].to_numpy() for name in PICTURE)
    if not len(row):
        return None
    label, family = label.astype(np.int64), family.astype(str)
    weight = None
    if "source" in table.column_names:
        names = [f"{kind} {source}" for kind, source in zip(label, table["source"].to_pylist(), strict=True)]
        _, place, size = np.unique(names, return_inverse=True, return_counts=True)
        weight = 1 / size[place]
    alone = out_of_family(_facts(table), label, family, TREES, weight)
    return alone and Predictions.of(row, alone.logit, alone.label, {"family": family})


def reached(name: str, alone: Predictions | None, rows: np.ndarray) -> Shortcut:
    """How well one kind of fact alone tells real from fake among `rows` (K,): all judged ones, or a part.

    Args:
        name: FILE_FACTS or COLOR.
        alone: what it says of each picture, see `ask_files` and `ask_color`.
    """
    part = None if alone is None else alone.where(np.isin(alone.row, rows))
    if part is None or not len(part):
        return Shortcut(name, np.nan, np.nan, np.nan, 0, 0, {}, {})
    low, high = interval(part)
    return Shortcut(name, detection_metrics(part)["auroc"], low, high, len(part), part.num_families, {}, {})


def matches(shortcut: Shortcut, auroc: float) -> bool:
    """Whether one kind of fact alone can match a detector's AUROC on the same pictures.

    It can where `dfd audit` would call it a shortcut, which chance alone is not, and its interval reaches the
    detector; and where it gives the labels away by itself: beside a shortcut of .98 a score of .99 shows no
    more than one of .97.
    """
    return bool(shortcut.low > CHANCE and (shortcut.high >= auroc or shortcut.low > STRONG))


def told(shortcut: Shortcut, auroc: float) -> str:
    """One line to stand beside a detector's AUROC."""
    title = TITLES[shortcut.name]
    if np.isnan(shortcut.auroc):
        return f"{title} alone: not asked, since it takes five families of each class, in shards on this disk"
    ends = f"({shortcut.low:.3f} .. {shortcut.high:.3f})"
    figures = f"AUROC {shortcut.auroc:.3f} {ends}, {shortcut.num_images} images"
    if not matches(shortcut, auroc):
        return f"{title} alone: {figures}"
    return (
        f"SHORTCUT: a classifier of {title} alone reaches {figures}: the detector's {auroc:.3f} shows "
        "nothing about forgery"
    )


def _facts(table: pa.Table) -> dict[str, np.ndarray]:
    """What the audit's models are asked of, by name: each (M, F)."""
    if COLORS[0] in table.column_names:
        color = np.column_stack([table[name].to_numpy() for name in COLORS])
        return color_facts(_pictures([], color))
    encoding = zip(*(table[name].to_pylist() for name in Encoding._fields), strict=True)
    return file_facts(table, _pictures([Encoding(*each) for each in encoding]))


def _table(kind: str, columns: Sequence[Sequence[Any]]) -> pa.Table:
    schema = FACTS[kind]
    columns = columns or [[] for _ in schema]
    return pa.table([pa.array(each, field.type) for each, field in zip(columns, schema, strict=True)], schema)


def _pictures(encoding: list[Encoding], color: np.ndarray | None = None) -> Pictures:
    """A table's facts as the audit holds them; spectra are none of it."""
    nothing = np.zeros(0)
    return Pictures(encoding, nothing if color is None else color, nothing, nothing, {})


def _files(contents: Contents, rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Each row with its file's bytes, in the order in which they lie on disk."""
    shard, offset = contents.shard[rows], contents.offset[rows]
    for number in np.unique(shard):
        mine = np.flatnonzero(shard == number)
        with open(contents.shards[number], "rb") as file:
            for row in rows[mine[np.argsort(offset[mine])]].tolist():
                file.seek(int(contents.offset[row]))
                yield row, file.read(int(contents.length[row]))


def _header(data: bytes) -> tuple[int, int, int, str] | None:
    """Width, height, bytes and format as the headers say them; None where Pillow cannot read them."""
    header = picture_header(data)
    return None if header is None else (header.width, header.height, len(data), header.format)
