"""Tables of predictions as files: CSV of `dfd test`, prediction files of `dfd evaluate`, read alike."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from dfd.batch import FAKE, REAL, Predictions
from dfd.calibration import calibration_of
from dfd.evaluate.confidence import familiar_first
from dfd.evaluate.names import clean_name
from dfd.evaluate.prediction_file import read_predictions, read_table
from dfd.metrics import uncalibrated
from dfd.terminal import printable
from dfd.text_files import read_text
from dfd.weighing import weighed

MOST_BYTES = 1 << 30  # of a CSV
NEEDED = ("key", "path", "label", "logit", "prob", "source", "method", "group")


@dataclass(frozen=True)
class Judged:
    """One table: what one detector, of one training seed, says of pictures."""

    file: str
    name: str  # the detector's, where the table says it
    condition: str  # what was done to the pictures, "" where the table does not say it
    picture: np.ndarray  # (M,) str: key and path, each once, in the order of the rows below
    predictions: Predictions
    prob: np.ndarray  # (M,) P(fake), NaN where there is none
    threshold: float | None  # balanced, raw; None where the table does not say it
    # (M,) how sure the detector is at its threshold, in any unit, NaN without a logit; None without threshold
    sure: np.ndarray | None


def read_judged(file: str) -> Judged:
    """A table of `dfd test` or `dfd evaluate`.

    Raises:
        ValueError: it is neither.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:
            parquet = opened.read(4) == b"PAR1"
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}. Name a table of dfd test or dfd evaluate.") from error
    return _read_parquet(path) if parquet else _read_csv(path)


def _read_parquet(path: Path) -> Judged:
    table = read_table(path)
    predictions, prob, verdict, facts = read_predictions(path)
    key, name = table["key"].to_pylist(), table["path"].to_pylist()
    severity = "" if facts.get("severity") is None else f"@{facts['severity']:g}"
    threshold = float((facts.get("thresholds") or {}).get("balanced", math.nan))
    calibrated = calibration_of(facts["calibration"]) if "calibration" in facts else uncalibrated
    if facts.get("calibrated_on"):  # of unfamiliar pictures too, of which the column says nothing
        prob = expit(calibrated(weighed(predictions.logit, predictions.familiarity, threshold)))
    sure = None
    if math.isfinite(threshold):
        sure = familiar_first(predictions, verdict, calibrated, threshold)(predictions)
    return _sorted(
        str(path), str((facts.get("detector") or {}).get("name") or path.stem),
        f"{facts.get('condition', '')}{severity}", key, name, predictions, prob,
        threshold if math.isfinite(threshold) else None, sure,
    )  # fmt: skip


def _read_csv(path: Path) -> Judged:
    try:
        lines = list(csv.DictReader(io.StringIO(read_text(path, MOST_BYTES), newline="")))
    except csv.Error as error:
        raise ValueError(f"{path} is no table that can be read ({error}).") from error
    lacking = [name for name in NEEDED if not lines or lines[0].get(name) is None]
    if lacking:
        what = "no lines" if not lines else f"no column {lacking[0]}"
        raise ValueError(
            f"{path} has {what}: it is no table of predictions. dfd test, validate and predict write them as "
            "predictions-*.csv, dfd evaluate as OUT/cells/*/*/*.parquet."
        )
    label, logit, prob = (np.array([_number(path, at, line, name) for at, line in enumerate(lines)])
                          for name in ("label", "logit", "prob"))  # fmt: skip
    if (strange := ~np.isin(label[~np.isnan(label)], (REAL, FAKE))).any():
        raise ValueError(
            f"{path} has the label {label[~np.isnan(label)][strange][0]:g}, where 0 or 1 is due."
        )
    column = {name: np.array([line[name] for line in lines], str) for name in ("source", "method", "group")}
    predictions = Predictions(
        row=np.arange(len(lines)),
        logit=logit,
        label=np.where(np.isnan(label), -1, label).astype(np.int64),
        source=column["source"],
        method=column["method"],
        family=column["group"],
        clip=np.full(len(lines), ""),
        status=np.where(np.isnan(logit), "none", "ok"),
    )
    name = path.absolute().parent.name if path.name.startswith("predictions-") else path.stem
    key, names = ([line[column] for line in lines] for column in ("key", "path"))
    return _sorted(str(path), clean_name(name), "", key, names, predictions, prob, None, None)


def _number(path: Path, at: int, line: Mapping[str, str | None], name: str) -> float:
    text = line[name]
    try:
        value = float(text) if text else math.nan
    except (TypeError, ValueError):
        value = math.inf
    if math.isinf(value):
        raise ValueError(
            f"{path}, line {at + 2}: {name} is {printable(str(text)[:40])!r}, which is no number."
        )
    return value


def _sorted(
    file: str, name: str, condition: str, key: Sequence[str], path: Sequence[str], predictions: Predictions,
    prob: np.ndarray, threshold: float | None, sure: np.ndarray | None,
) -> Judged:  # fmt: skip
    """In the order of the pictures' names, by which rows are counted anew."""
    picture = np.array([f"{one}\n{other}" for one, other in zip(key, path, strict=True)], str)
    order = np.argsort(picture, kind="stable")
    picture = picture[order]
    if (twice := picture[1:] == picture[:-1]).any():
        named = printable(picture[1:][twice][0].partition("\n")[0])
        raise ValueError(f"{file} has the picture {named} twice: it is no table of one pass of a detector.")
    in_order = replace(predictions.where(order), row=np.arange(len(order)))
    sure = None if sure is None else sure[order]
    return Judged(file, name, condition, picture, in_order, prob[order], threshold, sure)
