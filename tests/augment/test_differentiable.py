import pytest
import torch

from dfd.augment.differentiable import KINDS, DiffAugment


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_shape_and_gradients_pass(kind):
    torch.manual_seed(0)
    image = torch.rand(6, 3, 32, 48, requires_grad=True)
    changed = DiffAugment([kind])(image)
    assert changed.shape == image.shape and changed.dtype == image.dtype
    assert not torch.allclose(changed, image)
    changed.sum().backward()
    assert image.grad.abs().sum() > 0 and image.grad.isfinite().all()


def test_each_picture_is_changed_in_its_own_way():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32).repeat(4, 1, 1, 1)
    for kind in KINDS.values():
        changed = kind(image)
        assert not any(torch.allclose(changed[0], other) for other in changed[1:])


def test_translation_moves_whole_pixels_and_leaves_gray():
    torch.manual_seed(0)
    image = torch.rand(16, 3, 32, 32)
    moved = KINDS["translation"](image)
    for before, after in zip(image, moved, strict=True):
        found = [
            (dy, dx)
            for dy in range(-4, 5)
            for dx in range(-4, 5)
            if torch.allclose(
                after[:, max(0, dy) : 32 + min(0, dy), max(0, dx) : 32 + min(0, dx)],
                before[:, max(0, -dy) : 32 + min(0, -dy), max(0, -dx) : 32 + min(0, -dx)],
            )
        ]
        assert len(found) == 1
        (dy, dx) = found[0]
        if dy > 0:
            assert (after[:, :dy] == 0.5).all()
        if dx < 0:
            assert (after[:, :, dx:] == 0.5).all()


def test_cutout_hides_a_square_of_half_the_side():
    torch.manual_seed(0)
    hidden = (KINDS["cutout"](torch.ones(64, 3, 32, 32)) == 0.5).all(dim=1)
    assert hidden.flatten(1).sum(1).max() in range(15 * 15, 17 * 17)
    assert 0 < hidden.float().mean() < 0.25, "it lies partly outside now and then"
    assert hidden.any(dim=0).all(), "and everywhere in the end"


def test_color_keeps_what_the_picture_shows():
    torch.manual_seed(0)
    image = torch.rand(8, 3, 16, 16)
    gray, changed = (each.mean(dim=1).flatten(1) for each in (image, KINDS["color"](image)))
    for before, after in zip(gray, changed, strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.999


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"color, translation, cutout, not blur"):
        DiffAugment(["color", "blur"])
