"""Waiting for sessions, and for an agent's answer to an order."""

from collections.abc import Mapping

import anyio
import msgspec

from bullpen.agents.dialect import AnyOrder, OrderImpossible
from bullpen.errors import RequestInvalid
from bullpen.model.fact import OrderDone, OrderRefused
from bullpen.model.session import OVER, SessionRecord, SessionState
from bullpen.model.story import settled
from bullpen.sessions.hub import Hub, Listener
from bullpen.sessions.ledger import Ledger
from bullpen.sessions.live import LiveSession
from bullpen.store import Store

_ORDER_PATIENCE = 10.0
# Seconds; an agent that is asked for another mode in the middle of a turn answers after it.


class Waited(msgspec.Struct, frozen=True):
    """What came of waiting: who is settled, who is not yet."""

    timed_out: bool
    settled: list[str]
    pending: list[str]
    sessions: dict[str, SessionRecord]


class Doorbell:
    """Rung once, when everybody who waits must go home."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.is_rung = False

    def ring(self) -> None:
        """Wake all listeners; from now on nobody waits."""
        self.is_rung = True
        self._hub.wake_all()


async def wait_for(
    hub: Hub,
    bell: Doorbell,
    ledgers: Mapping[str, Ledger],
    *,
    until_any: bool,
    turns: Mapping[str, int],
    goal: bool = False,
    timeout: float | None,
) -> Waited:
    """Wait until all (or any) of `ledgers` are settled, the time is up, or the bell is rung."""

    def is_settled(record: SessionRecord, turn: int | None) -> bool:
        if not goal:
            return settled(record, turn=turn)
        return record.state in OVER or record.goal is None or record.goal.status != "active"

    def done() -> list[str]:
        return [
            session
            for session, ledger in ledgers.items()
            if ledger.record.removed or is_settled(ledger.record, turn=turns.get(session))
        ]

    def is_enough() -> bool:
        found = done()
        return len(found) == len(ledgers) or (until_any and bool(found)) or bell.is_rung

    with hub.listening(ledgers) as listener, anyio.move_on_after(timeout) as patience:
        while not is_enough():
            await listener.wait()
    found = done()
    for session in found:
        # Whoever is told of the end may read what was said, and must find it.
        await ledgers[session].committed()
    pending = [session for session in ledgers if session not in found]
    records = {session: ledger.record for session, ledger in ledgers.items()}
    return Waited(patience.cancelled_caught, found, pending, records)


async def carry_out(
    hub: Hub, store: Store, live: LiveSession, ledger: Ledger, order: AnyOrder
) -> None:
    """Give an order that belongs to no turn and wait for the agent's answer.

    Raises:
        RequestInvalid: the agent does not offer it, refused it, or did not answer.
    """
    name = str(order.__struct_config__.tag)
    after = ledger.record.seq
    with hub.listening([ledger.record.id]) as listener:
        try:
            live.order(order)
        except OrderImpossible as refusal:
            raise RequestInvalid(str(refusal)) from refusal
        answer = None
        with anyio.move_on_after(_ORDER_PATIENCE):
            answer = await _answered(store, ledger, listener, name, after)
    if answer is None:
        raise RequestInvalid(f"the agent did not answer {name}")
    if isinstance(answer, OrderRefused):
        raise RequestInvalid(f"the agent refused {name}: {answer.message}")


async def _answered(
    store: Store, ledger: Ledger, listener: Listener, name: str, after: int
) -> OrderDone | OrderRefused | None:
    while ledger.record.state not in OVER | {SessionState.STOPPING}:
        answer = await _answer_to(store, ledger.record.id, name, after)
        if answer is not None:
            return answer
        await listener.wait()
    return None


async def _answer_to(
    store: Store, session: str, name: str, after: int
) -> OrderDone | OrderRefused | None:
    kinds = ("order-done", "order-refused")
    for event in await store.events(session, after=after, kinds=kinds):
        fact = event.fact
        if isinstance(fact, (OrderDone, OrderRefused)) and fact.order == name:
            return fact
    return None
