"""Usage limits: the session waits, its account with it, and goes on by itself at the reset.

What is waited for stands in the record, so a service that was killed waits on from where it was.
A limit is never taken for the end of the work: the turn it cut short has failed, and goes on as
another turn that the record ties to it.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import anyio

from bullpen.agents.catalog import Catalog
from bullpen.errors import AgentUnknown, BullpenError
from bullpen.model.fact import (
    AgentFact,
    AnyFact,
    LimitEntered,
    LimitLeft,
    LimitReached,
    TurnQueued,
)
from bullpen.model.session import OVER, Limit, SessionRecord, SessionState
from bullpen.sessions.clocks import moment_of
from bullpen.sessions.hub import Hub
from bullpen.sessions.reflex import Reaction
from bullpen.sessions.settings import LimitSettings

log = logging.getLogger("bullpen.sessions")
NEVER = 0.0
"""`until` of a limit that only the user can lift."""


class Host(Protocol):
    """What the keeper of limits asks of whoever keeps the sessions."""

    async def records(self) -> list[SessionRecord]:
        """Return all records."""
        ...

    async def enter(self, session: str, limit: Limit) -> None:
        """Have an idle session with waiting prompts wait for the limit of its account."""
        ...

    async def lift(self, session: str, *, reason: str, go_on: bool) -> None:
        """Let a limited session go on, or only wait no longer."""
        ...

    async def hand_over(self, session: str, agent: str) -> None:
        """Have another agent take over."""
        ...


class Limits:
    """The reflex that lets a session wait, and the task that lets it go on."""

    def __init__(self, settings: LimitSettings, catalog: Catalog, hub: Hub) -> None:
        self._settings = settings
        self._catalog = catalog
        self._hub = hub
        self._accounts: dict[str, Limit] = {}
        self._handed_over: set[tuple[str, int]] = set()

    # ---- the reflex ------------------------------------------------------------------------

    def react(self, record: SessionRecord, heard: Sequence[AgentFact]) -> Sequence[Reaction]:
        """Have the session wait for a limit it heard of."""
        reached = [fact for fact in heard if isinstance(fact, LimitReached)]
        if not reached or record.interface == "terminal":
            return []
        entered = self.entered(record, reached[-1], now=time.time())
        if entered.limit != "rate":
            # At once: the next prompt to a session of the account may come before the task looks.
            self._accounts[entered.account] = Limit(
                limit=entered.limit,
                account=entered.account,
                until=entered.until,
                is_guess=entered.is_guess,
                message=entered.message,
            )
        return [Reaction(facts=[entered])]

    def entered(self, record: SessionRecord, fact: LimitReached, *, now: float) -> LimitEntered:
        """Return for how long the session waits."""
        until, is_guess = self._until(record, fact, now)
        return LimitEntered(
            limit=fact.limit,
            account=self.account_of(record),
            until=until,
            is_guess=is_guess,
            message=fact.message[:500],
            turn=fact.turn,
        )

    def _until(self, record: SessionRecord, fact: LimitReached, now: float) -> tuple[float, bool]:
        settings = self._settings
        if fact.limit == "credit":
            return NEVER, False
        told = fact.resets_at
        if told is None and fact.resets_in is not None:
            told = now + fact.resets_in
        if told is None and fact.clock is not None:
            told = moment_of(fact.clock, now=datetime.now().astimezone())
        if told is not None and told > now - 60:
            return max(told, now) + settings.margin, False
        steps = settings.guesses if fact.limit == "usage" else settings.retries
        return now + steps[min(record.limits_in_a_row, len(steps) - 1)], True

    def holds(self, record: SessionRecord, coming: Sequence[AnyFact]) -> bool:
        """Whether a turn would run into a limit."""
        if record.limit is not None or any(isinstance(one, LimitEntered) for one in coming):
            return True
        shared = self._accounts.get(self.account_of(record))
        return shared is not None and (shared.until == NEVER or shared.until > time.time())

    def account_of(self, record: SessionRecord) -> str:
        """Return the name of the account whose limits the session shares."""
        try:
            profile = self._catalog.find(record.agent)
        except AgentUnknown:
            return record.agent
        account = profile.account or profile.id
        # What a script says of limits must not stop the sessions that ask a real model.
        return account if record.rehearsal is None else f"{account} in rehearsal {record.id}"

    def limited(self) -> dict[str, Limit]:
        """Return the accounts that are limited, and how."""
        return dict(self._accounts)

    # ---- the task --------------------------------------------------------------------------

    async def keep(self, host: Host) -> None:
        """Let sessions go on when their time has come. Runs until it is cancelled."""
        with self._hub.listening(None) as listener:
            while True:
                due = await self._look(host)
                with anyio.move_on_after(None if due is None else max(0.01, due - time.time())):
                    await listener.wait()

    async def _look(self, host: Host) -> float | None:
        """Do what is due and return when to look again."""
        records = [one for one in await host.records() if one.state not in OVER]
        self._accounts = _shared(records)
        await self._hand_over(host, records)
        for record in records:
            shared = self._accounts.get(self.account_of(record))
            idle = record.state is SessionState.IDLE and record.queue and record.limit is None
            if shared is not None and idle:
                await host.enter(record.id, shared)
        now = time.time()
        waiting = [one for one in records if one.limit is not None]
        due = [one for one in waiting if _is_due(one, now)]
        for number, record in enumerate(sorted(due, key=lambda one: one.since)):
            if number:
                # Ten at once would run into the next limit together.
                await anyio.sleep(self._settings.stagger)
            await self._lift(host, record)
        times = [one.limit.until for one in waiting if one.limit and one.limit.until > now]
        return min(times, default=None)

    async def _lift(self, host: Host, record: SessionRecord) -> None:
        try:
            await host.lift(record.id, reason="the limit has been reset", go_on=True)
        except BullpenError as fault:
            log.warning("session %s does not go on after its limit: %s", record.id, fault)

    async def _hand_over(self, host: Host, records: Iterable[SessionRecord]) -> None:
        for record in records:
            limit = record.limit
            agent = record.fallback or self._settings.fallback.get(record.agent)
            if limit is None or agent is None or limit.turn is None or limit.limit == "rate":
                continue
            if (record.id, limit.turn) in self._handed_over:
                continue
            self._handed_over.add((record.id, limit.turn))
            try:
                await host.hand_over(record.id, agent)
            except BullpenError as fault:
                log.warning("session %s is not handed over to %s: %s", record.id, agent, fault)


def _shared(records: Iterable[SessionRecord]) -> dict[str, Limit]:
    found: dict[str, Limit] = {}
    for record in records:
        limit = record.limit
        # Too many requests at once is a matter of one session; a quota is the account's.
        if limit is None or limit.limit == "rate":
            continue
        known = found.get(limit.account)
        if known is None or (known.until != NEVER and limit.until > known.until):
            found[limit.account] = limit
    return found


def _is_due(record: SessionRecord, now: float) -> bool:
    limit = record.limit
    is_waiting = limit is not None and record.state is SessionState.LIMITED
    return is_waiting and limit is not None and NEVER < limit.until <= now


def going_on(record: SessionRecord, *, reason: str, prompt: str) -> list[AnyFact]:
    """Return that the limit is over and the turn it cut short goes on."""
    limit = record.limit
    if limit is None or limit.turn is None:
        return [LimitLeft(reason=reason)]
    turn = record.turns + 1
    left = LimitLeft(reason=reason, continued_by=turn)
    return [left, TurnQueued(turn=turn, text=prompt, sender="limit")]
