"""`dfd ensemble`: one detector out of several, fitted on validation pictures alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfd.calibration import (
    STEEPEST,
    Calibration,
    certificate,
    fit_calibration,
    fit_thresholds,
    shortage,
)
from dfd.calibration.ensemble import Numbers, auroc, fit_ensemble, log_loss, of_experts
from dfd.data import ShardDataModule
from dfd.detector.card import NET, Card
from dfd.detector.selection import chosen_on
from dfd.evaluate.grid import Options, named_detector
from dfd.evaluate.members import check_members, member_table, stated
from dfd.evaluate.names import detector_name, named
from dfd.evaluate.plan import NamedDetector
from dfd.familiarity import Familiarity, Features
from dfd.media.crops import View
from dfd.metrics import interval
from dfd.models import Ensemble, recipe
from dfd.models.ensemble import HOW, OF_EXPERTS
from dfd.models.seal import save_sealed
from dfd.outputs import check_file, output_file
from dfd.tasks.home import learn_home
from dfd.terminal import many

REVERSED = 0.3  # AUROC up to which a member calls fake what the others call real


@dataclass(frozen=True)
class Fitted:
    """An ensemble with what it rests on.

    Args:
        net, card: of the checkpoint.
        auroc, ends, nll: on the validation pictures, of each member by its name, and of the ensemble as "";
            `ends` are of the AUROC's 95% interval.
        doubts: sentences on members whose figures there say less than they seem to.
    """

    net: Ensemble
    card: Card
    auroc: dict[str, float]
    ends: dict[str, tuple[float, float]]
    nll: dict[str, float]
    doubts: list[str]


def ensemble(
    checkpoints: Sequence[str],
    roots: Sequence[str],
    out: Path,
    how: str,
    options: Options,
) -> Fitted:
    """Writes a checkpoint that holds several detectors and judges as one, and says on the screen what each is
    worth on the validation pictures.

    Args:
        checkpoints: files that `dfd fit`, `dfd export` or `dfd ensemble` wrote, or "NAME=FILE".
        roots: folders of finished shards or their URLs, whose val split fits everything.
        out: file to write, NAME.ckpt.
        how: "mean", "max", "weighted" or "stacked", see `fit_ensemble`; "experts" or "added", see
            `of_experts`, where the names are what they look for, such as "blend" and "trace".
        options: of these workers, device, batch size, limit and allowed packages are used.

    Raises:
        ValueError: the files make no ensemble, the roots have no validation pictures of both classes, or out
            is no name for a checkpoint.
    """
    if how not in HOW:
        raise ValueError(f"--how {how}: use one of {', '.join(HOW)}.")
    check_file(out, f"--out {out}")
    if out.suffix != ".ckpt":
        raise ValueError(f"--out {out}: the file is a checkpoint, so call it {out.with_suffix('.ckpt')}.")
    files = named(checkpoints, "member", detector_name)
    if len(files) < 2:
        raise ValueError("an ensemble takes two members or more: dfd ensemble A.ckpt B.ckpt --on SHARDS.")
    members = [named_detector(name, path, options) for name, path in files.items()]
    check_members(members)
    fitted = fit(members, roots, how, options)
    state = {f"{NET}{name}": value for name, value in fitted.net.state_dict().items()}
    with output_file(out) as temporary:
        save_sealed({"state_dict": state, "dfd": fitted.card.to_plain()}, temporary)
    print(told(fitted, out))
    return fitted


def fit(members: Sequence[NamedDetector], roots: Sequence[str], how: str, options: Options) -> Fitted:
    """The ensemble of these members, fitted and calibrated on the validation pictures of the roots."""
    predictions, logits, data = member_table(members, roots, "val", options)
    names = [member.name for member in members]
    label = predictions.label
    worth = {name: auroc(column, label) for name, column in zip(names, logits.T, strict=True)}
    if how in OF_EXPERTS:
        for member in members:
            if not member.detector.card.calibrated_on:
                raise ValueError(
                    f"{member.path} was never calibrated, and experts speak in calibrated log odds. Take a "
                    "checkpoint that a validation has judged, such as best.ckpt."
                )
        numbers = of_experts([member.detector.card.calibration for member in members], names)
    else:
        _check_direction(worth, len(label))
        numbers = fit_ensemble(logits, label, how)
    net, view = assemble(members, how, numbers)
    with torch.inference_mode():
        fused = net.fuse(torch.from_numpy(logits).float()).double().numpy()
    calibration = fit_calibration(fused, label, "platt")
    thresholds = fit_thresholds(fused, label, predictions.source, predictions.family)
    own = {
        name: fit_calibration(column, label, "platt") for name, column in zip(names, logits.T, strict=True)
    }
    nll = {name: log_loss(own[name](column), label) for name, column in zip(names, logits.T, strict=True)}
    predictions = replace(predictions, logit=fused)
    ends = {
        name: interval(replace(predictions, logit=column))
        for name, column in zip(names, logits.T, strict=True)
    }
    doubts = [*_at_limit(own), *_at_chance(ends, how)]
    ends[""] = interval(predictions)
    card = Card(
        net=recipe(net),
        view=vars(view),
        calibration=calibration,
        thresholds=thresholds,
        calibrated_on={
            "split": "val",
            "images": len(predictions),
            "groups": predictions.num_families,
            "sources": certificate(predictions, thresholds),
            "data": data.title,
        },
        familiarity=_familiarity(members, net, view, data, options),
        selected_on=_selected_on(members, how),
        seen=_seen(members, data.fingerprints(predictions.row)),
        task={"class_path": "dfd.tasks.ClassificationTask", "init_args": {"net": recipe(net)}},
        data={
            "class_path": "dfd.data.ShardDataModule",
            "init_args": {
                "roots": [str(root) for root in data.roots],
                "view": {**vars(view), "margin": None},
                "batch_size": options.batch_size,
                "val_augment": stated(members[0].detector.card),
                "num_workers": options.workers,
            },
        },
    )
    worth[""], nll[""] = auroc(fused, label), log_loss(calibration(fused), label)
    return Fitted(net, card, worth, ends, nll, doubts)


def assemble(members: Sequence[NamedDetector], how: str, numbers: Numbers) -> tuple[Ensemble, View]:
    """The net of these members, and the view that cuts its pictures.

    Members of one view share crops, and the sum of their logits may be taken crop by crop. Else the crops of
    all views lie on one sheet; so they do too where the largest of the members' mean logits is asked for.
    """
    views: dict[tuple[Any, ...], View] = {}
    for member in members:
        if member.detector.view.beside is not None:
            raise ValueError(
                f"{member.path} is an ensemble of several views. Name its members one by one instead."
            )
        views.setdefault(member.view, member.detector.view)
    first, *others = views.values()
    view, sheet, looks = first, None, None
    if others or (HOW[how] and first.num_crops > 1):
        view = replace(first, beside=[{**vars(each), "beside": None} for each in others])
        sheet = [[part.num_crops, part.size] for part in view.parts]
        looks = [list(views).index(member.view) for member in members]
    net = Ensemble(
        {member.name: member.detector.net.cpu() for member in members},
        how,
        numbers.slopes.tolist(),
        numbers.offsets.tolist(),
        sheet,
        looks,
    )
    return net.eval(), view


def told(fitted: Fitted, out: Path) -> str:
    """For the screen."""
    card, net = fitted.card, fitted.net
    width = max(len(name) for name in (*net.names, "ensemble"))
    lines = [f"{'':{width}}  val AUROC (95% interval)  log loss   slope  offset"]
    for name, slope, offset in zip(net.names, net.slope.tolist(), net.offset.tolist(), strict=True):
        lines.append(f"{name:{width}}  {_figures(fitted, name)}  {slope:6.3f}  {offset:+.3f}")
    lines.append(f"{'ensemble':{width}}  {_figures(fitted, '')}")
    of = f"{card.calibrated_on['images']} images in {many(card.calibrated_on['groups'], 'family')}"
    lines.append(f"Of {of}, which fitted the ensemble and may have chosen its members: figures that flatter.")
    parameters = sum(weight.numel() for weight in net.parameters())
    decides = "the largest part decides" if HOW[net.how] else "the sum of the parts decides"
    lines.append(f"A part is slope * logit + offset; {decides}. Log loss: each calibrated by itself.")
    lines += [*fitted.doubts, *(f"{each}." for each in shortage(card.certificate))]
    if card.familiarity is None:
        lines.append("It knows no strange pictures: no member did, or the shards have too few.")
    lines.append(f"{net.how} of {len(net.names)}, {parameters:,} parameters, fitted on {card.basis}: {out}")
    return "\n".join(lines)


def _figures(fitted: Fitted, name: str) -> str:
    low, high = fitted.ends[name]
    return f"{fitted.auroc[name]:9.4f} ({low:.4f}, {high:.4f})  {fitted.nll[name]:8.4f}"


def _at_limit(calibrations: Mapping[str, Calibration]) -> Iterator[str]:
    for name, calibration in calibrations.items():
        if calibration(1.0) - calibration(0.0) >= STEEPEST * (1 - 1e-6):
            yield (
                f"{name}: its logits are so small that its calibration stops at a slope of {STEEPEST:g}, and "
                "its log loss is no measure beside the others'. Train it for longer."
            )


def _at_chance(ends: Mapping[str, tuple[float, float]], how: str) -> Iterator[str]:
    """Of members whose interval does not lie above chance. No validation picture keeps an expert out."""
    what = (
        "Where it decides, its word rests on what it was trained on alone."
        if how in OF_EXPERTS
        else "Leave it out, or train it for longer."
    )
    for name, (low, high) in ends.items():
        if not low > 0.5:
            yield (
                f"{name}: on these pictures it is not shown to tell fakes from reals (AUROC {low:.2f} to "
                f"{high:.2f}). {what}"
            )


def _check_direction(worth: Mapping[str, float], images: int) -> None:
    wrong = [name for name, value in worth.items() if value <= REVERSED]
    if wrong and len(wrong) < len(worth):
        raise ValueError(
            f"{wrong[0]} calls fake what the val split calls real: its AUROC on {images} pictures there is "
            f"{worth[wrong[0]]:.2f}, so its labels were the other way round when it was trained, or it never "
            "learnt. Leave it out, or train it again."
        )


def _familiarity(
    members: Sequence[NamedDetector], net: Ensemble, view: View, data: ShardDataModule, options: Options
) -> dict[str, Any] | None:
    """What the ensemble's own pictures are like, seen by the first layers of a member that has some."""
    stored = [member.detector.card.familiarity for member in members]
    if not any(stored):
        return None
    gates = [
        Familiarity.of(state, member.detector.net, member.path)
        for state, member in zip(stored, members, strict=True)
        if state
    ]
    early = next((gate.features.early for gate in gates if gate.features.early is not None), None)
    # without any, by its own maps, or by the block DCT alone where it reads sheets
    own = net if net.cam_layers else None
    home = ShardDataModule(list(data.roots), view=view, batch_size=options.batch_size, num_workers=0)
    home.open_catalog()
    gate = learn_home(Features(early, own), home, torch.device("cpu"))
    return None if gate is None else gate.state()


def _selected_on(members: Sequence[NamedDetector], how: str) -> str:
    """What chose the ensemble; and where a member was chosen on test, that."""
    text = f"{how} of {', '.join(member.name for member in members)} (split: val)"
    for member in members:
        card = member.detector.card
        if chosen_on("test", card.calibrated_on, card.selected_on):
            text += f"; {member.name} on split: test"
    return text


def _seen(members: Sequence[NamedDetector], fitted_on: np.ndarray) -> dict[str, torch.Tensor]:
    """Fingerprints of the pictures that trained and chose any member, and that the ensemble is fitted on."""
    cards = [member.detector.card for member in members]
    if not any(card.seen for card in cards):  # nobody knows what trained them
        return {}
    seen = {"train": [torch.empty(0, dtype=torch.int64)], "val": [torch.from_numpy(fitted_on)]}
    for card in cards:
        for split, prints in card.seen.items():
            seen.setdefault(split, []).append(prints)
    return {split: torch.unique(torch.cat(prints)) for split, prints in sorted(seen.items())}
