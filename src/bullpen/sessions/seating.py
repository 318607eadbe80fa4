"""Who has a place among the live sessions, and who waits for one, in order."""

import psutil

from bullpen.errors import AgentUnknown
from bullpen.model.session import SessionRecord
from bullpen.sessions.caps import Seat, refusal
from bullpen.sessions.stage import Stage

_SHARE = 0.7
# Of the machine's memory, for agents; the rest is the user's.
_UNKNOWN_MEMORY_MB = 300


class Seating:
    """The taken seats and the queue. Nobody is started twice, nobody waits unseen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._taken: dict[str, Seat] = {}
        self._waiting: dict[str, SessionRecord] = {}
        self._memory_mb = int(psutil.virtual_memory().total * _SHARE / 2**20)

    def take(self, record: SessionRecord) -> str | None:
        """Take a seat and return None, or join the queue and return why."""
        why = self._refusal(record)
        if why is None and self._waiting and not self._may_overtake(record):
            why = f"{len(self._waiting)} sessions wait before it"
        if why is None:
            self._taken[record.id] = self._seat(record)
        else:
            self._waiting[record.id] = record
        return why

    def keep(self, record: SessionRecord) -> None:
        """Take a seat whatever the caps say, for a process that exists already."""
        self._taken[record.id] = self._seat(record)

    def wait(self, record: SessionRecord) -> None:
        """Join the queue."""
        self._waiting[record.id] = record

    def leave(self, session: str) -> None:
        """Give up the seat, or the place in the queue."""
        self._taken.pop(session, None)
        self._waiting.pop(session, None)

    def admitted(self) -> list[str]:
        """Return those who may start now, oldest wish first; they have their seats.

        Who is held back by a cap of its agent or workspace lets others pass; who is held back by
        the host does not.
        """
        started: list[str] = []
        ahead = 0
        is_full = False
        for record in sorted(self._waiting.values(), key=lambda one: (one.created_at, one.id)):
            why = self._refusal(record)
            if why is None and is_full:
                why = f"{ahead} sessions wait before it"
            if why is None:
                del self._waiting[record.id]
                self._taken[record.id] = self._seat(record)
                started.append(record.id)
                continue
            record.reason = f"queued: {why}"
            ahead += 1
            is_full = is_full or self._is_full_for(record)
        return started

    def _may_overtake(self, record: SessionRecord) -> bool:
        return not any(
            self._is_full_for(one) for one in self._waiting.values() if one is not record
        )

    def _is_full_for(self, record: SessionRecord) -> bool:
        caps = self._stage.settings.caps
        own = type(caps)(live=caps.live, memory_mb=caps.memory_mb)
        taken = list(self._taken.values())
        seat = self._seat(record)
        return refusal(seat, taken=taken, caps=own, memory_mb=self._memory_mb) is not None

    def _refusal(self, record: SessionRecord) -> str | None:
        return refusal(
            self._seat(record),
            taken=list(self._taken.values()),
            caps=self._stage.settings.caps,
            memory_mb=self._memory_mb,
        )

    def _seat(self, record: SessionRecord) -> Seat:
        try:
            memory = self._stage.catalog.find(record.agent).memory_mb
        except AgentUnknown:
            memory = _UNKNOWN_MEMORY_MB
        workspace = record.repo or record.directory
        return Seat(agent=record.agent, workspace=workspace, memory_mb=memory)
