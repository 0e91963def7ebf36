"""int8: a detector's ONNX graph with 8-bit weights and activations, by onnxruntime, and what that costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dfd.batch import Predictions
from dfd.detector import Detector
from dfd.detector.onnx_net import OnnxNet
from dfd.inference.predictor import Predictor
from dfd.metrics import detection_metrics, format_metric, paired
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table, read_bytes

if TYPE_CHECKING:
    import onnx

SHOWN = 200  # training pictures that say in which range values lie
LAYERS = ("Conv", "Gemm", "MatMul")  # the rest is cheap, and keeps its precision


def quantized(
    model: onnx.ModelProto, exact: Detector, shards: Path, judge: Callable[[onnx.ModelProto], Detector]
) -> onnx.ModelProto:
    """The same graph with 8-bit layers, weights by channel, activations in the mean range of each picture.

    What familiarity is measured with stays as it is, since a rank holds among distances of the same numbers;
    and so does the first layer, which sees the traces. Eight bits draw logits together: a line through those
    of the pictures shown brings them back to where the thresholds are.

    Args:
        exact: judges by this graph in full precision.
        shards: whose training pictures are shown, SHOWN at random.
        judge: a detector that judges by a graph.

    Raises:
        ValueError: they have no training pictures.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.inputs = _inputs(exact, shown, folder)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.inputs, None)

    lines, folder = _lines(shards, "train")
    shown = [lines[at] for at in np.random.default_rng(0).permutation(len(lines))[:SHOWN]]
    with tempfile.TemporaryDirectory() as scratch:
        plain, ready, small = (str(Path(scratch, f"{name}.onnx")) for name in ("plain", "ready", "small"))
        onnx.save(model, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        prepared = onnx.load(ready)
        apart = _apart_from(prepared.graph, "logit")
        layers = [node.name for node in prepared.graph.node if node.op_type in LAYERS]
        first = next(name for name in layers if name not in apart)
        quantize_static(
            ready,
            small,
            Reader(),
            op_types_to_quantize=list(LAYERS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*apart, first],
            extra_options={"CalibMovingAverage": True},
        )
        made = onnx.load(small)
    before, after = (_scores(detector, shown, folder) for detector in (exact, judge(made)))
    known = np.isfinite(before.logit)
    slope, offset = np.polyfit(after.logit[known], before.logit[known], 1)
    _put_line(made.graph, "logit", slope, offset)
    return made


def _put_line(graph: Any, output: str, slope: float, offset: float) -> None:
    """The output becomes slope * output + offset."""
    from onnx import numpy_helper
    from onnx.helper import make_node

    for node in graph.node:
        node.output[:] = [f"{name}_8bit" if name == output else name for name in node.output]
    for name, value in (("slope", slope), ("offset", offset)):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), f"{output}_{name}"))
    graph.node.append(make_node("Mul", [f"{output}_8bit", f"{output}_slope"], [f"{output}_scaled"]))
    graph.node.append(make_node("Add", [f"{output}_scaled", f"{output}_offset"], [output]))


def _apart_from(graph: Any, output: str) -> list[str]:
    """Names of the nodes that one output does not depend on."""
    made = {name: node for node in graph.node for name in node.output}
    needed, waiting = set(), [output]
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting += node.input
    return [node.name for node in graph.node if node.name not in needed]


def _inputs(detector: Detector, lines: list[dict[str, Any]], folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """What the graph is shown of each picture: its crops, and cues where it reads some."""
    runtime = detector.runtime
    assert isinstance(runtime, OnnxNet)
    for line in lines:
        for face in detector.crop_faces(read_bytes(folder, line), whole=True):
            if face.crops is not None:
                yield runtime.filled(runtime.inputs(face.crops, face.crop_cues))


def cost(exact: Detector, small: Detector, shards: Path) -> str:
    """In words, what 8 bits cost on the validation pictures of shards: AUROC of both, and words that change.

    Raises:
        ValueError: they have none.
    """
    lines, folder = _lines(shards, "val")
    both = [_scores(detector, lines, folder) for detector in (exact, small)]
    changed = sum(before != after for before, after in zip(*(each.verdicts for each in both), strict=True))
    tables = [_table(each, lines) for each in both]
    full, eight = (format_metric(detection_metrics(table)["auroc"]) for table in tables)
    gap = paired(tables[1], tables[0])
    return (
        f"8 bits: AUROC {eight} on {len(tables[0])} validation pictures of {folder.name} in "
        f"{tables[0].num_families} families, where full precision has {full}: {gap.value:+.4f} "
        f"({gap.low:+.4f}, {gap.high:+.4f}). {changed} of {len(lines)} verdicts are others."
    )


class _Scores(NamedTuple):
    logit: np.ndarray  # (M,) float64, NaN where there is none
    status: np.ndarray  # (M,) str
    verdicts: list[str | None]


def _scores(detector: Detector, lines: list[dict[str, Any]], folder: Path) -> _Scores:
    pictures = (read_bytes(folder, line) for line in lines)
    scores = list(Predictor(detector).score_all(pictures, whole=True))
    logit = np.array([np.nan if score.logit is None else score.logit for score in scores])
    return _Scores(logit, np.array([score.status for score in scores]), [score.verdict for score in scores])


def _table(scores: _Scores, lines: list[dict[str, Any]]) -> Predictions:
    facts = {name: np.array([line[name] for line in lines]) for name in ("source", "family")}
    label = np.array([line["label"] for line in lines], np.int64)
    table = Predictions.of(np.arange(len(lines)), scores.logit, label, facts)
    return replace(table, status=scores.status).judged


def _lines(shards: Path, split: str) -> tuple[list[dict[str, Any]], Path]:
    """Lines of a split, and the folder of their shards."""
    lines = [line for line in load_table(shards).to_pylist() if line["split"] == split]
    if not lines:
        raise ValueError(
            f"--int8 {shards}: no pictures in the {split} split. Name the shards that trained the "
            "detector: training pictures set the ranges, validation pictures say what 8 bits cost."
        )
    return lines, Path(parse_root(shards).folder)
