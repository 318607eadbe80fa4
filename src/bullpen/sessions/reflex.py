"""What is done about what an agent says, in the same commit as what it said.

A policy that answers a permission, a limit that stops the queue, a budget: each is a reflex. It
sees the record as it was before and the facts that were just heard, decides at once and without
waiting for anything, and what it decides is committed together with its cause. So a crash can
neither lose the reaction nor repeat it.
"""

from collections.abc import Generator, Sequence
from typing import Protocol

import msgspec

from bullpen.agents.dialect import AnyOrder
from bullpen.model.fact import AgentFact, AnyFact
from bullpen.model.session import SessionRecord


class Reaction(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded and what the agent is told. If the agent cannot take one of the orders,
    nothing of the reaction happens."""

    facts: Sequence[AnyFact] = ()
    orders: Sequence[AnyOrder] = ()


class Reflex(Protocol):
    """One rule about what agents say. Must not block, wait or raise."""

    def react(self, record: SessionRecord, heard: Sequence[AgentFact]) -> Sequence[Reaction]:
        """Return what to do about `heard`, which `record` does not show yet."""
        ...

    def holds(self, record: SessionRecord, coming: Sequence[AnyFact]) -> bool:
        """Whether no turn may start now. `coming` is about to be recorded."""
        ...


def reactions(
    reflexes: Sequence[Reflex], record: SessionRecord, heard: Sequence[AgentFact]
) -> Generator[Reaction]:
    """Return what all reflexes do, in their order."""
    for reflex in reflexes:
        yield from reflex.react(record, heard)


def holds(reflexes: Sequence[Reflex], record: SessionRecord, coming: Sequence[AnyFact]) -> bool:
    """Whether any reflex lets no turn start."""
    return any(reflex.holds(record, coming) for reflex in reflexes)
