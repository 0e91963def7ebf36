"""Attribution maps of a detector's logit by Captum: Grad-CAM and integrated gradients, one map an image.

A map shows what moved this net, not where a forgery is; sanity checks such as randomising the weights
(Adebayo et al., 1810.03292) tell how far to believe it. Integrated gradients say how much of the logit their
map fails to account for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dfd.eval_mode import eval_mode

Method = Literal["gradcam", "integrated_gradients"]


@dataclass(frozen=True)
class Attribution:
    """`map` (B, H, W) float32, in the size of the image. `error` (B,), or None where the method has none.

    gradcam: evidence for FAKE, from 0 up. integrated_gradients: each pixel's share of the logit's distance
    from that of a black picture, positive towards FAKE; `error` is the part of that distance which the map
    leaves out (0: none, .05: a twentieth).
    """

    map: Tensor
    error: Tensor | None


def attribute(
    net: nn.Module,
    image: Tensor,
    method: Method,
    layer: str | None = None,
    steps: int = 50,
    batch_size: int = 32,
) -> Attribution:
    """Attribution of the logits of images. Leaves the net as it was; works inside Lightning's validation.

    Args:
        net: images (B, 3, H, W) -> logits (B,).
        image: (B, 3, H, W) in [0, 1].
        method: "gradcam" or "integrated_gradients".
        layer: gradcam only, which of `net.cam_layers`; the first by default.
        steps: integrated gradients only, points on the way from black.
        batch_size: of these, how many at a time.

    Raises:
        ValueError: no such method or layer, or the layer gives no map of images of this size.
    """
    explain = {"gradcam": _gradcam, "integrated_gradients": _integrated_gradients}.get(method)
    if explain is None:
        raise ValueError(f"method={method!r}: attribute knows 'gradcam' and 'integrated_gradients'.")
    # a validation step runs in inference mode: no gradients, and its tensors stay marked; hence the clone
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(image.device.type, enabled=False),
        eval_mode(net),
    ):
        image = image.detach().clone().float()
        if explain is _gradcam:
            return Attribution(_gradcam(net, image, layer), None)
        return _integrated_gradients(net, image, steps, batch_size)


def _gradcam(net: nn.Module, image: Tensor, layer: str | None) -> Tensor:
    """Selvaraju et al., 1610.02391."""
    from captum.attr import LayerAttribution, LayerGradCam

    layers = net.cam_layers
    layer = next(iter(layers)) if layer is None else layer
    if layer not in layers:
        raise ValueError(
            f"layer={layer!r}: this {type(net).__name__} has maps of the picture in {', '.join(layers)}."
        )
    try:
        # frozen weights would leave the layer's output without a gradient; the image brings one
        grad_cam = LayerGradCam(net, layers[layer])
        cam = grad_cam.attribute(image.requires_grad_(), relu_attributions=True)  # (B, 1, h, w)
    except AssertionError as error:  # the layer was not reached
        height, width = image.shape[-2:]
        raise ValueError(
            f"No map came by in {layer!r} for {width} x {height} px: transformers need square pictures."
        ) from error
    return LayerAttribution.interpolate(cam.detach(), image.shape[-2:], "bilinear").squeeze(1)


def _integrated_gradients(net: nn.Module, image: Tensor, steps: int, batch_size: int) -> Attribution:
    """Sundararajan et al., 1703.01365."""
    from captum.attr import IntegratedGradients

    black = torch.zeros_like(image)
    gradients = IntegratedGradients(net)
    shares = gradients.attribute(image, black, n_steps=steps, internal_batch_size=batch_size).detach()
    with torch.no_grad():
        distance = net(image) - net(black[:1])  # (B,)
    error = (shares.sum((1, 2, 3)) - distance).abs() / distance.abs().clamp_min(0.01)
    return Attribution(shares.sum(1), error)
