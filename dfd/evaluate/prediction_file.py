"""Prediction file: the prediction table of one detector under one condition, as Parquet.

One line a picture, also for those without a verdict; beside them, in the file's metadata under "dfd", what
the figures rest on. Other programs read it as any Parquet file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd.batch import Predictions
from dfd.calibration import WORDS
from dfd.outputs import output_file
from dfd.terminal import printable

META = b"dfd"
MOST = 1 << 24  # bytes of the metadata that are read
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("row", pa.int64()),  # of the root's table
        ("split", pa.string()),
        ("source", pa.string()),
        ("method", pa.string()),
        ("family", pa.string()),
        ("clip", pa.string()),
        ("label", pa.int8()),  # -1 unknown
        ("status", pa.string()),  # "ok", or why there is no logit
        ("reason", pa.string()),
        ("logit", pa.float64()),  # raw, NaN without one
        ("prob", pa.float64()),  # P(fake), calibrated
        ("familiarity", pa.float64()),  # rank in [0, 1], NaN where not known
        # fake, no_trace, inconclusive or unfamiliar; "" where the status is not ok
        ("verdict", pa.string()),
    ]
)
VERDICTS = ("", *WORDS)


def write_predictions(
    path: Path,
    predictions: Predictions,
    described: Mapping[str, np.ndarray],
    *,
    prob: np.ndarray,
    verdict: np.ndarray,
    reason: np.ndarray,
    facts: Mapping[str, Any],
) -> None:
    """Writes the file, whole or not at all, in place of an earlier one.

    Args:
        described: key, path and split of each row, arrays (M,) of str.
        prob: (M,) P(fake), NaN where there is none.
        verdict: (M,) one of VERDICTS.
        reason: (M,) why there is no logit, "" where there is one.
        facts: detector (name, sha256, ...), root, condition, severity, split, thresholds and so on: plain
            values for JSON.
    """
    columns = {
        **{name: described[name] for name in ("key", "path", "split")},
        **{name: getattr(predictions, name) for name in Predictions.__dataclass_fields__},
        "prob": prob,
        "verdict": verdict,
        "reason": reason,
    }
    arrays = [pa.array(columns[field.name], field.type, from_pandas=False) for field in SCHEMA]
    table = pa.table(arrays, SCHEMA.with_metadata({META: json.dumps(facts).encode()}))
    with output_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_facts(path: str | Path) -> dict[str, Any]:
    """What the figures of a prediction file rest on, without its lines.

    Raises:
        ValueError: it is no such file.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise _strange(path, _first_line(error)) from error
    return _facts(path, schema)


def read_table(path: str | Path) -> pa.Table:
    """The lines of a prediction file, columns as in SCHEMA; raises as `read_facts` does."""
    try:
        table = pq.read_table(path, columns=SCHEMA.names, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise _strange(path, _first_line(error)) from error
    _facts(path, table.schema)
    if not table.schema.equals(SCHEMA, check_metadata=False):
        strange = next(field for field in SCHEMA if table.schema.field(field.name).type != field.type)
        raise _strange(path, f"its column {strange.name} is not of {strange.type}")
    if nulls := next((name for name in SCHEMA.names if table[name].null_count), None):
        raise _strange(path, f"its column {nulls} has empty places")
    return table


def read_predictions(path: str | Path) -> tuple[Predictions, np.ndarray, np.ndarray, dict[str, Any]]:
    """The prediction table of a file, P(fake) (M,), the verdicts (M,) of str, and what it rests on.

    Raises:
        ValueError: it is no prediction file of dfd, or damaged.
    """
    table = read_table(path)
    columns = {name: table[name].to_numpy() for name in SCHEMA.names}
    columns |= {field.name: columns[field.name].astype(str) for field in SCHEMA if field.type == pa.string()}
    predictions = Predictions(
        **{name: columns[name] for name in Predictions.__dataclass_fields__ if name != "label"},
        label=columns["label"].astype(np.int64),
    )
    ok = predictions.status == "ok"
    for wrong, what in (
        (~np.isin(predictions.label, (-1, 0, 1)), "a label that is not -1, 0 or 1"),
        (np.isfinite(predictions.logit) != ok, "a logit that does not go with its status"),
        (~np.isin(columns["verdict"], VERDICTS), f"a verdict beside {', '.join(VERDICTS[1:])}"),
    ):
        if wrong.any():
            raise _strange(path, f"line {int(np.flatnonzero(wrong)[0]) + 1} has {what}")
    return predictions, columns["prob"], columns["verdict"], _facts(path, table.schema)


def _facts(path: str | Path, schema: pa.Schema) -> dict[str, Any]:
    told = (schema.metadata or {}).get(META, b"")
    try:
        facts = json.loads(told) if len(told) <= MOST else None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise _strange(path, "it does not say by which detector")
    return facts


def _strange(path: str | Path, why: str) -> ValueError:
    return ValueError(
        printable(
            f"{path} is no prediction file of dfd ({why}). `dfd evaluate` writes them: "
            "OUT/cells/*/*/*.parquet."
        )
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
