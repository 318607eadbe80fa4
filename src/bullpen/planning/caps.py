"""How many sessions run at once, and how more phases than that are split."""

import msgspec

from bullpen.planning.plan import Exec, Phase

IMPLEMENTING = 3
RESEARCHING = 5


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """Longest number of sessions at once, and the rule it comes from."""

    sessions: int
    rule: str
    reason: str = ""
    """The recorded reason of an override."""


def is_research(phase: Phase) -> bool:
    """Return whether a phase only reads: a spike, or analysis, that writes no shared file."""
    only_reads = not phase.writes and not phase.infra
    return only_reads and (not phase.produces_changes or phase.exec is Exec.SPIKE)


def cap_of(phases: list[Phase], *, wanted: int = 0, reason: str = "") -> Cap:
    """Return the cap of sessions that would run together.

    A wanted cap above the rules' holds only with a reason; one below holds always.
    """
    research = bool(phases) and all(map(is_research, phases))
    given = RESEARCHING if research else IMPLEMENTING
    rule = "CAP-2" if research else "CAP-1"
    if wanted > given and not reason.strip():
        return Cap(sessions=given, rule="CAP-3")
    if wanted > given:
        return Cap(sessions=wanted, rule="CAP-3", reason=reason.strip())
    return Cap(sessions=wanted or given, rule=rule)


def split(count: int, cap: int) -> list[int]:
    """Return sizes of batches for `count` phases: as few and as even as can be, large ones first.

    With a cap of 3 or more nobody is left alone, but for a count of 1.
    """
    if count <= 0:
        return []
    batches = -(-count // max(cap, 1))
    size, more = divmod(count, batches)
    return [size + (at < more) for at in range(batches)]
