"""`dfd ensemble`: one detector out of several, fitted on validation pictures alone."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfd.batch import LABELS, Predictions
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
from dfd.detector.exported_net import ExportedNet
from dfd.detector.selection import chosen_on
from dfd.evaluate.grid import Options, named_detector
from dfd.evaluate.judging import EnoughPixels, judge
from dfd.evaluate.names import detector_name, named
from dfd.evaluate.plan import NamedDetector, some
from dfd.familiarity import Familiarity, Features
from dfd.media.crops import View
from dfd.metrics import interval
from dfd.models import Ensemble, Net, recipe
from dfd.models.ensemble import HOW, OF_EXPERTS
from dfd.models.seal import save_sealed
from dfd.outputs import check_file, output_file
from dfd.progress import progress
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


def check_members(members: Sequence[NamedDetector]) -> None:
    """ValueError where files make no ensemble: the same net twice, faces cut in two ways, or drawings beside
    photographs.
    """
    seen: dict[str, str] = {}
    for member in members:
        if isinstance(runtime := member.detector.runtime, ExportedNet):
            raise ValueError(
                f"{member.path} is an export to {runtime.kind}, so it joins no other file. Give its "
                "checkpoint."
            )
        net = member.detector.net
        prints = [each for each in (member.sha256, member.detector.card.checkpoint_sha256) if each]
        prints.append(_print(net))
        if twin := next((seen[each] for each in prints if each in seen), None):
            raise ValueError(
                f"{twin} and {member.path} are the same net, which would only count twice. Name it once; for "
                "an ensemble of one recipe, train it with several seeds."
            )
        seen |= dict.fromkeys(prints, member.path)
    margins = {member.detector.view.margin: member for member in members}
    if len(margins) > 1:
        cut = " and ".join(f"{member.name} at {margin:g}" for margin, member in margins.items())
        raise ValueError(
            f"the members cut faces out of photos at different margins: {cut} times the face. Train them on "
            "shards that were prepared at one margin."
        )
    drawn = {member.detector.card.of_drawings: member for member in members}
    if len(drawn) > 1:
        raise ValueError(
            f"{drawn[True].path} was trained on the toy set's drawings and {drawn[False].path} was not: what "
            "one knows is nothing to the other. Leave one of them out."
        )


def _print(net: Net) -> str:
    """SHA-256 of what a net is, wherever its file came from."""
    digest = hashlib.sha256(json.dumps(recipe(net), sort_keys=True).encode())
    for value in net.state_dict().values():
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


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
                "val_augment": _stated(members[0].detector.card),
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


def member_table(
    members: Sequence[NamedDetector], roots: Sequence[str], split: str, options: Options
) -> tuple[Predictions, np.ndarray, ShardDataModule]:
    """The pictures of a split that every member can judge, their raw logits (N, M), and what describes them.

    Those of val are delivered as the first member's own validation was, the same for all members; those of
    test are as they were found.
    """
    first = members[0].detector
    data = ShardDataModule(
        list(roots), view=first.view, batch_size=options.batch_size, num_workers=options.workers
    )
    data.setup("validate" if split == "val" else "test")
    if options.limit is not None:
        data.catalog.keep(split, some(data, split, options.limit))
    delivered = _made(_stated(first.card)) if split == "val" else []
    rows = data.rows(split)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, member in enumerate(members):
        cues = getattr(member.detector.net, "cue_names", ())
        groups.setdefault((*member.view, cues), []).append(number)
        # what a member finds strange is not asked: the ensemble learns its own home
        member.detector.gate = None
    tables: dict[int, Predictions] = {}
    with progress(len(rows) * len(groups), f"judging {split}") as advance:
        for numbers in groups.values():
            detectors = [members[number].detector for number in numbers]
            data.view, net = detectors[0].view, detectors[0].net
            if names := getattr(net, "cue_names", ()):
                data.deliver_cues(names, net.cue_version)
            else:
                data.withhold_cues()
            data.corruption = [*delivered, EnoughPixels(data.view)]
            judged = judge(detectors, data.judging_dataloader(split), rows, data, advance)
            tables |= {number: each.predictions for number, each in zip(numbers, judged, strict=True)}
    ok = np.all([table.status == "ok" for table in tables.values()], axis=0)
    logits = np.stack([tables[number].logit[ok] for number in range(len(members))], axis=1)
    table = tables[0].where(ok)
    counts = [int((table.label == kind).sum()) for kind in range(len(LABELS))]
    if not all(counts):
        raise ValueError(
            f"the {split} split of {', '.join(map(str, roots))} has {counts[0]} real and {counts[1]} fake "
            "pictures that every member can judge, and an ensemble is fitted on both."
        )
    return table, logits, data


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


def _stated(card: Card) -> list[dict[str, Any]]:
    """The transforms of validation that a member's data module had, as class paths and arguments."""
    stated = (card.data or {}).get("init_args", {}).get("val_augment") or []
    return [stated] if isinstance(stated, dict) else list(stated)


def _made(stated: Sequence[Any]) -> list[Any]:
    made = []
    for each in stated:
        path = each.get("class_path") if isinstance(each, dict) else None
        # a file may choose transforms of dfd alone
        package, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
        kind = getattr(importlib.import_module("dfd.augment"), name, None)
        if package != "dfd.augment" or not isinstance(kind, type):
            raise ValueError(
                f"the first member was validated on pictures changed by {path}, which is none of "
                "dfd.augment. Put another member first."
            )
        made.append(kind(**(each.get("init_args") or {})))
    return made


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
