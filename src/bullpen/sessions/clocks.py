"""When a limit ends that was told as a time of day: `3pm`, `10:30 PM`, `Oct 5, 9am (UTC)`."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_CLOCK = re.compile(
    r"(?:(?P<month>[A-Z][a-z]{2,8})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?(?:,? (?P<year>\d{4}))?,?"
    r"\s*(?:at\s+)?)?(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s*(?P<half>[ap])?\.?(?:m\.?)?"
    r"\s*(?:\((?P<zone>[\w/+-]+)\)|(?P<utc>UTC))?",
    re.IGNORECASE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def moment_of(clock: str, *, now: datetime) -> float | None:
    """Return the next moment `clock` names, in seconds since the epoch; None when it names none.

    Without a zone it is in the zone of `now`, which must have one.
    """
    found = _CLOCK.fullmatch(clock.strip())
    if found is None:
        return None
    zone = _zone(found["zone"] or ("UTC" if found["utc"] else None), now.tzinfo or UTC)
    hour = _hour(int(found["hour"]), found["half"])
    minute = int(found["minute"] or 0)
    if zone is None or hour is None or minute > 59:
        return None
    here = now.astimezone(zone)
    try:
        return _next(here, found, hour, minute)
    except ValueError:
        return None


def _next(here: datetime, found: re.Match[str], hour: int, minute: int) -> float | None:
    moment = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if found["month"] is None:
        return (moment if moment > here else moment + timedelta(days=1)).timestamp()
    name = found["month"][:3].lower()
    if name not in _MONTHS:
        return None
    month, day = _MONTHS.index(name) + 1, int(found["day"])
    year = int(found["year"] or here.year)
    moment = moment.replace(year=year, month=month, day=day)
    if moment <= here and found["year"] is None:
        moment = moment.replace(year=year + 1)
    return moment.timestamp()


def _zone(name: str | None, default: tzinfo) -> tzinfo | None:
    if name is None:
        return default
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _hour(hour: int, half: str | None) -> int | None:
    if half is None:
        return hour if hour < 24 else None
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if half.lower() == "p" else 0)
