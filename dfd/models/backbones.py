"""timm nets as backbones. The only module that imports timm."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from dfd.media.file_kinds import refuse_lfs_pointer
from dfd.models.net import Net, check_pictures, shapes
from dfd.models.weights_file import cached_weights, differing_keys, quiet_timm

# depths of `EarlyLayers`: the first of at most so many weights is taken
EARLY_MAPS, EARLY_WEIGHTS = ([1, 2], [0, 1], [0]), 1_000_000
# what timm and torch say of a picture whose size a net cannot take
UNFIT = re.compile(
    r"size of tensor|is invalid for input of size|too small|can't be greater than actual input"
)
# arguments of timm.create_model by which it would read or fetch another file
REACHING = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}


class TimmBackbone(Net):
    """Pooled features of a timm net: image (B, 3, H, W) in [0, 1] -> (B, num_features).

    Args:
        name: timm's, with or without the tag of its weights.
        pretrained: False; True for timm's weights from the hub or its cache; or the path of a local file
            (.safetensors or .pth).
        options: more of timm.create_model's arguments, for instance {"drop_path_rate": 0.1}.

    Raises:
        ValueError: timm has no such model, or the weights are not there or not of this model.
    """

    in_channels = 3

    def __init__(self, name: str, pretrained: bool | str = False, options: dict[str, Any] | None = None):
        super().__init__()
        _check_name(name)
        _check_options(options)
        self.model = _create(name, pretrained, options or {})
        self.num_features: int = self.model.head_hidden_size  # ty: ignore[invalid-assignment]
        # in the checkpoint, not left to timm: which mean belongs to a name has changed between its releases
        for which in ("mean", "std"):
            value = torch.tensor(self.model.pretrained_cfg[which])
            self.register_buffer(which, value.view(3, 1, 1))
        self.tap = _MapTap(
            getattr(self.model, "num_prefix_tokens", 0), getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        )
        blocks = getattr(self.model, "blocks", None)
        self._taps_block = hasattr(self.model, "num_prefix_tokens") and hasattr(blocks[-1], "norm1")
        if self._taps_block:
            # after the last block the head may read a class token alone, and patches get no gradient there
            blocks[-1].norm1 = nn.Sequential(blocks[-1].norm1, self.tap)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        """A layer whose output is a map (B, C, h, w), for transformers too."""
        return {"features": self.tap.map}

    def depths(self) -> dict[str, int]:
        """The layer of each weight as timm counts them, 0 next to the image, by its name in here."""
        match = self.model.group_matcher(coarse=False)
        found = timm.models.group_parameters(self.model, match, reverse=True)
        return {f"model.{name}": depth for name, depth in found.items()}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model.forward_head(self._unpooled(image))  # (B, F)

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        """(B, num_features, h, w): the features of each place, through all layers that `forward` has."""
        features = self._unpooled(image)
        if features.dim() == 3:  # (B, tokens, C) of a transformer
            patches = features[:, self.tap.num_prefix :]
            patches = getattr(self.model, "fc_norm", nn.Identity())(patches)
            rows = round((patches.shape[1] * image.shape[-2] / image.shape[-1]) ** 0.5)
            return patches.transpose(1, 2).unflatten(2, (rows, -1))
        places = features if self.tap.channels_last else features.permute(0, 2, 3, 1)  # (B, h, w, C)
        # a map of one place is its own mean, so the head's layers read each place by itself
        each = places.flatten(0, 2)  # (B * h * w, C)
        each = each[:, None, None] if self.tap.channels_last else each[..., None, None]
        pooled = self.model.forward_head(each)  # (B * h * w, F)
        return pooled.unflatten(0, places.shape[:3]).permute(0, 3, 1, 2)

    def _unpooled(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w), (B, h, w, C) or (B, tokens, C), as timm gives them."""
        features = self._run(self.model.forward_features, image)
        return features if self._taps_block else self.tap(features)

    def _run(self, layers: Callable[[torch.Tensor], Any], image: torch.Tensor) -> Any:
        """What timm's layers make of an image (B, 3, H, W) in [0, 1]."""
        check_pictures(image)
        try:
            return layers((image - self.mean) / self.std)
        except (AssertionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not UNFIT.search(str(error)):
                raise
            raise ValueError(self._other_size(*image.shape[-2:])) from error

    def _other_size(self, height: int, width: int) -> str:
        """What to do about pictures of a size that the net cannot take."""
        name, embed = self._given["name"], getattr(self.model, "patch_embed", None)
        start = f"{name} does not take pictures of {height} x {width}"
        if getattr(embed, "strict_img_size", False):
            return (
                f"{start}: it was made for {embed.img_size[0]}. Use --data.view.size={embed.img_size[0]}, or "
                f"options={{img_size: {height}}} of the backbone, if weights of that size are not needed."
            )
        if patch := getattr(embed, "patch_size", None):
            below = max(patch[0], height // patch[0] * patch[0])
            return (
                f"{start}: use a multiple of {patch[0]}, as --data.view.size={below} or {below + patch[0]}."
            )
        made_for = self.model.pretrained_cfg["input_size"][-1]
        return f"{start}. Use the size that it was made for, --data.view.size={made_for}."


class TimmBlock(TimmBackbone):
    """The maps of one block of a timm net, without what lies behind it: image (B, 3, H, W) in [0, 1] ->
    their mean (B, num_features), or by `maps` (B, num_features, h, w).

    Deviations over places tell more before a last convolution and its activation than behind them.

    Args:
        name, pretrained, options: as of `TimmBackbone`.
        block: which, as timm's `forward_intermediates` counts them; -1 is the last.

    Raises:
        ValueError: as `TimmBackbone`; or timm does not give the blocks of this net, or it has fewer.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool | str = False,
        block: int = -1,
        options: dict[str, Any] | None = None,
    ):
        super().__init__(name, pretrained, options)
        if not hasattr(self.model, "prune_intermediate_layers"):
            raise ValueError(f"timm {timm.__version__} does not give the blocks of {name}.")
        channels = [int(each["num_chs"]) for each in self.model.feature_info]
        if not -len(channels) <= block < len(channels):
            raise ValueError(
                f"block={block}: {name} has {len(channels)}. Use 0 to {len(channels) - 1}, or -1."
            )
        self.block = block % len(channels)
        self.num_features = channels[block]
        self.model.prune_intermediate_layers([self.block], prune_norm=True, prune_head=True)
        self.tap, self._taps_block = _MapTap(0, channels_last=False), False

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        def layers(normalized: torch.Tensor) -> torch.Tensor:
            return self.model.forward_intermediates(
                normalized, indices=[self.block], intermediates_only=True, output_fmt="NCHW"
            )[0]

        return self.tap(self._run(layers, image))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.maps(image).mean((2, 3))


class EarlyLayers(Net):
    """Means and deviations of a timm net's first maps: image (B, 3, H, W) in [0, 1] -> (B, 2 * channels).

    They tell one camera, codec or generator from another, and know little of what a picture shows. Frozen.

    Args:
        name: timm's.
        maps: which of the maps, as timm's `forward_intermediates` counts them; layers behind the last are
            left out.
        options: more of timm.create_model's arguments.

    Raises:
        ValueError: timm has no such model, or this one does not give its first maps.
    """

    in_channels = 3

    def __init__(self, name: str, maps: list[int], options: dict[str, Any] | None = None):
        super().__init__()
        _check_name(name)
        _check_options(options)
        model = _draw(name, options or {})
        if not hasattr(model, "prune_intermediate_layers"):
            raise ValueError(f"timm {timm.__version__} does not give the first maps of {name}.")
        model.prune_intermediate_layers(list(maps), prune_norm=True, prune_head=True)
        self.model, self.name, self.maps = model, name, list(maps)
        for which in ("mean", "std"):
            value = torch.tensor(model.pretrained_cfg[which])
            self.register_buffer(which, value.view(3, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def of(cls, backbone: TimmBackbone) -> EarlyLayers | None:
        """A copy of a backbone's first layers, as they are now; None where timm does not give them, or where
        they are large.

        Of several depths the deepest of at most EARLY_WEIGHTS is taken; its numbers are rounded to half
        precision where that holds them, since a checkpoint keeps them so.
        """
        given = backbone._given
        for maps in EARLY_MAPS:
            try:
                with torch.random.fork_rng(devices=[]):  # a fit draws the same numbers with and without
                    early = cls(given["name"], maps, given["options"])
            except (ValueError, TypeError, IndexError, AssertionError):  # timm raises what it likes
                return None
            if not early.state_dict().keys() <= _uncorrected(backbone).keys():
                continue  # a `TimmBlock` that ends before
            if sum(value.numel() for value in early.state_dict().values()) <= EARLY_WEIGHTS:
                weights = {name: rounded(value).to(value.dtype) for name, value in early_of(backbone, early)}
                early.load_state_dict(weights)
                return early.eval()
        return None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = (image - self.mean) / self.std
        maps = self.model.forward_intermediates(image, indices=self.maps, intermediates_only=True)
        statistics = [part for each in maps for part in (each.mean((2, 3)), each.std((2, 3), correction=0))]
        return torch.cat(statistics, dim=1)


def _check_options(options: dict[str, Any] | None) -> None:
    """ValueError for an argument by which timm would read or fetch a file, as a stranger's recipe might."""
    if reaching := sorted(REACHING & set(options or ())):
        raise ValueError(
            f"options={{{reaching[0]!r}: ...}}: weights are named by pretrained=PATH alone, and a checkpoint "
            "keeps them itself. Leave it out."
        )


def early_of(backbone: TimmBackbone, early: EarlyLayers) -> Iterator[tuple[str, torch.Tensor]]:
    """The backbone's weights by the names of the first layers."""
    weights = _uncorrected(backbone)
    return ((name, weights[name]) for name in early.state_dict())


def _uncorrected(backbone: TimmBackbone) -> dict[str, torch.Tensor]:
    """The backbone's weights; of a layer that `LoRANet` corrects, as it was before."""
    return {name.replace(".base_layer.", "."): value for name, value in backbone.state_dict().items()}


def rounded(value: torch.Tensor) -> torch.Tensor:
    """In half precision, where that holds the numbers."""
    half = value.half() if value.is_floating_point() else value
    return half if half.isfinite().all() else value


def pretrained_backbone(net: nn.Module) -> TimmBackbone | None:
    """The first backbone in a net that began with pretrained weights."""
    for module in net.modules():
        if isinstance(module, TimmBackbone) and module._given.get("pretrained"):
            return module
    return None


def synchronized(module: nn.Module) -> nn.Module:
    """The module with its BatchNorm layers, torch's and timm's, replaced by SyncBatchNorm over all ranks."""
    return timm.layers.convert_sync_batchnorm(module)


class _MapTap(nn.Module):
    """Identity on features, which passes them through `map` as (B, C, h, w), a layer for Grad-CAM."""

    def __init__(self, num_prefix: int, channels_last: bool):
        super().__init__()
        self.num_prefix, self.channels_last = num_prefix, channels_last
        self.map = nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.dim() == 4:  # (B, C, h, w) or (B, h, w, C)
            if self.channels_last:
                return self.map(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return self.map(features)
        prefix, patches = features[:, : self.num_prefix], features[:, self.num_prefix :]  # (B, tokens, C)
        side = isqrt(patches.shape[1])
        # of an image that is not square there is no map; the logit needs none
        if side * side != patches.shape[1]:
            return features
        maps = self.map(patches.transpose(1, 2).unflatten(2, (side, side)))  # (B, C, h, w)
        return torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)


def _check_name(name: str) -> None:
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"timm {timm.__version__} has no model {name!r}.{hint} timm.list_models('*part*') lists all "
            "names."
        )
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise ValueError(
            f"timm {timm.__version__} has no weights {tag!r} for {plain}. It has: "
            f"{', '.join(tags) or 'none'}."
        )


def _create(name: str, pretrained: bool | str, options: dict[str, Any]) -> nn.Module:
    """The timm net without its classifier."""
    if pretrained is False:
        return _draw(name, options)
    if pretrained is True:
        weights = timm.get_pretrained_cfg(name)
        file = cached_weights(name, weights.hf_hub_id, weights.url)
    else:
        file = Path(pretrained)
    if file is None:
        return _draw(name, options, pretrained=True)
    if not file.is_file():
        raise ValueError(
            f"pretrained={str(file)!r}: there is no such file. Give the path of {name}'s weights "
            "(.safetensors or .pth)."
        )
    refuse_lfs_pointer(file, f"pretrained={str(file)!r}")
    source = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    try:
        with quiet_timm():
            model, again = _draw(name, options, **source), _draw(name, options, **source)
    except Exception as error:  # timm, safetensors and torch raise what they like on a strange file
        raise ValueError(_of_another(file, name, _draw(name, options))) from error
    # timm skips in silence what a file lacks; only what the file did hold is the same in two random nets
    other = dict(again.named_parameters())
    if not all(torch.equal(value, other[key]) for key, value in model.named_parameters()):
        raise ValueError(_of_another(file, name, model))
    return model


def _of_another(file: Path, name: str, model: nn.Module) -> str:
    """What to say of a file whose weights are not those of a net."""
    if not (differs := differing_keys(file, shapes(model))):
        return (
            f"pretrained={str(file)!r} is no file of weights that can be read. Give timm's file for {name} "
            "(.safetensors or .pth)."
        )
    return (
        f"pretrained={str(file)!r} does not hold weights of {name} ({differs}). Give timm's file for it "
        "(.safetensors or .pth), or the name of the net that the file belongs to."
    )


def _draw(name: str, options: dict[str, Any], **source: Any) -> nn.Module:
    options = {"num_classes": 0, **options, **source}
    if timm.get_pretrained_cfg(name).fixed_input_size and "img_size" not in options:
        try:
            return timm.create_model(name, dynamic_img_size=True, **options)
        except TypeError:
            # this kind cannot; options={"img_size": 128} fixes another size than the one it was trained with
            pass
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        raise ValueError(
            f"timm cannot make a {name} with the options {', '.join(sorted(options))}: {error}."
        ) from error
