"""Metadata as a tool: whether what a file says of itself holds together."""

from __future__ import annotations

from datetime import UTC, datetime

from dfd.forensics.finding import Finding, Method, Plain, Region, Status, Table
from dfd.forensics.metadata.file import File
from dfd.forensics.metadata.programs import last_program
from dfd.forensics.metadata.rules import THRESHOLD, Fired, fired, weight

METHOD = Method(
    "metadata",
    "CIPA DC-008 (EXIF); ISO 16684-1 (XMP); IPTC IIM 4.2; ICC.1; Kee and Farid, Digital image authentication "
    "from thumbnails, SPIE 2010",
)
MAX_ROWS = 500
MAX_CELL = 300  # characters
_NO_HINTS = ("editing", "size", "platform")  # kinds that contradict nothing


def metadata(data: bytes, now: datetime | None = None) -> Finding:
    """Whether the metadata of a file agree with one another and with its picture.

    found: they contradict one another or the picture, or say that a generator made it. clear: they do not.
    absent: the file says nothing of itself, which speaks for nothing.

    Args:
        data: the whole file.
        now: against which dates lie in the future, with a time zone; the clock's by default.
    """
    file = File(data, now or datetime.now(UTC))
    found = fired(file)
    total = weight(found)
    status, answer, detail = _answer(file, found, total)
    rules = " ".join(each.rule.name for each in found)
    count = sum(each.rule.kind not in _NO_HINTS for each in found)
    return METHOD(
        status,
        answer,
        facts={"detail": detail[:MAX_CELL], "rules": rules, "count": count, **_facts(file)},
        score=total,
        unit="weight",
        table=_table(file, found),
        regions=_regions(file),
    )


def _answer(file: File, found: list[Fired], total: float) -> tuple[Status, str, str]:
    """Status, key of the sentence, and the detail that it names."""
    details = {each.rule.name: each.detail for each in found}
    if total >= THRESHOLD:
        heaviest = found[0]
        answer = heaviest.rule.name if heaviest.rule.weight >= THRESHOLD else "several"
        return "found", answer, heaviest.detail
    platform = details.get("saved_by_platform", "")
    if platform and not file.has_camera_facts:
        return "absent", "stripped", platform
    if not file.metadata.is_told:
        return "absent", "absent", ""
    hint = next((each.detail for each in found if each.rule.kind not in _NO_HINTS), "")
    if hint:
        return "clear", "hints", hint
    for name, answer in (("face_app_named", "face_app"), ("editor_named", "edited")):
        if name in details:
            return "clear", answer, details[name]
    if not file.has_camera_facts:
        return "clear", "little", ""
    # of a picture that cannot be decoded nobody can say what its metadata agree with
    return "clear", "consistent" if file.gray is not None else "consistent_alone", ""


def _facts(file: File) -> dict[str, Plain]:
    """What a program may want without reading the table."""
    told = file.metadata
    return {
        "make": told.get("EXIF", "Make")[:MAX_CELL],
        "model": told.get("EXIF", "Model")[:MAX_CELL],
        "program": last_program(told)[:MAX_CELL],
        "taken": told.get("EXIF", "DateTimeOriginal")[:MAX_CELL],
        "fields": len(told.fields),
        "previews": len(told.thumbnails),
        "maker_note": told.maker,
        "problems": len(told.problems),
    }


def _table(file: File, found: list[Fired]) -> Table:
    rows: list[tuple[Plain, ...]] = [
        ("rule", each.rule.name, each.detail[:MAX_CELL], each.rule.weight) for each in found
    ]
    rows += [("problem", "", problem[:MAX_CELL], None) for problem in file.metadata.problems]
    for origin, name, value in file.metadata.fields:
        rows.append((origin[:MAX_CELL], name[:MAX_CELL], _bounded(value), None))
    left = len(rows) - MAX_ROWS
    if left > 0:
        rows = [*rows[:MAX_ROWS], ("more_rows", "", str(left), None)]
    return Table(("origin", "name", "value", "weight"), tuple(rows))


def _bounded(value: str) -> str:
    value = " ".join(value.split())
    return value if len(value) <= MAX_CELL else value[: MAX_CELL - 1] + "…"


def _regions(file: File) -> tuple[Region, ...]:
    """Where the preview shows something else, in pixels of the upright picture."""
    if file.preview is None or file.preview.differs is None or file.upright_size is None:
        return ()
    (x, y, width, height), (across, down) = file.preview.differs, file.upright_size
    return (Region((x * across, y * down, width * across, height * down), "preview_differs"),)
