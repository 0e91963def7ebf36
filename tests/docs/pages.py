"""Markdown pages as the documentation's test reads them: fenced blocks, headings, links, commands."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>[^`\n]*)$")
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?)[^()]*\)")
_IMAGE = re.compile(r'<img[^>]*\bsrc="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that its title names ("" for none), its text and its line."""

    language: str
    title: str
    text: str
    line: int


def source(page: Path) -> str:
    """The page's text, with the files that it includes."""
    text = page.read_text(encoding="utf-8")
    return _SNIPPET.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8"), text)


def blocks(page: Path) -> list[Block]:
    return [part for part in _parts(source(page)) if isinstance(part, Block)]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return "\n".join(part for part in _parts(source(page)) if isinstance(part, str))


def _parts(text: str) -> Iterator[Block | str]:
    """Lines of prose and fenced blocks, in their order."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        opening = _FENCE.match(line)
        if not opening:
            yield line
            continue
        inside = []
        for _, each in lines:
            if each.strip().startswith(opening["fence"]) and not each.strip().strip("`~"):
                break
            inside.append(each.removeprefix(opening["indent"]))
        language, _, rest = opening["info"].partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        yield Block(language, title[1] if title else "", "\n".join(inside) + "\n", number)


def links(page: Path) -> list[str]:
    """Targets of links and images, but for those in code."""
    text = re.sub(r"(`+).+?\1", "code", prose(page))
    return [*_LINK.findall(text), *_IMAGE.findall(text)]


def anchors(page: Path) -> set[str]:
    """Ids of the headings, as the site makes them and as GitHub does."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        heading = re.match(r"#{1,6} +(.+?) *#*$", line)
        if not heading:
            continue
        named = re.search(r" *\{ *#([\w-]+) *\}$", heading[1])
        if named:
            found.add(named[1])
            continue
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").replace("*", "")
        plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        found |= {re.sub(r"[-\s]+", "-", plain), re.sub(r"\s", "-", plain)}
    return found


def typed(page: Path) -> Iterator[list[str]]:
    """The words of each command after a prompt in a console block."""
    for block in blocks(page):
        if block.language != "console":
            continue
        lines = re.sub(r"\\\n\s*>?\s*", " ", block.text).splitlines()
        for line in lines:
            if line.startswith("$ "):
                yield from _commands(line[2:])


def _commands(line: str) -> Iterator[list[str]]:
    reader = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    reader.whitespace_split = True
    words: list[str] = []
    for word in [*reader, ";"]:
        if word and not word.strip("|;&<>"):
            # the variables before a command are no part of it
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            if words:
                yield words
            words = []
        else:
            words.append(word)
