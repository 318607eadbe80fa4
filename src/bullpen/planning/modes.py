"""From how a phase is worked on to how much its agent may do."""

from typing import Literal

from bullpen.planning.plan import Exec

Launch = Literal["bypass", "plan", "ask"]

LAUNCH_AS: dict[str, str] = {
    "bypass": "Bypass permissions",
    "plan": "Plan mode",
    "ask": "Ask permissions",
}
"""How a brief names each launch mode."""

LOOPS = frozenset({Exec.QUICK, Exec.TDD, Exec.CHECKPOINT, Exec.SPIKE})
"""Modes whose long tasks go on by themselves after a turn."""

_UPGRADES = frozenset(
    {(Exec.PAIR, Exec.TDD), (Exec.QUICK, Exec.CHECKPOINT)}
    | {(Exec.QUICK, Exec.TDD), (Exec.QUICK, Exec.PAIR)}
)


def launch_mode(exec: Exec, *, produces_changes: bool, investigation: bool = False) -> Launch:
    """Return the launch mode of a phase; who changes nothing is never asked about anything."""
    if not produces_changes:
        return "bypass"
    if investigation or exec is Exec.PAIR:
        return "plan"
    return "ask" if exec is Exec.CHECKPOINT else "bypass"


def select(
    *,
    is_knowledge: bool,
    is_scoped: bool,
    independent_tasks: int = 1,
    is_testable: bool = False,
    is_risky: bool = False,
) -> Exec:
    """Return the mode that fits a piece of work."""
    if is_knowledge:
        return Exec.SPIKE
    if not is_scoped:
        return Exec.CHECKPOINT if is_risky else Exec.PAIR
    if independent_tasks >= 5:
        return Exec.SWARM
    return Exec.TDD if is_testable else Exec.QUICK


def may_change(before: Exec, after: Exec, *, reason: str = "") -> bool:
    """Return whether a running phase may go over to another mode: upgrades always, anything else
    with a recorded reason."""
    return before is after or (before, after) in _UPGRADES or bool(reason.strip())
