"""Familiarity: how strange a picture is to a detector, by what it was trained on and calibrated with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfd.familiarity.alarm import worlds
from dfd.familiarity.features import Features
from dfd.familiarity.gate import Gate
from dfd.familiarity.gaussians import Gaussians, groups
from dfd.familiarity.state import EARLY, strange_state

FEWEST = 20  # pictures of either split: with fewer, 5% is less than one


@dataclass(frozen=True)
class Home:
    """Features of pictures as they are and as they were delivered.

    Args:
        features: of each kind (M, D, F): the first of D is the picture as it is.
        source: (M,) str.
        label: (M,) int.
    """

    features: Mapping[str, np.ndarray]
    source: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


class Familiarity(Gate):
    """A gate with what it measures: `rank(distance(images))` is the share of home that is at least as
    strange. `fit` makes one, `of` restores the one that `state` gave.
    """

    def __init__(
        self,
        features: Features,
        gaussians: Mapping[str, Gaussians],
        spread: Mapping[str, np.ndarray],
        home: np.ndarray,
        world: np.ndarray,
        facts: Mapping[str, Any],
    ):
        super().__init__(home, world, facts)
        self.features, self.gaussians, self.spread = features, gaussians, spread

    @classmethod
    def fit(cls, features: Features, train: Home, val: Home) -> Familiarity | None:
        """One Gaussian for each source of the training pictures, and the distances of the validation ones.

        Args:
            features: what gave both.
            train: clean and delivered copies. A gate that was fitted on clean ones learns one quantization
                table, and refuses everything else.
            val: likewise; they train nothing.

        Returns None where either has fewer pictures than FEWEST.
        """
        if min(len(train), len(val)) < FEWEST:
            return None
        copies = [next(iter(home.features.values())).shape[1] for home in (train, val)]
        source = np.repeat(train.source, copies[0])
        gaussians, spread, scores = {}, {}, []
        for name, measured in sorted(train.features.items()):
            gaussian = Gaussians.fit(measured.reshape(-1, measured.shape[-1]), source)
            at_home = val.features[name]
            distance = gaussian.distance(at_home.reshape(-1, at_home.shape[-1]))
            spread[name] = np.array([distance.mean(), max(distance.std(), 1e-3)], np.float32)
            gaussians[name] = gaussian
            scores.append((distance - spread[name][0]) / spread[name][1])
        delivered = np.tile(np.arange(copies[1]) > 0, len(val))
        world = worlds(val.source.repeat(copies[1]), val.label.repeat(copies[1]), delivered)
        facts = {
            "basis": features.basis,
            "split": "val",
            "images": len(train),
            "val_images": len(val),
            "sources": len(groups(source)),
            "spaces": sorted(gaussians),
        }
        home = np.max(scores, axis=0).astype(np.float32)
        return cls(features, gaussians, spread, home, world, facts)

    def distance(self, images: Tensor) -> np.ndarray:
        """(B,) float64 of the middle crops (B, 3, H, W) in [0, 1]: the largest of the features' distances, in
        deviations from home's mean.
        """
        if not len(images):
            return np.zeros(0)
        return self.of_features({name: value.cpu().numpy() for name, value in self.features(images).items()})

    def of_features(self, measured: Mapping[str, np.ndarray]) -> np.ndarray:
        """(B,) distances of features (B, F), by name.

        Raises:
            ValueError: they are those of another net.
        """
        for name, gaussian in self.gaussians.items():
            width = measured[name].shape[-1] if name in measured else 0
            if width != len(gaussian.mean):
                raise ValueError(
                    f"the familiarity of this detector knows {len(gaussian.mean)} {name} features, and its "
                    f"net gives {width}: the checkpoint was put together from two trainings."
                )
        scores = [
            (gaussian.distance(measured[name]) - self.spread[name][0]) / self.spread[name][1]
            for name, gaussian in self.gaussians.items()
        ]
        return np.max(scores, axis=0)

    def state(self) -> dict[str, Any]:
        """Facts in plain values, and tensors; `of` takes it."""
        from dfd.models import recipe
        from dfd.models.backbones import rounded

        tensors = {"home": torch.from_numpy(self.home), "world": torch.from_numpy(self.world)}
        for name, gaussian in self.gaussians.items():
            parts = gaussian.arrays() | {"spread": self.spread[name]}
            tensors |= {f"{name}.{part}": torch.from_numpy(value) for part, value in parts.items()}
        early = self.features.early
        if early is not None:
            weights = early.state_dict()
            tensors |= {f"{EARLY}{name}": rounded(value.cpu()) for name, value in weights.items()}
        facts = {**self.facts, "early": None if early is None else recipe(early)}
        return {"facts": facts, "tensors": tensors}

    @classmethod
    def of(cls, state: Mapping[str, Any], net: nn.Module, where: str) -> Familiarity:
        """The gate of a stored state.

        Args:
            state: what `state` gave, by this version of dfd.
            net: the detector's, whose own features the gate may measure.
            where: what to call the file in an error.

        Raises:
            ValueError: dfd did not write it.
        """
        from dfd.models import EarlyLayers
        from dfd.models.checkpoint import rebuild

        if strange := strange_state(state):
            raise ValueError(f"{where} has a familiarity {strange}: dfd did not write it.")
        facts, tensors = state["facts"], state["tensors"]
        early = None
        if facts["early"] is not None:
            weights = {
                name.removeprefix(EARLY): value for name, value in tensors.items() if name.startswith(EARLY)
            }
            with torch.random.fork_rng(devices=[]):  # a resumed fit goes on drawing where it stood
                early = rebuild(facts["early"], weights, where, (), None).eval()
            if not isinstance(early, EarlyLayers):
                raise ValueError(f"{where} has a familiarity of other layers than a backbone's first.")
        arrays = {name: value.numpy() for name, value in tensors.items()}
        gaussians, spread = {}, {}
        for name in facts["spaces"]:
            gaussians[name] = Gaussians.of(
                {
                    part.removeprefix(f"{name}."): value
                    for part, value in arrays.items()
                    if part.startswith(f"{name}.")
                }
            )
            spread[name] = arrays[f"{name}.spread"]
        facts = {name: value for name, value in facts.items() if name != "early"}
        features = Features(early, net if "own" in gaussians else None)
        return cls(features, gaussians, spread, arrays["home"], arrays["world"], facts)
