"""What every fusion promises, one of somebody's own that reads forensic cues among them."""

import pytest
import torch
from torch import nn

from dfd.cli import main
from dfd.detector import load_net
from dfd.models import (
    Concat,
    CrossAttention,
    DualStream,
    Fusion,
    Gate,
    LocalSpectrum,
    Net,
    SmallCNN,
    build,
    recipe,
)


class WithCues(Net):
    """Both streams and the cues, as many as it was made for; zeros where a caller has none."""

    def __init__(self, num_cues: int, width: int = 6):
        super().__init__()
        self.num_cues, self.width = num_cues, width

    def connect(self, num_rgb: int, num_fft: int) -> int:
        self.mix = nn.Linear(num_rgb + num_fft + self.num_cues, self.width)
        return self.width

    def forward(self, rgb, fft, cues=None):
        cues = rgb.new_zeros(len(rgb), self.num_cues) if cues is None else cues
        return self.mix(torch.cat([rgb, fft, cues], dim=1)).relu()


class Sum(Net):
    """The least that a fusion has to be: it knows of no cues."""

    def connect(self, num_rgb, num_fft):
        return num_rgb

    def forward(self, rgb, fft):
        return rgb + fft


class NoMaps(Net):
    """A backbone that pools at once."""

    in_channels, num_features = 3, 3

    def forward(self, image):
        return image.mean((2, 3))


FUSIONS = {
    "concat": Concat,
    "gate": Gate,
    "cross": lambda: CrossAttention(8, heads=2),
    "with_cues": lambda: WithCues(3),
    "sum": Sum,
}
HERE = (f"{__name__}.",)


@pytest.fixture(params=FUSIONS.values(), ids=FUSIONS.keys())
def fusion(request):
    torch.manual_seed(0)
    return request.param()


def test_a_fusion_says_the_width_of_what_it_gives(fusion):
    assert isinstance(fusion, Fusion)
    num_rgb, num_fft = (6, 6) if isinstance(fusion, Sum) else (10, 6)
    width = fusion.connect(num_rgb, num_fft)
    places = [(5, 3), (2, 4)] if getattr(fusion, "needs_maps", False) else [(), ()]
    rgb, fft = (torch.rand(4, num, *at) for num, at in zip((num_rgb, num_fft), places, strict=True))
    assert fusion(rgb, fft).shape == (4, width)


def test_a_detector_with_it_trains_and_is_rebuilt_from_its_recipe(fusion):
    net = DualStream(SmallCNN(8), SmallCNN(8), fusion=fusion)
    image = torch.rand(4, 3, 32, 32)
    nn.functional.binary_cross_entropy_with_logits(net(image), torch.tensor([0.0, 1, 0, 1])).backward()
    assert all(value.grad is not None for value in net.fusion.parameters())
    again = build(recipe(net), HERE)
    again.load_state_dict(net.state_dict())
    assert type(again.fusion) is type(fusion) and recipe(again) == recipe(net)
    assert torch.equal(again.eval()(image), net.eval()(image))


def test_the_default_is_concat():
    net = DualStream(SmallCNN(8), SmallCNN(10))
    assert isinstance(net.fusion, Concat) and net.head.in_features == 4 * 8 + 4 * 10


def test_the_gate_is_a_share_of_the_pixels_and_the_rest_of_the_frequencies():
    gate = Gate()
    assert gate.connect(10, 6) == 6
    rgb, fft = torch.rand(4, 10), torch.rand(4, 6)
    nn.init.zeros_(gate.share.weight)
    for bias, wanted in ((50.0, gate.narrow(rgb)), (-50.0, fft), (0.0, (gate.narrow(rgb) + fft) / 2)):
        nn.init.constant_(gate.share.bias, bias)
        torch.testing.assert_close(gate(rgb, fft), wanted)


def test_cross_attention_is_torchs():
    torch.manual_seed(0)
    fusion = CrossAttention(8, heads=2)
    fusion.connect(10, 6)
    rgb, fft = torch.rand(4, 10, 5, 3), torch.rand(4, 6, 2, 4)
    tokens = [fusion.narrow_rgb(rgb.flatten(2).mT), fusion.narrow_fft(fft.flatten(2).mT)]
    expected = []
    for ours, asks, answers in ((fusion.rgb_asks, *tokens), (fusion.fft_asks, *tokens[::-1])):
        theirs = nn.MultiheadAttention(8, 2, batch_first=True)
        three = (ours.query, ours.key, ours.value)
        with torch.no_grad():
            theirs.in_proj_weight.copy_(torch.cat([each.weight for each in three]))
            theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(8), ours.value.bias]))
        theirs.out_proj = ours.out
        expected.append((asks + theirs(asks, answers, answers)[0]).mean(1))
    torch.testing.assert_close(fusion(rgb, fft), torch.cat(expected, dim=1))


def test_cross_attention_says_which_widths_its_heads_take():
    with pytest.raises(ValueError, match=r"width=10 does not divide into heads=4. .* width=8"):
        CrossAttention(10, heads=4)


def test_a_stream_without_maps_is_named():
    with pytest.raises(ValueError, match=r"CrossAttention needs .* fft=NoMaps .* dfd.models.Concat"):
        DualStream(SmallCNN(8), NoMaps(), fusion=CrossAttention())


def test_cues_reach_a_fusion_that_takes_them():
    torch.manual_seed(0)
    net = DualStream(SmallCNN(8), SmallCNN(8), fusion=WithCues(3)).eval()
    image, cues = torch.rand(2, 3, 32, 32), torch.rand(2, 3)
    assert torch.equal(net(image), net(image, torch.zeros(2, 3)))
    assert not torch.equal(net(image), net(image, cues))


@pytest.mark.slow
def test_a_fusion_is_named_on_the_command_line_and_kept_in_the_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    small = ["--data.num_images=120", "--data.picture=64", "--data.view.size=32", "--data.view.longest=64"]
    fit = ["fit", "--config", "dual_stream", "--config", "overlay/smoke", *small]
    assert main([*fit, "--model.net.fusion", "dfd.models.Gate", "--run_folder", "run"]) == 0
    net, _ = load_net("run/checkpoints/last.ckpt")
    assert isinstance(net.fusion, Gate) and isinstance(net.spectrum, LocalSpectrum)
    assert main(["fit", "--config", "run/config.yaml", "--print_config"]) == 0
    assert "class_path: dfd.models.Gate" in capsys.readouterr().out
    assert main([*fit, "--model.net.fusion", "gate"]) == 2
    assert (
        "model.net.fusion: expected null, got 'gate'. Did you mean dfd.models.Gate" in capsys.readouterr().err
    )
