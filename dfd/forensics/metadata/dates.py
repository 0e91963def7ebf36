"""Dates of a file, and rules on them: out of order, in the future."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from dfd.forensics.metadata.file import File
from dfd.forensics.metadata.read import Metadata

# Clocks are set by hand and time zones are seldom written, so a day is no difference.
TOLERANCE = timedelta(days=1, hours=2)
_WRITTEN = re.compile(
    r"\s*(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?)?"
    r"\s*(Z|[+-]\d{1,2}:?\d{2})?"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})$")
_LAST = datetime(9990, 1, 1)  # so that a day may be added
# a clock without a battery begins again at its first day
_FIRST_YEARS = (1904, 1970, 1980, 2000)

_TAKEN = (("EXIF", "DateTimeOriginal"), ("XMP", "exif:DateTimeOriginal"))
_DIGITIZED = (("EXIF", "DateTimeDigitized"), ("XMP", "exif:DateTimeDigitized"), ("XMP", "xmp:CreateDate"))
_CHANGED = (("EXIF", "DateTime"), ("XMP", "xmp:ModifyDate"), ("XMP", "tiff:DateTime"), ("PNG", "tIME"))
_OTHERS = (
    ("GPS", "GPSDateStamp"),
    ("XMP", "xmp:MetadataDate"),
    ("XMP", "photoshop:DateCreated"),
    ("XMP", "xmpMM:History/stEvt:when"),
    ("IPTC", "DateCreated"),
    ("IPTC", "DigitalCreationDate"),
    ("ICC", "Date"),
)


class Moment(NamedTuple):
    """A date that a file names.

    Args:
        field: its origin and name.
        text: as written.
        time: without a time zone, as its clock showed it.
        zone: hours east of Greenwich; None where it is not written.
    """

    field: str
    text: str
    time: datetime
    zone: float | None

    @property
    def utc(self) -> datetime:
        """In Greenwich; where no zone is written, as though it were there."""
        return self.time - timedelta(hours=self.zone or 0)

    def __str__(self) -> str:
        return f"{self.field} {self.text}"


def read_moment(field: str, text: str) -> Moment | None:
    """A date as EXIF, XMP, IPTC or PNG write it; None of anything else, and of a clock that was never set."""
    match = _WRITTEN.match(text) or _COMPACT.match(text.strip())
    if match is None:
        return None
    parts = match.groups()
    numbers = [int(part or 0) for part in parts[:6]]
    try:
        time = min(datetime(*numbers), _LAST)
    except ValueError:  # 0000:00:00, or a 31st of February
        return None
    zone = read_zone(parts[6]) if len(parts) > 6 else None
    return None if _is_unset(time) else Moment(field, text.strip()[:40], time, zone)


def read_zone(text: str | None) -> float | None:
    """Hours east of Greenwich of "+05:30", "-0800" or "Z"; None of anything else."""
    if text == "Z":
        return 0.0
    match = re.fullmatch(r"\s*([+-])(\d{1,2}):?(\d{2})\s*", text or "")
    if match is None:
        return None
    hours = int(match[2]) + int(match[3]) / 60
    return (-hours if match[1] == "-" else hours) if hours <= 15 else None


def _is_unset(time: datetime) -> bool:
    midnight = time.hour == time.minute == 0
    first_day = time.month == time.day == 1
    return time.year < 1900 or (first_day and (midnight or time.year in _FIRST_YEARS))


def moments(metadata: Metadata, wanted: tuple[tuple[str, str], ...]) -> Iterator[Moment]:
    for origin, name in wanted:
        for text in metadata.all(origin, name)[:100]:
            if (moment := read_moment(f"{origin} {name}", text)) is not None:
                yield moment


def taken_after_change(file: File) -> str:
    """The picture was taken, or made digital, after its last change."""
    taken = list(moments(file.metadata, _TAKEN)) or list(moments(file.metadata, _DIGITIZED))
    return _later(taken, list(moments(file.metadata, _CHANGED)))


def taken_after_digitized(file: File) -> str:
    """The picture was taken after it was made digital."""
    return _later(list(moments(file.metadata, _TAKEN)), list(moments(file.metadata, _DIGITIZED)))


def date_in_future(file: File) -> str:
    """A date that has not come yet."""
    latest = file.now.astimezone(UTC).replace(tzinfo=None) + TOLERANCE
    every = moments(file.metadata, _TAKEN + _DIGITIZED + _CHANGED + _OTHERS)
    return "; ".join(str(moment) for moment in every if moment.utc > latest)


def profile_after_change(file: File) -> str:
    """The colour profile is younger than the last change that the file tells of."""
    profile = list(moments(file.metadata, (("ICC", "Date"),)))
    return _later(profile, list(moments(file.metadata, _CHANGED)))


def _later(first: list[Moment], second: list[Moment]) -> str:
    """What is wrong where even the earliest of the first lies after the latest of the second; "" where not.

    A program that changes a file may bring one date up to date and leave another, which is no contradiction.
    """
    if not first or not second:
        return ""
    earliest, latest = min(first, key=lambda each: each.utc), max(second, key=lambda each: each.utc)
    return f"{earliest} > {latest}" if earliest.utc > latest.utc + TOLERANCE else ""
