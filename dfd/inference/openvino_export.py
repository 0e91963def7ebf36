"""OpenVINO export: a detector's ONNX graph as two files that OpenVINO reads, with its card in them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.detector import Card
from dfd.detector.exported_net import CARD, RUNTIME
from dfd.detector.openvino_net import import_openvino, read_openvino, sealed, weights_of
from dfd.inference.onnx_export import compared, facts_of, graph_of, known_and_plain
from dfd.models import Net
from dfd.models.safetensors_export import as_json, beside, page_of
from dfd.outputs import output_file

if TYPE_CHECKING:
    import onnx


def write_openvino(net: Net, card: Card, path: Path) -> str:
    """Writes the XML, its weights and the JSON beside them; returns how near its answers are to torch's.

    Raises:
        ValueError: the card has no view, or ONNX or OpenVINO cannot hold the net.
        OSError: disk full or unwritable, in words.
        ModuleNotFoundError: openvino, onnx or onnxscript is missing.
    """
    openvino = import_openvino()
    known, plain = known_and_plain(net, card, "OpenVINO")
    graph = graph_of(known, card)
    whole_spectra(graph)
    try:
        model = openvino.Core().read_model(graph.SerializeToString())
    except RuntimeError as error:
        why = str(error).strip().rpartition("\n")[2]
        raise ValueError(
            f"OpenVINO {openvino.__version__} cannot read the graph of {type(net).__name__}: {why}. Export "
            "it to ONNX."
        ) from error
    text = as_json(plain)
    model.set_rt_info(text, [CARD])
    model.set_rt_info(json.dumps(facts_of(known)), [RUNTIME])
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, path.name)
        # not save_model, which halves the precision of weights where it is not told otherwise
        openvino.serialize(model, made, weights_of(made))
        weights = weights_of(made).read_bytes()
        made.write_bytes(sealed(made.read_bytes(), weights))
        said = compared(known, card, read_openvino(made)[0])
        # named in the reverse order: the XML, by which an unfinished export is known, comes first
        with (
            output_file(beside(path)) as page,
            output_file(weights_of(path)) as weighing,
            output_file(path) as temporary,
        ):
            weighing.write_bytes(weights)
            temporary.write_bytes(made.read_bytes())
            page.write_text(page_of(text, temporary), encoding="utf-8")
    return said


def whole_spectra(model: onnx.ModelProto) -> None:
    """Half spectra of real numbers become those halves of whole ones, in place: of the first, OpenVINO 2026.4
    reads one dimension too many ([..., 1, 2]), and refuses what follows.
    """
    from onnx import numpy_helper
    from onnx.helper import make_node

    shapes = {each.name: each.type.tensor_type.shape.dim for each in model.graph.value_info}
    nodes = []
    for node in model.graph.node:
        said: dict[str, Any] = {each.name: each.i for each in node.attribute}
        if node.op_type != "DFT" or not said.get("onesided") or said.get("inverse"):
            nodes.append(node)
            continue
        real, (out,), axis = node.input[0], node.output, said.get("axis", 1)
        constants = {
            "zero": np.float32(0),
            "begin": np.array([0]),
            "end": np.array([shapes[out][axis].dim_value]),
            "axis": np.array([axis]),
        }
        for name, value in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(value, f"{out}_{name}"))
        parts = [f"{out}_begin", f"{out}_end", f"{out}_axis"]
        nodes += [
            make_node("Mul", [real, f"{out}_zero"], [f"{out}_imaginary"]),
            make_node("Concat", [real, f"{out}_imaginary"], [f"{out}_complex"], axis=-1),
            make_node("DFT", [f"{out}_complex", *node.input[1:]], [f"{out}_whole"], axis=axis),
            make_node("Slice", [f"{out}_whole", *parts], [out]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
