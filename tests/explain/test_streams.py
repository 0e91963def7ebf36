"""Contribution of streams: exact where the head is linear in both."""

import pytest
import torch
from small_nets import Corner

from dfd.explain import StreamContributions, has_streams, stream_contributions
from dfd.models import CrossAttention, DualStream, Gate, SmallCNN


def dual(**options):
    torch.manual_seed(0)
    net = DualStream(SmallCNN(4), SmallCNN(6), **options)
    torch.nn.init.normal_(net.head.weight)
    return net.train()


def test_side_by_side_each_stream_has_its_part_of_the_head():
    net, image, others = dual(), torch.rand(2, 3, 32, 32), torch.rand(5, 3, 32, 32)
    with torch.inference_mode():
        found = stream_contributions(net, image, others)
    assert all(module.training for module in net.modules())
    net.eval()
    with torch.no_grad():
        features, reference = net.streams(image), net.streams(others)
        weight = dict(zip(("rgb", "fft"), net.head.weight[0].split([16, 24]), strict=True))
        for name in ("rgb", "fft"):
            expected = (features[name] - reference[name].mean(0)) @ weight[name]
            torch.testing.assert_close(found.replaced[name], expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.shares[name], expected, rtol=1e-4, atol=1e-5)
        zero = stream_contributions(net, image)
        torch.testing.assert_close(zero.distance, net(image) - net.head.bias, rtol=1e-4, atol=1e-5)
    assert found.reference == "the mean features of 5 reference images" and zero.reference == "zero"


@pytest.mark.parametrize("fusion", [Gate, CrossAttention])
def test_through_any_fusion_the_shares_still_add_up(fusion):
    net, image = dual(fusion=fusion()), torch.rand(2, 3, 32, 32)
    found = stream_contributions(net, image, torch.rand(4, 3, 32, 32), steps=40)
    assert all(share.shape == (2,) for share in found.shares.values())
    torch.testing.assert_close(sum(found.shares.values()), found.distance, rtol=1e-2, atol=1e-3)
    assert found.mean().distance.shape == (1,) and len(found.mean().decided) == 1


def test_the_stream_that_moved_the_logit_most_its_way_decided():
    shares = {"rgb": torch.tensor([2.0, 2.0, -1.0, 3.0]), "fft": torch.tensor([1.0, -3.0, -2.0, -1.0])}
    found = StreamContributions(shares, shares, sum(shares.values()), "zero")
    assert found.decided == ["rgb", "fft", "fft", "rgb"]
    assert found.mean().shares["rgb"] == 1.5 and found.mean().decided == ["rgb"]


def test_a_stream_that_the_head_does_not_read_contributes_nothing():
    net = dual()
    with torch.no_grad():
        net.head.weight[:, 16:] = 0
    found = stream_contributions(net, torch.rand(1, 3, 32, 32))
    assert found.replaced["fft"].abs().max() == 0 == found.shares["fft"].abs().max()
    assert found.replaced["rgb"].abs().min() > 0


def test_one_stream_has_nothing_to_compare():
    assert has_streams(dual()) and not has_streams(Corner()) and not has_streams(lambda image: image)
    with pytest.raises(ValueError, match="a Corner has one stream"):
        stream_contributions(Corner(), torch.rand(1, 3, 64, 64))
