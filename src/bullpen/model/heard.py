"""The facts that agents tell us; a dialect makes them."""

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


class ConversationNamed(Fact, frozen=True):
    """The agent says what the open conversation is called: later than it was opened."""

    agent_session: str


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
    model: str | None = None
    """The model that was asked, in the agent's own words."""
    cost_usd: float | None = None
    """What this turn cost, as far as the agent says."""


class LimitReached(Fact, frozen=True):
    """A usage or rate limit of the account ended a turn, or keeps the next from starting.

    Comes before the `TurnFailed` of that turn. At most one of `resets_at` and `resets_in` is
    given, by an agent that says when.
    """

    limit: str
    """`usage` for a quota that fills up again, `rate` for too many requests at once, `credit` for
    money that is used up."""
    message: str
    turn: int | None = None
    resets_at: float | None = None
    """Seconds since the epoch."""
    resets_in: float | None = None
    """Seconds from when the agent said so."""
    clock: str | None = None
    """What the agent said of the time, such as `3pm (Europe/Berlin)`, where it said no more."""


class TurnTyped(Fact, frozen=True):
    """The agent began a turn that did not come from us: somebody typed at its own screen, or it
    pursues a goal. Until it ends, what the dialect says of turn 0 is about that turn."""

    text: str
    by: str = "terminal"
    """`terminal`, `goal` or `extension`."""


class GoalReported(Fact, frozen=True):
    """The agent's own account of its goal; `status` None means that it has none any more."""

    status: str | None
    """`active paused blocked limited budget-limited complete`."""
    objective: str = ""
    note: str = ""
    used_tokens: int | None = None


class PermissionOption(msgspec.Struct, frozen=True):
    """One answer to a permission request. `kind` decides, ids differ between agents."""

    id: str
    kind: str
    """`allow_once`, `allow_always`, `reject_once`, `reject_always`, or what the agent invented."""
    name: str = ""


class Deed(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an agent wants to do, in words that are the same for every agent.

    A dialect fills in what it knows for sure. Whoever judges a deed must treat what is missing as
    unknown and never as harmless.
    """

    kind: str = "other"
    """`read edit delete move search execute fetch mcp think mode other`."""
    tool: str | None = None
    """The agent's own name of the tool."""
    command: str | None = None
    """The shell line of an `execute`, as a shell would read it."""
    argv: list[str] | None = None
    """The words of an `execute` that goes through no shell."""
    directory: str | None = None
    """Where a command runs, or what relative paths are relative to; None is the place itself."""
    paths: list[str] = []
    """Every file the deed names."""
    server: str | None = None
    """The MCP server of a `mcp`; its tool is `mcp_tool`."""
    mcp_tool: str | None = None
    url: str | None = None
    """What a `fetch` goes to."""


class PermissionAsked(Fact, frozen=True):
    """The agent waits for leave. `request` names the question until it is answered."""

    request: str
    options: list[PermissionOption]
    call: str | None = None
    title: str | None = None
    tool_kind: str | None = None
    content: list[Any] | None = None
    raw_input: Any = None
    deed: Deed | None = None
    """None when the agent did not say what it wants to do in a form we can read."""


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
