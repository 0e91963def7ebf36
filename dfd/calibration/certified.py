"""Certified error rates: how often a word may be wrong, as an upper bound for each source.

7 false alarms of 150 reals are not "5%": they are "at most 8.6%", and certifying 5% allows 2.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from dfd.batch import FAKE, LABELS, REAL

if TYPE_CHECKING:
    from dfd.batch import Predictions

ERROR_RATE = 0.05  # that the thresholds fpr5 and fnr5 certify
LEVEL = 0.95  # confidence of every bound here
# of each source, by name of the class: images, independent, errors, right, bound; see `certificate`
Certificate = dict[str, dict[str, dict[str, float]]]
SAID = (("real", "fake"), ("fake", "no trace found"))  # a class, and the word that is an error there


def upper_bound(errors: float, images: float, level: float = LEVEL) -> float:
    """The largest error rate at which so few errors would still be seen with a chance of 1 - level.

    One-sided and exact: Clopper & Pearson 1934. 1.0 where all are errors, and where there is no image.
    """
    return float(betaincinv(errors + 1, images - errors, level)) if errors < images else 1.0


def allowed_errors(images: int, independent: float | None = None) -> int:
    """The most errors among so many images that certify 5%; -1 where not even none does.

    independent: how many independent images these are worth, where not all are.
    """
    share = 1.0 if independent is None else independent / max(images, 1)
    bounds = range(images + 1)
    return (
        bisect_right(bounds, ERROR_RATE, key=lambda errors: upper_bound(errors * share, images * share)) - 1
    )


FEWEST = math.ceil(math.log(1 - LEVEL) / math.log(1 - ERROR_RATE))  # images that certify 5% without an error


def independent_images(logit: np.ndarray, family: np.ndarray) -> float:
    """How many independent images the images of some families are worth: Kish's effective sample size.

    M / (1 + (m - 1) r), with m the mean family size as an image sees it and r how much the logits of a family
    resemble each other (intra-class correlation by analysis of variance, Fisher 1925; not below 0): all of M
    where each image is its own family, the number of families where those of one have the same logit. Taken
    in place of M in Clopper and Pearson's bound as by Korn & Graubard 1998.
    """
    _, at, size = np.unique(family, return_inverse=True, return_counts=True)
    num, families = len(logit), len(size)
    if num == families:
        return float(num)
    seen = float((size**2).sum() / num)  # mean size, each image counting its own family
    if families == 1:
        return num / seen
    mean = np.bincount(at, logit) / size
    within = float(((logit - mean[at]) ** 2).sum() / (num - families))
    between = float((size * (mean - logit.mean()) ** 2).sum() / (families - 1))
    typical = (num - seen) / (families - 1)
    total = between + (typical - 1) * within
    alike = max(0.0, (between - within) / total) if total > 0 else 1.0
    return num / (1 + (seen - 1) * alike)


def strictest(logit: np.ndarray, source: np.ndarray | None = None, family: np.ndarray | None = None) -> float:
    """The smallest value of which it is certain that at most 5% of each source's images lie above it.

    The k-th highest of n independent logits is exceeded as often as Clopper and Pearson say of k - 1 errors
    (Wilks 1941), so the bound holds although the images chose the value.

    logit: (M,) of one class. inf where a source has too few, and where there is none.
    """
    source = np.full(len(logit), "") if source is None else np.asarray(source)
    family = np.arange(len(logit)) if family is None else np.asarray(family)
    values = [math.inf] if not len(logit) else []
    for name in np.unique(source):
        scores = np.sort(logit[source == name])
        allowed = allowed_errors(
            len(scores), independent_images(logit[source == name], family[source == name])
        )
        values.append(math.inf if allowed < 0 else float(scores[len(scores) - 1 - allowed]))
    return max(values)


def certificate(predictions: Predictions, thresholds: Mapping[str, float]) -> Certificate:
    """What these thresholds did to the images of each source, and what that certifies.

    Of each class that a source has: `images`; how many `independent` ones these are worth; `errors`, images
    of which the wrong word is said; `right`, images of which the right word is said; `bound`, the error rate
    that is certain at 95%. Rows without a logit or a label are left out.
    """
    low, high = sorted((thresholds["fpr5"], thresholds["fnr5"]))
    judged = predictions.judged
    found: Certificate = {}
    for name in np.unique(judged.source):
        for kind in (REAL, FAKE):
            part = judged.where((judged.source == name) & (judged.label == kind))
            if not len(part):
                continue
            above, below = int((part.logit > high).sum()), int((part.logit < low).sum())
            errors, right = (above, below) if kind == REAL else (below, above)
            independent = independent_images(part.logit, part.family)
            found.setdefault(str(name), {})[LABELS[kind]] = {
                "images": len(part),
                "independent": independent,
                "errors": errors,
                "right": right,
                "bound": upper_bound(errors * independent / len(part), independent),
            }
    return found


def shortage(found: Certificate) -> list[str]:
    """Which images are missing before a word may be said, for people; empty where none is."""
    lines = []
    for name, word in SAID:
        short = [
            f"{math.ceil(FEWEST - of[name]['independent'])} more {name}s of {source or 'the validation set'}"
            for source, of in found.items()
            if name in of and of[name]["independent"] < FEWEST
        ]
        if short:
            lines.append(f'"{word}" is never said: it takes at least {", ".join(short)}')
    return lines


def errors_in_words(found: Certificate) -> list[str]:
    """How often each word is wrong on the source where that is certain of the least, for people."""
    lines = []
    for name, word in SAID:
        known = {source: of[name] for source, of in found.items() if name in of}
        if not known or any(of["independent"] < FEWEST for of in known.values()):
            continue  # it is never said
        source, of = max(known.items(), key=lambda each: each[1]["bound"])
        alike = round(of["independent"]) < of["images"]
        lines.append(
            f'"{word}" was said of {of["errors"]} of {of["images"]} {name}s'
            + f" of {source}" * bool(source)
            + f" (worth {of['independent']:.0f} independent ones)" * alike
            + f": at most {of['bound']:.1%}"
        )
    return lines


def in_words(found: Certificate) -> list[str]:
    """Sentences for people: what the words are worth, and which are never said."""
    errors = errors_in_words(found)
    told = [f"Errors there, at 95%: {'; '.join(errors)}."] if errors else []
    if short := shortage(found):
        enough = f"{FEWEST} of each source without an error certify {ERROR_RATE:.0%}"
        told.append(f"{'; '.join(short)}. {enough}; with errors it takes more.")
    return told
