"""Metadata as a tool: whether what a file says of itself holds together."""

from __future__ import annotations

from datetime import UTC, datetime

from dfd.forensics.finding import Finding, Method, Plain, Region, Table
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
    said = {
        "detail": found[0].detail[:MAX_CELL] if found else "",
        "rules": " ".join(each.rule.name for each in found),
        **_facts(file),
    }
    values = {"facts": said, "score": total, "unit": "weight", "table": _table(file, found)}
    if total >= THRESHOLD:
        answer = found[0].rule.name if found[0].rule.weight >= THRESHOLD else "several"
        return METHOD("found", answer, regions=_regions(file), **values)
    platform = next((each.detail for each in found if each.rule.name == "saved_by_platform"), "")
    if not file.metadata.is_told or (platform and not file.has_camera_facts):
        said["detail"] = platform
        return METHOD("absent", "stripped" if platform else "absent", **values)
    hints = [each for each in found if each.rule.kind not in ("editing", "size", "platform")]
    editor = next((each.detail for each in found if each.rule.name == "editor_named"), "")
    if hints:
        said["detail"] = hints[0].detail[:MAX_CELL]
        return METHOD("clear", "hints", **values)
    if found and found[0].rule.name == "face_app_named":
        return METHOD("clear", "face_app", **values)
    if editor:
        said["detail"] = editor[:MAX_CELL]
        return METHOD("clear", "edited", **values)
    return METHOD("clear", "consistent" if file.has_camera_facts else "little", **values)


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
