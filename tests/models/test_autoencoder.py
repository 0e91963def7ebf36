import pytest
import torch

from dfd.models import Autoencoder, build, recipe
from dfd.models.autoencoder import DECODERS

KINDS = {f"{decoder}{stride}": (decoder, stride, 0) for decoder in DECODERS for stride in (4, 8)}
KINDS["nearest4-vq"] = ("nearest", 4, 16)


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def net(request):
    torch.manual_seed(0)
    decoder, stride, codebook = request.param
    return Autoencoder(decoder, stride, width=4, codebook=codebook)


def test_pictures_of_any_size_come_back(net):
    net.eval()
    for height, width in ((32, 32), (33, 47), (7, 90), (1, 1)):
        made = net(torch.rand(2, 3, height, width))
        assert made.shape == (2, 3, height, width) and made.min() >= 0 and made.max() <= 1


def test_gradients_reach_every_parameter_and_a_rebuilt_net_draws_the_same(net):
    image = torch.rand(2, 3, 32, 32)
    made, far = net.reconstruct(image)
    ((made - image).abs().mean() + far).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    again = build(recipe(net))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(image), net.eval()(image))


def grid(decoder: str) -> float:
    """How much more a picture's phases of 2 x 2 pixels differ than chance has it, for a constant picture."""
    spread = []
    for seed in range(8):
        torch.manual_seed(seed)
        net = Autoencoder(decoder, 4, width=8).eval()
        with torch.inference_mode():
            made = net(torch.full((1, 3, 64, 64), 0.5))[0, :, 24:40, 24:40]
        phases = torch.stack([made[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]).mean((2, 3))  # (4, 3)
        spread.append(phases.std(0).mean().item())
    return sum(spread) / len(spread)


def test_checkerboards_come_from_transposed_convolutions_and_shuffles_alone():
    """Of a picture without detail: what kernels of its own draw each phase of the grid (Odena et al., 2016)."""
    assert max(grid("nearest"), grid("bilinear")) < 1e-5
    assert min(grid("transposed"), grid("shuffle")) > 1e-3


def test_a_codebook_follows_the_vectors_that_it_replaces():
    torch.manual_seed(0)
    codes = Autoencoder("nearest", 4, width=4, codebook=32).codes
    centres = 4 * torch.randn(8, 4)

    def code() -> torch.Tensor:
        """(1, 8, 6, 6): two vectors a place, each near a centre."""
        vectors = centres[torch.randint(8, (72,))] + 0.01 * torch.randn(72, 4)
        return vectors.view(2, 36, 4).movedim(-1, 1).reshape(1, 8, 6, 6)

    for _ in range(300):
        codes(code())
    given = code()
    taken, far = codes.eval()(given)
    assert (taken - given).abs().max() < 0.5 and far < 0.05, "each centre has a vector, none is left dead"
    distance = torch.cdist(given.view(2, 4, 36).movedim(1, -1).reshape(-1, 4), codes.vectors)
    nearest = codes.vectors[distance.argmin(1)].view(2, 36, 4).movedim(-1, 1).reshape(1, 8, 6, 6)
    torch.testing.assert_close(taken, nearest)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"decoder": "cubic"},
            "decoder='cubic' is not known. Use one of nearest, bilinear, transposed, shuffle",
        ),
        ({"stride": 16}, "stride=16.*Use 4 or 8"),
        ({"width": 0}, "width=0.*at least one channel"),
        ({"codebook": 1}, "codebook=1.*512 say, or 0"),
        ({"codebook": 8, "latent": 6}, "latent=6.*Use a multiple, 8 say"),
    ],
)
def test_what_cannot_be_built_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        Autoencoder(**options)
