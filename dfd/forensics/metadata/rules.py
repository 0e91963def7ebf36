"""Rules of metadata: what each looks for, how much it weighs, and which of them say the same twice.

Weights: 1 is a contradiction, or a declaration, by itself. Less is a hint with usual innocent causes, which
only speaks together with hints of another kind. Within a kind the heaviest counts alone: a crop changes the
size and what the preview shows, and is still one crop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from dfd.forensics.metadata import dates, encoders, pictures, places, programs
from dfd.forensics.metadata.file import File

THRESHOLD = 1.0
Kind = Literal[
    "declared", "dates", "place", "camera", "preview", "geometry", "coding", "editing", "size", "platform"
]


class Rule(NamedTuple):
    """A rule.

    Args:
        name: key of its words.
        kind: of one kind the heaviest rule counts alone.
        weight: 0 to 1.
        check: what it found, in names and numbers that need no language; "" where it is silent.
    """

    name: str
    kind: Kind
    weight: float
    check: Callable[[File], str]


class Fired(NamedTuple):
    """A rule that found something."""

    rule: Rule
    detail: str


RULES: tuple[Rule, ...] = (
    # The file says it itself.
    Rule("declared_synthetic", "declared", 1.0, programs.declared_synthetic),
    # A day's difference is allowed. Innocent: a clock that was set back.
    Rule("taken_after_change", "dates", 1.0, dates.taken_after_change),
    Rule("date_in_future", "dates", 1.0, dates.date_in_future),
    # Innocent: programs that correct one of the two dates.
    Rule("taken_after_digitized", "dates", 0.5, dates.taken_after_digitized),
    # Innocent: a web site that puts in its own profile and leaves the dates.
    Rule("profile_after_change", "dates", 0.2, dates.profile_after_change),
    # There is no such place.
    Rule("place_out_of_range", "place", 1.0, places.place_out_of_range),
    # Innocent: a traveller's camera that was left at the time of home.
    Rule("place_outside_zone", "place", 0.5, places.place_outside_zone),
    Rule("place_time_at_odds", "place", 0.5, places.place_time_at_odds),
    # Innocent: cameras that one maker built for another, where we do not know of it.
    Rule("note_of_another_maker", "camera", 0.5, encoders.note_of_another_maker),
    # A camera writes both at once.
    Rule("preview_of_another", "preview", 1.0, pictures.preview_of_another),
    # Innocent: phones that take the preview from the viewfinder, a moment before.
    Rule("preview_differs_in_part", "preview", 0.8, pictures.preview_differs_in_part),
    # Innocent: crops, and all programs that save smaller copies and leave the rest as it is.
    Rule("preview_shows_more", "geometry", 0.4, pictures.preview_shows_more),
    Rule("size_at_odds", "geometry", 0.4, pictures.size_at_odds),
    Rule("preview_turned", "geometry", 0.2, pictures.preview_turned),
    # Innocent: any program that saves again and leaves the metadata, messengers among them.
    Rule("tables_not_of_camera", "coding", 0.3, encoders.tables_not_of_camera),
    Rule("tables_not_of_program", "coding", 0.3, encoders.tables_not_of_program),
    Rule("saved_again", "coding", 0.2, encoders.saved_again),
    # An edit is no forgery.
    Rule("face_app_named", "editing", 0.5, programs.face_app_named),
    Rule("editor_named", "editing", 0.1, programs.editor_named),
    # Innocent: anybody may save a square of 1024 pixels.
    Rule("size_of_generators", "size", 0.2, pictures.size_of_generators),
    # For information.
    Rule("saved_by_platform", "platform", 0.0, encoders.saved_by_platform),
)


def fired(file: File) -> list[Fired]:
    """The rules that found something, the heaviest first."""
    found = [Fired(rule, detail) for rule in RULES if (detail := rule.check(file))]
    return sorted(found, key=lambda each: -each.rule.weight)


def weight(found: list[Fired]) -> float:
    """The sum over kinds of the heaviest of each."""
    heaviest: dict[str, float] = {}
    for each in found:
        heaviest[each.rule.kind] = max(each.rule.weight, heaviest.get(each.rule.kind, 0.0))
    return round(sum(heaviest.values()), 3)
