"""What the service answers, as values."""

from typing import Any

import msgspec

from bullpen.model.fact import Event, Unrecognised
from bullpen.model.session import SessionRecord, Turn


class SessionView(SessionRecord, kw_only=True, omit_defaults=True):
    """A session as the service shows it."""

    outcome: str = ""
    """One word for the whole: `queued`, `starting` or `working` while it goes on; `completed`,
    `idle` (never prompted), `cancelled`, `refused`, `truncated` or `failed` after a turn;
    `asking`, `waiting` or `doubted` when it needs the user; `stopped` or `lost`."""


class Waited(msgspec.Struct, kw_only=True):
    """What came of waiting for several sessions."""

    timed_out: bool
    settled: list[str]
    pending: list[str]
    sessions: dict[str, SessionView]


class Message(msgspec.Struct, kw_only=True):
    """One message of the agent, byte for byte."""

    turn: int
    text: str


class Entry(msgspec.Struct, kw_only=True):
    """One line of the conversation; `role` is `human` or `assistant`."""

    role: str
    text: str
    turn: int = 0
    at: float = 0.0


class TurnView(Turn, kw_only=True, omit_defaults=True):
    """A turn with the beginning of its prompt."""

    text: str = ""


class Changes(msgspec.Struct, kw_only=True):
    """How much a session changed since its base commit, committed or not."""

    files: int = 0
    insertions: int = 0
    deletions: int = 0


class Landed(msgspec.Struct, kw_only=True):
    """A branch was merged into `target`; `commit` is its new tip."""

    target: str
    commit: str
    files: int = 0


class AgentView(msgspec.Struct, kw_only=True):
    """One agent of the catalog, and whether it can be used on this host."""

    id: str
    name: str = ""
    vendor: str = ""
    status: str = ""
    """`found`, `not-found` or `needs-login`."""
    aliases: list[str] = []
    program: str | None = None
    version: str | None = None
    install_hint: str = ""
    login_hint: str = ""
    modes: list[str] = []
    """Launch modes it can honour."""
    abilities: list[str] = []
    """What it is known to do: `resume`, `load`, `mcp`, `steer`, …"""
    interfaces: list[str] = []
    """`structured`, and `terminal` when its own screen can be run."""
    can_rehearse: bool = False
    """Whether it can be run with a scripted model."""


class ApprovalView(msgspec.Struct, kw_only=True):
    """One open permission or question."""

    id: str
    """For `Pen.approve` and `Pen.deny`; the same after every restart."""
    session: str
    agent: str
    request: str
    kind: str
    """`permission` or `question`."""
    title: str
    asked_at: float
    why: str = ""
    """Why no rule decided it."""
    tool_kind: str | None = None
    options: list[dict[str, str]] = []
    schema: dict[str, Any] | None = None
    url: str | None = None
    place: str = ""


class RuleView(msgspec.Struct, kw_only=True):
    """One policy rule; see `docs/reference/policy.md`."""

    id: str
    effect: str
    scope: str = "global"
    kind: str | None = None
    command: str | None = None
    exact: bool = False
    path: str | None = None
    mcp: str | None = None
    host: str | None = None
    workspace: str | None = None
    expires: float | None = None
    reason: str = ""
    file: str = ""


class CostView(msgspec.Struct, kw_only=True):
    """What a group of turns came to. None is unknown, not nothing."""

    name: str
    turns: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usd: float | None = None
    unpriced_turns: int = 0
    """Turns nobody knows the price of; `usd` is without them."""
    is_estimate: bool = False


class Delta(msgspec.Struct, kw_only=True):
    """A piece of text while it streams. The stored event with the whole text follows later."""

    session: str
    kind: str
    """`message-streamed` or `thought-streamed`."""
    text: str
    message: str = ""


def event_of(line: bytes) -> Event | None:
    """Return the event in `line`; None for what keeps the connection alive."""
    found = msgspec.json.decode(line)
    if "fact" not in found:
        return None
    try:
        return msgspec.convert(found, Event)
    except msgspec.ValidationError:
        # A service that was upgraded under us knows facts we do not.
        fact = Unrecognised(what="fact", raw=found["fact"])
        return Event(session=found["session"], seq=found["seq"], at=found["at"], fact=fact)


def event_or_delta_of(line: bytes) -> Event | Delta | None:
    """Like `event_of`, and streamed text too."""
    found = msgspec.json.decode(line)
    if "delta" in found:
        return msgspec.convert(found["delta"] | {"session": found["session"]}, Delta)
    return event_of(line)
