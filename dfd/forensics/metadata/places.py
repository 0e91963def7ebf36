"""Rules on GPS: places that there are not, and at odds with the time zone or the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from dfd.forensics.metadata.dates import moments, read_zone
from dfd.forensics.metadata.file import File
from dfd.media.exif import Exif, number

# Hours between a zone's time and that of the sun. The widest that countries keep is about 3.5: western China,
# the Aleutians in summer.
_WIDEST_ZONE = 4.0
_CLOCK = timedelta(hours=3)  # between the camera's time and that of the satellites, where the zone is written
_UNKNOWN_ZONE = timedelta(days=2)  # and where it is not
# Receivers count weeks by ten bits: an old one is wrong by 1,024 weeks.
_ROLLOVER = timedelta(weeks=1024)


def coordinates(exif: Exif) -> tuple[float | None, float | None]:
    """Latitude and longitude in degrees, north and east positive; None where it is not a number."""
    latitude = _degrees(exif.gps.get("GPSLatitude"), exif.gps.get("GPSLatitudeRef"), "S")
    return latitude, _degrees(exif.gps.get("GPSLongitude"), exif.gps.get("GPSLongitudeRef"), "W")


def place_out_of_range(file: File) -> str:
    """A latitude beyond the poles, a longitude beyond half the globe, minutes of 60 and more."""
    exif = file.metadata.exif
    latitude, longitude = coordinates(exif)
    wrong = []
    if latitude is not None and abs(latitude) > 90:
        wrong.append(f"latitude {latitude:.6g}")
    if longitude is not None and abs(longitude) > 180:
        wrong.append(f"longitude {longitude:.6g}")
    for name in ("GPSLatitude", "GPSLongitude"):
        parts = _parts(exif.gps.get(name))
        if any(part is not None and part > 60 for part in parts[1:]):
            wrong.append(f"{name} {' '.join(f'{part:.6g}' for part in parts if part is not None)}")
    return "; ".join(wrong)


def place_outside_zone(file: File) -> str:
    """The longitude lies far from the time zone that the camera's clock was set to."""
    longitude = coordinates(file.metadata.exif)[1]
    zone = _zone(file)
    if longitude is None or zone is None or abs(longitude) > 180:
        return ""
    apart = abs((zone - longitude / 15 + 12) % 24 - 12)
    if apart <= _WIDEST_ZONE:
        return ""
    return f"longitude {longitude:.4g}: {apart:.1f} h from the zone {zone:+g} h"


def place_time_at_odds(file: File) -> str:
    """The satellites' time is not the camera's."""
    metadata = file.metadata
    taken = next(moments(metadata, (("EXIF", "DateTimeOriginal"),)), None)
    by_satellite = _satellite_time(metadata.exif)
    if taken is None or by_satellite is None:
        return ""
    zone = _zone(file)
    apart = abs(taken.time - timedelta(hours=zone or 0) - by_satellite)
    allowed = _UNKNOWN_ZONE if zone is None else _CLOCK
    if apart <= allowed or abs(apart - _ROLLOVER) <= _UNKNOWN_ZONE:
        return ""
    written = "" if zone is None else f" ({zone:+g} h)"
    return f"{taken}{written}, GPS {by_satellite:%Y:%m:%d %H:%M:%S} (UTC)"


def _zone(file: File) -> float | None:
    names = ("OffsetTimeOriginal", "OffsetTime")
    zones = (read_zone(file.metadata.get("EXIF", name)) for name in names)
    return next((zone for zone in zones if zone is not None), None)


def _satellite_time(exif: Exif) -> datetime | None:
    day, hours = exif.gps.get("GPSDateStamp"), _parts(exif.gps.get("GPSTimeStamp"))
    if not isinstance(day, str) or len(hours) != 3 or None in hours:
        return None
    try:
        date = datetime.strptime(day.strip().replace("-", ":"), "%Y:%m:%d")
        return date + timedelta(hours=hours[0] or 0, minutes=hours[1] or 0, seconds=hours[2] or 0)
    except (ValueError, OverflowError):
        return None


def _degrees(value: object, side: object, negative: str) -> float | None:
    parts = _parts(value)
    if not parts or parts[0] is None:
        return None
    degrees = parts[0] + sum((part or 0) / 60**power for power, part in enumerate(parts[1:], 1))
    return -degrees if isinstance(side, str) and side.strip().upper() == negative else degrees


def _parts(value: object) -> list[float | None]:
    """Three numbers of a tag of three fractions; [] of anything else."""
    if isinstance(value, tuple) and 1 <= len(value) <= 3 and all(isinstance(part, tuple) for part in value):
        return [number(part) for part in value]
    return []
