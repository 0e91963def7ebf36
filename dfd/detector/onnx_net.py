"""OnnxNet: a detector's net as `dfd export` writes it in ONNX, run by onnxruntime. Needs no torch.

The file's texts stand in its metadata; the last entry of these is the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dfd.detector.card import Card
from dfd.detector.exported_net import ExportedNet, read_texts, shapes_of, threads

SUFFIX = ".onnx"
DIGEST = "dfd_sha256"  # key of the metadata
# the last entry in protobuf's encoding: field 14 of the model, its key and the length of its value
END = b"\x72\x4e\x0a\x0a" + DIGEST.encode() + b"\x12\x40"
HEX = 64  # letters of a SHA-256


class OnnxNet(ExportedNet):
    """An `ExportedNet`.

    Args:
        session: onnxruntime's.
        facts: as of `ExportedNet`.
    """

    kind = "ONNX"

    def __init__(self, session: Any, **facts: Any):
        super().__init__(**facts)
        self.session = session
        # a graph runs as a whole, with each of its inputs
        self._nothing = {
            each.name: np.zeros([0, *each.shape[1:]], np.float32 if each.name == "cues" else np.uint8)
            for each in session.get_inputs()
        }

    def filled(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All inputs of the graph: those that are not given show no picture."""
        return {**self._nothing, **inputs}

    def run(self, output: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            return self.session.run([output], self.filled(inputs))[0]
        except Exception as error:  # onnxruntime has no class of its own for all of its errors
            why = str(error).strip().rpartition("\n")[2]
            raise ValueError(f"onnxruntime cannot judge {shapes_of(inputs)}: {why}.") from error


def read_onnx(path: Path) -> tuple[OnnxNet, Card]:
    """The net and the card of a file that `dfd export` wrote.

    Raises:
        ValueError: it is none, is damaged, or belongs to another version of dfd or of onnxruntime.
        OSError: it cannot be read.
        ModuleNotFoundError: onnxruntime is missing.
    """
    data = path.read_bytes()
    if data[-HEX - len(END) : -HEX] != END:
        raise ValueError(
            f"{path} is no ONNX file that `dfd export` wrote, or its end is missing: a net alone has no "
            "thresholds and no way from a picture to its crops. Export a checkpoint, or copy it again."
        )
    found = hashlib.sha256(memoryview(data)[: -HEX - len(END)]).hexdigest()
    if found.encode() != data[-HEX:]:
        raise ValueError(
            f"{path} is damaged: the sha256 of its contents is {found}, where "
            f"{data[-HEX:].decode(errors='replace')} was recorded when it was written. Copy it again, or "
            "export it anew."
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, which are raised as well
    options.intra_op_num_threads = threads()
    try:
        # of bytes: a graph cannot name weights in other files
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        why = str(error).strip().rpartition("\n")[2]
        raise ValueError(f"onnxruntime {onnxruntime.__version__} cannot read {path}: {why}") from error
    texts = session.get_modelmeta().custom_metadata_map
    facts, card = read_texts(texts, (each.name for each in session.get_inputs()), path)
    return OnnxNet(session, **facts), card
