"""From lines of a journal to facts worth storing.

Streamed text arrives in tiny pieces. They are shown at once and stored coalesced: pieces of one
message are held back until something else happens, they get long, or a fifth of a second has
passed. The offset that is committed stays before the first held line, so a crash reads the held
lines again and nothing is lost or doubled.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from bullpen.agents.dialect import Dialect
from bullpen.model.fact import (
    AgentFact,
    ConversationOpened,
    MessageStreamed,
    ThoughtStreamed,
    TurnEnded,
    TurnFailed,
)

HOLD = 0.2
"""Seconds streamed text may wait before it is stored."""
_HOLD_CHARS = 32 * 1024
_SNAPSHOT_EVERY = 4 * 1024 * 1024
# Bytes of journal a restarted service may have to feed to the dialect once more.

_Text = MessageStreamed | ThoughtStreamed
_REST = (TurnEnded, TurnFailed, ConversationOpened)


class Taken(msgspec.Struct):
    """What came of some lines."""

    facts: list[AgentFact]
    out: list[bytes]
    offset: int
    """Everything before it is in `facts`, now or earlier."""
    covered: int = 0
    """How many pieces of streamed text, of all there ever were, are in `facts`, now or earlier."""
    snapshot: bytes | None = None
    """The dialect's state at `offset`, when it is a good moment to keep it."""


class Intake:
    """Feeds a dialect and holds streamed text back."""

    def __init__(
        self, dialect: Dialect, *, offset: int, on_text: Callable[[_Text], None] | None = None
    ) -> None:
        self._dialect = dialect
        self._on_text = on_text
        self.streamed = 0
        """How many pieces of streamed text there were."""
        self._position = offset
        self._safe = offset
        self._pieces: list[str] = []
        self._chars = 0
        self._first: _Text | None = None
        self._since = 0.0
        self._snapshot_at = offset

    @property
    def is_holding(self) -> bool:
        """Whether text is held back."""
        return self._first is not None

    @property
    def patience(self) -> float:
        """Seconds until held text should be stored."""
        return max(0.0, self._since + HOLD - time.monotonic())

    def take(self, lines: Sequence[bytes]) -> Taken:
        """Feed `lines`, which follow the ones before without a gap."""
        facts: list[AgentFact] = []
        out: list[bytes] = []
        at_rest = False
        feed = self._dialect.feed
        for line in lines:
            heard = feed(line)
            self._sort(heard.facts, facts)
            if heard.out:
                # Read again after a crash, this line would be answered twice.
                self._let_go(facts)
                out += heard.out
            self._position += len(line) + 1
            if self._first is None:
                self._safe = self._position
        at_rest = any(type(fact) in _REST for fact in facts)
        if self._first is not None and (self._chars > _HOLD_CHARS or self.patience <= 0):
            self._let_go(facts)
            self._safe = self._position
        covered = self.streamed - len(self._pieces)
        return Taken(facts, out, self._safe, covered, self._kept(at_rest=at_rest))

    def flush(self) -> Taken:
        """Stop holding back."""
        facts: list[AgentFact] = []
        self._let_go(facts)
        self._safe = self._position
        return Taken(facts, [], self._safe, self.streamed)

    def _sort(self, heard: Sequence[AgentFact], facts: list[AgentFact]) -> None:
        for fact in heard:
            if isinstance(fact, (MessageStreamed, ThoughtStreamed)) and len(heard) == 1:
                self._hold(fact, facts)
            else:
                self._let_go(facts)
                facts.append(fact)

    def _hold(self, fact: _Text, facts: list[AgentFact]) -> None:
        first = self._first
        if first is None or type(first) is not type(fact) or first.message != fact.message:
            self._let_go(facts)
            self._first = fact
            self._since = time.monotonic()
            self._safe = self._position
        self._pieces.append(fact.text)
        self._chars += len(fact.text)
        self.streamed += 1
        if self._on_text is not None:
            self._on_text(fact)

    def _let_go(self, facts: list[AgentFact]) -> None:
        first = self._first
        if first is None:
            return
        text = "".join(self._pieces)
        facts.append(type(first)(text=text, message=first.message))
        self._first = None
        self._pieces.clear()
        self._chars = 0

    def _kept(self, *, at_rest: bool) -> bytes | None:
        if self._first is not None:
            return None
        if not at_rest and self._position - self._snapshot_at < _SNAPSHOT_EVERY:
            return None
        self._snapshot_at = self._position
        return self._dialect.snapshot()
