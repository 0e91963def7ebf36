"""ONNX export: a detector's net, its familiarity and its card in one file that needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dfd.detector import Card, Detector
from dfd.detector.exported_net import CARD, RUNTIME, ExportedNet
from dfd.detector.onnx_net import END, read_onnx
from dfd.detector.torch_net import TorchNet, as_images
from dfd.familiarity.distance import Distance
from dfd.models import Net
from dfd.models.ensemble import OF_EXPERTS, Ensemble
from dfd.models.safetensors_export import as_json, beside, page_of
from dfd.outputs import output_file

if TYPE_CHECKING:
    import onnx

OPSET = 18
PICTURES = 4  # of noise, on which the file is compared with torch
APART = 1e-3  # logits or distances that differ by more than this share are another net's


def write_onnx(net: Net, card: Card, path: Path, int8: Path | None = None) -> str:
    """Writes the file, and the JSON beside it; returns how near its answers are to torch's.

    Args:
        int8: shards whose training pictures say in which range each layer's values lie: where given, the net
            computes with 8 bits, and what that costs is measured on their validation pictures.

    Raises:
        ValueError: the card has no view, ONNX cannot hold the net, or the shards lack pictures.
        OSError: disk full or unwritable, in words.
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is missing.
    """
    known, plain = known_and_plain(net, card, "ONNX")
    model = graph_of(known, card)
    with output_file(beside(path)) as page, output_file(path) as temporary:
        write_model(model, plain, facts_of(known), temporary)
        said = compared(known, card, read_onnx(temporary)[0])
        if int8 is not None:
            from dfd.inference.int8 import cost, quantized

            def judge(graph: onnx.ModelProto) -> Detector:
                write_model(graph, plain, facts_of(known), temporary)
                return Detector(read_onnx(temporary)[0], card, drawings=True)

            exact = judge(model)
            small = judge(quantized(model, exact, int8, judge))
            said = f"{said}\n{cost(exact, small, int8)}"
        page.write_text(page_of(as_json(plain), temporary), encoding="utf-8")
    return said


def known_and_plain(net: Net, card: Card, kind: str) -> tuple[TorchNet, dict[str, Any]]:
    """What an export is made of and compared with, and the card that it holds.

    Raises:
        ValueError: the card has no view; `kind` is how the message calls the format.
    """
    if net.role != "detector" or not card.view:
        raise ValueError(
            f"{kind} is for detectors that know how their pictures are cut, and this net is none: export it "
            "as safetensors."
        )
    plain = card.to_plain()
    for name in ("seen", "familiarity"):
        plain.pop(name, None)
    return TorchNet(net, card, "cpu"), plain


def write_model(model: onnx.ModelProto, card: dict[str, Any], facts: dict[str, Any], path: Path) -> None:
    """A graph with a card in its metadata, sealed by the SHA-256 of all that stands before it."""
    from onnx.helper import set_model_props

    set_model_props(model, {CARD: as_json(card), RUNTIME: json.dumps(facts)})
    data = model.SerializeToString()
    path.write_bytes(data + END + hashlib.sha256(data).hexdigest().encode())


def facts_of(known: TorchNet) -> dict[str, Any]:
    """What an `ExportedNet` is told beside the card."""
    gate, net = known.gate, known.module
    return {
        "cue_names": list(known.cue_names),
        "cue_version": known.cue_version,
        "experts": net.names if isinstance(net, Ensemble) and net.how in OF_EXPERTS else [],
        "gate": gate
        and {"home": gate.home.tolist(), "world": gate.world.tolist(), "facts": dict(gate.facts)},
    }


class _Graph(nn.Module):
    """What the file computes: crops, and where they are read middle crops and cues -> a tensor an output."""

    def __init__(self, known: TorchNet):
        super().__init__()
        self.net = known.module
        self.distance = None if known.familiarity is None else Distance(known.familiarity).eval()
        self.experts = isinstance(self.net, Ensemble) and self.net.how in OF_EXPERTS

    def forward(self, crops: Tensor, middle: Tensor | None = None, cues: Tensor | None = None):
        image = as_images(crops)
        logits = self._answers(image, None)
        if cues is not None:
            # NaN: of this picture there are none
            given = ~cues.isnan().any(1)
            with_cues = self._answers(image, cues.nan_to_num(0.0))
            logits = [
                torch.where(given.view(-1, *[1] * (a.dim() - 1)), b, a)
                for a, b in zip(logits, with_cues, strict=True)
            ]
        if self.distance is not None:
            logits.append(self.distance(as_images(middle)))
        return tuple(logits)

    def _answers(self, image: Tensor, cues: Tensor | None) -> list[Tensor]:
        """The logits (B,), and of experts their parts (B, M)."""
        if not self.experts:
            return [self.net(image) if cues is None else self.net(image, cues)]
        members = self.net.member_logits(image, cues)
        return [self.net.fuse(members), self.net.parts(members)]


def graph_of(known: TorchNet, card: Card) -> onnx.ModelProto:
    """The graph of a net and its gate, of any number of pictures.

    Raises:
        ValueError: torch cannot write this net in ONNX.
    """
    graph = _Graph(known).eval()
    shown = {"crops": "B", "middle": "P", "cues": "B"}
    inputs = _noise(known, card, PICTURES)
    dims = {name: {0: torch.export.Dim(each)} for name, each in shown.items() if name in inputs}
    names = ["logit", *(["parts"] if graph.experts else []), *(["distance"] if known.gate else [])]
    try:
        with _silent(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                kwargs={name: torch.from_numpy(value) for name, value in inputs.items()},
                input_names=list(inputs),
                output_names=names,
                dynamic_shapes=dims,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        why = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"torch {torch.__version__} cannot write {type(known.module).__name__} in ONNX: {why}. Export it "
            "as safetensors, which needs torch where it is used."
        ) from error
    return program.model_proto


def _noise(known: TorchNet, card: Card, num: int) -> dict[str, np.ndarray]:
    """Inputs of so many pictures of noise, each alone and with another number of middle crops."""
    rng, view = np.random.default_rng(0), card.made_view("the card")
    crops = rng.integers(0, 256, (num, *view.shape[1:], 3), np.uint8)
    inputs = {"crops": crops}
    if known.gate is not None:
        inputs["middle"] = np.ascontiguousarray(crops[1:, *view.middle])
    if known.cue_names:
        inputs["cues"] = rng.normal(size=(num, len(known.cue_names))).astype(np.float32)
    return inputs


def compared(known: TorchNet, card: Card, net: ExportedNet) -> str:
    """In words, how far an export's answers are from torch's on noise, with one picture and with several.

    Raises:
        ValueError: so far that it is another net.
    """
    far = {"logits": 0.0, "distances": 0.0}
    for num in (1, PICTURES):
        inputs = _noise(known, card, num + 1)
        crops, cues = inputs["crops"], inputs.get("cues")
        for given in [None] if cues is None else [None, cues]:
            expected = known.logits(crops, given)
            far["logits"] = max(far["logits"], _apart(net.logits(crops, given), expected))
        if known.gate is not None:
            expected = known.distance(inputs["middle"])
            far["distances"] = max(far["distances"], _apart(net.distance(inputs["middle"]), expected))
    if max(far.values()) > APART:
        raise ValueError(
            f"what was written is another net: its logits differ by {far['logits']:.1e}, its distances by "
            f"{far['distances']:.1e}. Export it as safetensors."
        )
    return (
        f"On noise its logits differ from torch's by {far['logits']:.0e} at most, its distances by "
        f"{far['distances']:.0e}."
    )


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share where numbers are above one."""
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max(initial=0))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter tells its own developers of each pass."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
