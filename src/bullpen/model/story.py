"""Reading a session's record from its events: one pure step per fact.

`apply` is the only writer of `SessionRecord`. The service calls it as facts happen, and rebuilding
calls it over the stored events; both give the same record.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from bullpen.model import tally
from bullpen.model.fact import (
    AgentEnded,
    AgentLaunched,
    AskAnswered,
    AskWithdrawn,
    ConversationNamed,
    ConversationOpened,
    DeliveryDoubted,
    Event,
    InterfaceChanged,
    InterruptRequested,
    LaunchIntended,
    MessageStreamed,
    ModeChanged,
    OptionsChanged,
    PermissionAsked,
    PlacePrepared,
    PlaceRemoved,
    QuestionAsked,
    SessionCreated,
    SessionRemoved,
    SessionRenamed,
    StateChanged,
    ThoughtStreamed,
    TitleChanged,
    ToolCalled,
    TurnDelivered,
    TurnEnded,
    TurnFailed,
    TurnQueued,
    TurnStarted,
    TurnSteered,
    TurnWithdrawn,
    UsageReported,
    WorkLanded,
)
from bullpen.model.session import (
    OVER,
    Budget,
    OpenAsk,
    SessionRecord,
    SessionState,
    Turn,
    TurnState,
)

_LAST_LINE = 200
# Characters of the newest line kept for tables; whoever wants more reads the events.


def apply(record: SessionRecord | None, event: Event) -> SessionRecord:
    """Return the record after `event`; a given record is changed in place.

    The first event of a session must be `SessionCreated`. Events must come in order; one that
    the record already holds is ignored, so a rebuild may overlap.
    """
    fact = event.fact
    if isinstance(fact, SessionCreated):
        return _created(fact, event) if record is None else record
    if record is None:
        raise ValueError(f"the story of {event.session!r} begins with {type(fact).__name__}")
    if event.seq <= record.seq:
        return record
    record.seq = event.seq
    step = _STEPS.get(type(fact))
    if step is not None:
        step(record, fact, event.at)
    return record


def _created(fact: SessionCreated, event: Event) -> SessionRecord:
    return SessionRecord(
        id=event.session,
        agent=fact.agent,
        directory=fact.directory,
        place=fact.place,
        repo=fact.repo,
        branch=fact.branch,
        base=fact.base,
        mode=fact.mode,
        model=fact.model,
        title=fact.title,
        parent=fact.parent,
        key=fact.key,
        labels=fact.labels,
        interface=fact.interface,
        rehearsal=fact.rehearsal,
        policy=fact.policy,
        fallback=fact.fallback,
        budget=_budget(fact),
        state=SessionState.QUEUED,
        since=event.at,
        created_at=event.at,
        used_at=event.at,
        seq=event.seq,
    )


def _budget(fact: SessionCreated) -> Budget | None:
    if fact.budget_usd is None and fact.budget_tokens is None:
        return None
    return Budget(usd=fact.budget_usd, tokens=fact.budget_tokens)


def _moved(record: SessionRecord, fact: StateChanged, at: float) -> None:
    record.state = SessionState(fact.after)
    record.since = at
    record.reason = fact.reason
    if record.state in OVER:
        # Whoever brings it back wants to try again at once.
        record.limit = None


def _placed(record: SessionRecord, fact: PlacePrepared, _at: float) -> None:
    record.path = fact.path
    record.branch = fact.branch or record.branch
    record.base = fact.base or record.base
    record.base_commit = fact.base_commit or record.base_commit


def _intended(record: SessionRecord, fact: LaunchIntended, _at: float) -> None:
    record.run = fact.run
    record.run_offset = fact.offset
    record.notes = fact.notes
    record.pid = None
    record.start_time = None
    record.exit_code = None
    record.signal = None
    record.stderr_tail = ""


def _launched(record: SessionRecord, fact: AgentLaunched, _at: float) -> None:
    record.pid = fact.pid
    record.start_time = fact.start_time


def _agent_ended(record: SessionRecord, fact: AgentEnded, _at: float) -> None:
    record.pid = None
    record.start_time = None
    record.exit_code = fact.exit_code
    record.signal = fact.signal
    record.stderr_tail = fact.stderr_tail
    record.asks = []


def _opened(record: SessionRecord, fact: ConversationOpened, _at: float) -> None:
    record.agent_session = fact.agent_session
    record.agent_version = fact.agent_version
    record.abilities = fact.abilities
    record.agent_mode = fact.mode
    record.model = fact.model or record.model


def _named(record: SessionRecord, fact: ConversationNamed, _at: float) -> None:
    record.agent_session = fact.agent_session


def _interface(record: SessionRecord, fact: InterfaceChanged, _at: float) -> None:
    record.interface = fact.interface


def _queued(record: SessionRecord, fact: TurnQueued, at: float) -> None:
    record.turns = fact.turn
    record.queue.append(fact.turn)
    record.used_at = at
    if not record.title:
        record.title = _heading(fact.text)


def _started(record: SessionRecord, fact: TurnStarted, at: float) -> None:
    record.queue = [number for number in record.queue if number != fact.turn]
    record.open_line = ""
    record.turn = Turn(
        number=fact.turn,
        state=TurnState.RUNNING,
        started_at=at,
        is_foreign=fact.is_foreign,
        delivered=fact.is_foreign,
    )
    record.used_at = at


def _steered(record: SessionRecord, _fact: TurnSteered, at: float) -> None:
    record.used_at = at


def _delivered(record: SessionRecord, fact: TurnDelivered, _at: float) -> None:
    if record.turn is not None and record.turn.number == fact.turn:
        record.turn.delivered = True
        record.turn.doubted = False


def _doubted(record: SessionRecord, fact: DeliveryDoubted, _at: float) -> None:
    if record.turn is not None and record.turn.number == fact.turn:
        record.turn.doubted = True


def _interrupted(record: SessionRecord, fact: InterruptRequested, _at: float) -> None:
    if record.turn is not None and record.turn.number == fact.turn:
        record.turn.interrupted = True


def _ended(record: SessionRecord, fact: TurnEnded, at: float) -> None:
    turn = _closing(record, fact.turn, at)
    if turn is not None:
        turn.state = TurnState.CANCELLED if fact.stop == "cancelled" else TurnState.DONE
        turn.stop = fact.stop
        tally.turn_over(record, fact)


def _failed(record: SessionRecord, fact: TurnFailed, at: float) -> None:
    turn = _closing(record, fact.turn, at)
    if turn is not None:
        turn.state = TurnState.FAILED
        turn.error_code = fact.code
        turn.error = fact.message
        tally.turn_over(record, fact)


def _closing(record: SessionRecord, number: int, at: float) -> Turn | None:
    turn = record.turn
    if turn is None or turn.number != number or turn.state is not TurnState.RUNNING:
        return None
    turn.ended_at = at
    turn.delivered = True
    turn.doubted = False
    record.asks = []
    record.used_at = at
    return turn


def _withdrawn(record: SessionRecord, fact: TurnWithdrawn, _at: float) -> None:
    record.queue = [number for number in record.queue if number != fact.turn]


def _permission(record: SessionRecord, fact: PermissionAsked, at: float) -> None:
    ask = OpenAsk(
        request=fact.request,
        kind="permission",
        title=fact.title or "",
        tool_kind=fact.tool_kind,
        options=[{"id": o.id, "kind": o.kind, "name": o.name} for o in fact.options],
        deed=None if fact.deed is None else msgspec.to_builtins(fact.deed),
        asked_at=at,
    )
    _asked(record, ask)


def _question(record: SessionRecord, fact: QuestionAsked, at: float) -> None:
    ask = OpenAsk(
        request=fact.request,
        kind="question",
        title=fact.message,
        schema=fact.schema,
        url=fact.url,
        asked_at=at,
    )
    _asked(record, ask)


def _asked(record: SessionRecord, ask: OpenAsk) -> None:
    record.asks = [known for known in record.asks if known.request != ask.request] + [ask]


def _answered(record: SessionRecord, fact: AskAnswered | AskWithdrawn, _at: float) -> None:
    record.asks = [ask for ask in record.asks if ask.request != fact.request]


def _heard(record: SessionRecord) -> None:
    """An agent that does something for a turn has got its prompt."""
    turn = record.turn
    if turn is not None and turn.doubted:
        turn.doubted = False
        turn.delivered = True


def _thought(record: SessionRecord, _fact: ThoughtStreamed, at: float) -> None:
    _heard(record)
    record.used_at = at


def _said(record: SessionRecord, fact: MessageStreamed, at: float) -> None:
    _heard(record)
    text = record.open_line + fact.text
    record.last_line = _line(text, at_end=True) or record.last_line
    record.open_line = text.rpartition("\n")[2][-_LAST_LINE:]
    record.used_at = at


def _tool(record: SessionRecord, fact: ToolCalled, at: float) -> None:
    _heard(record)
    if record.turn is not None and record.turn.state is TurnState.RUNNING:
        record.turn.tools += 1
    if fact.title:
        record.last_line = _line(fact.title, at_end=False)
    record.open_line = ""
    record.used_at = at


def _usage(record: SessionRecord, fact: UsageReported, _at: float) -> None:
    if fact.used_tokens is not None:
        record.used_tokens = fact.used_tokens
    if fact.size_tokens is not None:
        record.size_tokens = fact.size_tokens
    if fact.cost is not None:
        record.cost = fact.cost
        record.currency = fact.currency


def _mode(record: SessionRecord, fact: ModeChanged, _at: float) -> None:
    record.agent_mode = fact.mode


def _options(record: SessionRecord, fact: OptionsChanged, _at: float) -> None:
    record.agent_mode = fact.mode or record.agent_mode
    record.model = fact.model or record.model


def _titled(record: SessionRecord, fact: TitleChanged, _at: float) -> None:
    if fact.title and not record.title:
        record.title = fact.title


def _renamed(record: SessionRecord, fact: SessionRenamed, _at: float) -> None:
    record.title = fact.title


def _landed(record: SessionRecord, fact: WorkLanded, _at: float) -> None:
    record.landed = fact.commit


def _place_removed(record: SessionRecord, fact: PlaceRemoved, _at: float) -> None:
    record.path = ""
    record.rescue = fact.rescue or record.rescue


def _removed(record: SessionRecord, _fact: SessionRemoved, _at: float) -> None:
    record.removed = True


def _heading(text: str) -> str:
    """Return the first line of a prompt that reads like one, without Markdown's marks."""
    for line in text.splitlines():
        words = line.lstrip("#-*> `").strip()
        if words and not words.startswith("%%"):
            return words[:_LAST_LINE]
    return ""


def _line(text: str, *, at_end: bool) -> str:
    for line in reversed(text.splitlines()) if at_end else text.splitlines():
        if line.strip():
            return line.strip()[:_LAST_LINE]
    return ""


_STEPS: dict[type, Callable[[SessionRecord, Any, float], None]] = {
    StateChanged: _moved,
    PlacePrepared: _placed,
    PlaceRemoved: _place_removed,
    LaunchIntended: _intended,
    AgentLaunched: _launched,
    AgentEnded: _agent_ended,
    ConversationOpened: _opened,
    ConversationNamed: _named,
    InterfaceChanged: _interface,
    TurnQueued: _queued,
    TurnStarted: _started,
    TurnSteered: _steered,
    TurnDelivered: _delivered,
    DeliveryDoubted: _doubted,
    InterruptRequested: _interrupted,
    TurnEnded: _ended,
    TurnFailed: _failed,
    TurnWithdrawn: _withdrawn,
    PermissionAsked: _permission,
    QuestionAsked: _question,
    AskAnswered: _answered,
    AskWithdrawn: _answered,
    MessageStreamed: _said,
    ThoughtStreamed: _thought,
    ToolCalled: _tool,
    UsageReported: _usage,
    ModeChanged: _mode,
    OptionsChanged: _options,
    TitleChanged: _titled,
    SessionRenamed: _renamed,
    WorkLanded: _landed,
    SessionRemoved: _removed,
} | tally.STEPS


_OUTCOMES = {"end_turn": "completed", "cancelled": "cancelled", "refusal": "refused"}
_STATE_WORDS = {
    SessionState.QUEUED: "queued",
    SessionState.STARTING: "starting",
    SessionState.WORKING: "working",
    SessionState.LIMITED: "limited",
    SessionState.STOPPING: "working",
    SessionState.ASKING: "asking",
    SessionState.WAITING: "waiting",
    SessionState.STOPPED: "stopped",
    SessionState.FAILED: "failed",
    SessionState.LOST: "lost",
}


def outcome(record: SessionRecord) -> str:
    """Return in one word how far the session is, or how its last turn ended.

    `queued starting working limited` go on by themselves; `asking waiting` need the user, and so
    does `doubted`: nobody knows whether the agent got the prompt. `completed cancelled refused
    truncated failed` say how the last turn ended; `idle` was never prompted; `stopped lost` have
    no process. A stopped session whose last turn ended well is `completed`.
    """
    turn = record.turn
    finished = turn is not None and turn.state is not TurnState.RUNNING and not record.queue
    if record.state in (SessionState.IDLE, SessionState.STOPPED) and finished:
        return turn_outcome(turn)
    if record.state is SessionState.IDLE:
        return "working" if record.queue else "idle"
    if _is_doubted(record):
        return "doubted"
    return _STATE_WORDS[record.state]


def _is_doubted(record: SessionRecord) -> bool:
    turn = record.turn
    return record.state is SessionState.WORKING and turn is not None and turn.doubted


def turn_outcome(turn: Turn | None) -> str:
    """Return how a turn that is over ended; `truncated` is a token or turn limit."""
    if turn is None or turn.state is TurnState.WITHDRAWN:
        return "withdrawn"
    if turn.state is TurnState.FAILED:
        return "failed"
    return _OUTCOMES.get(
        turn.stop or "", "truncated" if "max" in (turn.stop or "") else "completed"
    )


def last_of(record: SessionRecord, turn: int) -> int:
    """Return the turn that goes on with `turn` at last, which is itself unless a limit cut it
    short."""
    while turn in record.continued:
        turn = record.continued[turn]
    return turn


def settled(record: SessionRecord, *, turn: int | None = None) -> bool:
    """Whether whoever waits for the session may stop waiting.

    True when no turn is queued or running (with `turn`: when that turn is over), when the session
    needs the user, also to decide about a prompt nobody knows the agent got, and when it has no
    process and none is coming.
    """
    if (
        record.needs_user
        or _is_doubted(record)
        or record.state
        in (
            SessionState.STOPPED,
            SessionState.FAILED,
            SessionState.LOST,
        )
    ):
        return True
    if record.state in (SessionState.QUEUED, SessionState.STARTING):
        return False
    if record.limit is not None:
        # A limit that nobody but the user can lift is for the user to know.
        return record.limit.until <= 0
    if turn is not None:
        turn = last_of(record, turn)
        if turn in record.queue or turn > record.turns:
            return False
        now = record.turn
        running = now is not None and now.number == turn and now.state is TurnState.RUNNING
        return not running
    return record.state is SessionState.IDLE and not record.queue
