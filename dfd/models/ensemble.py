"""Ensemble: several detectors as one net with one logit, so that all that takes a detector takes it too."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dfd.models.net import Net

How = Literal["mean", "max", "weighted", "stacked", "experts", "added"]
# how -> whether the largest of the members' log odds decides, instead of their sum
HOW: dict[str, bool] = {
    "mean": False,
    "max": True,
    "weighted": False,
    "stacked": False,
    "experts": True,
    "added": False,
}
OF_EXPERTS = ("experts", "added")  # whose members look for one kind of forgery each


class Ensemble(Net):
    """Several detectors as one: image (B, 3, H, W) in [0, 1] -> logit (B,).

    A member's logit becomes slope * logit + offset, its part; the logit of the ensemble is the sum of the
    parts, or the largest of them where `how` is "max" or "experts". `dfd ensemble` fits the numbers.

    Members that see the same crops share them. Members of different views read one sheet, on which the crops
    of all views lie in a row from left to right (`dfd.media.crops.View.beside`); of each member the mean
    logit of its crops counts. Forensic cues go to the members that read them.

    Args:
        members: detectors by name; of experts the name says what each looks for.
        how: "mean", "max", "weighted", "stacked", or of experts "experts", the larger, or "added".
        slopes, offsets: a number a member.
        sheet: number of crops and their size of each view on the sheet, [[1, 224], [5, 128]]; None where all
            members see the image itself.
        looks: which of the views on the sheet each member reads.

    Raises:
        ValueError: fewer than two members, one that is no detector, or numbers that do not fit them.
    """

    def __init__(
        self,
        members: dict[str, Net],
        how: How,
        slopes: list[float],
        offsets: list[float],
        sheet: list[list[int]] | None = None,
        looks: list[int] | None = None,
    ):
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"an ensemble of {len(members)}: it takes two members or more.")
        if how not in HOW:
            raise ValueError(f"how={how!r} is not known. Use one of {', '.join(HOW)}.")
        if other := [name for name, net in members.items() if getattr(net, "role", None) != "detector"]:
            raise ValueError(f"the member {other[0]} is a {type(members[other[0]]).__name__}, no detector.")
        numbers = [*slopes, *offsets]
        if not len(slopes) == len(offsets) == len(members) or not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"slopes={slopes} and offsets={offsets}: give a finite number for each of {len(members)} "
                "members."
            )
        if sheet is not None:
            looks = list(looks or [])
            fit = len(looks) == len(members) and all(0 <= look < len(sheet) for look in looks)
            if not fit or not all(len(each) == 2 and min(each) >= 1 for each in sheet):
                raise ValueError(
                    f"sheet={sheet} and looks={looks}: give the number of crops and their size of each view, "
                    "and for each member which of the views it reads."
                )
        readers = {name: net for name, net in members.items() if getattr(net, "cue_names", ())}
        read = {(net.cue_names, net.cue_version): name for name, net in readers.items()}
        if len(read) > 1:
            raise ValueError(
                f"the members {' and '.join(read.values())} read different forensic cues, or of two "
                "versions. Train them on the same ones."
            )
        self.cue_names, self.cue_version = next(iter(read), ((), 0))
        self.names, self.how, self.sheet, self.looks = list(members), how, sheet, looks
        self.members = nn.ModuleList(members.values())
        for name, values in (("slope", slopes), ("offset", offsets)):
            # the recipe holds them
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        """Of each member with a map its first, by the member's name; none where the members read a sheet, of
        which no layer keeps the places.
        """
        if self.sheet is not None:
            return {}
        layers = {
            name: getattr(net, "cam_layers", {}) for name, net in zip(self.names, self.members, strict=True)
        }
        return {name: next(iter(found.values())) for name, found in layers.items() if found}

    def member_logits(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        """(B, M) raw logits of the members."""
        if self.sheet is None:
            return torch.stack([_logit(net, image, cues) for net in self.members], dim=1)
        views = self._crops(image)
        logits = []
        for net, look in zip(self.members, self.looks or (), strict=True):
            crops = views[look]  # (B, N, 3, S, S)
            of_crop = None if cues is None else cues.repeat_interleave(crops.shape[1], dim=0)
            logits.append(_logit(net, crops.flatten(0, 1), of_crop).unflatten(0, crops.shape[:2]).mean(1))
        return torch.stack(logits, dim=1)

    def parts(self, logits: Tensor) -> Tensor:
        """(B, M) raw logits of the members -> (B, M), what each has to say; above zero means FAKE."""
        return self.slope * logits.float() + self.offset

    def fuse(self, logits: Tensor) -> Tensor:
        """(B, M) raw logits of the members -> (B,)"""
        parts = self.parts(logits)
        return parts.amax(1) if HOW[self.how] else parts.sum(1)

    def streams(self, image: Tensor) -> dict[str, Tensor]:
        """The logit (B, 1) of each member, by its name: what it adds can be asked, as of a net's streams."""
        return dict(zip(self.names, self.member_logits(image).split(1, dim=1), strict=True))

    def judge(self, **streams: Tensor) -> Tensor:
        """The logits (B,) of such members' logits."""
        return self.fuse(torch.cat([streams[name] for name in self.names], dim=1))

    def localize(self, image: Tensor) -> Tensor:
        """(B, H, W) in [0, 1]: how sure the members with a mask head are, in the mean, that each place is
        forged; 0 on a sheet where none of them looks.

        Raises:
            ValueError: no member has a mask head.
        """
        able = [(number, net) for number, net in enumerate(self.members) if hasattr(net, "localize")]
        if not able:
            raise ValueError("no member of this ensemble has a mask head.")
        if self.sheet is None:
            return torch.stack([net.localize(image) for _, net in able]).mean(0)
        rows = []
        for view, crops in enumerate(self._crops(image)):
            readers = [net for number, net in able if self.looks[number] == view]
            maps = [net.localize(crops.flatten(0, 1)).unflatten(0, crops.shape[:2]) for net in readers]
            row = torch.stack(maps).mean(0) if maps else torch.zeros_like(crops[:, :, 0])  # (B, N, S, S)
            row = row.movedim(1, -2).flatten(-2)  # (B, S, N * S)
            rows.append(pad(row, (0, 0, 0, image.shape[-2] - row.shape[-2])))
        return torch.cat(rows, dim=-1)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        return self.fuse(self.member_logits(image, cues))

    def _crops(self, sheet: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> for each view its crops (B, N, 3, S, S)."""
        width = sum(num * size for num, size in self.sheet)
        height = max(size for _, size in self.sheet)
        if sheet.shape[-2:] != (height, width):
            raise ValueError(
                f"pictures of {sheet.shape[-1]} x {sheet.shape[-2]} px, where this ensemble reads sheets of "
                f"{width} x {height}: cut them with the view of its checkpoint."
            )
        views, left = [], 0
        for num, size in self.sheet:
            row = sheet[..., :size, left : left + num * size]  # (B, 3, S, N * S)
            views.append(row.unflatten(-1, (num, size)).movedim(-2, 1))
            left += num * size
        return views


def _logit(net: nn.Module, image: Tensor, cues: Tensor | None) -> Tensor:
    reads = cues is not None and getattr(net, "cue_names", ())
    return net(image, cues) if reads else net(image)
