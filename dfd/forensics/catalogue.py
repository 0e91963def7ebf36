"""Catalogue of words: every sentence that `dfd inspect` says, in one TOML file a language."""

from __future__ import annotations

import math
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from dfd.forensics.finding import Finding

FOLDER = Path(__file__).parent / "words"
# of any tool; the answers that are not its own
COMMON = "common"


class Catalogue:
    """The words of one language.

    Args:
        language: the name of a file in dfd/forensics/words, such as en. A translation is a copy of en.toml.

    Raises:
        ValueError: there is no such file, or it lacks a key of en.toml.
    """

    def __init__(self, language: str = "en"):
        self.language = language
        known = sorted(file.stem for file in FOLDER.glob("*.toml"))
        if language not in known:
            raise ValueError(f"no words in the language {language!r}: there are {', '.join(known)}.")
        path = FOLDER / f"{language}.toml"
        self._words = _read(path)
        if lacking := sorted(_keys(_read(FOLDER / "en.toml")) - _keys(self._words)):
            raise ValueError(
                f"{path} lacks {len(lacking)} of the words of en.toml, {lacking[0]} first. Translate them."
            )

    def word(self, tool: str, key: str) -> str:
        """A word of a tool (its title, a unit, a column), else the common one, else the key itself."""
        for section in (tool, COMMON):
            value = self._words.get(section, {}).get(key)
            if isinstance(value, str):
                return value
        return key.replace("_", " ")

    def title(self, tool: str) -> str:
        return self.word(tool, "title")

    def look(self, tool: str) -> str:
        """What to look at, one sentence."""
        return self._words[tool]["look"]

    def ignore(self, tool: str) -> str:
        """What to ignore, one sentence."""
        return self._words[tool]["ignore"]

    def answer(self, finding: Finding) -> str:
        """The sentence of a finding, with its facts in it."""
        for section in (finding.tool, COMMON):
            sentence = self._words.get(section, {}).get("answers", {}).get(finding.answer)
            if sentence is not None:
                return sentence.format_map({name: _shown(value) for name, value in finding.facts.items()})
        raise KeyError(f"{finding.tool}.answers.{finding.answer} is not in {self.language}.toml")

    def page(self, key: str, **values: object) -> str:
        """A sentence of the page around the findings."""
        sentence = self._words["page"][key]
        return sentence.format_map({name: _shown(value) for name, value in values.items()})

    def page_words(self, key: str) -> str:
        """The same with its {braces} left in, for a template to fill."""
        return self._words["page"][key]

    def cell(self, tool: str, value: str) -> str:
        """A cell of a tool's table in this language, where its words have one of that key; else as it is."""
        return self._words.get(tool, {}).get("cells", {}).get(value, value)

    def kind(self, name: str) -> str:
        """What a kind of edit, or a set of pictures, is called that a tool was measured on."""
        return self._words["kinds"].get(name, name)

    def own(self, tool: str, key: str) -> str:
        """A word of a tool's own, "" where it has none."""
        return self._words.get(tool, {}).get(key, "")

    def knows(self, tool: str) -> bool:
        return tool in self._words


@lru_cache(maxsize=8)
def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _keys(words: dict[str, Any], start: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in words.items():
        found |= _keys(value, f"{start}{name}.") if isinstance(value, dict) else {start + name}
    return found


def _shown(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value):
        return _Number(value)
    return "" if value is None else value


class _Number(float):
    """A number as a person reads it, of three digits: one of 1.3e-43 claims digits that it has not. A
    sentence may ask for another format, as of a share: {share:.0%}.
    """

    def __format__(self, wanted: str) -> str:
        if wanted:
            return super().__format__(wanted)
        if 0 < self < 0.01:
            return "less than 0.01"
        value = float(self)
        return f"{value:z.2f}" if abs(value) < 100 else f"{float(f'{value:.3g}'):,.0f}"
