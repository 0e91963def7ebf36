"""Contribution of each stream of a net to its logit: what the pixels say, and what the frequencies say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dfd.explain.unchanged import net_of, ready, unchanged
from dfd.models.protocols import Streams


@dataclass(frozen=True)
class StreamContributions:
    """How each stream moves the logits of images, by the stream's name; positive towards FAKE.

    Args:
        replaced: (B,) how far the logit falls when the stream's features are replaced by the reference's and
            the others stay.
        shares: (B,) the stream's share of the logit's distance from that of all references, by integrated
            gradients through the features; they add up to it.
        distance: (B,) that distance.
        reference: what the features were replaced by, in words.
    """

    replaced: dict[str, Tensor]
    shares: dict[str, Tensor]
    distance: Tensor
    reference: str

    @property
    def decided(self) -> list[str]:
        """Of each image, the stream that brought the logit farthest the way it went from the references."""
        names, shares = list(self.shares), torch.stack(list(self.shares.values()))  # (streams, B)
        towards = shares * shares.sum(0).sign()
        return [names[which] for which in towards.argmax(0).tolist()]

    def mean(self) -> StreamContributions:
        """Those of the mean logit, as of several crops of one picture: B = 1."""
        replaced, shares = (
            {name: each.mean(0, keepdim=True) for name, each in streams.items()}
            for streams in (self.replaced, self.shares)
        )
        return StreamContributions(replaced, shares, self.distance.mean(0, keepdim=True), self.reference)


def has_streams(detector: Any) -> bool:
    """Whether a detector's net has several streams that can be looked at one by one."""
    return isinstance(net_of(detector), Streams)


def stream_contributions(
    detector: Any, image: Tensor, reference: Tensor | None = None, steps: int = 20
) -> StreamContributions:
    """How much each stream of a net moves the logits of images.

    Args:
        detector: a `dfd.Detector` or a net with the methods of `dfd.models.Streams`.
        image: (B, 3, H, W) in [0, 1].
        reference: images (R, 3, H, W): a stream's features are replaced by the mean of theirs. None: by
            zero, which also removes what all pictures share.
        steps: points on the way from the reference, for the shares.

    Raises:
        ValueError: the net has one stream only.
    """
    if not has_streams(detector):
        raise ValueError(
            f"a {type(net_of(detector)).__name__} has one stream, so there is nothing to compare. "
            "dfd.models.DualStream has two."
        )
    with unchanged(detector) as net:
        assert isinstance(net, Streams)
        with torch.no_grad():
            features = net.streams(ready(image, net))
            if reference is None:
                instead = {name: torch.zeros_like(each) for name, each in features.items()}
            else:
                seen = net.streams(ready(reference, net))
                instead = {name: seen[name].mean(0).expand_as(each) for name, each in features.items()}
            logit = net.judge(**features)
            replaced = {name: logit - net.judge(**(features | {name: instead[name]})) for name in features}
            distance = logit - net.judge(**instead)
        shares = _shares(net, features, instead, steps)
    return StreamContributions(
        {name: each.to(image.device) for name, each in replaced.items()},
        {name: each.to(image.device) for name, each in shares.items()},
        distance.to(image.device),
        "zero" if reference is None else f"the mean features of {len(reference)} reference images",
    )


def _shares(
    net: Streams, features: dict[str, Tensor], instead: dict[str, Tensor], steps: int
) -> dict[str, Tensor]:
    """Integrated gradients over all features at once, summed within each stream."""
    from captum.attr import IntegratedGradients

    names = tuple(features)

    def logit(*each: Tensor) -> Tensor:
        return net.judge(**dict(zip(names, each, strict=True)))

    given = tuple(features[name].detach() for name in names)
    baselines = tuple(instead[name].detach() for name in names)
    shares = IntegratedGradients(logit).attribute(given, baselines, n_steps=steps)
    return {name: share.detach().flatten(1).sum(1) for name, share in zip(names, shares, strict=True)}
