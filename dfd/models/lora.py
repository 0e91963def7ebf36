"""LoRA: a net whose weights stay as they are, with corrections of low rank that learn."""

from __future__ import annotations

import copy
from importlib import import_module

import torch
from torch import Tensor, nn

from dfd.models.depth import backbones, head_of, on_top
from dfd.models.net import Net, build, recipe


class LoRANet(Net):
    """A detector with corrections of low rank (Hu et al., 2106.09685), made and applied by peft.

    A linear layer W of the net gives W x + (alpha / rank) B A x; B starts at zero, so that the net starts as
    it was. `dfd.tasks.LoRA` trains one. `merged` is the plain net with the corrections in its weights.

    Args:
        net: a detector with a `head`; it is changed, and belongs to this net from then on.
        rank: of the corrections.
        alpha: they are scaled by alpha / rank.
        dropout: share of their inputs that is dropped in training.
        targets: names of the layers to correct, or how such names end: ["qkv", "proj"]. By default all linear
            layers of the net but its head, or where there is none all convolutions without groups.

    Raises:
        ValueError: peft is not installed, the net has no such layers, or an argument is out of range.
    """

    def __init__(
        self,
        net: Net,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        targets: list[str] | None = None,
    ):
        super().__init__()
        if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"LoRA with rank={rank}, alpha={alpha}, dropout={dropout}: the rank is 1 or more, alpha "
                "above 0, dropout in [0, 1). Use rank=8, alpha=16, dropout=0 as a start."
            )
        try:
            peft = import_module("peft")  # which brings transformers: seconds, for those who use it
        except ModuleNotFoundError as error:
            raise ValueError("LoRA needs peft, which is not installed: pip install 'dfd[lora]'") from error
        layers, self._new = _layers(net, targets), {f"net.{name}" for name in on_top(net)}
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=layers)
        peft.inject_adapter_in_model(config, net)
        self.net = net
        if names := getattr(net, "cue_names", ()):
            self.cue_names, self.cue_version = names, net.cue_version

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return self.net.cam_layers

    @property
    def head(self) -> nn.Module:
        return head_of(self.net)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        return self.net(image) if cues is None else self.net(image, cues)

    def new_weights(self) -> set[str]:
        """Names of the corrections' weights, and of what is new on top of the backbones."""
        return {name for name, _ in self.named_parameters() if ".lora_" in name or name in self._new}

    @torch.no_grad()
    def merged(self) -> Net:
        plain = build(recipe(self)["init_args"]["net"], allow=("",))
        corrected = copy.deepcopy(self.net)
        for part in corrected.modules():
            if hasattr(part, "lora_A"):
                part.merge()
        weights = {
            name.replace(".base_layer.", "."): value
            for name, value in corrected.state_dict().items()
            if ".lora_" not in name
        }
        plain.load_state_dict(weights)
        return plain.train(self.training)


def _layers(net: Net, targets: list[str] | None) -> list[str]:
    """Full names of the layers to correct."""
    head_of(net)
    parts = {name: part for name, part in net.named_modules() if name.partition(".")[0] != "head"}
    linear = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
    convolutions = [name for name, part in parts.items() if isinstance(part, nn.Conv2d) and part.groups == 1]
    if targets is None:
        chosen = []
        for prefix, _ in backbones(net):
            inside = [name for name in linear if name.startswith(f"{prefix}.")]
            chosen += inside or [name for name in convolutions if name.startswith(f"{prefix}.")]
        if not chosen:
            raise ValueError(
                f"LoRA: the backbones of a {type(net).__name__} have no linear layer and no convolution."
            )
        return chosen
    possible = [*linear, *convolutions]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in possible):
            ends = sorted({name.rpartition(".")[2] for name in possible})
            raise ValueError(
                f"LoRA: targets={target!r} is no linear layer or convolution of the net. Names of its layers "
                f"end in {', '.join(ends[:8])}."
            )
    return [name for name in possible if any(f".{name}".endswith(f".{target}") for target in targets)]
