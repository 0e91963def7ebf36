"""Class names: what a source calls its real and its fake pictures, in folder names or in a column `label`."""

import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.row import LABEL_WORDS, label_of, words

# what sets call the two, for the order in which a refusal names them; nothing is read by these
_LIKE_REAL = frozenset(
    ("real", "reals", "original", "originals", "genuine", "authentic", "pristine", "nature", "natural",
     "human", "live", "bonafide", "camera", "untouched", "raw", "au")
)  # fmt: skip
_LIKE_FAKE = frozenset(
    ("fake", "fakes", "deepfake", "deepfakes", "ai", "aigc", "generated", "manipulated", "synthetic",
     "synthesis", "forged", "forgery", "tampered", "spoof", "gan", "stylegan", "diffusion", "artificial",
     "altered", "edited", "swapped", "tp")
)  # fmt: skip
_MAX_NAMES = 6  # of classes that are proposed; more are persons or categories


@dataclass(frozen=True)
class ClassNames:
    """The names that a user gives by --real and --fake. The usual ones (real, fake, and in a table 0 and 1)
    hold beside them, unless a name that is given contradicts one: `--real 1` says that 0 is not real.

    Args:
        real, fake: names of folders, or words of a table's column `label`; case does not matter.

    Raises:
        ValueError: an empty name, or one name for both.
    """

    real: tuple[str, ...] = ()
    fake: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        both = {_plain(name) for name in self.real} & {_plain(name) for name in self.fake}
        if both or not all(_plain(name) for name in (*self.real, *self.fake)):
            raise ValueError(
                f"--real {' '.join(self.real)!r} and --fake {' '.join(self.fake)!r}: each is the name of a "
                "folder or a word of the column label, and no name is both."
            )

    def __bool__(self) -> bool:
        return bool(self.real or self.fake)

    def of_word(self, word: str) -> int | None:
        """The class that a table means by a word; None where it is none of the names."""
        plain = _plain(word)
        # pandas writes whole numbers as 1.0 where a column has gaps
        plain = plain[:-2] if plain in ("0.0", "1.0") else plain
        given = self._given()
        if plain in given:
            return given[plain]
        return None if self._contradicts() else LABEL_WORDS.get(plain)

    def of_folder(self, name: str) -> int | None:
        """The class that a folder is named after; None where it is none."""
        given = self._given()
        plain = _plain(name)
        if plain in given:
            return given[plain]
        return None if self._contradicts() else label_of(name)

    def absent(self, names: Iterable[str]) -> list[str]:
        """Those that were given and are none of these: misspelt, perhaps."""
        found = {_plain(name) for name in names}
        return [name for name in (*self.real, *self.fake) if _plain(name) not in found]

    def options(self) -> str:
        """As they are typed; "" where none is given."""
        return "".join(
            f" --{title} {shlex.quote(name)}" for title in ("real", "fake") for name in getattr(self, title)
        )

    def _given(self) -> dict[str, int]:
        return {_plain(name): REAL for name in self.real} | {_plain(name): FAKE for name in self.fake}

    def _contradicts(self) -> bool:
        return any(LABEL_WORDS.get(name, label) != label for name, label in self._given().items())


NO_NAMES = ClassNames()


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def which_is_which(names: Iterable[str], command: str) -> str:
    """The command that reads a source whose classes have these names, as a sentence; "" where they are usual,
    or too many to be classes. Which is real is the user's to say.
    """
    names = sorted(dict.fromkeys(names))
    strange = [name for name in names if NO_NAMES.of_folder(name) is None]
    if not strange or len(names) > _MAX_NAMES:
        return ""
    if sorted(name.removesuffix(".0") for name in names) == ["0", "1"]:
        zero, one = (name.removesuffix(".0") for name in names)
        return (
            f"Sets count either way. Where {one} is fake: {command}{_options([zero], [one])}; where {one} is "
            f"real: {command}{_options([one], [zero])}"
        )
    real = [name for name in names if _is_like(name, _LIKE_REAL)]
    fake = [name for name in names if _is_like(name, _LIKE_FAKE)]
    if real:
        fake = [name for name in names if name not in real]
    elif fake:
        real = [name for name in names if name not in fake]
    elif len(names) == 1:
        return f"Say which class it is, such as: {command}{_options([], names)}, or --real"
    else:
        options = _options(names[:1], names[1:])
        return f"Say which is which, such as: {command}{options}, or the other way about"
    told = [name for name in real if name in strange]
    sure = f"{_listed(told)} real" if told else f"{_listed([name for name in fake if name in strange])} fake"
    chosen = ClassNames(tuple(told), tuple(name for name in fake if name in strange))
    return f"If {sure}: {command}{chosen.options()}"


def _options(real: Sequence[str], fake: Sequence[str]) -> str:
    return ClassNames(tuple(real), tuple(fake)).options()


def _listed(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _is_like(name: str, known: frozenset[str]) -> bool:
    """Whether a name is a known word, or has one in it and none of the other class: Celeb-real."""
    others = (_LIKE_REAL | _LIKE_FAKE) - known
    parts = {_plain(name), *words(name)}
    return bool(parts & known) and not parts & others


def like_a_class(name: str) -> bool:
    """Whether sets use a name for one of the classes: nature, ai, 0, 1."""
    return _plain(name) in ("0", "1") or _is_like(name, _LIKE_REAL) or _is_like(name, _LIKE_FAKE)
