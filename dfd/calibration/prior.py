"""Base rate: P(fake) where another share of the pictures is fake, and what a verdict is worth there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dfd.batch import LABELS
from dfd.calibration.certified import Certificate, upper_bound
from dfd.calibration.fit import Calibration

RATES = (2, 10, 1000)  # "1 fake in ...", of which a verdict's worth is told


@dataclass(frozen=True)
class Shifted:
    """A calibration whose log odds are moved by a constant."""

    calibration: Calibration
    shift: float

    def __call__(self, logit: np.ndarray | float) -> np.ndarray:
        """Log odds of raw logits, of the same shape."""
        return self.calibration(logit) + self.shift


def with_prior(calibration: Calibration, prior: float, found: Certificate) -> Shifted:
    """The calibration where a share `prior` of the pictures is fake, instead of that which it was fitted on.

    Adds the log odds of the one share and takes off those of the other (Elkan 2001; Saerens, Latinne &
    Decaestecker 2002). It holds where the fakes and the reals are like those of the calibration, and only
    more or fewer.

    Args:
        found: what the card knows of the calibration's images.

    Raises:
        ValueError: prior outside (0, 1), or the calibration does not say how many of its images were fake.
    """
    check_prior(prior)
    reals, fakes = (sum(int(of[name]["images"]) for of in found.values() if name in of) for name in LABELS)
    if not (reals and fakes):
        raise ValueError(
            f"prior={prior}: this detector does not say how many of its calibration's images were real and "
            "fake, so P(fake) cannot be corrected for another share. Fit it again with this version of dfd."
        )
    return Shifted(calibration, math.log(prior / (1 - prior)) - math.log(fakes / reals))


def check_prior(prior: float) -> None:
    """ValueError unless a prior lies in (0, 1)."""
    if not 0 < prior < 1:
        raise ValueError(
            f"prior={prior} is no share of fakes between 0 and 1. Use .5 for 1 in 2, .001 for 1 in 1000."
        )


def worth(prior: float, found: Certificate) -> tuple[float, float]:
    """How often "fake" and "no trace found" are right where a share `prior` of the pictures is fake.

    At least so often, by Bayes' rule from the source where the word is certain of the least: its upper bound
    of errors, and the lower bound (95% as well) of how often the word is said where it is right: certain at
    90% together. nan for a word that is never said.
    """
    fake = _least_right(found, wrong="real", right="fake", prior=prior)
    return fake, _least_right(found, wrong="fake", right="real", prior=1 - prior)


def _least_right(found: Certificate, wrong: str, right: str, prior: float) -> float:
    """P(class `right` | its word) at a share `prior` of that class."""
    errors = [of[wrong]["bound"] for of in found.values() if wrong in of]
    hits = [_at_least(**of[right]) for of in found.values() if right in of]
    if not errors or not hits or not min(hits):
        return math.nan
    hit = min(hits) * prior
    return hit / (hit + max(errors) * (1 - prior))


def _at_least(images: float, independent: float, right: float, **_: float) -> float:
    """The lower bound at 95% of how often the right word is said."""
    return 1 - upper_bound((images - right) * independent / images, independent)


def worth_in_words(found: Certificate, prior: float | None = None) -> list[str]:
    """What the words are worth at a prior, and at 1 fake in 2, 10 and 1000, for people."""
    shares = [] if prior is None else [(f"{prior:.3g} of the pictures are", [prior])]
    rates = [1 / rate for rate in RATES]
    shares.append((f"1 in {', '.join(map(str, RATES))} pictures is", rates))
    lines = []
    for share, priors in shares:
        words = zip(
            ("fake", "no trace found"),
            zip(*(worth(each, found) for each in priors), strict=True),
            strict=True,
        )
        told = [
            f'"{word}" is right in at least {", ".join(map(_percent, values))}'
            for word, values in words
            if not any(map(math.isnan, values))  # then it is never said
        ]
        if told:
            lines.append(f"Where {share} fake, {', and '.join(told)}.")
    return lines


def _percent(share: float) -> str:
    """Rounded downward, since it says "at least"; digits enough to be none of 0% and 100%."""
    digits = 0 if 0.01 <= share < 0.99 else 1 if share < 0.999 else 3
    return f"{math.floor(share * 10 ** (digits + 2)) / 10**digits:.{digits}f}%"
