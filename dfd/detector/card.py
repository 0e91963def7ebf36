"""Card: what a checkpoint says of its net: recipe, crops, calibration, what chose it, and what it was made
from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from dfd import __version__
from dfd.calibration import UNFITTED, Calibration, Certificate, Temperature, calibration_of
from dfd.detector.card_check import check_card, made_view
from dfd.media.crops import View
from dfd.released import resolve
from dfd.terminal import printable

if TYPE_CHECKING:
    import torch

    from dfd.models import Net

# where checkpoints of tasks keep a net, and the average of its weights
NET, AVERAGE = "net.", "average.module."
# what a calibration on the toy set names as its data
TOY = "toy drawings, no photographs"


@dataclass
class Card:
    """Stored under "dfd" in a checkpoint, and in the header of an export.

    Args:
        net: class path and arguments, as `dfd.models.recipe` gives them.
        weights_in: what the names of this net's weights begin with in the checkpoint's state_dict.
        view: the arguments of the `View` that cut its images; None where a data module of one's own has none.
        calibration: raw logits to log odds of P(fake).
        thresholds: raw logits by name: balanced, fpr5, fnr5.
        calibrated_on: split, images, groups (families) of the calibration and, where known, its data, what
            found their faces (`FaceDetector.identity`) and, by source and class, the errors at these
            thresholds (`dfd.calibration.certificate`); None for none.
        familiarity: state of the gate that knows strange pictures (`dfd.familiarity.Familiarity.of` restores
            it); None where the fit learnt none.
        selected_on: what chose this checkpoint among those of its run.
        seen: fingerprints (R,) int64 of the images that trained it ("train") and chose it ("val").
        ema_decay: of the average of weights; None where there is none.
        task: class path and arguments of the task that trained it, where a command line wrote them down.
        data: the same of its data module.
        weights: in an export, which of the checkpoint's weights these are.
        checkpoint_sha256: in an export, of the checkpoint.
        version: dfd's, when it was written.
    """

    net: dict[str, Any]
    weights_in: str = NET
    view: dict[str, Any] | None = None
    calibration: Calibration = field(default_factory=Temperature)
    thresholds: dict[str, float] = field(default_factory=lambda: dict(UNFITTED))
    calibrated_on: dict[str, Any] | None = None
    familiarity: dict[str, Any] | None = None
    selected_on: str | None = None
    seen: dict[str, torch.Tensor] = field(default_factory=dict)
    ema_decay: float | None = None
    task: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    weights: str | None = None
    checkpoint_sha256: str | None = None
    version: str = __version__

    def to_plain(self) -> dict[str, Any]:
        """As it is stored; what is not known is left out, `view` and `calibrated_on` aside."""
        always = ("view", "calibrated_on", "ema_decay")
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["calibration"] = self.calibration.to_plain()
        return {name: value for name, value in plain.items() if value is not None or name in always}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], state: Iterable[str], where: str) -> Card:
        """A card as it was stored.

        Args:
            plain: what `to_plain` gave, by this version of dfd or an earlier one.
            state: names in the checkpoint's state_dict.
            where: what to call the file in an error.

        Raises:
            ValueError: dfd did not write it, or another version did.
        """
        check_card(plain, where)
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in plain.items() if name in known}
        # before there were cards, an average was known by the names of its weights
        averaged = any(name.startswith(AVERAGE) for name in state)
        card = cls(**{"net": {}, "weights_in": AVERAGE if averaged else NET, **given})
        # infinite ones are strings in JSON
        card.thresholds = {name: float(card.thresholds[name]) for name in UNFITTED}
        # earlier versions knew temperatures alone
        earlier = {"kind": "temperature", "temperature": plain.get("temperature", 1.0)}
        card.calibration = calibration_of(plain.get("calibration", earlier))
        # these are shown to people, on terminals too
        card.version, card.selected_on = (
            printable(card.version),
            card.selected_on and printable(card.selected_on),
        )
        if card.calibrated_on:
            card.calibrated_on = {
                name: printable(value) if isinstance(value, str) else value
                for name, value in card.calibrated_on.items()
            }
            if sources := card.calibrated_on.get("sources"):
                card.calibrated_on["sources"] = {printable(name): of for name, of in sources.items()}
        return card

    def made_view(self, where: str) -> View:
        """How the net's images were cut.

        Raises:
            ValueError: the view belongs to another version of dfd, or to a data module of one's own.
        """
        assert self.view, "ask only of a card that has one"
        return made_view(self.view, where, {"version": self.version})

    @property
    def of_drawings(self) -> bool:
        """Whether the toy set made it, so that it knows nothing of photographs."""
        trained_on = (self.data or {}).get("class_path")
        return trained_on == "dfd.data.ToyDataModule" or (self.calibrated_on or {}).get("data") == TOY

    @property
    def certificate(self) -> Certificate:
        """Errors at the thresholds, by source and class; empty where the card does not know them."""
        return (self.calibrated_on or {}).get("sources", {})

    @property
    def face_detector(self) -> str:
        """What found the faces that it was calibrated on; "" where the card does not say."""
        return (self.calibrated_on or {}).get("face_detector", "")

    @property
    def basis(self) -> str:
        """What calibration and thresholds rest on, in a few words; "" for nothing."""
        if not self.calibrated_on:
            return ""
        # a task without a data module knows none
        data = f" of {self.calibrated_on['data']}" if "data" in self.calibrated_on else ""
        return f"{self.calibrated_on['split']}{data}, {self.calibrated_on['images']} images"


def load_net(
    path: str | os.PathLike[str],
    map_location: str | torch.device = "cpu",
    allow: Iterable[str] = ("dfd.",),
    role: str | None = "detector",
    merge: bool = True,
) -> tuple[Net, Card]:
    """The net of a checkpoint or an export, ready for use, and its card.

    Averaged weights are taken where the training kept an average. Needs no network and no file but this one.

    Args:
        path: file that `dfd fit` or `dfd export` wrote, or the name of a released detector that lies here.
        map_location: device of the weights.
        allow: packages whose code the file may name, beside dfd: ("my_package.",).
        role: what the net is to be, "detector" or "generator"; None takes any.
        merge: give the plain net that one such as `dfd.models.LoRANet` amounts to, and its card.

    Raises:
        ValueError: what is wrong with a file that does not give such a net.
    """
    from dfd.models import recipe
    from dfd.models.checkpoint import read_checkpoint, rebuild

    path = resolve(path)
    checkpoint = read_checkpoint(path)
    state = checkpoint["state_dict"]
    card = Card.from_plain(checkpoint["dfd"], state, str(path))
    weights = {
        name.removeprefix(card.weights_in): value
        for name, value in state.items()
        if name.startswith(card.weights_in)
    }
    net = rebuild(card.net, weights, path, allow, role)
    if merge and (plain := net.merged()) is not net:
        net, card = plain, replace(card, net=recipe(plain))
    return net.to(map_location).eval(), card
