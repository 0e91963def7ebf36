"""What `dfd models` prints: a list of released detectors, one of them whole, and what was checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dfd.released.entry import Entry, Figure
from dfd.released.model_list import ModelList
from dfd.released.store import REPRODUCED, Held, how_to_make

MAIN = "auroc"


def listing(known: ModelList, here: Sequence[Held]) -> str:
    """A few lines a detector: where it is, what it was made of, how good it is at home and elsewhere."""
    newest = {one.name: one for one in here}
    lines = []
    for entry in known.entries:
        lines += [
            f"{entry.name} {entry.version}: {_place(entry, newest.get(entry.name))}",
            f"    {entry.about}",
        ]
        lines += [f"    made of {each.name}: {each.terms}" for each in entry.materials]
        lines += [f"    {in_words(figure)}" for figure in _ends(entry)]
    listed = {entry.name for entry in known.entries}
    for one in here:
        if one.name not in listed:
            lines.append(f"{one.name} {one.version}: here, {_since(one)}; {known.title} does not have it")
    lines.append("dfd models show NAME tells files, terms, all figures, and what they do not hold for.")
    return "\n".join(lines)


def whole(entry: Entry, one: Held | None) -> str:
    """Everything that the list says of a detector."""
    return "\n".join(_whole(entry, one))


def _whole(entry: Entry, one: Held | None) -> Iterator[str]:
    yield f"{entry.name} {entry.version}: {_place(entry, one)}"
    yield f"  {entry.about}"
    yield f"  net        {entry.net}, {entry.parameters:,} parameters"
    yield f"  view       {entry.view}"
    yield f"  terms      {entry.terms}"
    yield "made of"
    for each in entry.materials:
        yield f"  {each.name}: {each.use}"
        yield f"    terms: {each.terms} ({each.stated})"
    yield f"chosen on   {entry.chosen_on}"
    yield f"figures     95% intervals over families; {entry.stated}"
    for figure in entry.figures:
        yield f"  {in_words(figure)}"
    yield "does not hold for"
    for line in entry.not_for:
        yield f"  {line}"
    for file in entry.files:
        yield f"file        {file.name}, {file.bytes} bytes, sha256 {file.sha256}"
        for mirror in file.mirrors:
            yield f"  {mirror}"
    if entry.recipe is not None:
        yield "recipe"
        yield f"  needs {entry.recipe.needs}: {entry.recipe.where}"
        yield f"  dfd fit {' '.join(entry.recipe.fit)}, {entry.recipe.epochs} epochs: {entry.recipe.takes}"
        yield f"  {how_to_make(entry.name)}"
    if one is not None:
        yield f"here        {one.path}, {_since(one)}"
        for name, sha256 in one.files.items():
            yield f"  {name} sha256 {sha256}"
        for line in one.reached:
            yield f"  {line}"


def in_words(figure: Figure) -> str:
    """A figure with what it rests on."""
    return (
        f"{figure.metric} {number(figure.value)} ({number(figure.low)}, {number(figure.high)}) of "
        f"{figure.source}, {figure.condition}: {figure.images} images in {figure.families} families, "
        f"{figure.seeds} seed{'s' if figure.seeds > 1 else ''}"
    )


def number(value: float) -> str:
    """Three digits, as tables have them: .997, 1.000."""
    return f"{value:.3f}".removeprefix("0")


def _ends(entry: Entry) -> list[Figure]:
    """The best and the worst of a list's main figures: one alone would flatter."""
    of = [figure for figure in entry.figures if figure.metric == MAIN] or list(entry.figures)
    ends = [max(of, key=lambda each: each.value), min(of, key=lambda each: each.value)]
    return ends if ends[0] is not ends[1] else ends[:1]


def _place(entry: Entry, one: Held | None) -> str:
    if one is not None and one.version >= entry.version:
        return f"here, {_since(one)}"
    to_get = f"to fetch, {entry.bytes / 1e6:.1f} MB" if entry.files else "hosted nowhere, to be made"
    return to_get if one is None else f"{to_get}; version {one.version} is here"


def _since(one: Held) -> str:
    return f"reproduced on {one.date}" if one.how == REPRODUCED else f"fetched on {one.date}"
