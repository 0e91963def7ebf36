"""One table of models: each detector's metrics on the same pictures with intervals, paired tests against the
best, and what it costs to train and to use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfd import run_record
from dfd.detector import load
from dfd.detector.published import detector_file
from dfd.durable import sha256_of
from dfd.evaluate.compare import CALIBRATED, LOWER_IS_BETTER, of_metric
from dfd.evaluate.conditions import load_conditions
from dfd.evaluate.grid import Options, evaluate, named_detector
from dfd.evaluate.model_cost import ModelCost, model_cost
from dfd.evaluate.names import clean_name, detector_name, named, root_name, split_name
from dfd.evaluate.plan import cell_file
from dfd.evaluate.prediction_tables import Judged, read_judged
from dfd.metrics import detection_metrics, holm, mean_interval, paired_sides, resamples
from dfd.run_record import RunFolder

METRICS = ("auroc", "balanced_acc", "ece")  # of a table of models; the first ranks it


@dataclass(frozen=True)
class Model:
    """A detector of the table, with a checkpoint for each of its training seeds."""

    name: str
    checkpoints: tuple[Path, ...]
    runs: tuple[Path | None, ...]  # the fits that trained them


@dataclass(frozen=True)
class Figure:
    """One metric of one model on one root under one condition: the mean over its seeds."""

    model: str
    root: str
    condition: str
    metric: str
    value: float
    low: float
    high: float
    p_holm: float  # of "as good as the best model here"; NaN of the best itself, and where it is not tested
    best: bool
    num_seeds: int
    num_images: int
    num_families: int


@dataclass(frozen=True)
class ModelTable:
    figures: tuple[Figure, ...]
    costs: dict[str, ModelCost]  # of the first seed, but for the training: the mean over seeds

    @property
    def models(self) -> list[str]:
        """The best first: by the worst of its values of the first metric."""
        worst = {
            name: min(
                (each.value for each in self.figures if each.model == name and each.metric == METRICS[0]),
                default=math.nan,
            )
            for name in self.costs
        }
        return sorted(self.costs, key=lambda name: (math.isnan(worst[name]), -worst[name]))


def models_of(given: Sequence[str]) -> list[Model]:
    """The models that are named: run folders or checkpoints, NAME=PATH, or NAME=PATH,PATH with one for each
    training seed.

    Raises:
        ValueError: one has no checkpoint, or two have one name.
    """
    found: list[Model] = []
    for text in given:
        name, paths = split_name(text)
        places = [paths] if Path(paths).exists() else paths.split(",")
        checkpoints = tuple(_checkpoint(Path(place)) for place in places)
        called = name or clean_name(detector_name(str(checkpoints[0])))
        if called in [model.name for model in found]:
            raise ValueError(
                f"two models are called {called}. Give one of them a name of its own: NAME={paths}."
            )
        found.append(Model(called, checkpoints, tuple(map(_run_of, checkpoints))))
    return found


def _checkpoint(place: Path) -> Path:
    if not place.is_dir():
        return place
    best = RunFolder(place).best
    if not best.is_file():
        raise ValueError(
            f"{place} holds no {best.relative_to(place)}. Name the run folder of a dfd fit that has ended, "
            "or a checkpoint."
        )
    return best


def _run_of(checkpoint: Path) -> Path | None:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None


def model_table(
    given: Sequence[str],
    on: Sequence[str],
    out: Path,
    conditions: str | None = None,
    options: Options = Options(),  # noqa: B008  frozen
) -> ModelTable:
    """Judges all models on the test split of all roots, which goes on where it was interrupted, and measures
    what they cost.

    Args:
        given: see `models_of`.
        on: finished shards, as `evaluate` takes them.
        out: folder; the grid of the judging lies in it.

    Raises:
        ValueError: as of `models_of` and `evaluate`.
    """
    models, asked = models_of(given), load_conditions(conditions)
    checkpoints = {
        f"{model.name}-{number}" if len(model.checkpoints) > 1 else model.name: path
        for model in models
        for number, path in enumerate(model.checkpoints)
    }
    if len(checkpoints) < sum(len(model.checkpoints) for model in models):
        raise ValueError(
            f"the seeds of a model are judged as NAME-0, NAME-1, ..., and one of {', '.join(checkpoints)} is "
            "the name of another model too. Choose other names."
        )
    for model in models:
        _check_seeds(model)
    evaluate([f"{name}={path}" for name, path in checkpoints.items()], on, out / "grid", asked, options)
    name_of = {path: name for name, path in checkpoints.items()}
    figures: list[Figure] = []
    num = resamples(len(named(on, "root", root_name)) * len(asked) * len(METRICS) * (len(models) - 1))
    for root in named(on, "root", root_name):
        for condition in asked:
            tables = {
                model.name: [
                    read_judged(str(out / "grid" / cell_file(name_of[path], root, condition)))
                    for path in model.checkpoints
                ]
                for model in models
            }
            for metric in METRICS:
                figures += _figures(tables, root, condition.title, metric, num)
    p = holm([each.p_holm for each in figures])
    corrected = tuple(replace(each, p_holm=float(value)) for each, value in zip(figures, p, strict=True))
    return ModelTable(corrected, {model.name: _cost(model, options) for model in models})


def _check_seeds(model: Model) -> None:
    """ValueError where what is to be averaged are not trainings of one recipe, each another."""
    if len(model.checkpoints) < 2:
        return
    digests, recipes = set(), {}
    for path in model.checkpoints:
        digests.add(sha256_of(detector_file(path)))
        recipes[json.dumps(load(path).card.net, sort_keys=True)] = path
    if len(digests) < len(model.checkpoints):
        raise ValueError(f"{model.name} names one file twice, which would only count twice. Name it once.")
    if len(recipes) > 1:
        one, other, *_ = recipes.values()
        raise ValueError(
            f"{model.name}: {one} and {other} are nets of two recipes, whose mean is no model. "
            "Seeds are trainings of one config; give the other a name of its own."
        )


def _figures(
    tables: dict[str, list[Judged]], root: str, condition: str, metric: str, num: int
) -> list[Figure]:
    """A metric of all models on one root under one condition; p of `num` resamples is not corrected yet.

    Pictures without a logit of one of them are left out of all.
    """
    every = [table for seeds in tables.values() for table in seeds]
    kept = np.all(
        [(table.predictions.status == "ok") & (table.predictions.label >= 0) for table in every], axis=0
    )
    of = {
        name: [of_metric(table, metric).where(kept) for table in seeds]
        for name, seeds in tables.items()
        if metric not in CALIBRATED or not any(np.isnan(table.prob[kept]).any() for table in seeds)
    }
    if not of:
        return []
    values = {
        name: float(np.mean([detection_metrics(table)[metric] for table in seeds]))
        for name, seeds in of.items()
    }
    of = {name: seeds for name, seeds in of.items() if not math.isnan(values[name])}  # of one class
    if not of:
        return []
    order = sorted(of, key=lambda name: values[name], reverse=metric not in LOWER_IS_BETTER)
    best = order[0]
    against = [(0, place) for place in range(1, len(order))]
    gaps = paired_sides([of[name] for name in order], against, metric, num)
    p = dict(zip(order[1:], [gap.p for gap in gaps], strict=True))
    return [
        Figure(
            model=name,
            root=root,
            condition=condition,
            metric=metric,
            value=values[name],
            low=ends[0],
            high=ends[1],
            p_holm=p.get(name, math.nan),
            best=name == best,
            num_seeds=len(of[name]),
            num_images=len(of[name][0]),
            num_families=of[name][0].num_families,
        )
        for name in order
        # resampling only raises a calibration error
        for ends in [(math.nan, math.nan) if metric == "ece" else mean_interval(of[name], metric)]
    ]


def _cost(model: Model, options: Options) -> ModelCost:
    detector = named_detector(model.name, str(model.checkpoints[0]), options).detector
    first = model_cost(detector, model.runs[0], options.batch_size)
    records = [None if run is None else run_record.read(run) for run in model.runs]
    return replace(
        first,
        seconds=_mean([None if record is None else record.seconds or None for record in records]),
        joules=_mean([None if record is None else record.joules for record in records]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
