"""Turns that did not come from us: typed at the agent's own screen, or begun for its goal.

A dialect speaks of such a turn as turn 0. Here it gets a number of ours, a place in the story, and
the session is `working` until it ends, as with any other turn.
"""

from collections.abc import Sequence

import msgspec

from bullpen.agents.dialect import FOREIGN_TURN
from bullpen.model.fact import AgentFact, AnyFact, TurnQueued, TurnStarted, TurnTyped
from bullpen.model.session import SessionRecord, TurnState


def numbered(record: SessionRecord, heard: Sequence[AgentFact], *, run: int) -> list[AnyFact]:
    """Return what was heard, with foreign turns begun and numbered."""
    number = spoken_of(record)
    known = record.turns
    facts: list[AnyFact] = []
    for fact in heard:
        if isinstance(fact, TurnTyped):
            known += 1
            number = known
            text = fact.text or "(the agent went on by itself)"
            facts += [fact, TurnQueued(turn=number, text=text, sender=fact.by)]
            facts.append(TurnStarted(turn=number, run=run, is_foreign=True))
        elif number is not None and getattr(fact, "turn", None) == FOREIGN_TURN:
            facts.append(msgspec.structs.replace(fact, turn=number))
        else:
            facts.append(fact)
    return facts


def spoken_of(record: SessionRecord) -> int | None:
    """Return our number of the foreign turn that runs, None when none does."""
    turn = record.turn
    is_running = turn is not None and turn.state is TurnState.RUNNING and turn.is_foreign
    return turn.number if is_running and turn is not None else None


def in_dialect(record: SessionRecord, turn: int) -> int:
    """Return what the dialect calls a turn of ours."""
    return FOREIGN_TURN if spoken_of(record) == turn else turn
