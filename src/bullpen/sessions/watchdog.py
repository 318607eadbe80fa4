"""Looks after an adapter behind which the agent itself may die unseen.

Some adapters run the agent as a process of their own and wait for ever when it is gone: the turn
never ends. An agent that is silent because a tool of it takes long must not be taken for that. So
silence alone ends nothing: it only makes us look whether the agent's process is still there.
"""

from collections.abc import Callable

import anyio

from bullpen.errors import AgentUnknown
from bullpen.process import Child
from bullpen.sessions.stage import Stage

DIED = "the agent behind the adapter died"


class Watchdog:
    """Tells when the program behind an adapter is gone in the middle of a turn."""

    def __init__(self, child: Child, *, limit: float, program: str) -> None:
        """Look after `child`, which runs `program`, after `limit` seconds of silence."""
        self._child = child
        self._limit = limit
        self._program = program
        self._heard_at = _now()

    def heard(self) -> None:
        """Note that the adapter said something just now."""
        self._heard_at = anyio.current_time()

    async def died(self, turn: Callable[[], int | None]) -> None:
        """Return when a turn was silent for the limit, or at most twice as long, and the program
        is gone. `turn` says which turn runs and waits for nobody but the agent."""
        seen: int | None = None
        while True:
            await anyio.sleep(max(self._limit / 10, self._heard_at + self._limit - _now()))
            heard_at, before, seen = self._heard_at, seen, turn()
            if seen is None or seen != before:
                # The silence between two turns is none of either.
                self.heard()
            elif _now() >= heard_at + self._limit:
                is_alive = await self._child.runs(self._program)
                if not is_alive and (heard_at, seen) == (self._heard_at, turn()):
                    return
                self.heard()


def watchdog_of(stage: Stage, agent: str, child: Child) -> Watchdog | None:
    """Return what looks after `child`; None when its agent needs nobody to."""
    try:
        quirks = stage.catalog.find(agent).quirks
    except AgentUnknown:
        # The catalog lost an agent that runs; it goes on without.
        return None
    if quirks.silence_limit is None or not quirks.inner_program:
        return None
    return Watchdog(child, limit=quirks.silence_limit, program=quirks.inner_program)


def _now() -> float:
    return anyio.current_time()
