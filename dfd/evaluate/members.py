"""Members of an ensemble: whether they make one, and their logits of the same pictures."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dfd.batch import LABELS, Predictions
from dfd.data import ShardDataModule
from dfd.detector.card import Card
from dfd.detector.exported_net import ExportedNet
from dfd.evaluate.grid import Options
from dfd.evaluate.judging import EnoughPixels, judge
from dfd.evaluate.plan import NamedDetector, some
from dfd.models import Net, recipe
from dfd.progress import progress


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
    delivered = _made(stated(first.card)) if split == "val" else []
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


def stated(card: Card) -> list[dict[str, Any]]:
    """The transforms of validation that a member's data module had, as class paths and arguments."""
    named = (card.data or {}).get("init_args", {}).get("val_augment") or []
    return [named] if isinstance(named, dict) else list(named)


def _made(named: Sequence[Any]) -> list[Any]:
    """Those transforms, of which a file may choose dfd's alone."""
    made = []
    for each in named:
        path = each.get("class_path") if isinstance(each, dict) else None
        package, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
        kind = getattr(importlib.import_module("dfd.augment"), name, None)
        if package != "dfd.augment" or not isinstance(kind, type):
            raise ValueError(
                f"the first member was validated on pictures changed by {path}, which is none of "
                "dfd.augment. Put another member first."
            )
        made.append(kind(**(each.get("init_args") or {})))
    return made
