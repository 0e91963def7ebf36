"""Attacks on pictures as conditions of an evaluation: what a conditions file may ask for.

    - {name: pgd20, attack: pgd, steps: 20, restarts: 2, eps: [1, 2, 4, 8]}
    - {name: transferred, attack: pgd, eps: [4], from: other.ckpt}
    - {name: square, attack: square, eps: [4, 8], images: 50}

No torch at import: tables are made of attacked figures where no net is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfd.terminal import printable

if TYPE_CHECKING:
    from dfd.augment import Attack

# what each attack may say beside its name and budgets, with what is taken where it does not
SETTINGS: dict[str, dict[str, int]] = {
    "fgsm": {},
    "pgd": {"steps": 10, "restarts": 1},
    "apgd": {"steps": 20, "restarts": 1},
    "square": {"steps": 200, "restarts": 1},
}
EPS = (1.0, 2.0, 4.0, 8.0)  # in 255ths
IMAGES = 100  # pictures of a root that are attacked: an attack costs some hundred times a look
MOST = 100_000  # steps, restarts or pictures: more is a slip
KEYS = ("name", "attack", "eps", "steps", "restarts", "from", "images")


@dataclass(frozen=True)
class PictureAttack:
    """An attack with its budget.

    Args:
        kind: fgsm, pgd, apgd or square.
        eps: budget for each channel of each pixel, in 255ths.
        steps, restarts: see the attack's class; 1 for fgsm.
        source: checkpoint of the net that is attacked in place of the judged one (transfer); "" for none.
        images: how many pictures of a root are attacked, half of them real.
        sha256: of the file of `source`, once it was read.
    """

    kind: str
    eps: float
    steps: int = 1
    restarts: int = 1
    source: str = ""
    images: int = IMAGES
    sha256: str = ""

    @property
    def white_box(self) -> bool:
        """Whether it follows the gradients of the very net that is judged."""
        return self.kind != "square" and not self.source

    @property
    def strength(self) -> tuple[int, ...]:
        """Of FGSM and PGDs with the same budget the one of more is no weaker."""
        return int(self.kind != "fgsm"), self.steps * self.restarts

    def __str__(self) -> str:
        if self.kind == "fgsm":
            words = f"fgsm of {self.eps:g}/255"
        else:
            words = f"{self.kind}-{self.steps} of {self.eps:g}/255, {self.restarts} restarts"
        return f"{words}, made on {self.source}" if self.source else words

    def make(self) -> Attack:
        """The attack on a net; ValueError where it needs a package that is not installed."""
        from dfd.augment import APGD, FGSM, PGD, Square

        if self.kind == "fgsm":
            return FGSM(self.eps)
        if self.kind == "pgd":
            return PGD(self.eps, self.steps, restarts=self.restarts)
        return {"apgd": APGD, "square": Square}[self.kind](self.eps, self.steps, self.restarts)


def parse_attack(name: str, told: Mapping[str, Any]) -> list[PictureAttack]:
    """The attacks that one entry of a conditions file asks for, one a budget.

    Raises:
        ValueError: what is wrong with the entry, and what is known.
    """
    kind = told.get("attack")
    if not isinstance(kind, str) or kind not in SETTINGS:
        raise ValueError(
            f"the condition {name} has the unknown attack {shown(kind)}. Known are {', '.join(SETTINGS)}."
        )
    known = [key for key in KEYS if key not in ("steps", "restarts") or key in SETTINGS[kind]]
    if unknown := [key for key in told if key not in known]:
        raise ValueError(
            f"the condition {name} has the unknown key {shown(unknown[0])}. {kind} takes {', '.join(known)}."
        )
    source = told.get("from", "")
    if not isinstance(source, str):
        raise ValueError(f"the condition {name} has from: {shown(source)}, where a checkpoint was expected.")
    eps = told.get("eps", list(EPS))
    budgets = eps if isinstance(eps, list) else [eps]
    if not budgets or not all(type(each) in (int, float) and 1 <= each <= 255 for each in budgets):
        raise ValueError(
            f"the condition {name} has eps {shown(eps)}, where budgets in 255ths were expected, from 1 on: "
            "[1, 2, 4, 8]. A file holds no smaller steps."
        )
    numbers = {
        key: _count(name, key, told.get(key, default))
        for key, default in {**SETTINGS[kind], "images": IMAGES}.items()
    }
    return [PictureAttack(kind, float(each), source=source, **numbers) for each in budgets]


def _count(name: str, key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MOST:
        raise ValueError(
            f"the condition {name} has {key}: {shown(value)}, where a whole number from 1 to {MOST} was "
            "expected."
        )
    return value


def shown(value: Any) -> str:
    """A stranger's value in a few letters."""
    text = repr(value)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")
