"""Faithfulness: maps of what a net looks at pass, and maps that do not are caught."""

import numpy as np
import pytest
import torch
from small_nets import num_hooks
from torch import nn
from torch.nn import functional as F

from dfd.explain import (
    Faithfulness,
    attribute,
    faithfulness,
    how_far,
    infidelity,
    pointing_game,
    random_orders,
    sensitivity,
    share_on,
    survival,
)
from dfd.explain.deletion import GRID, cells
from dfd.explain.randomized import shuffle_weights
from dfd.models import Net, SingleStream, SmallCNN, TimmBackbone


class Square(Net):
    """The logit is how much detail the square of 16 px at (32, 8) has; it looks nowhere else."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        place = image[:, :, 32:48, 8:24]
        return self.weight * 100 * (place - place.mean((2, 3), keepdim=True)).square().mean((1, 2, 3))


MASK = torch.zeros(64, 64, dtype=torch.bool)
MASK[32:48, 8:24] = True


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def orders(image):
    return random_orders(Square(), image[0])


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "occlusion"])
def test_maps_of_a_net_that_looks_at_a_square_hold(method, image, orders):
    found = attribute(Square(), image, method).map[0]
    assert pointing_game(found, MASK)
    assert share_on(found, MASK) > 0.99 if method != "occlusion" else share_on(found, MASK) > 0.5
    measured = faithfulness(Square(), image[0], found, orders)
    assert measured.deletion < measured.random < measured.insertion
    assert measured.beaten == 1 and measured.better_than_chance and measured.holds
    assert measured.deletion_curve[0] == pytest.approx(Square()(image).item())
    assert measured.deletion_curve[0] == measured.insertion_curve[-1]
    assert "may be read as where this net looked" in how_far(measured)


def test_random_maps_have_no_advantage_over_random_orders(image, orders):
    rng = torch.Generator().manual_seed(1)
    maps = torch.rand(20, 64, 64, generator=rng)
    measured = [faithfulness(Square(), image[0], each, orders) for each in maps]
    gaps = [each.insertion - each.deletion for each in measured]
    spread = orders.gaps.std()
    assert abs(np.mean(gaps)) < spread, "no better on average"
    assert np.mean([each.better_than_chance for each in measured]) <= 0.15
    assert np.mean([each.infidelity for each in measured]) > 0.9
    worst = min(measured, key=lambda each: each.beaten)
    assert not worst.holds and "Do not rely on it" in how_far(worst)
    assert np.mean([share_on(each, MASK) for each in maps]) == pytest.approx(
        MASK.float().mean().item(), rel=0.05
    )


def test_the_opposite_map_is_worse_than_any_random_order(image, orders):
    measured = faithfulness(Square(), image[0], -MASK.float(), orders)
    assert measured.beaten == 0 and measured.deletion > measured.random > measured.insertion


def test_random_orders_are_the_same_forwards_and_backwards(image, orders):
    assert orders.curves.shape == (20, 11) and orders.gaps.mean() == pytest.approx(0)
    assert (orders.curves[:, 0] == orders.curves[0, 0]).all()
    again = random_orders(Square(), image[0])
    assert (again.curves == orders.curves).all()


def edges(net, image):
    """A method that does not ask the net: Laplace's operator on the brightness."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return F.conv2d(image.mean(1, keepdim=True), kernel, padding=1).abs()[:, 0]


@pytest.fixture(scope="module")
def smooth():
    """A picture with some structure, and a net with weights."""
    torch.manual_seed(0)
    rough = F.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bicubic").clamp(0, 1)
    net = SingleStream(SmallCNN(8))
    torch.nn.init.normal_(net.head.weight)
    for _ in range(5):
        net(rough + 0.1 * torch.rand(4, 3, 64, 64))
    return net.eval(), rough


def test_an_edge_detector_is_marked_by_shuffled_weights(smooth):
    net, image = smooth
    assert survival(net, image, edges) == pytest.approx(1)
    marked = Faithfulness(survival=survival(net, image, edges), beaten=1.0)
    assert marked.survives and not marked.holds
    assert "Do not read it as the net's reasons" in how_far(marked)
    # a map that follows the weights is not
    found = survival(net, image, lambda net, image: attribute(net, image, "smoothgrad").map)
    assert abs(found) < 0.5
    assert num_hooks(net) == 0


def test_a_random_map_does_not_survive_but_says_nothing_either(smooth):
    net, image = smooth
    draws = torch.Generator().manual_seed(0)
    noise = survival(net, image, lambda net, image: torch.rand(1, 64, 64, generator=draws), seeds=4)
    assert abs(noise) < 0.2


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext"])
def test_shuffled_weights_keep_the_net_alive(backbone):
    torch.manual_seed(0)
    net, image = SingleStream(TimmBackbone(backbone)).eval(), torch.rand(3, 3, 64, 64)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    shuffled = shuffle_weights(net, image)
    assert not torch.allclose(shuffled(image), net(image))
    assert shuffled(image).isfinite().all() and shuffled(image).std() > 0
    for (name, value), other in zip(net.named_parameters(), shuffled.parameters(), strict=True):
        torch.testing.assert_close(value.flatten().sort()[0], other.flatten().sort()[0], msg=name)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module.training for module in shuffled.modules())


def test_a_map_without_values_is_called_empty(image, orders):
    nothing = faithfulness(Square(), image[0], torch.zeros(64, 64), orders)
    assert nothing.empty and not nothing.holds and "the same everywhere" in how_far(nothing)
    assert np.isnan(share_on(torch.zeros(4, 4), torch.ones(4, 4, dtype=torch.bool)))


def test_an_incomplete_map_says_so(image, orders):
    found = faithfulness(Square(), image[0], MASK.float(), orders, completeness=0.4)
    assert "leaves out 40% of the logit" in how_far(found)


def test_infidelity_of_the_true_falls_is_none_and_of_their_opposite_all(image):
    class Sum(Net):
        """Each place counts by itself: what each removal costs adds up."""

        def forward(self, image):
            return image[:, 0, :32].sum((1, 2))

    true = image[0, 0].clone()
    true[32:] = 0
    assert infidelity(Sum(), image[0], true) < 1e-4
    assert infidelity(Sum(), image[0], 7 * true) < 1e-4, "the scale does not count"
    assert infidelity(Sum(), image[0], torch.rand(64, 64, generator=torch.Generator().manual_seed(3))) > 0.9


def test_sensitivity_tells_a_steady_map_from_a_jumpy_one(smooth):
    net, image = smooth
    draws = torch.Generator().manual_seed(0)
    jumpy = sensitivity(net, image, lambda net, image: torch.rand(len(image), 64, 64, generator=draws))
    steady = sensitivity(net, image, lambda net, image: image.mean(1))
    assert steady < 0.02 < 0.3 < jumpy


def test_places_cover_pictures_of_any_size():
    maps = torch.arange(37 * 50.0).view(1, 37, 50)
    assert cells(maps).shape == (1, GRID * GRID)
    assert np.isfinite(cells(torch.ones(2, 9, 9))).all(), "a picture smaller than the grid"
    np.testing.assert_allclose(cells(torch.ones(1, 37, 50)), 1)
