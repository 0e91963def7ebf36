"""Faithfulness: maps of what a net looks at pass, and maps that do not are caught."""

from dataclasses import replace

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
    removals,
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


@pytest.fixture(scope="module")
def removed(image):
    return removals(Square(), image[0])


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "occlusion"])
def test_maps_of_a_net_that_looks_at_a_square_hold(method, image, orders, removed):
    found = attribute(Square(), image, method).map[0]
    assert pointing_game(found, MASK)
    assert share_on(found, MASK) > 0.99 if method != "occlusion" else share_on(found, MASK) > 0.5
    measured = faithfulness(Square(), image[0], found, orders, removed=removed)
    assert measured.deletion < measured.random < measured.insertion
    assert measured.beaten == 1 and measured.better_than_chance and measured.holds
    assert measured.infidelity < 0.9 and measured.foretells
    assert measured.deletion_curve[0] == pytest.approx(Square()(image).item())
    assert measured.deletion_curve[0] == measured.insertion_curve[-1]
    assert "may be read as where this net looked" in how_far(measured)


def test_random_maps_have_no_advantage_over_random_orders(image, orders, removed):
    rng = torch.Generator().manual_seed(1)
    maps = torch.rand(20, 64, 64, generator=rng)
    measured = [faithfulness(Square(), image[0], each, orders, removed=removed) for each in maps]
    gaps = [each.insertion - each.deletion for each in measured]
    spread = orders.gaps.std()
    assert abs(np.mean(gaps)) < spread, "no better on average"
    assert np.mean([each.better_than_chance for each in measured]) <= 0.15
    assert np.mean([each.infidelity for each in measured]) > 0.9
    assert np.mean([each.foretells for each in measured]) <= 0.15
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


class Sum(Net):
    """Each place counts by itself, so what each removal costs adds up; black costs as much again."""

    def forward(self, image):
        return image[:, 0, :32].sum((1, 2)) - 5 * (image[:, 0] == 0).sum((1, 2))


def test_infidelity_of_the_true_falls_is_none_and_of_their_opposite_all(image):
    removed = removals(Sum(), image[0])
    true = image[0, 0].clone()
    true[32:] = 0
    other = torch.rand(64, 64, generator=torch.Generator().manual_seed(3))
    for found in (true, 7 * true, true + 9):
        unforetold, beaten = infidelity(found, removed)
        assert unforetold < 1e-4 and beaten == 1, "scale and offset do not count"
    assert infidelity(other, removed)[0] > 0.8
    assert infidelity(-true, removed) == (1.0, 0.0), (
        "the opposite foretells nothing, and is no better scaled by -1"
    )
    assert infidelity(torch.ones(64, 64), removed)[0] == 1


def test_infidelity_is_captums_of_what_is_left_of_map_and_falls_without_their_means(image):
    from captum.metrics import infidelity as captum

    removed = removals(Square(), image[0])
    found = MASK.float() + torch.rand(64, 64, generator=torch.Generator().manual_seed(4))
    strength = torch.from_numpy(cells(found[None]))
    gone = torch.from_numpy(removed.gone).double()
    falls = torch.from_numpy(removed.falls)

    def perturb(inputs):  # row n of the inputs stands for removal n
        return gone - gone.mean(0), inputs + 1

    def forward(inputs):
        return torch.where(inputs[:, 0] > 0, falls.mean() - falls, 0.0)

    rows = torch.zeros(len(falls), GRID * GRID, dtype=torch.float64)
    # one scale for all removals: each row's own would foretell its single fall exactly
    told = (gone - gone.mean(0)) @ strength[0]
    scale = (told * (falls - falls.mean())).sum() / told.square().sum()
    errors = captum(forward, perturb, rows, scale * strength.expand(len(falls), -1), n_perturb_samples=1)
    expected = float(errors.mean() / falls.var(unbiased=False))
    assert infidelity(found, removed)[0] == pytest.approx(expected, abs=1e-6)


def test_infidelity_has_no_value_where_the_logit_does_not_answer(image):
    class Deaf(Net):
        def forward(self, image):
            return image.new_ones(len(image))

    unforetold, beaten = infidelity(MASK.float(), removals(Deaf(), image[0]))
    assert np.isnan(unforetold) and beaten == 0


def test_a_map_of_places_that_the_net_ignores_is_caught_by_infidelity_alone(image, orders, removed):
    """The square comes first, as it should, and the rest of the map says that half of the picture speaks against
    FAKE, where the net never looks: no order of removal can show that.
    """
    lie = MASK.float()
    lie[:, 32:] = -torch.rand(64, 32, generator=torch.Generator().manual_seed(5)) - 4
    lie[48:, 32:] *= 4
    true = faithfulness(Square(), image[0], MASK.float(), orders, removed=removed)
    planted = faithfulness(Square(), image[0], lie, orders, removed=removed)
    assert true.holds and planted.better_than_chance and not planted.survives and not planted.unsteady
    assert not planted.holds and not planted.foretells and planted.infidelity > 0.9
    said = how_far(planted)
    assert "Do not rely on its values here: the values foretell" in said and "may be read" not in said
    assert faithfulness(Square(), image[0], lie, orders).holds, "without infidelity it would pass"


def test_a_map_that_a_grey_level_makes_another_one_does_not_hold():
    passed = Faithfulness(beaten=1.0, infidelity=0.2, maps_beaten=1.0, survival=0.0, sensitivity=0.9)
    assert passed.holds and "foretell" in how_far(passed)
    for change in (1.0, 1.5):
        jumpy = replace(passed, sensitivity=change)
        assert not jumpy.holds and "a blank one would be nearer" in how_far(jumpy)
        assert "may be read" not in how_far(jumpy)


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
