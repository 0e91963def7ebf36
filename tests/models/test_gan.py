import pytest
import torch

from dfd.models import Discriminator, Generator, build, recipe


@pytest.mark.parametrize("size", [64, 128])
def test_latents_become_pictures_and_pictures_a_judgement(size):
    torch.manual_seed(0)
    net, discriminator = Generator(size, width=4, latent=16), Discriminator(size, width=4)
    image = net(torch.randn(3, 16))
    assert image.shape == (3, 3, size, size) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1
    seen = discriminator(image)
    assert seen.logit.shape == (3, 25)
    assert seen.whole.shape[2:] == (8, 8) and seen.detail.shape[2:] == (16, 16)


@pytest.mark.parametrize("size", [64, 128])
def test_gradients_reach_every_parameter(size):
    torch.manual_seed(0)
    net, discriminator = Generator(size, width=4, latent=16), Discriminator(size, width=4)
    image = net(torch.randn(4, 16))
    seen = discriminator(image)
    (seen.logit.mean() + discriminator.reconstruction_loss(seen, image)).backward()
    for module in (net, discriminator):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_pictures_differ_with_their_latents_and_with_nothing_else():
    torch.manual_seed(0)
    net = Generator(64, width=4, latent=16)
    latent = torch.randn(4, 16)
    one, again = net(latent), net(latent)
    assert torch.equal(one, again)
    assert (one[0] - one[1:]).abs().flatten(1).mean(1).min() > 0.01


def test_a_quarter_is_found_again_from_the_features_behind_it():
    """The features of the upper left quarter are compared with that quarter: the rest of the picture cannot
    change the loss.
    """
    torch.manual_seed(0)
    discriminator = Discriminator(64, width=4).eval()
    image = torch.rand(2, 3, 64, 64)
    seen = discriminator(image)
    losses = set()
    for seed in range(8):
        torch.manual_seed(seed)
        losses.add(round(discriminator.reconstruction_loss(seen, image).item(), 6))
    assert len(losses) == 4, "four quarters, four losses"


def test_both_nets_rebuild_themselves():
    for net in (Generator(64, width=4, latent=16), Discriminator(128, width=6)):
        again = build(recipe(net))
        assert {name: value.shape for name, value in again.state_dict().items()} == {
            name: value.shape for name, value in net.state_dict().items()
        }


@pytest.mark.parametrize("net", [Generator, Discriminator])
def test_other_sizes_are_refused(net):
    for size in (32, 96, 256):
        with pytest.raises(ValueError, match=f"size={size}.*64 or 128"):
            net(size)
