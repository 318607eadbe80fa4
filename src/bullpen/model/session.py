"""The life of a session: its states, the table of its moves, and what its events add up to.

`SessionRecord` is never written by hand: `apply` reads it from events, in the service as they
happen and in `bullpen doctor --rebuild` from the store. That is why state tables may be lost.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from bullpen.errors import IllegalMove


class SessionState(StrEnum):
    """Where a session is in its life."""

    QUEUED = "queued"
    """Wanted, but a cap is reached; it starts when there is room."""
    STARTING = "starting"
    """Place, process and handshake are being made."""
    WORKING = "working"
    """A turn runs."""
    ASKING = "asking"
    """A turn waits for somebody to allow or refuse something."""
    WAITING = "waiting"
    """A turn waits for an answer of the user."""
    LIMITED = "limited"
    """The agent reached a usage limit."""
    IDLE = "idle"
    """No turn runs; a prompt is accepted."""
    STOPPING = "stopping"
    """The process is being ended on request."""
    STOPPED = "stopped"
    """Ended on request; may be resumed."""
    FAILED = "failed"
    """The agent died or never came up; may be resumed."""
    LOST = "lost"
    """The process is gone and nobody saw how; may be resumed."""


_S = SessionState
_ENDS = frozenset({_S.STOPPING, _S.FAILED, _S.LOST})
_LIVE = frozenset({_S.WORKING, _S.ASKING, _S.WAITING, _S.LIMITED, _S.IDLE})

MOVES: Mapping[SessionState, frozenset[SessionState]] = MappingProxyType(
    {
        _S.QUEUED: frozenset({_S.STARTING, _S.STOPPED, _S.FAILED}),
        _S.STARTING: frozenset({_S.IDLE, _S.WORKING, _S.QUEUED}) | _ENDS,
        _S.WORKING: (_LIVE - {_S.WORKING}) | _ENDS,
        _S.ASKING: (_LIVE - {_S.ASKING}) | _ENDS,
        _S.WAITING: (_LIVE - {_S.WAITING}) | _ENDS,
        _S.LIMITED: (_LIVE - {_S.LIMITED}) | _ENDS,
        _S.IDLE: frozenset({_S.WORKING, _S.LIMITED}) | _ENDS,
        _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED}),
        _S.STOPPED: frozenset({_S.STARTING, _S.QUEUED}),
        _S.FAILED: frozenset({_S.STARTING, _S.QUEUED, _S.STOPPED}),
        _S.LOST: frozenset({_S.STARTING, _S.QUEUED, _S.STOPPED}),
    }
)
"""Every move a session may make. The docs and the web page draw their picture from this."""

LIVE = _LIVE | {_S.STARTING, _S.STOPPING}
"""States in which a process exists or is about to."""
OVER = frozenset({_S.STOPPED, _S.FAILED, _S.LOST})
"""States in which no process exists; the session may be resumed or removed."""
BUSY = frozenset({_S.WORKING, _S.ASKING, _S.WAITING, _S.LIMITED})
"""States in which a turn is under way."""
NEEDS_USER = frozenset({_S.ASKING, _S.WAITING})
"""States in which nothing goes on before somebody answers."""


def move(before: SessionState, after: SessionState) -> SessionState:
    """Return `after`.

    Raises:
        IllegalMove: `MOVES` has no way from `before` to `after`.
    """
    if after not in MOVES[before]:
        raise IllegalMove(before, after)
    return after


class TurnState(StrEnum):
    """Where a turn is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class Turn(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One prompt until its stop reason."""

    number: int
    state: TurnState
    stop: str | None = None
    error_code: str | None = None
    error: str | None = None
    delivered: bool = False
    interrupted: bool = False
    """True once somebody asked to end it."""
    tools: int = 0
    """Tool calls in it."""
    is_foreign: bool = False
    """True when it did not come from us; see `TurnTyped`."""
    doubted: bool = False
    """True when we died while writing the prompt and cannot know whether the agent has it."""
    started_at: float | None = None
    ended_at: float | None = None


class OpenAsk(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A permission or question nobody has answered."""

    request: str
    kind: str
    """`permission` or `question`."""
    title: str = ""
    tool_kind: str | None = None
    options: list[dict[str, str]] = []
    deed: Any = None
    """A `fact.Deed` as plain values, for a permission."""
    schema: dict[str, Any] | None = None
    url: str | None = None
    asked_at: float = 0.0


class Limit(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A limit the session waits for."""

    limit: str
    account: str
    until: float
    is_guess: bool = False
    message: str = ""
    turn: int | None = None


class Goal(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the session was told to reach, and how far it is."""

    id: str
    objective: str
    status: str = "active"
    note: str = ""
    is_native: bool = False
    budget_tokens: int | None = None
    budget_usd: float | None = None
    max_turns: int | None = None
    set_at: float = 0.0
    first_turn: int = 0
    """The number of the first turn that counts."""
    turns: int = 0
    """Turns that were run for it."""
    used_tokens: int = 0
    used_usd: float = 0.0
    idle_turns: int = 0
    """Turns one after the other in which no tool was used."""
    failed_turns: int = 0


class Budget(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a session may spend; see `BudgetReached`."""

    usd: float | None = None
    tokens: int | None = None
    is_spent: bool = False
    """True once a hard budget of the session is reached: no turn starts any more."""
    is_warned: bool = False


class Spent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a session used over all its turns. None means that nobody said."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usd: float | None = None
    """Reported by the agent, or reckoned from the price table where it knows the model."""
    is_estimate: bool = False
    """True when some of `usd` was reckoned."""
    unpriced_turns: int = 0
    """Turns that used tokens whose price nobody knows."""


class SessionRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a session's events add up to."""

    id: str
    agent: str
    directory: str
    """Where the user asked for it."""
    path: str = ""
    """Where the agent works; differs from `directory` for a worktree."""
    place: str = "directory"
    repo: str | None = None
    branch: str | None = None
    base: str | None = None
    base_commit: str | None = None
    mode: str | None = None
    model: str | None = None
    title: str = ""
    parent: str | None = None
    key: str | None = None
    labels: dict[str, str] = {}
    state: SessionState = SessionState.QUEUED
    since: float = 0.0
    reason: str = ""
    created_at: float = 0.0
    used_at: float = 0.0
    seq: int = 0
    """The last event this record was read from."""
    run: int = 0
    run_offset: int = 0
    notes: list[str] = []
    """What the user should know of how the agent was started."""
    pid: int | None = None
    start_time: str | None = None
    agent_session: str | None = None
    agent_version: str = ""
    abilities: list[str] = []
    agent_mode: str | None = None
    turns: int = 0
    """How many turns were ever queued; the number of the newest."""
    turn: Turn | None = None
    """The running turn, or the last one that ended."""
    queue: list[int] = []
    """Numbers of turns accepted but not started."""
    asks: list[OpenAsk] = []
    last_line: str = ""
    open_line: str = ""
    """The end of the newest message that no newline closed yet."""
    interface: str = "structured"
    rehearsal: str | None = None
    policy: str | None = None
    """Policy file it was created with."""
    limit: Limit | None = None
    goal: Goal | None = None
    spent: Spent | None = None
    budget: Budget | None = None
    fallback: str | None = None
    limits_in_a_row: int = 0
    """Limits reached since a turn last ended well; guesses get longer with it."""
    continued: dict[int, int] = {}
    """Turns that were cut short by a limit, and the turns that go on with them."""
    cost_counted: float | None = None
    """How much of `cost` is in `spent` already."""
    prices_itself: bool = False
    """Whether the agent says of each turn what it cost."""
    used_tokens: int | None = None
    size_tokens: int | None = None
    cost: float | None = None
    currency: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    stderr_tail: str = ""
    landed: str | None = None
    rescue: str | None = None
    removed: bool = False

    @property
    def needs_user(self) -> bool:
        """Whether nothing goes on before somebody answers."""
        return self.state in NEEDS_USER
