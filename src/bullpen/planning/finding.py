"""What a check found: which rule, where, and what to do about it."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """It must be mended before anything is launched."""
    WARNING = "warning"
    """It is shown and goes into the record; nothing is refused."""
    HINT = "hint"
    """Advice."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing a rule has to say about a plan, a brief or a name."""

    rule: str
    """A key of `rules.RULES`."""
    message: str
    """The fact, in one sentence without a full stop at the end."""
    level: Level = Level.ERROR
    fix: str = ""
    """What to write instead, or to do."""
    line: int | None = None
    """Line of the text that was checked, from 1."""
    column: int | None = None
    """Column of that line, in characters, from 1."""
    phase: str | None = None
    """Id of the phase it speaks of."""


def errors_of(findings: list[Finding]) -> list[Finding]:
    """Return those that must be mended."""
    return [one for one in findings if one.level is Level.ERROR]
