"""Checkpoints that an earlier dfd wrote: classes under the paths of their modules, the fusion as a word."""

import pytest
import torch
from torch.nn.functional import linear

from dfd.detector import load_net
from dfd.models import Concat, Gate, build, recipe

WIDTHS = {"rgb": 4 * 6, "fft": 4 * 4}  # features of the streams below


def old_recipe(fusion: str) -> dict:
    """As dfd wrote it when the fusion was a word and recipes named the modules of their classes."""
    return {
        "class_path": "dfd.models.detectors.DualStream",
        "init_args": {
            "rgb": {"class_path": "dfd.models.cnn.SmallCNN", "init_args": {"width": 6, "in_channels": 3}},
            "fft": {"class_path": "dfd.models.cnn.SmallCNN", "init_args": {"width": 4, "in_channels": 64}},
            "spectrum": {
                "class_path": "dfd.models.spectral.LocalSpectrum",
                "init_args": {"block": 8, "stride": 4},
            },
            "fusion": fusion,
            "dropout": 0.2,
            "drop_fft": 0.0,
        },
    }


def old_weights(fusion: str) -> dict[str, torch.Tensor]:
    """Drawn at random, under the names that they had: fusion.narrow.* and fusion.share.* of a gate."""
    generator = torch.Generator().manual_seed(0)
    net = build(old_recipe(fusion))
    weights = {
        name: torch.rand(value.shape, generator=generator) / 4 if value.is_floating_point() else value
        for name, value in net.state_dict().items()
        if not name.startswith(("fusion.", "head."))
    }
    shapes = {"head.weight": (1, sum(WIDTHS.values())), "head.bias": (1,)}
    if fusion == "gate":
        shapes = {
            "fusion.narrow.weight": (WIDTHS["fft"], WIDTHS["rgb"]),
            "fusion.narrow.bias": (WIDTHS["fft"],),
            "fusion.share.weight": (WIDTHS["fft"], sum(WIDTHS.values())),
            "fusion.share.bias": (WIDTHS["fft"],),
            "head.weight": (1, WIDTHS["fft"]),
            "head.bias": (1,),
        }
    return weights | {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write_checkpoint(fusion: str, weights: dict[str, torch.Tensor], path) -> None:
    facts = {
        "version": "0.1.0",
        "net": old_recipe(fusion),
        "view": {"size": 64, "crops": 5, "longest": 96, "resize": False, "margin": 1.35},
        "temperature": 2.0,
        "thresholds": {"balanced": 0.1, "fpr5": 1.5, "fnr5": -1.5},
        "calibrated_on": {"split": "val", "images": 36, "groups": 6, "data": "faces"},
        "selected_on": "val/auroc (best epoch so far, split: val)",
        "seen": {"train": torch.arange(4), "val": torch.arange(2)},
        "ema_decay": None,
    }
    state = {f"net.{name}": value for name, value in weights.items()}
    state |= {"temperature_": torch.tensor(2.0, dtype=torch.float64)}
    state |= {"thresholds_": torch.tensor([0.1, 1.5, -1.5], dtype=torch.float64)}
    torch.save({"epoch": 1, "global_step": 8, "state_dict": state, "dfd": facts}, path)


@pytest.mark.parametrize(("fusion", "made"), [("concat", Concat), ("gate", Gate)])
def test_the_fusion_of_an_old_checkpoint_gives_the_logits_of_its_weights(fusion, made, tmp_path):
    weights = old_weights(fusion)
    write_checkpoint(fusion, weights, tmp_path / "old.ckpt")
    net, _ = load_net(tmp_path / "old.ckpt")
    assert type(net.fusion) is made
    assert all(torch.equal(net.state_dict()[name], value) for name, value in weights.items())

    image = torch.rand(4, 3, 64, 64)
    rgb, fft = net.rgb(image), net.fft(net.spectrum(image))
    both = torch.cat([rgb, fft], dim=1)
    if fusion == "gate":
        share = linear(both, weights["fusion.share.weight"], weights["fusion.share.bias"]).sigmoid()
        pixels = linear(rgb, weights["fusion.narrow.weight"], weights["fusion.narrow.bias"])
        both = share * pixels + (1 - share) * fft
    wanted = linear(both, weights["head.weight"], weights["head.bias"]).squeeze(1)
    torch.testing.assert_close(net(image), wanted, rtol=1e-5, atol=1e-6)
    assert wanted.std() > 1e-3, "logits that all weights have a part in"

    again = recipe(net)  # saved again, it names what there is today
    assert again["class_path"] == "dfd.models.DualStream"
    assert again["init_args"]["fusion"] == {"class_path": f"dfd.models.{made.__name__}", "init_args": {}}


def test_a_fusion_that_never_was_is_refused():
    with pytest.raises(ValueError, match="fusion='sum'"):
        build(old_recipe("sum"))
