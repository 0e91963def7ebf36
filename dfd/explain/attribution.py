"""Attribution maps of a detector's logit, by Captum: which pixels moved it, one map an image.

A map shows what moved this net, not where a forgery is. `dfd.explain.faithfulness` measures how far to
believe one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfd.explain.layers import find_layer
from dfd.explain.unchanged import check_gradients, coarse, ready, unchanged

Method = Literal["gradcam", "guided_gradcam", "integrated_gradients", "smoothgrad", "occlusion", "mask_head"]
# a twentieth of the range drowns the traces that a detector looks for, and its gradients with them
NOISE = 0.02
SAMPLES = 25  # noisy copies of an image, SmoothGrad
WINDOWS = 8  # a window of occlusion is this fraction of the image wide; it moves by half of its width


@dataclass(frozen=True)
class Attribution:
    """`map` (B, H, W) float32, in the size of the image, as METHODS says. `error` (B,), or None where the
    method has none: the part of the logit's distance from a black picture that integrated gradients leave out
    (0: none, .05: a twentieth).
    """

    map: Tensor
    error: Tensor | None = None


@dataclass(frozen=True)
class Kind:
    """What a method's maps are.

    Args:
        title: the method's name for people.
        meaning: what a value says, as a sentence.
        signed: whether there are negative values, which speak against FAKE.
        gradients: whether the net must have gradients.
    """

    title: str
    meaning: str
    signed: bool
    gradients: bool = True


METHODS: dict[str, Kind] = {
    "gradcam": Kind(
        "Grad-CAM",
        "Evidence for fake at that place, in the coarse grid of a layer (arXiv 1610.02391).",
        False,
    ),
    "guided_gradcam": Kind(
        "guided Grad-CAM",
        "Grad-CAM's places, drawn with the pixels' gradients through the ReLUs (arXiv 1610.02391).",
        False,
    ),
    "integrated_gradients": Kind(
        "integrated gradients",
        "Each pixel's share of the logit's distance from that of a black picture (arXiv 1703.01365).",
        True,
    ),
    "smoothgrad": Kind(
        "SmoothGrad",
        "How strongly the logit answers to a change of that pixel, whichever way (arXiv 1706.03825).",
        False,
    ),
    "occlusion": Kind(
        "occlusion",
        "How far the logit falls when that place loses its detail (arXiv 1311.2901).",
        True,
        gradients=False,
    ),
    "mask_head": Kind(
        "mask head",
        "How sure the net's mask head, which was trained on masks, is that the place is forged.",
        False,
        gradients=False,
    ),
}


def attribute(
    detector: Any,
    image: Tensor,
    method: Method | str,
    layer: str | None = None,
    steps: int = 50,
    batch_size: int = 32,
) -> Attribution:
    """Attribution of the logits of images. Leaves the net as it was, after an error too; works inside
    Lightning's validation and torch's inference mode.

    Args:
        detector: a `dfd.Detector`, whose decisions rest on the mean logit of such images, or a net or
            function: images (B, 3, H, W) -> logits (B,). Where it has no gradients, only occlusion works.
        image: (B, 3, H, W) in [0, 1], in the size that the net takes.
        method: a name of METHODS.
        layer: gradcam and guided_gradcam: which of `net.cam_layers`, the first by default, or any layer by
            its name among the net's modules.
        steps: integrated_gradients only, points on the way from black.
        batch_size: images that go through the net at once.

    Raises:
        ValueError: no such method or layer, the layer gives no map of images of this size, or the net lacks
            what the method needs. The text names a method that works.
    """
    if method not in _EXPLAIN:
        raise ValueError(f"method={method!r}: attribute knows {', '.join(map(repr, METHODS))}.")
    with unchanged(detector) as net:
        ours = ready(image, net)
        if METHODS[method].gradients:
            check_gradients(net, ours, method)
        found = [
            _EXPLAIN[method](net, part, layer=layer, steps=steps, batch_size=batch_size)
            for part in ours.split(batch_size)
        ]
    errors = [each.error for each in found if each.error is not None]
    return Attribution(
        torch.cat([each.map for each in found]).to(image.device),
        torch.cat(errors).to(image.device) if errors else None,
    )


def check_methods(methods: Sequence[str]) -> None:
    """ValueError for names that are no methods."""
    if unknown := [name for name in methods if name not in METHODS]:
        raise ValueError(f"there is no method {unknown[0]!r}. Use some of {', '.join(METHODS)}.")


def _gradcam(net: nn.Module, image: Tensor, layer: str | None, **_: Any) -> Attribution:
    """Selvaraju et al., 1610.02391."""
    from captum.attr import LayerAttribution, LayerGradCam

    name, module = find_layer(net, layer)
    height, width = image.shape[-2:]
    instead = "Use 'integrated_gradients', 'smoothgrad' or 'occlusion', which need no layer."
    try:
        # frozen weights would leave the layer's output without a gradient; the image brings one
        cam = LayerGradCam(net, module).attribute(image.requires_grad_(), relu_attributions=True)
    except AssertionError as error:  # the layer was not reached
        raise ValueError(
            f"No map came by in {name!r} for {width} x {height} px: transformers need square pictures. "
            f"{instead}"
        ) from error
    if not isinstance(cam, Tensor) or cam.dim() != 4 or cam.shape[0] != len(image):
        shape = tuple(cam.shape) if isinstance(cam, Tensor) else "several outputs"
        layers = ", ".join(getattr(net, "cam_layers", {}))
        raise ValueError(
            f"the layer {name!r} keeps no places of the picture (Grad-CAM: {shape})"
            f"{f'; this net has maps in {layers}' if layers else ''}. {instead}"
        )
    # (B, 1, h, w)
    return Attribution(LayerAttribution.interpolate(cam.detach(), (height, width), "bilinear").squeeze(1))


def _guided_gradcam(net: nn.Module, image: Tensor, layer: str | None, **_: Any) -> Attribution:
    """Grad-CAM times guided backpropagation (Springenberg et al., 1412.6806), where both speak for FAKE."""
    from captum.attr import Saliency

    # Captum's own knows nn.ReLU alone, and would give plain gradients of a net of ReLU6 under this name
    rectifiers = [module for module in net.modules() if isinstance(module, (nn.ReLU, nn.ReLU6))]
    if not rectifiers:
        raise ValueError(
            f"guided_gradcam changes the gradients of ReLUs, and this {type(net).__name__} has none. Use "
            "'gradcam', 'integrated_gradients' or 'smoothgrad'."
        )
    cam = _gradcam(net, image, layer).map
    handles = [module.register_full_backward_hook(_only_positive) for module in rectifiers]
    try:
        guided = Saliency(net).attribute(image.detach().clone().requires_grad_(), abs=False).detach()
    finally:
        for handle in handles:
            handle.remove()
    return Attribution(cam * guided.sum(1).clamp_min(0))


def _only_positive(module: nn.Module, into: Sequence[Tensor], outof: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(gradient.clamp_min(0) for gradient in into)


def _integrated_gradients(
    net: nn.Module, image: Tensor, steps: int, batch_size: int, **_: Any
) -> Attribution:
    """Sundararajan et al., 1703.01365."""
    from captum.attr import IntegratedGradients

    black = torch.zeros_like(image)
    gradients = IntegratedGradients(net)
    shares = gradients.attribute(image, black, n_steps=steps, internal_batch_size=batch_size).detach()
    with torch.no_grad():
        distance = net(image) - net(black[:1])  # (B,)
    error = (shares.sum((1, 2, 3)) - distance).abs() / distance.abs().clamp_min(0.01)
    return Attribution(shares.sum(1), error)


def _smoothgrad(net: nn.Module, image: Tensor, batch_size: int, **_: Any) -> Attribution:
    """Smilkov et al., 1706.03825; the same noise each time."""
    from captum.attr import NoiseTunnel, Saliency

    smooth = NoiseTunnel(Saliency(net))
    with torch.random.fork_rng(devices=[image.device] if image.device.type == "cuda" else []):
        torch.manual_seed(0)
        gradient = smooth.attribute(
            image,
            nt_samples=SAMPLES,
            nt_samples_batch_size=max(1, batch_size // len(image)),
            stdevs=NOISE,
            abs=False,
        )
    return Attribution(gradient.detach().abs().sum(1))


def _occlusion(net: nn.Module, image: Tensor, batch_size: int, **_: Any) -> Attribution:
    """Zeiler and Fergus, 1311.2901, with the detail of a window removed and not the window blackened."""
    from captum.attr import Occlusion

    window = max(1, min(image.shape[-2:]) // WINDOWS)
    step = max(1, window // 2)
    with torch.no_grad():
        fall = Occlusion(net).attribute(
            image,
            sliding_window_shapes=(3, window, window),
            strides=(3, step, step),
            baselines=coarse(image),
            perturbations_per_eval=max(1, batch_size // len(image)),
        )
    return Attribution(fall[:, 0].float())


def _mask_head(net: nn.Module, image: Tensor, **_: Any) -> Attribution:
    """What the net itself says of each place, where it was trained to; no attribution of its logit."""
    localize = getattr(net, "localize", None)
    if localize is None:
        raise ValueError(
            f"a {type(net).__name__} has no mask head. dfd.models.MaskStream has one, and learns from masks."
        )
    with torch.no_grad():
        return Attribution(localize(image))


_EXPLAIN: dict[str, Callable[..., Attribution]] = {
    "gradcam": _gradcam,
    "guided_gradcam": _guided_gradcam,
    "integrated_gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "occlusion": _occlusion,
    "mask_head": _mask_head,
}
