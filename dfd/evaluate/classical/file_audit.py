"""Audit of models that read files: whether what they tell is forgery, or the program that wrote the file.

Where fakes went through another program than reals, a model of file facts tells the programs apart. That is a
shortcut (Grommelt et al., 2403.17608), whatever its AUROC, and it is called one here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dfd.audit.shortcuts import CHANCE, Shortcut
from dfd.batch import Predictions
from dfd.evaluate.classical.models import ModelKind, Part, fit
from dfd.evaluate.shortcuts import matches
from dfd.forensics.cues import KINDS, kinds
from dfd.metrics import detection_metrics, interval

STRONGEST = 4  # facts that are named
Judged = tuple[str, np.ndarray, Predictions]  # a root's name, features (M, F) of its judged rows, its table


def audit_metadata(names: Sequence[str], weights: np.ndarray | None, judged: Sequence[Judged]) -> list[str]:
    """What a model of metadata alone means, root by root.

    Args:
        names: of its features.
        weights: (F,) of the standardised features; None where the model is not linear in them.
    """
    strongest = ""
    if weights is not None:
        order = np.argsort(-np.abs(weights), kind="stable")[:STRONGEST]
        named = [names[at].removeprefix("file.") for at in order.tolist() if weights[at]]
        strongest = f" It rests on {', '.join(named)} most." if named else ""
    return [_metadata_words(root, reached("metadata", table), strongest) for root, _, table in judged]


def _metadata_words(root: str, found: Shortcut, strongest: str) -> str:
    figures = f"metadata alone on {root}: {_figures(found)}"
    if np.isnan(found.auroc):
        return f"{figures}."
    if found.low > CHANCE:
        return (
            f"SHORTCUT: {figures}. This measures how the files were written (program, quality, size, what is "
            "stored beside the pixels), not forgery: no figure to quote for a detector. Whatever is given "
            "these files, or pixels in which their compression shows, can reach as much without looking at a "
            f"face; `dfd reencode` makes shards that are written alike.{strongest}"
        )
    if found.low > 0.5:
        return (
            f"{figures}: a little better than chance; it measures how the files were written, not forgery."
            f"{strongest}"
        )
    if found.high < 0.5:
        return (
            f"{figures}: worse than chance. What it learnt of the programs that wrote the training files is "
            "the other way round here, which is what becomes of shortcuts abroad."
        )
    return (
        f"{figures}: not shown to be better than chance. Nothing says that the way these files were written "
        "tells real from fake."
    )


def audit_cues(
    names: Sequence[str], kind: ModelKind, train: Part, val: Part, judged: Sequence[Judged]
) -> list[str]:
    """What of a cue model's AUROC the file's facts alone reach, and what is left without them, root by root.

    Args:
        names: of the cues, in the order of the features.
        train, val: that the cue model was made of; two further ones are made of parts of them.
    """
    sides = {"file facts": kinds(names, KINDS[:1]), "pixels": kinds(names, KINDS[1:])}
    models = {
        side: fit(_part(train, places), _part(val, places), kind).model for side, places in sides.items()
    }
    sentences = []
    for root, values, table in judged:
        whole = reached("cues", table)
        alone = {
            side: reached(side, replace(table, logit=models[side](values[:, places])))
            for side, places in sides.items()
        }
        sentences.append(_cue_words(root, whole, alone["file facts"], alone["pixels"]))
    return sentences


def _cue_words(root: str, whole: Shortcut, files: Shortcut, pixels: Shortcut) -> str:
    figures = (
        f"cues on {root}: {_figures(whole)}; those of the file's headers alone {_figures(files)}, those of "
        f"its pixels alone {_figures(pixels)}"
    )
    if np.isnan(whole.auroc) or not matches(files, whole.auroc):
        return f"{figures}."
    return (
        f"SHORTCUT: {figures}. A model that only reads the encoder reaches as much: the cue model's figure "
        "measures how the files were written, not forgery."
    )


def reached(name: str, table: Predictions) -> Shortcut:
    """The AUROC of a table with its interval."""
    known = table.judged
    auroc = detection_metrics(known)["auroc"]
    low, high = interval(known) if not np.isnan(auroc) else (np.nan, np.nan)
    return Shortcut(name, auroc, low, high, len(known), known.num_families, {}, {})


def _figures(found: Shortcut) -> str:
    if np.isnan(found.auroc):
        return f"no AUROC, since its {found.num_images} pictures are of one class"
    return f"AUROC {found.auroc:.3f} ({found.low:.3f} .. {found.high:.3f})"


def _part(part: Part, places: np.ndarray) -> Part:
    return part._replace(values=part.values[:, places])
