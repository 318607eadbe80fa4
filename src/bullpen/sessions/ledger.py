"""One session's record, and the only way to add to its story."""

import time
from collections.abc import Callable, Sequence

import anyio
import msgspec

from bullpen.errors import RequestInvalid, SessionNotFound
from bullpen.model.fact import (
    AnyFact,
    Event,
    SessionCreated,
    StateChanged,
    TurnFailed,
    encode_fact,
)
from bullpen.model.session import BUSY, Limit, SessionRecord, SessionState, TurnState, move
from bullpen.model.story import apply, turn_outcome
from bullpen.sessions.hub import Hub
from bullpen.store import Batch, NewIntent, Progress, Store, Ticket

_encoder = msgspec.json.Encoder()
_SETTLING = BUSY | {SessionState.IDLE}


class Ledger:
    """A session's record in memory, and the events that go to the store.

    `write` numbers the facts, applies them to the record at once and hands them to the writer;
    the ticket tells when they are committed. States that follow from the facts (a turn runs,
    somebody is asked) are added by itself, so none can be forgotten.
    """

    def __init__(self, record: SessionRecord, *, store: Store, hub: Hub) -> None:
        self.record = record
        self.gate = anyio.Lock()
        """Held by verbs that start or end the session's process, one at a time."""
        self.sending = anyio.Lock()
        """Held while a prompt with an idempotency key is looked up and queued."""
        self.is_closed = False
        """True once the session was removed, or never came up: nothing more can be written."""
        self._store = store
        self._hub = hub
        self._last: Ticket | None = None

    @classmethod
    def begin(
        cls, session: str, fact: SessionCreated, *more: AnyFact, store: Store, hub: Hub
    ) -> "Ledger":
        """Make the ledger of a new session and write its first fact, and `more` with it."""
        now = time.time()
        event = Event(session, 1, now, fact)
        ledger = cls(apply(None, event), store=store, hub=hub)
        ledger._commit([event, *(ledger._take(one, now) for one in more)])
        return ledger

    def write(
        self,
        *facts: AnyFact,
        progress: Progress | None = None,
        intents: Sequence[NewIntent] = (),
        written: Sequence[int] = (),
        after: Callable[[], None] | None = None,
    ) -> Ticket:
        """Add `facts` to the story, together with the rest, or nothing at all.

        `after` is called in the loop once all of it is committed, in the order of the writes.

        Raises:
            SessionNotFound: the story was closed. Nothing was written.
        """
        if self.is_closed:
            raise SessionNotFound(self.record.id)
        now = time.time()
        events = [self._take(fact, now) for fact in facts]
        if facts:
            follows = self._following()
            if follows is not None:
                events.append(self._take(follows, now))
        return self._commit(
            events, progress=progress, intents=intents, written=written, after=after
        )

    async def committed(self) -> None:
        """Return when all that `record` shows stands in the store too."""
        if self._last is not None:
            await self._last.wait()

    def turn_lost(self) -> list[AnyFact]:
        """Return that the running turn failed with its process, if one still runs."""
        turn = self.record.turn
        if turn is None or turn.state is not TurnState.RUNNING:
            return []
        why = "the agent ended before the turn did"
        return [TurnFailed(turn=turn.number, code="agent-died", message=why)]

    def close(self) -> None:
        """Refuse whatever somebody who still holds this ledger may want to write."""
        self.is_closed = True

    def purge(self) -> Ticket:
        """Delete the whole story, of a session that never came up, and close it."""
        self.close()
        return self._store.add(Batch(session=self.record.id, is_purge=True))

    def moved(self, after: SessionState, reason: str, *, evidence: str = "") -> StateChanged:
        """Return the fact that the session moves to `after`.

        Raises:
            IllegalMove: the table of moves does not have it.
        """
        move(self.record.state, after)
        return StateChanged(before=self.record.state, after=after, reason=reason, evidence=evidence)

    def _take(self, fact: AnyFact, now: float) -> Event:
        event = Event(self.record.id, self.record.seq + 1, now, fact)
        apply(self.record, event)
        return event

    def _following(self) -> StateChanged | None:
        if self.record.state not in _SETTLING:
            return None
        state, reason = _derived(self.record)
        return None if state is self.record.state else self.moved(state, reason)

    def _commit(
        self,
        events: Sequence[Event],
        *,
        progress: Progress | None = None,
        intents: Sequence[NewIntent] = (),
        written: Sequence[int] = (),
        after: Callable[[], None] | None = None,
    ) -> Ticket:
        session = self.record.id

        def committed() -> None:
            if events:
                self._hub.publish(session)
            if after is not None:
                after()

        batch = Batch(
            session=session,
            events=events,
            progress=progress,
            intents=intents,
            written=written,
            record=_encoder.encode(self.record) if events else None,
        )
        self._last = self._store.add(batch, after=committed)
        return self._last


def check_storable(fact: AnyFact) -> None:
    """Refuse what somebody outside said when it cannot be stored.

    Raises:
        RequestInvalid: a text is not valid Unicode, a number is too large, or it is nested too
            deeply.
    """
    try:
        encode_fact(fact)
    except (ValueError, OverflowError, RecursionError, TypeError) as fault:
        raise RequestInvalid(f"it cannot be stored: {fault}") from fault


def _derived(record: SessionRecord) -> tuple[SessionState, str]:
    """Return the state a session with a process and an open conversation is in, and why."""
    for ask in record.asks:
        if ask.kind == "permission":
            return SessionState.ASKING, f"permission asked: {ask.title}".rstrip(": ")
    if record.asks:
        return SessionState.WAITING, f"question asked: {record.asks[0].title}".rstrip(": ")
    turn = record.turn
    if turn is not None and turn.state is TurnState.RUNNING:
        return SessionState.WORKING, f"turn {turn.number} runs"
    if record.limit is not None:
        return SessionState.LIMITED, _limited(record.limit)
    if turn is None:
        return SessionState.IDLE, "ready for a prompt"
    error = f": {turn.error}" if turn.error else ""
    return SessionState.IDLE, f"turn {turn.number} {turn_outcome(turn)}{error}"


def _limited(limit: Limit) -> str:
    if limit.until <= 0:
        return f"{limit.limit} limit of {limit.account}, until somebody lifts it: {limit.message}"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(limit.until))
    guess = ", which is a guess" if limit.is_guess else ""
    return f"{limit.limit} limit of {limit.account} until {when}{guess}: {limit.message}"
