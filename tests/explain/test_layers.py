"""Filters and activations of a chosen layer."""

import pytest
import torch
from small_nets import Corner, num_hooks

from dfd.explain import activations, filters
from dfd.models import SingleStream, SmallCNN, TimmBackbone


def test_filters_are_those_of_the_named_or_the_first_convolution():
    net = SingleStream(SmallCNN(8))
    name, found = filters(net)
    assert name == "backbone.stem.0" and torch.equal(found, net.backbone.stem[0].weight)
    name, found = filters(net, "backbone.stages.1")
    assert name == "backbone.stages.1.body.0" and found.shape == (16, 8, 3, 3)
    with pytest.raises(ValueError, match=r"no convolution in 'head'"):
        filters(net, "head")
    with pytest.raises(ValueError, match=r"Near it: backbone\.stages"):
        filters(net, "backbone.stage")


def test_activations_are_ordered_by_what_they_add_to_the_logit():
    torch.manual_seed(0)
    net, image = SingleStream(SmallCNN(8)).train(), torch.rand(2, 3, 64, 64)
    torch.nn.init.normal_(net.head.weight)
    with torch.inference_mode():
        found = activations(net, image, most=5)
    assert found.layer == "rgb" and found.maps.shape == (2, 5, 8, 8) and num_hooks(net) == 0
    assert all(module.training for module in net.modules())
    net.eval()
    with torch.no_grad():
        pooled = net.backbone(image)  # (2, 32), the mean of each map of the last stage
    torch.testing.assert_close(found.maps.mean((2, 3)), pooled.gather(1, found.channel), rtol=1e-4, atol=1e-5)
    # the head is linear in the pooled maps: to first order is exact
    weight = (pooled * net.head.weight).detach()
    torch.testing.assert_close(found.weight, weight.gather(1, found.channel), rtol=1e-4, atol=1e-5)
    assert (found.weight.abs().diff(dim=1) <= 1e-6).all()
    assert found.weight.abs()[:, 0].equal(weight.abs().max(1).values) or torch.allclose(
        found.weight.abs()[:, 0], weight.abs().max(1).values, rtol=1e-4
    )


def test_a_layer_without_a_map_is_refused():
    net = SingleStream(TimmBackbone("test_vit"))
    with pytest.raises(ValueError, match=r"gives \(1, .*no map \(B, C, h, w\)"):
        activations(net, torch.rand(1, 3, 64, 64), "backbone.model.blocks.0")
    assert num_hooks(net) == 0
    assert activations(Corner(), torch.rand(1, 3, 64, 64)).layer == "look"
