"""Cue baseline: what a logistic model of forensic cues alone reaches on the pictures of a grid.

A net that is no better has learnt nothing that a hundred numbers of noise, spectrum and compression do not
say. The model learns from the root's own train split, its strength of regularization is chosen on val, and it
is judged on the rows that the detectors are judged on. The facts of the file are left out: these are the
shortcut that `file_facts_auroc` asks about.

OUT/shortcuts/ROOT/cues.parquet holds its score of each picture as found; other conditions change pixels that
have no file, and have no baseline.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd.audit.shortcuts import whole_families
from dfd.batch import Predictions
from dfd.evaluate.classical.models import MOST, Model, Part, fit
from dfd.forensics.cues import kinds
from dfd.outputs import output_file
from dfd.shards.cue_table import CueNames, read_cues
from dfd.shards.fetch import is_remote
from dfd.shards.table import load_table, read_index

if TYPE_CHECKING:
    from dfd.evaluate.plan import NamedRoot

CUES_AUROC = "cues_auroc"
FILE = "cues.parquet"
META = b"dfd"
SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "label": pa.int8(),
        "family": pa.string(),
        "source": pa.string(),
        "logit": pa.float64(),
    }
)


def model_of(train: Part, val: Part) -> Model | None:
    """A logistic model of standardised cues, of the strength of regularization that ranks val best; None
    where a class has fewer than ten pictures in one of them."""
    if not (train.enough and val.enough):
        return None
    kept = whole_families(train.family, np.random.default_rng(0), MOST)
    return fit(Part(*(column[kept] for column in train)), val).model


def write_cue_baseline(out: Path, root: NamedRoot, limit: int | None) -> None:
    """Asks the model about the pictures of a root, unless it has been asked.

    Args:
        out: folder of the grid.
        limit: of pictures, as the cells record it.
    """
    path = out / "shortcuts" / root.name / FILE
    identity = {"root": root.digest, "split": root.split, "limit": limit, "cues": _version(root.path)}
    if _is_of(path, identity):
        return
    columns: list[Any] = [[] for _ in SCHEMA]
    if identity["cues"] is not None and root.split == "test" and (logit := _asked(root)) is not None:
        described = root.data.describe(root.rows)
        label = root.data.contents.label[root.rows]
        columns = [root.rows, label, described["family"], described["source"], logit]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    table = pa.table(arrays, SCHEMA).replace_schema_metadata({META: json.dumps(identity).encode()})
    with output_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_cue_baseline(folder: Path, root: str) -> Predictions | None:
    """What the model says of each picture of a root as found; None where it was not or could not be asked.

    Args:
        folder: of the grid.
    """
    try:
        table = pq.read_table(folder / "shortcuts" / root / FILE, partitioning=None).replace_schema_metadata()
    except (OSError, pa.ArrowException):
        return None
    if not len(table) or not table.schema.equals(SCHEMA):
        return None
    row, label, family, source, logit = (column.to_numpy(zero_copy_only=False) for column in table.columns)
    told = {"family": family.astype(str), "source": source.astype(str)}
    return Predictions.of(row, logit, label.astype(np.int64), told)


def _asked(root: NamedRoot) -> np.ndarray | None:
    """The log odds of `root.rows` (M,); None where its train or val is too small."""
    table = load_table(Path(root.path), ["key", "label", "split", "family", "shard", "offset", "length"])
    cues = read_cues(Path(root.path))
    values = cues.values[:, kinds(cues.names)].astype(np.float64)
    label, split, family = (
        table[name].to_numpy(zero_copy_only=False) for name in ("label", "split", "family")
    )
    known = label >= 0
    train, val = (
        Part(*(column[known & (split == name)] for column in (values, label, family.astype(str))))
        for name in ("train", "val")
    )
    model = model_of(train, val)
    if model is None:
        return None
    place = {key: at for at, key in enumerate(table["key"].to_pylist())}
    keys = root.data.describe(root.rows)["key"].tolist()
    return model(values[[place[key] for key in keys]])


def _version(path: str) -> int | None:
    """Of the cues that a root has; None without."""
    if is_remote(path):
        return None
    names = CueNames.of(read_index(Path(path)))
    return None if names is None else names.version


def _is_of(path: Path, identity: dict[str, Any]) -> bool:
    try:
        told = (pq.read_schema(path).metadata or {}).get(META, b"")
    except (OSError, pa.ArrowException):
        return False
    return told == json.dumps(identity).encode()
