"""OnnxNet: a detector's net as `dfd export` writes it in ONNX, run by onnxruntime. Needs no torch.

The file's graph takes crops and gives a logit each. What else a detector is, its card, stands in the file's
metadata as JSON; the last entry of these is the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.detector.card import Card
from dfd.familiarity import Gate

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".onnx"
CARD, RUNTIME, DIGEST = "dfd", "dfd_runtime", "dfd_sha256"  # keys of the metadata
# the last entry in protobuf's encoding: field 14 of the model, its key and the length of its value
END = b"\x72\x4e\x0a\x0a" + DIGEST.encode() + b"\x12\x40"
HEX = 64  # letters of a SHA-256
LARGEST = 1_000_000  # numbers of a list that is read, and letters of a text


class OnnxNet:
    """A `Runtime`. Several threads may use it.

    Args:
        session: onnxruntime's. Inputs of its graph: "crops" (B, size, size, 3) uint8; with a gate "middle"
            (P, H, W, 3) uint8; of a net that reads them "cues" (B, C) float32, NaN where there are none. Its
            outputs "logit" (B,), "distance" (P,), and of experts "parts" (B, M).
        cue_names, cue_version: which cues these are.
        experts: names of the M experts.
        gate: ranks of the distances.
    """

    def __init__(
        self,
        session: Any,
        cue_names: tuple[str, ...] = (),
        cue_version: int = 0,
        experts: tuple[str, ...] = (),
        gate: Gate | None = None,
    ):
        self.session, self.gate, self.experts = session, gate, experts
        self.cue_names, self.cue_version = cue_names, cue_version
        # where an input is of no use, no picture is shown: a graph runs as a whole
        self._nothing = {
            each.name: np.zeros([0, *each.shape[1:]], np.float32 if each.name == "cues" else np.uint8)
            for each in session.get_inputs()
        }

    @property
    def module(self) -> nn.Module:
        from dfd.detector.onnx_module import OnnxModule

        return OnnxModule(self)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        return self.module(image, cues)

    def logits(self, crops: np.ndarray, cues: np.ndarray | None = None) -> np.ndarray:
        return self._run("logit", **self.inputs(crops, cues)).astype(np.float64)

    def distance(self, middle: np.ndarray | Tensor) -> np.ndarray:
        return self._run("distance", **{**self._nothing, "middle": np.asarray(middle)})

    def expert(self, crops: np.ndarray, cues: np.ndarray | None = None) -> str:
        if not self.experts:
            return ""
        parts = self._run("parts", **self.inputs(crops, cues)).mean(0)
        return self.experts[int(parts.argmax())]

    def inputs(self, crops: np.ndarray, cues: np.ndarray | None) -> dict[str, np.ndarray]:
        """All inputs of the graph for such crops, and no middle crop."""
        if self.cue_names and cues is None:
            cues = np.full((len(crops), len(self.cue_names)), np.nan, np.float32)
        return {**self._nothing, "crops": crops, **({} if cues is None else {"cues": cues})}

    def _run(self, output: str, **inputs: np.ndarray) -> np.ndarray:
        try:
            return self.session.run([output], inputs)[0]
        except Exception as error:  # onnxruntime has no class of its own for all of its errors
            why = str(error).strip().rpartition("\n")[2]
            shapes = ", ".join(f"{name} {each.shape}" for name, each in inputs.items())
            raise ValueError(f"onnxruntime cannot judge {shapes}: {why}.") from error


def read_onnx(path: Path) -> tuple[OnnxNet, Card]:
    """The net and the card of a file that `dfd export` wrote.

    Raises:
        ValueError: it is none, is damaged, or belongs to another version of dfd or of onnxruntime.
        OSError: it cannot be read.
        ModuleNotFoundError: onnxruntime is missing.
    """
    import onnxruntime

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
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, which are raised as well
    if threads := os.environ.get("OMP_NUM_THREADS", ""):
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    try:
        # of bytes: a graph cannot name weights in other files
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        why = str(error).strip().rpartition("\n")[2]
        raise ValueError(f"onnxruntime {onnxruntime.__version__} cannot read {path}: {why}") from error
    texts = session.get_modelmeta().custom_metadata_map
    try:
        plain, facts = (json.loads(texts[name]) for name in (CARD, RUNTIME))
        if not isinstance(plain, dict):
            raise TypeError("a card that is none")
        arguments = _checked(facts, session)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} has metadata that cannot be read ({error!r}): dfd did not write it."
        ) from error
    return OnnxNet(session, **arguments), Card.from_plain(plain, (), str(path))


def _checked(facts: dict[str, Any], session: Any) -> dict[str, Any]:
    """The arguments of an `OnnxNet` as the file states them.

    Raises TypeError, KeyError or ValueError where they are not as `dfd export` writes them.
    """
    names = {"crops"} | ({"cues"} if facts["cue_names"] else set()) | ({"middle"} if facts["gate"] else set())
    if names != {each.name for each in session.get_inputs()}:
        raise TypeError(f"inputs other than {sorted(names)}")
    for name in ("cue_names", "experts"):
        if not isinstance(facts[name], list) or not all(isinstance(each, str) for each in facts[name]):
            raise TypeError(f"{name} that are no names")
    gate = None
    if facts["gate"] is not None:
        home = np.array(facts["gate"]["home"], np.float32)
        world = np.array(facts["gate"]["world"], np.int64)
        if home.ndim != 1 or home.shape != world.shape or not len(home) or not np.isfinite(home).all():
            raise TypeError("distances that are none")
        said = facts["gate"]["facts"]
        if not all(isinstance(said[name], str) for name in ("basis", "split")):
            raise TypeError("a gate without its basis")
        gate = Gate(home, world, said)
    return {
        "cue_names": tuple(facts["cue_names"]),
        "cue_version": int(facts["cue_version"]),
        "experts": tuple(facts["experts"]),
        "gate": gate,
    }
