"""A detector that compares a face with what is around it."""

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from torch import nn

from dfd.models import FaceContext, Net, SmallCNN, TimmBlock, build, recipe


class Places(Net):
    """The pixels themselves as features, halved in size."""

    num_features, in_channels, cam_layers = 3, 3, {"features": nn.Identity()}

    def maps(self, image):
        return nn.functional.avg_pool2d(image, 2)

    def forward(self, image):
        return self.maps(image).mean((2, 3))


def picture(face, around, size=112):
    """A face of one brightness in surroundings of another, (1, 3, H, W)."""
    down, across = np.indices((size, size)) / size - 0.5
    inside = ((across / 0.26) ** 2 + ((down - 0.03) / 0.34) ** 2) < 1.1
    return torch.tensor(np.where(inside, face, around), dtype=torch.float32).expand(1, 3, -1, -1)


def test_what_face_and_surroundings_have_in_common_drops_out():
    net = FaceContext(Places())
    dark, bright = (net.differences(picture(level, level))[0] for level in (0.2, 0.8))
    torch.testing.assert_close(dark, torch.zeros(18), atol=1e-4, rtol=0)
    torch.testing.assert_close(bright, torch.zeros(18), atol=1e-3, rtol=0)
    one, other = (net.differences(picture(0.3 + more, 0.1 + more))[0] for more in (0.0, 0.5))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_differences_are_those_of_means_and_deviations_over_the_parts():
    image = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    values = nn.functional.avg_pool2d(image, 2)[0].flatten(1).numpy()  # (3, 56 * 56)
    down, across = (np.indices((224, 224)) + 0.5) / 224 - 0.5
    radius = np.sqrt((across / 0.26) ** 2 + ((down - 0.03) / 0.34) ** 2)
    statistics = []
    for part in (radius < 0.8, (radius >= 0.8) & (radius < 1.25), radius >= 1.25):
        weight = part.reshape(56, 4, 56, 4).mean((1, 3)).ravel()
        mean = np.average(values, axis=1, weights=weight)
        statistics.append(
            np.concatenate([mean, np.sqrt(np.average((values - mean[:, None]) ** 2, axis=1, weights=weight))])
        )
    face, border, around = statistics
    wanted = np.concatenate([face - around, border - around, face - border])
    np.testing.assert_allclose(FaceContext(Places()).differences(image)[0].numpy(), wanted, atol=2e-5)


def test_it_starts_undecided_and_learns_a_face_that_does_not_fit():
    torch.manual_seed(0)
    net = FaceContext(Places()).train()
    assert (net(torch.rand(4, 3, 64, 64)) == 0).all()
    levels = torch.rand(64)
    fake = torch.arange(64) % 2
    images = torch.cat(
        [picture(float(a) / 2 + 0.2 * int(f), float(a) / 2) for a, f in zip(levels, fake, strict=True)]
    )
    images = images + 0.02 * torch.randn(images.shape)
    optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(net(images), fake.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = net.eval()(images)
    assert logits[fake == 1].min() > logits[fake == 0].max()


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (33, 40)])
def test_any_size_gives_finite_logits_and_gradients(size):
    net = FaceContext(build(recipe(SmallCNN(8))))
    nn.init.normal_(net.head.weight, std=0.01)
    for image in (torch.rand(2, 3, *size), torch.zeros(2, 3, *size)):
        logits = net(image)
        assert logits.shape == (2,) and logits.isfinite().all()
        net.zero_grad()
        logits.sum().backward()
        assert all(weight.grad.isfinite().all() for weight in net.parameters() if weight.grad is not None)


def test_a_backbone_without_places_is_refused():
    with pytest.raises(ValueError, match=r"backbone=Identity gives no features of places.*TimmBackbone"):
        FaceContext(nn.Identity())


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_a_block_gives_the_maps_that_timm_gives_of_it(name):
    image = torch.rand(2, 3, 64, 96)
    for number in (0, -1):
        block, whole = TimmBlock(name, block=number).eval(), timm.create_model(name, num_classes=0).eval()
        whole.load_state_dict(block.model.state_dict(), strict=False)
        with torch.no_grad():
            wanted = whole.forward_intermediates((image - block.mean) / block.std, intermediates_only=True)
            torch.testing.assert_close(block.maps(image), wanted[number])
        assert block.num_features == wanted[number].shape[1]
        assert sum(each.numel() for each in block.parameters()) < sum(
            each.numel() for each in whole.parameters()
        ) or (number == -1 and name != "test_efficientnet")


def test_a_block_that_a_net_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"block=9: test_resnet has \d\. Use 0 to \d, or -1"):
        TimmBlock("test_resnet", block=9)


def test_gradients_after_a_first_look_in_inference_mode():
    net, image = FaceContext(SmallCNN(8)), torch.rand(2, 3, 64, 64)
    nn.init.normal_(net.head.weight)
    with torch.inference_mode():
        net.eval()(image)
    net.train()(image).sum().backward()
    assert all(weight.grad is not None for weight in net.backbone.parameters())


@pytest.mark.slow
def test_an_export_before_any_other_look_gives_the_same_logits():
    net, image = FaceContext(SmallCNN(8)).eval(), torch.rand(2, 3, 64, 64)
    nn.init.normal_(net.head.weight)
    exported = torch.export.export(net, (image,)).module()
    torch.testing.assert_close(exported(image), net(image))
    assert type(net(image)) is torch.Tensor


def test_a_batch_of_one_is_trained_on():
    net = FaceContext(SmallCNN(8)).train()
    net(torch.rand(8, 3, 64, 64))
    mean = net.scale.running_mean.clone()
    assert net(torch.rand(1, 3, 64, 64)).isfinite().all() and torch.equal(net.scale.running_mean, mean)


@pytest.mark.slow
def test_crops_and_a_frozen_backbone_of_random_weights_are_said(tmp_path):
    def words(*options):
        task = ["--model.net=dfd.models.FaceContext", "--model.net.backbone=dfd.models.SmallCNN"]
        toy = ["--data.num_images=60", "--data.picture=96", "--data.num_workers=0", "--config=overlay/smoke"]
        done = subprocess.run(
            [sys.executable, "-m", "dfd.cli", "fit", "--config", "small_cnn", "--config", "overlay/linear_probe", *task,
             *toy, *options, "--run_folder", str(tmp_path / str(len(options)))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    code, said = words("--data.view.size=64")
    assert code and "FaceContext reads whole face pictures" in said and "--data.view.resize true" in said
    code, said = words("--data.view.size=64", "--data.view.resize=true")
    assert not code and "random weights that it was drawn with" in said
