"""OpenVinoNet: a detector's net as `dfd export` writes it for OpenVINO, run by its CPU plugin. Needs neither
torch nor onnxruntime.

Two files: NAME.xml has the graph, and in its `rt_info` the texts; NAME.bin beside it the weights. The last
line of the XML is a comment with the SHA-256 of the weights, and that of all bytes before itself.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dfd.detector.card import Card
from dfd.detector.exported_net import CARD, RUNTIME, ExportedNet, read_texts, shapes_of, threads

SUFFIX = ".xml"
_REPORTS = "openvino_telemetry"
_SEAL = re.compile(rb"<!-- dfd_bin_sha256 ([0-9a-f]{64}) dfd_sha256 ([0-9a-f]{64}) -->\n\Z")
_SEAL_SIZE = len("<!-- dfd_bin_sha256  dfd_sha256  -->\n") + 2 * 64


class OpenVinoNet(ExportedNet):
    """An `ExportedNet`.

    Args:
        answers: compiled for the logits, and of experts their parts.
        distances: compiled for the distances; None without a gate.
        sizes: by the name of an input its shape without the number of pictures.
        facts: as of `ExportedNet`.
    """

    kind = "OpenVINO"

    def __init__(
        self, answers: Any, distances: Any | None, sizes: Mapping[str, tuple[int, ...]], **facts: Any
    ):
        super().__init__(**facts)
        self.sizes = sizes
        self.compiled = {"answers": answers, "distances": distances}
        self._requests = threading.local()  # one request serves one thread at a time

    def run(self, output: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        part = "distances" if output == "distance" else "answers"
        for name, each in inputs.items():
            if each.shape[1:] != self.sizes[name]:  # OpenVINO looks at the number of dimensions alone
                raise ValueError(
                    f"OpenVINO cannot judge {name} {each.shape}: they are {self.sizes[name]} each."
                )
        try:
            request = getattr(self._requests, part, None)
            if request is None:
                request = self.compiled[part].create_infer_request()
                setattr(self._requests, part, request)
            return request.infer(dict(inputs))[output]
        except RuntimeError as error:
            raise ValueError(f"OpenVINO cannot judge {shapes_of(inputs)}: {_last_line(error)}.") from error


def import_openvino() -> ModuleType:
    """The package, without its reports: the mere import would send one to Google Analytics, unasked, and
    write an identifier into the user's home.

    Raises:
        ModuleNotFoundError: it is missing.
    """
    known = _REPORTS in sys.modules
    if not known:
        # OpenVINO goes on without it
        sys.modules[_REPORTS] = None  # ty: ignore[invalid-assignment]
    try:
        import openvino
    finally:
        if not known:
            del sys.modules[_REPORTS]
    return openvino


def weights_of(path: Path) -> Path:
    """The file of weights beside an XML."""
    return path.with_suffix(".bin")


def sealed(xml: bytes, weights: bytes) -> bytes:
    """The XML with its last line."""
    start = b"%s<!-- dfd_bin_sha256 %s dfd_sha256 " % (xml, hashlib.sha256(weights).hexdigest().encode())
    return b"%s%s -->\n" % (start, hashlib.sha256(start).hexdigest().encode())


def read_openvino(path: Path) -> tuple[OpenVinoNet, Card]:
    """The net and the card of two files that `dfd export` wrote.

    Args:
        path: the XML.

    Raises:
        ValueError: it is none, one of the two is damaged, missing or of another export, or they belong to
            another version of dfd or of OpenVINO.
        OSError: they cannot be read.
        ModuleNotFoundError: openvino is missing.
    """
    xml, weights = _whole(path)
    openvino = import_openvino()
    core = openvino.Core()
    try:
        # of bytes: no other file is opened
        model = core.read_model(xml, weights)
        texts = {
            name: model.get_rt_info([name]).astype(str)
            for name in (CARD, RUNTIME)
            if model.has_rt_info([name])
        }
        inputs = {each.any_name: each.get_node() for each in model.inputs}
        outputs = {each.any_name: each for each in model.outputs}
        sizes = {
            each.any_name: tuple(side.get_length() for side in list(each.partial_shape)[1:])
            for each in model.inputs
        }
    except RuntimeError as error:
        raise ValueError(
            f"OpenVINO {openvino.__version__} cannot read {path}: {_last_line(error)}"
        ) from error
    facts, card = read_texts(texts, inputs, path)
    if (facts["gate"] is not None and "distance" not in outputs) or "logit" not in outputs:
        raise ValueError(f"{path} has a graph without logits or distances: dfd did not write it.")
    options = {
        # else bfloat16 where the processor has it: other logits, and other verdicts
        "INFERENCE_PRECISION_HINT": "f32",
        # of several processes each would bind its threads to the same cores
        "ENABLE_CPU_PINNING": False,
        **({"INFERENCE_NUM_THREADS": number} if (number := threads()) else {}),
    }

    def compiled(wanted: set[str], shown: set[str]) -> Any:
        results = [output for name, output in outputs.items() if name in wanted]
        part = openvino.Model(results, [node for name, node in inputs.items() if name in shown])
        return core.compile_model(part, "CPU", options)

    # two graphs: one would answer to an input without pictures what it answered to the one before
    answers = compiled({"logit", "parts"}, {"crops", "cues"})
    distances = None if facts["gate"] is None else compiled({"distance"}, {"middle"})
    return OpenVinoNet(answers, distances, sizes, **facts), card


def _whole(path: Path) -> tuple[bytes, bytes]:
    """XML and weights, as they were written."""
    xml = path.read_bytes()
    seal = _SEAL.search(xml, max(0, len(xml) - _SEAL_SIZE))
    if seal is None:
        raise ValueError(
            f"{path} is no OpenVINO file that `dfd export` wrote, or its end is missing: a net alone has no "
            "thresholds and no way from a picture to its crops. Export a checkpoint, or copy it again."
        )
    _check(path, memoryview(xml)[: seal.start(2)], seal[2].decode())
    beside = weights_of(path)
    if not beside.is_file():
        raise ValueError(f"{path} has its weights in {beside}, which is not there. Copy both files.")
    weights = beside.read_bytes()
    _check(beside, weights, seal[1].decode())
    return xml, weights


def _check(path: Path, data: bytes | memoryview, recorded: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != recorded:
        raise ValueError(
            f"{path} is damaged, or of another export: the sha256 of its contents is {found}, where "
            f"{recorded} was recorded when it was written. Copy both files again, or export anew."
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
