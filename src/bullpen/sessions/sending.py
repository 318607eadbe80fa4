"""Giving a session words while a turn runs, and knowing words that came before."""

from bullpen.model.fact import TurnQueued, TurnSteered
from bullpen.model.session import OVER, SessionState, TurnState
from bullpen.sessions.ledger import Ledger
from bullpen.sessions.live import LiveSession
from bullpen.store import Store

_KINDS = ("turn-queued", "turn-steered")


async def turn_of(store: Store, session: str, key: str) -> int | None:
    """Return the turn to which words with that idempotency key went, None when none came."""
    after = 0
    while page := await store.events(session, after=after, kinds=_KINDS):
        after = page[-1].seq
        for event in page:
            fact = event.fact
            if isinstance(fact, (TurnQueued, TurnSteered)) and fact.key == key:
                return fact.turn
    return None


def steerable(ledger: Ledger, live: LiveSession | None) -> LiveSession | None:
    """Return the conversation whose running turn takes words; None when no turn runs, or when
    the one that does is being ended."""
    turn, state = ledger.record.turn, ledger.record.state
    if live is None or turn is None or state in OVER | {SessionState.STOPPING}:
        return None
    is_running = turn.state is TurnState.RUNNING and not turn.interrupted
    return live if is_running and live.opened.is_set() else None
