"""Every fact that may be stored about a session, as one tagged union.

A fact is named in the past tense. The first half is what agents tell us (a dialect makes those),
the second half is what we did ourselves. On the wire a fact is a JSON object whose `kind` is the
class name in kebab-case, such as `{"kind": "turn-ended", "turn": 1, "stop": "end_turn"}`.
Fields that hold their default are left out.
"""

import re
from typing import Any

import msgspec


def kebab(name: str) -> str:
    """Return `TurnEnded` as `turn-ended`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


class Fact(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=kebab
):
    """Base of every fact."""


# ---- what an agent tells us ----------------------------------------------------------------


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing the agent lets us pick: a mode, a model, a way to log in."""

    id: str
    name: str = ""
    description: str = ""


class ConversationOpened(Fact, frozen=True):
    """The handshake is done; the agent accepts a prompt."""

    agent_session: str
    """The agent's own id of the conversation, needed to bring it back."""
    resumed: bool = False
    agent_name: str = ""
    agent_version: str = ""
    abilities: list[str] = []
    """What the agent says it can do: `load`, `resume`, `list`, `close`, `image`, `mcp-http`, …"""
    modes: list[Choice] = []
    mode: str | None = None
    models: list[Choice] = []
    model: str | None = None


class LoginRequired(Fact, frozen=True):
    """The agent will not open a conversation before somebody logs in."""

    message: str = ""
    methods: list[Choice] = []


class OpeningFailed(Fact, frozen=True):
    """The handshake was refused for another reason than a missing login."""

    code: str
    message: str


class MessageStreamed(Fact, frozen=True):
    """A piece of the agent's answer. Pieces with the same `message` belong together."""

    text: str
    message: str = ""


class ThoughtStreamed(Fact, frozen=True):
    """A piece of the agent's thinking."""

    text: str
    message: str = ""


class UserEchoed(Fact, frozen=True):
    """A piece of a user message as the agent repeats it, for instance when history is loaded."""

    text: str
    message: str = ""


class ContentShown(Fact, frozen=True):
    """A message part that is not text: an image, a resource. `block` is kept as it came."""

    role: str
    block: dict[str, Any]


class ToolCalled(Fact, frozen=True):
    """A tool call was seen for the first time. All but `call` may be missing."""

    call: str
    title: str | None = None
    tool_kind: str | None = None
    status: str | None = None
    content: list[Any] | None = None
    locations: list[Any] | None = None
    raw_input: Any = None
    raw_output: Any = None


class ToolChanged(Fact, frozen=True):
    """A known tool call changed. None means unchanged; lists replace, they do not append."""

    call: str
    title: str | None = None
    tool_kind: str | None = None
    status: str | None = None
    content: list[Any] | None = None
    locations: list[Any] | None = None
    raw_input: Any = None
    raw_output: Any = None


class PlanEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of an agent's plan."""

    content: str
    status: str = "pending"
    priority: str = "medium"


class PlanShown(Fact, frozen=True):
    """The agent's whole plan; it replaces the one before."""

    entries: list[PlanEntry]


class CommandsOffered(Fact, frozen=True):
    """The slash commands the agent accepts; replaces the list before."""

    commands: list[Choice]


class ModeChanged(Fact, frozen=True):
    """The agent's mode is now `mode`, in the agent's own words."""

    mode: str


class OptionsChanged(Fact, frozen=True):
    """The agent's options as a whole, kept as they came; `model` and `mode` read from them."""

    options: list[Any]
    model: str | None = None
    mode: str | None = None


class TitleChanged(Fact, frozen=True):
    """The agent gave the conversation a title; None clears it."""

    title: str | None


class UsageReported(Fact, frozen=True):
    """Tokens in the context window and money spent so far, as far as the agent says."""

    used_tokens: int | None = None
    size_tokens: int | None = None
    cost: float | None = None
    currency: str | None = None


class TokensCounted(Fact, frozen=True):
    """Tokens one turn cost, as far as the agent says."""

    turn: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    thought_tokens: int | None = None
    cached_read_tokens: int | None = None
    cached_write_tokens: int | None = None
    total_tokens: int | None = None


class PermissionOption(msgspec.Struct, frozen=True):
    """One answer to a permission request. `kind` decides, ids differ between agents."""

    id: str
    kind: str
    """`allow_once`, `allow_always`, `reject_once`, `reject_always`, or what the agent invented."""
    name: str = ""


class PermissionAsked(Fact, frozen=True):
    """The agent waits for leave. `request` names the question until it is answered."""

    request: str
    options: list[PermissionOption]
    call: str | None = None
    title: str | None = None
    tool_kind: str | None = None
    content: list[Any] | None = None
    raw_input: Any = None


class QuestionAsked(Fact, frozen=True):
    """The agent waits for an answer of the user: a form (`schema`) or a page to visit (`url`)."""

    request: str
    message: str
    schema: dict[str, Any] | None = None
    url: str | None = None


class AskWithdrawn(Fact, frozen=True):
    """The agent no longer wants an answer to `request`."""

    request: str


class TurnEnded(Fact, frozen=True):
    """A turn came to its end. `stop` is one of the ACP stop reasons or the agent's own word."""

    turn: int
    stop: str


class TurnFailed(Fact, frozen=True):
    """A turn ended in an error of the agent or its model, or with the agent's death."""

    turn: int
    code: str
    message: str


class OrderDone(Fact, frozen=True):
    """The agent accepted an order other than a prompt."""

    order: str


class OrderRefused(Fact, frozen=True):
    """The agent refused an order other than a prompt. The session goes on."""

    order: str
    code: str
    message: str


class ConversationsListed(Fact, frozen=True):
    """The agent's own list of its conversations, kept as it came."""

    conversations: list[Any]
    next_cursor: str | None = None


class ConversationClosed(Fact, frozen=True):
    """The agent let go of the conversation because we asked for it."""


class Unrecognised(Fact, frozen=True):
    """Something this version does not understand, kept whole so that nothing is lost."""

    what: str
    raw: Any


class Faulted(Fact, frozen=True):
    """Bytes that are no message: bad UTF-8, NUL bytes, no JSON, a torn line. `sample` is a part."""

    why: str
    sample: str = ""
    length_bytes: int = 0


# ---- what we did ourselves -----------------------------------------------------------------


class SessionCreated(Fact, frozen=True):
    """Somebody wants a session. Everything needed to start it, now or after a crash."""

    agent: str
    directory: str
    place: str = "directory"
    repo: str | None = None
    branch: str | None = None
    base: str | None = None
    mode: str | None = None
    model: str | None = None
    title: str = ""
    parent: str | None = None
    key: str | None = None
    environment: dict[str, str] = {}
    mcp_servers: list[Any] = []
    setup: str | None = None
    setup_timeout: float | None = None
    sparse: list[str] = []
    include: str = "copy"
    labels: dict[str, str] = {}


class StateChanged(Fact, frozen=True):
    """The session moved. `reason` is one sentence, `evidence` what it rests on."""

    before: str
    after: str
    reason: str
    evidence: str = ""


class PlacePrepared(Fact, frozen=True):
    """The directory the session works in exists."""

    path: str
    branch: str | None = None
    base: str | None = None
    base_commit: str | None = None
    included: int = 0


class PlaceRemoved(Fact, frozen=True):
    """The session's worktree is gone; `rescue` is the ref that keeps what was not merged."""

    path: str
    rescue: str | None = None


class SetupPrinted(Fact, frozen=True):
    """Output of the setup command."""

    text: str


class SetupEnded(Fact, frozen=True):
    """The setup command ended; None as exit code means it was stopped at its time limit."""

    exit_code: int | None


class LaunchIntended(Fact, frozen=True):
    """A process is about to be started; committed before it is, so that none is ever unknown."""

    run: int
    argv: list[str]
    offset: int
    """Where in the journal this run begins."""
    resume: bool = False


class AgentLaunched(Fact, frozen=True):
    """A process was started for the session. `start_time` makes the pid unmistakable."""

    run: int
    pid: int
    start_time: str


class AgentAdopted(Fact, frozen=True):
    """A restarted service found the process alive and follows it again."""

    run: int
    pid: int


class AgentEnded(Fact, frozen=True):
    """The process is gone. Both codes None: nobody saw how."""

    run: int
    exit_code: int | None = None
    signal: int | None = None
    stderr_tail: str = ""


class TurnQueued(Fact, frozen=True):
    """A prompt was accepted. It is sent when the turns before it are over."""

    turn: int
    text: str
    key: str | None = None
    sender: str | None = None


class TurnStarted(Fact, frozen=True):
    """The prompt is being written to the agent."""

    turn: int
    run: int = 0


class TurnDelivered(Fact, frozen=True):
    """The whole prompt was written to the agent."""

    turn: int


class TurnWithdrawn(Fact, frozen=True):
    """A queued prompt will not be sent."""

    turn: int
    reason: str


class DeliveryDoubted(Fact, frozen=True):
    """We died while writing the prompt and cannot know whether the agent has it."""

    turn: int


class InterruptRequested(Fact, frozen=True):
    """Somebody asked to end the running turn."""

    turn: int


class AskAnswered(Fact, frozen=True):
    """A permission or question was answered. `choice` is the option id, None for a refusal
    without an option."""

    request: str
    outcome: str
    """`allowed`, `rejected`, `cancelled`, `accepted` or `declined`."""
    choice: str | None = None
    content: dict[str, Any] | None = None
    by: str = "user"
    reason: str = ""


class SessionRenamed(Fact, frozen=True):
    """The session's title was changed by a user."""

    title: str


class WorkCommitted(Fact, frozen=True):
    """What the agent had left uncommitted was committed for it."""

    commit: str
    files: int


class WorkLanded(Fact, frozen=True):
    """The session's branch was merged into `target`."""

    target: str
    commit: str
    files: int


class LandingRefused(Fact, frozen=True):
    """The session's branch could not be merged; all of its work is where it was."""

    target: str
    why: str
    conflicts: list[str] = []


class SessionRemoved(Fact, frozen=True):
    """The session is gone from lists; its id is never used again."""


AgentFact = (
    ConversationOpened
    | LoginRequired
    | OpeningFailed
    | MessageStreamed
    | ThoughtStreamed
    | UserEchoed
    | ContentShown
    | ToolCalled
    | ToolChanged
    | PlanShown
    | CommandsOffered
    | ModeChanged
    | OptionsChanged
    | TitleChanged
    | UsageReported
    | TokensCounted
    | PermissionAsked
    | QuestionAsked
    | AskWithdrawn
    | TurnEnded
    | TurnFailed
    | OrderDone
    | OrderRefused
    | ConversationsListed
    | ConversationClosed
    | Unrecognised
    | Faulted
)
"""What a dialect may say."""

OwnFact = (
    SessionCreated
    | StateChanged
    | PlacePrepared
    | PlaceRemoved
    | SetupPrinted
    | SetupEnded
    | LaunchIntended
    | AgentLaunched
    | AgentAdopted
    | AgentEnded
    | TurnQueued
    | TurnStarted
    | TurnDelivered
    | TurnWithdrawn
    | DeliveryDoubted
    | InterruptRequested
    | AskAnswered
    | SessionRenamed
    | WorkCommitted
    | WorkLanded
    | LandingRefused
    | SessionRemoved
)
"""What we say of our own deeds."""

AnyFact = AgentFact | OwnFact


class Event(msgspec.Struct, frozen=True):
    """One stored fact: `seq` counts from 1 within a session and has no gaps."""

    session: str
    seq: int
    at: float
    """Seconds since the epoch, UTC, when the fact was heard or done."""
    fact: AnyFact


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyFact)


def encode_fact(fact: Fact) -> bytes:
    """Return `fact` as UTF-8 JSON."""
    return _encoder.encode(fact)


def decode_fact(raw: bytes | str) -> AnyFact:
    """Return the fact `encode_fact` made `raw` of.

    Raises:
        msgspec.ValidationError: written by a version that knows other facts.
    """
    return _decoder.decode(raw)
