"""ExportedNet: a detector's net as `dfd export` writes it for another program than torch, whichever it is.

The graph takes crops and gives a logit each. What else a detector is stands in the file as two texts in JSON:
its card, and what an `ExportedNet` is told beside it.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dfd.detector.card import Card
from dfd.familiarity import Gate

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD, RUNTIME = "dfd", "dfd_runtime"  # names of the two texts


class ExportedNet(ABC):
    """A `Runtime`. Several threads may use it.

    Inputs of the graph: "crops" (B, size, size, 3) uint8; with a gate "middle" (P, H, W, 3) uint8; of a net
    that reads them "cues" (B, C) float32, NaN where there are none. Its outputs: "logit" (B,), "distance"
    (P,), and of experts "parts" (B, M).

    Args:
        cue_names, cue_version: which cues these are.
        experts: names of the M experts.
        gate: ranks of the distances.

    Attributes:
        kind: the format, as people call it.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        cue_names: tuple[str, ...] = (),
        cue_version: int = 0,
        experts: tuple[str, ...] = (),
        gate: Gate | None = None,
    ):
        self.cue_names, self.cue_version = cue_names, cue_version
        self.experts, self.gate = experts, gate

    @abstractmethod
    def run(self, output: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """One output of the graph, of the inputs that it depends on.

        Raises:
            ValueError: the graph does not take such inputs.
        """

    @property
    def module(self) -> nn.Module:
        from dfd.detector.exported_module import ExportedModule

        return ExportedModule(self)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        return self.module(image, cues)

    def logits(self, crops: np.ndarray, cues: np.ndarray | None = None) -> np.ndarray:
        return self.run("logit", self.inputs(crops, cues)).astype(np.float64)

    def distance(self, middle: np.ndarray | Tensor) -> np.ndarray:
        return self.run("distance", {"middle": np.asarray(middle)})

    def expert(self, crops: np.ndarray, cues: np.ndarray | None = None) -> str:
        if not self.experts:
            return ""
        parts = self.run("parts", self.inputs(crops, cues)).mean(0)
        return self.experts[int(parts.argmax())]

    def inputs(self, crops: np.ndarray, cues: np.ndarray | None) -> dict[str, np.ndarray]:
        """What logits depend on, of such crops."""
        if not self.cue_names:
            return {"crops": crops}
        if cues is None:
            cues = np.full((len(crops), len(self.cue_names)), np.nan, np.float32)
        return {"crops": crops, "cues": cues}


def threads() -> int:
    """Threads that OMP_NUM_THREADS allows an export; 0: the program's own choice."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


def shapes_of(inputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {each.shape}" for name, each in inputs.items())


def read_texts(texts: Mapping[str, str], inputs: Iterable[str], path: Path) -> tuple[dict[str, Any], Card]:
    """The arguments of an `ExportedNet`, and its card.

    Args:
        texts: those of the file.
        inputs: names of the graph's.
        path: of the file, for what is said of it.

    Raises:
        ValueError: they are not as `dfd export` writes them.
    """
    try:
        plain, facts = (json.loads(texts[name]) for name in (CARD, RUNTIME))
        if not isinstance(plain, dict):
            raise TypeError("a card that is none")
        arguments = _checked(facts, set(inputs))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} has metadata that cannot be read ({error!r}): dfd did not write it."
        ) from error
    return arguments, Card.from_plain(plain, (), str(path))


def _checked(facts: dict[str, Any], inputs: set[str]) -> dict[str, Any]:
    """Raises TypeError, KeyError or ValueError where facts are not as `dfd export` writes them."""
    names = {"crops"} | ({"cues"} if facts["cue_names"] else set()) | ({"middle"} if facts["gate"] else set())
    if names != inputs:
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
