"""The catalogue of words: one file a language, every key of en.toml in each, every sentence fillable."""

import math
import re
import string
import tomllib

import pytest

from dfd.forensics import TOOLS, Catalogue, catalogue
from dfd.forensics.finding import Finding

WORDS = tomllib.loads((catalogue.FOLDER / "en.toml").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The words in a folder of the test's own."""
    text = (catalogue.FOLDER / "en.toml").read_text(encoding="utf-8")
    (tmp_path / "en.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    catalogue._read.cache_clear()
    yield tmp_path
    catalogue._read.cache_clear()


def test_a_translation_is_a_file(folder):
    text = (folder / "en.toml").read_text(encoding="utf-8")
    title = WORDS["jpeg_quality"]["title"]
    (folder / "de.toml").write_text(text.replace(title, "JPEG-Qualität"), encoding="utf-8")
    assert Catalogue("de").title("jpeg_quality") == "JPEG-Qualität"
    assert Catalogue().title("jpeg_quality") == title


def test_a_translation_that_lacks_a_word_says_which(folder):
    text = (folder / "en.toml").read_text(encoding="utf-8")
    (folder / "fr.toml").write_text(re.sub(r"^summary = .*$", "", text, flags=re.M), encoding="utf-8")
    with pytest.raises(ValueError, match=r"fr.toml lacks 1 of the words of en.toml, page.summary first"):
        Catalogue("fr")


def test_an_unknown_language_names_those_that_are_there():
    for name in ("xx", "../words/en", "en.toml", ""):
        with pytest.raises(ValueError, match="there are en"):
            Catalogue(name)


def sentences(words: dict, start: str = ""):
    for name, value in words.items():
        if isinstance(value, dict):
            yield from sentences(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def test_sentences_are_one_line_and_take_facts_by_name_alone():
    for key, text in sentences(WORDS):
        assert text and text == text.strip() and "\n" not in text, key
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        assert all(name.isidentifier() for name in names), key


def test_strangers_braces_and_numbers_are_shown_as_they_are():
    finding = Finding("jpeg_quality", "failed", "failed", {"why": "{why} {0} {x.__class__}"})
    assert "{why} {0} {x.__class__}" in Catalogue().answer(finding)
    with pytest.raises(KeyError, match=r"jpeg_quality\.answers.nothing is not in en\.toml"):
        Catalogue().answer(Finding("jpeg_quality", "clear", "nothing"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2e-6, "less than 0.01"),
        (0.0, "0.00"),
        (-2e-6, "0.00"),
        (0.012, "0.01"),
        (3.4216, "3.42"),
        (195_321.0, "195,000"),
        (math.nan, "nan"),
        (60, "60"),
        (None, ""),
    ],
)
def test_numbers_have_no_powers_of_ten_in_a_sentence(value, words):
    finding = Finding("jpeg_quality", "failed", "failed", {"why": value})
    expected = Finding("jpeg_quality", "failed", "failed", {"why": words})
    assert Catalogue().answer(finding) == Catalogue().answer(expected)


def test_every_tool_says_what_to_look_at_and_what_to_ignore():
    words = Catalogue()
    for tool in TOOLS:
        assert (
            words.title(tool.name)
            and words.look(tool.name).endswith(".")
            and words.ignore(tool.name).endswith(".")
        )


def test_a_share_is_said_as_its_sentence_asks():
    facts = {"pattern": "GBRG", "strength": 0.3, "sure": 24.8, "share": 0.0451}
    found = Finding("cfa", "found", "region", facts)
    assert "(GBRG) is missing or shifted in a region, 5% of the picture" in Catalogue().answer(found)
