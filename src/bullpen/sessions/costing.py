"""What was spent, added up: per session, agent, model, workspace or day."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from bullpen.model.fact import CostReckoned, TokensCounted
from bullpen.model.session import SessionRecord
from bullpen.store import Store

KINDS = ("tokens-counted", "cost-reckoned")
GROUPS = ("session", "agent", "model", "workspace", "day")


class Entry(msgspec.Struct, kw_only=True):
    """One turn of the ledger. None is unknown, never nothing."""

    session: str
    turn: int
    at: float
    agent: str
    workspace: str
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usd: float | None = None
    source: str = ""
    """`agent`, or which price table."""


class Sum(msgspec.Struct, kw_only=True):
    """What a group of turns comes to."""

    name: str
    turns: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usd: float | None = None
    unpriced_turns: int = 0
    """Turns nobody knows the price of; `usd` is without them."""
    is_estimate: bool = False


async def entries(
    store: Store, records: Iterable[SessionRecord], *, since: float = 0.0
) -> list[Entry]:
    """Return the ledger: one entry per turn that used something, oldest first.

    Rehearsals used nothing.
    """
    known = {record.id: record for record in records if record.rehearsal is None}
    found: dict[tuple[str, int], Entry] = {}
    for event in await store.events_of(kinds=KINDS, since=since):
        record, fact = known.get(event.session), event.fact
        if record is None or not isinstance(fact, (TokensCounted, CostReckoned)):
            continue
        entry = found.setdefault(
            (event.session, fact.turn),
            Entry(
                session=event.session,
                turn=fact.turn,
                at=event.at,
                agent=record.agent,
                workspace=record.repo or record.directory,
            ),
        )
        _add(entry, fact)
    return sorted(found.values(), key=lambda one: one.at)


def _add(entry: Entry, fact: TokensCounted | CostReckoned) -> None:
    entry.model = fact.model or entry.model
    if isinstance(fact, CostReckoned):
        entry.usd = (entry.usd or 0.0) + fact.usd
        entry.source = fact.source
        return
    entry.input_tokens = _plus(entry.input_tokens, fact.input_tokens)
    entry.output_tokens = _plus(entry.output_tokens, fact.output_tokens)
    entry.cached_tokens = _plus(entry.cached_tokens, fact.cached_read_tokens)
    if fact.cost_usd is not None:
        entry.usd = (entry.usd or 0.0) + fact.cost_usd
        entry.source = "agent"


def summed(ledger: Iterable[Entry], *, by: str) -> list[Sum]:
    """Return the ledger added up by one of `GROUPS`, the dearest first."""
    name = _NAMES[by]
    sums: dict[str, Sum] = {}
    for entry in ledger:
        one = sums.setdefault(name(entry), Sum(name=name(entry)))
        one.turns += 1
        one.input_tokens = _plus(one.input_tokens, entry.input_tokens)
        one.output_tokens = _plus(one.output_tokens, entry.output_tokens)
        one.cached_tokens = _plus(one.cached_tokens, entry.cached_tokens)
        if entry.usd is None:
            one.unpriced_turns += 1
        else:
            one.usd = (one.usd or 0.0) + entry.usd
            one.is_estimate = one.is_estimate or entry.source != "agent"
    if by == "day":
        return sorted(sums.values(), key=lambda one: one.name)
    return sorted(sums.values(), key=lambda one: (-(one.usd or 0.0), one.name))


def day_of(at: float) -> str:
    """Return the calendar day of the host's own clock."""
    return time.strftime("%Y-%m-%d", time.localtime(at))


def day_start(at: float) -> float:
    """Return when the calendar day of `at` began."""
    found = time.localtime(at)
    return time.mktime((found.tm_year, found.tm_mon, found.tm_mday, 0, 0, 0, 0, 0, -1))


def _plus(known: int | None, more: int | None) -> int | None:
    return known if more is None else (known or 0) + more


def _day(entry: Entry) -> str:
    return day_of(entry.at)


_NAMES: dict[str, Callable[[Entry], Any]] = {
    "session": lambda entry: entry.session,
    "agent": lambda entry: entry.agent,
    "model": lambda entry: entry.model or "unknown",
    "workspace": lambda entry: entry.workspace,
    "day": _day,
}
