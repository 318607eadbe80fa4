"""Usage limits as agents tell them: known texts and the times in them.

Structured errors come first and are read by each dialect; these texts are for what is told in
words. Only error texts, or a final message that is nothing but such a text, may be read here: an
answer that talks about limits is no limit.
"""

import re
from typing import Final

import msgspec


class LimitText(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that was told in words."""

    limit: str
    """`usage`, `rate` or `credit`; see `LimitReached`."""
    resets_at: float | None = None
    """Seconds since the epoch."""
    resets_in: float | None = None
    """Seconds from when it was said."""
    clock: str | None = None
    """What was said of the time, where it takes a clock and a calendar to read it."""


_CREDIT: Final = re.compile(
    r"credit balance is too low|insufficient[_ ](quota|credits?|funds)|out of credits"
    r"|exceeded your current quota|billing hard limit|payment required|monthly spend limit"
    r"|no credits? (left|remaining)|requires more credits|out of budget",
    re.IGNORECASE,
)
_USAGE: Final = re.compile(
    r"usage limit reached"
    r"|you'?ve (hit|reached) your (usage |session |weekly |daily |\d+-hour |opus |sonnet )?limit"
    r"|(5|five)[- ]hour limit reached|(weekly|daily|session|monthly) limit reached"
    r"|usage[_ ]limit[_ ](reached|exceeded)|usagelimit(exceeded|error)|hit your chatgpt usage limit"
    r"|quota (exceeded|exhausted)|exceeded your (daily )?quota|exhausted your (daily )?quota"
    r"|daily quota|limit (has been )?reached\s*[\u00b7\u2219|]",
    re.IGNORECASE,
)
_RATE: Final = re.compile(
    r"rate[_ -]?limit|too many requests|resource[_ ]exhausted|overloaded_error|tpm limit"
    r"|request rejected \(429\)"
    r"|requests per (minute|second)|please (retry|try again) in [\d.]+ ?m?s",
    re.IGNORECASE,
)
_EPOCH: Final = re.compile(r"\|\s*(\d{10})(?:\d{3})?\b")
_IN: Final = re.compile(
    r"\b(?:in|after)\s+~?((?:\d+(?:\.\d+)?\s*(?:days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?"
    r"|s|ms)\b[\s,and]*)+)",
    re.IGNORECASE,
)
_PART: Final = re.compile(
    r"(\d+(?:\.\d+)?)\s*(days?|d|hours?|hrs?|h|minutes?|mins?|ms|m|seconds?|secs?|s)\b",
    re.IGNORECASE,
)
_AT: Final = re.compile(
    r"(?:resets?(?: at| on)?|try again (?:at|on)|available again (?:at|on)|until)\s+"
    r"((?:[A-Z][a-z]{2,8}\.? \d{1,2}(?:st|nd|rd|th)?(?:,? \d{4})?,?\s*(?:at\s+)?)?"
    r"\d{1,2}(?::\d{2})?\s*(?:[ap]\.?m\.?)?(?:\s*\([\w/+-]+\)|\s+UTC)?)",
    re.IGNORECASE,
)
_UNITS: Final = {"ms": 0.001, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_EARLIEST: Final = 16
# Characters before the words of a limit: the name of the product, no sentence.
_LONGEST: Final = 400
# Characters of a final message that may still be nothing but the text of a limit.


def read_limit(text: str, *, status: int | None = None) -> LimitText | None:
    """Return the limit an error text tells of, None when it tells of none.

    Args:
        text: Of an error, whole.
        status: Of HTTP, where one is known; 429 is a limit whatever the text says.
    """
    limit = _which(text)
    if limit is None and status == 429:
        limit = "rate"
    if limit is None and status == 402:
        limit = "credit"
    if limit is None:
        return None
    epoch = _EPOCH.search(text)
    if epoch is not None:
        return LimitText(limit=limit, resets_at=float(epoch[1]))
    seconds = _seconds_in(text)
    if seconds is not None:
        return LimitText(limit=limit, resets_in=seconds)
    clock = _AT.search(text)
    return LimitText(limit=limit, clock=clock[1].strip(" .") if clock else None)


def read_final(text: str) -> LimitText | None:
    """Return the limit that a final message tells of when it is nothing but that: one short
    paragraph that begins with the words of a usage or credit limit."""
    words = text.strip()
    if not words or len(words) > _LONGEST or "\n\n" in words:
        return None
    for pattern in (_USAGE, _CREDIT):
        found = pattern.search(words)
        if found is not None and found.start() <= _EARLIEST:
            return read_limit(words)
    return None


def _which(text: str) -> str | None:
    if _CREDIT.search(text):
        return "credit"
    if _USAGE.search(text):
        # Gemini calls its requests per minute a quota, and says to come back in seconds.
        seconds = _seconds_in(text)
        return "rate" if seconds is not None and seconds < 300 else "usage"
    return "rate" if _RATE.search(text) else None


def _seconds_in(text: str) -> float | None:
    found = _IN.search(text)
    if found is None:
        return None
    total = 0.0
    for number, unit in _PART.findall(found[1]):
        key = "ms" if unit.lower() == "ms" else unit[0].lower()
        total += float(number) * _UNITS[key]
    return total
