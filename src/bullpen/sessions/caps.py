"""Who may start now, and who must wait, and why: one pure decision."""

from collections.abc import Iterable, Sequence

import msgspec

from bullpen.sessions.settings import Caps

MOST_LIVE = 256
# Live sessions when nothing is configured; a spawn storm ends here even with tiny agents.


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """What a session takes up."""

    agent: str
    workspace: str
    memory_mb: int


def refusal(seat: Seat, *, taken: Sequence[Seat], caps: Caps, memory_mb: int) -> str | None:
    """Return why `seat` has to wait, as one sentence; None when there is room.

    A single session always fits the memory cap, or a large agent could never run.
    """
    live = caps.live if caps.live is not None else MOST_LIVE
    if len(taken) >= live:
        return f"{len(taken)} of {live} live sessions on this host"
    budget = caps.memory_mb if caps.memory_mb is not None else memory_mb
    used = sum(one.memory_mb for one in taken)
    if taken and used + seat.memory_mb > budget:
        return f"{used} of {budget} MB for agents are taken, {seat.agent} needs {seat.memory_mb}"
    return _own_caps(seat, taken, caps)


def _own_caps(seat: Seat, taken: Iterable[Seat], caps: Caps) -> str | None:
    same_agent = same_workspace = 0
    for one in taken:
        same_agent += one.agent == seat.agent
        same_workspace += one.workspace == seat.workspace
    cap = caps.agent.get(seat.agent)
    if cap is not None and same_agent >= cap:
        return f"{same_agent} of {cap} live sessions of agent {seat.agent}"
    cap = caps.workspace.get(seat.workspace)
    if cap is not None and same_workspace >= cap:
        return f"{same_workspace} of {cap} live sessions in {seat.workspace}"
    return None
