"""Prediction file: what is written is read back, and a stranger's file is one clear error."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfd.batch import Predictions
from dfd.evaluate.prediction_file import META, SCHEMA, read_facts, read_predictions, write_predictions


def written(path):
    predictions = Predictions(
        row=np.array([4, 7, 9]),
        logit=np.array([1 / 3, -2.5, np.nan]),
        label=np.array([1, 0, -1]),
        source=np.array(["a", "b", "b"]),
        method=np.array(["swap", "", ""]),
        family=np.array(["f1", "f2", "f3"]),
        clip=np.array(["", "", "video.mp4"]),
        status=np.array(["ok", "ok", "unreadable"]),
        familiarity=np.array([0.5, np.nan, np.nan]),
    )
    write_predictions(
        path,
        predictions,
        {name: np.array([f"{name}{at}" for at in range(3)]) for name in ("key", "path", "split")},
        prob=np.array([0.6, 0.1, np.nan]),
        verdict=np.array(["fake", "no_trace", ""]),
        reason=np.array(["", "", "truncated"]),
        facts={"detector": {"name": "mine"}, "condition": "clean"},
    )
    return predictions


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "cells" / "clean.parquet"
    predictions = written(path)
    found, prob, verdict, facts = read_predictions(path)
    for name in Predictions.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(predictions, name))
    np.testing.assert_array_equal(prob, [0.6, 0.1, np.nan])
    assert verdict.tolist() == ["fake", "no_trace", ""]
    assert facts == read_facts(path) == {"detector": {"name": "mine"}, "condition": "clean"}
    # any program reads it
    assert pq.read_table(path, partitioning=None).schema.names == SCHEMA.names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["logit"]), "logit"),
        (lambda table: table.replace_schema_metadata({}), "does not say by which detector"),
        (
            lambda table: table.replace_schema_metadata({META: b"[" * 100_000}),
            "does not say by which detector",
        ),
        (lambda table: changed(table, "logit", pa.array([1, 2, 3])), "column logit is not of double"),
        (lambda table: changed(table, "label", pa.array([1, 5, 0], pa.int8())), "line 2 has a label"),
        (lambda table: changed(table, "status", pa.array(["ok"] * 3)), "line 3 has a logit that does not go"),
        (lambda table: changed(table, "verdict", pa.array(["fake", "guilty", ""])), "line 2 has a verdict"),
        (lambda table: changed(table, "path", pa.array(["a", None, "b"])), "column path has empty places"),
    ],
)
def test_a_strangers_file_is_one_error(tmp_path, change, message):
    path = tmp_path / "clean.parquet"
    written(path)
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    with pytest.raises(ValueError, match=f"is no prediction file of dfd.*{message}"):
        read_predictions(path)


def test_what_is_no_parquet_is_said(tmp_path):
    path = tmp_path / "clean.parquet"
    for content in (b"", b"key,label\n", json.dumps({}).encode()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no prediction file of dfd"):
            read_facts(path)
    with pytest.raises(ValueError, match="is no prediction file of dfd"):
        read_predictions(tmp_path / "nothing.parquet")


def changed(table, name, column):
    return table.set_column(table.schema.get_field_index(name), name, column).replace_schema_metadata(
        table.schema.metadata
    )
