"""Certified error rates: how often a word may be wrong, as an upper bound for each source.

7 false alarms of 150 reals are not "5%": they are "at most 8.6%", and certifying 5% allows 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, betaincinv

from dfd.batch import FAKE, LABELS, REAL

if TYPE_CHECKING:
    from dfd.batch import Predictions

ERROR_RATE = 0.05  # that the thresholds fpr5 and fnr5 certify
LEVEL = 0.95  # confidence of every bound here
# of each source, by name of the class: images, families, errors and right (both of families), bound
Certificate = dict[str, dict[str, dict[str, float]]]


def upper_bound(errors: int, images: int, level: float = LEVEL) -> float:
    """The largest error rate at which so few errors would still be seen with a chance of 1 - level.

    One-sided and exact: Clopper & Pearson 1934. 1.0 where all are errors, and where there is no image.
    """
    return float(betaincinv(errors + 1, images - errors, level)) if errors < images else 1.0


def allowed_errors(images: int, rate: float = ERROR_RATE, level: float = LEVEL) -> int:
    """The most errors among so many images that certify a rate; -1 where not even none does."""
    # the bound is at most the rate where so few errors have a chance of 1 - level at most
    errors = np.arange(int(rate * images) + 1)
    return int((bdtr(errors, images, rate) <= 1 - level + 1e-12).sum()) - 1


FEWEST = math.ceil(math.log(1 - LEVEL) / math.log(1 - ERROR_RATE))  # images that certify 5% without an error


def strictest(logit: np.ndarray, source: np.ndarray | None = None, family: np.ndarray | None = None) -> float:
    """The smallest value of which it is certain that at most 5% of each source's images lie above it.

    The images of a family are not independent: a family counts once, by its highest logit. The k-th highest
    of n independent logits is exceeded as often as Clopper and Pearson say of k - 1 errors (Wilks 1941), so
    the bound holds although the images chose the value.

    logit: (M,) of one class. inf where a source has too few, and where there is none.
    """
    found = [math.inf] if not len(logit) else []
    for highest in _by_source(logit, source, family).values():
        allowed = allowed_errors(len(highest))
        found.append(math.inf if allowed < 0 else float(np.sort(highest)[len(highest) - 1 - allowed]))
    return max(found)


def certificate(predictions: Predictions, thresholds: Mapping[str, float]) -> Certificate:
    """What these thresholds did to the images of each source, and what that certifies.

    Of each class that a source has: `images`; `families` of these; `errors`, families with an image of which
    the wrong word is said; `right`, families of which only the right word is said; `bound`, the error rate
    that is certain at 95%. Rows without a logit or a label are left out.
    """
    low, high = sorted((thresholds["fpr5"], thresholds["fnr5"]))
    judged = predictions.judged
    found: Certificate = {}
    for kind, sign in ((REAL, 1), (FAKE, -1)):
        # both classes the same way up: above `wrong` the wrong word is said, below `right` the right one
        wrong, right = (high, low) if kind == REAL else (-low, -high)
        part = judged.where(judged.label == kind)
        images = dict(zip(*np.unique(part.source, return_counts=True), strict=True))
        for source, worst in _by_source(sign * part.logit, part.source, part.family).items():
            errors = int((worst > wrong).sum())
            found.setdefault(source, {})[LABELS[kind]] = {
                "images": int(images[source]),
                "families": len(worst),
                "errors": errors,
                "right": int((worst < right).sum()),
                "bound": upper_bound(errors, len(worst)),
            }
    return dict(sorted(found.items()))


def shortage(found: Certificate) -> list[str]:
    """Which images are missing before a word may be said, for people; empty where none is."""
    lines = []
    for name, word in (("real", "fake"), ("fake", "no trace found")):
        short = [
            f"{FEWEST - int(of[name]['families'])} more {name}s of {source or 'the validation set'}"
            for source, of in found.items()
            if name in of and of[name]["families"] < FEWEST
        ]
        if short:
            lines.append(
                f'"{word}" is never said: to certify at most {ERROR_RATE:.0%} errors takes at least '
                f"{', '.join(short)} ({FEWEST} of each source without an error)"
            )
    return lines


def errors_in_words(found: Certificate) -> list[str]:
    """How often each word is wrong on the source where that is certain of the least, for people."""
    lines = []
    for name, word in (("real", "fake"), ("fake", "no trace found")):
        if any(name in of and of[name]["families"] < FEWEST for of in found.values()):
            continue  # it is never said
        known = [(of[name]["bound"], source, of[name]) for source, of in found.items() if name in of]
        if not known:
            continue
        bound, source, counts = max(known, key=lambda each: (each[0], each[1]))
        families = "" if counts["families"] == counts["images"] else "families of "
        whose = f" of {source}" if source else ""
        lines.append(
            f'"{word}" was said of {counts["errors"]} of {counts["families"]} {families}{name}s{whose}: '
            f"at most {bound:.1%}"
        )
    return lines


def in_words(found: Certificate) -> list[str]:
    """Sentences for people: what the words are worth, and which are never said."""
    errors = errors_in_words(found)
    told = [f"Errors there, at 95%: {'; '.join(errors)}."] if errors else []
    return told + [f"{line[0].upper()}{line[1:]}." for line in shortage(found)]


def _by_source(
    logit: np.ndarray, source: np.ndarray | None, family: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The highest logit of each family, by source."""
    source = np.full(len(logit), "") if source is None else np.asarray(source)
    family = np.arange(len(logit)).astype(str) if family is None else np.asarray(family)
    found = {}
    for name in np.unique(source):
        of = source == name
        _, at = np.unique(family[of], return_inverse=True)
        highest = np.full(at.max() + 1, -np.inf)
        np.maximum.at(highest, at, logit[of])
        found[str(name)] = highest
    return found
