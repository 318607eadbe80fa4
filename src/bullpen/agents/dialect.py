"""What every dialect is: a pure state machine between one agent and us.

Bytes in, facts out; orders in, bytes out. A dialect owns no process, file, clock or store, so
the same journal always gives the same facts, and a restarted service rebuilds a dialect by
feeding it the journal again: from the start of the run, or from the last `snapshot`.

Two promises make that work. Request ids on the wire say what they ask for and for which turn, so
a response can be read without a table of what was sent. And `feed` may want bytes written (an
answer to a request we do not serve, the next step of the handshake); whoever replays a journal
throws those away, because they were written the first time.
"""

from typing import Any, Final, Protocol

import msgspec

from bullpen.model.fact import AgentFact

FOREIGN_TURN: Final = 0
"""What a dialect calls a turn that did not come from us; see `TurnTyped`."""


class Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", omit_defaults=True):
    """Base of what we may tell an agent to do."""


class Open(Order, frozen=True, tag="open"):
    """Shake hands and open a conversation, or bring one back."""

    directory: str
    """Absolute path the agent works in."""
    resume: str | None = None
    """The agent's own id of the conversation to bring back."""
    conversation: str = ""
    """What a new one is called, for agents that let us name it; see `Launch.conversation`."""
    mcp_servers: list[Any] = []
    """As in ACP `session/new`: a command over stdio, or a URL with headers."""
    extra_directories: list[str] = []


class Prompt(Order, frozen=True, tag="prompt"):
    """Run a turn. `turn` is ours and comes back in `TurnEnded` or `TurnFailed`."""

    turn: int
    text: str


class Interrupt(Order, frozen=True, tag="interrupt"):
    """End the running turn; open permission requests are answered with `cancelled`."""

    turn: int


class Steer(Order, frozen=True, tag="steer"):
    """Add words to the running turn, for an agent that takes them without ending it."""

    turn: int
    text: str


class Abandon(Order, frozen=True, tag="abandon"):
    """Forget a turn the agent may never have heard of; its answer, should it come, is ignored."""

    turn: int


class AnswerPermission(Order, frozen=True, tag="answer-permission"):
    """Answer `PermissionAsked`. `option` None means cancelled."""

    request: str
    option: str | None
    reason: str = ""
    """Why, for an agent that passes it on to its model."""


class AnswerQuestion(Order, frozen=True, tag="answer-question"):
    """Answer `QuestionAsked`. `action` is `accept`, `decline` or `cancel`."""

    request: str
    action: str
    content: dict[str, Any] | None = None


class SetMode(Order, frozen=True, tag="set-mode"):
    """Change the agent's mode, in the agent's own words."""

    mode: str


class SetModel(Order, frozen=True, tag="set-model"):
    """Change the agent's model."""

    model: str


class SetOption(Order, frozen=True, tag="set-option"):
    """Change one of the agent's own options."""

    option: str
    value: str | bool


class SetGoal(Order, frozen=True, tag="set-goal"):
    """Give the agent a goal it pursues by itself; for agents with the ability `goal`."""

    objective: str
    budget_tokens: int | None = None


class ChangeGoal(Order, frozen=True, tag="change-goal"):
    """Pause, resume or clear the agent's own goal. `status` is `paused`, `active` or `cleared`."""

    status: str


class ListConversations(Order, frozen=True, tag="list-conversations"):
    """Ask the agent which conversations it remembers."""

    directory: str | None = None
    cursor: str | None = None


class Close(Order, frozen=True, tag="close"):
    """Let the agent free the conversation."""


AnyOrder = (
    Open
    | Prompt
    | Interrupt
    | Steer
    | Abandon
    | AnswerPermission
    | AnswerQuestion
    | SetMode
    | SetModel
    | SetOption
    | SetGoal
    | ChangeGoal
    | ListConversations
    | Close
)


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect may want to say on the agent's command line."""

    directory: str
    mode: str | None = None
    """In the agent's own words."""
    model: str | None = None
    resume: str | None = None
    """The agent's own id of the conversation to bring back."""
    conversation: str
    """A fresh UUID, for agents whose conversation is named by whoever starts them."""
    mcp_servers: list[Any] = []
    package: str
    """Folder of the installed package, for extensions we ship."""


class Heard(msgspec.Struct, frozen=True):
    """What came of feeding lines to a dialect."""

    facts: list[AgentFact]
    out: list[bytes] = []
    """Whole lines, each with its newline, to be written to the agent in this order."""


class Dialect(Protocol):
    """One conversation with one agent, as a pure state machine."""

    def order(self, order: AnyOrder) -> list[bytes]:
        """Return the lines that carry `order`, each with its newline.

        An order the agent cannot take (not offered, wrong moment) gives no bytes where doing
        nothing is right (an interrupt without a turn), else raises.

        Raises:
            OrderImpossible: the agent never offered what the order needs.
        """
        ...

    def feed(self, line: bytes) -> Heard:
        """Take one whole line of the agent's stdout, without its newline. Never raises: what
        is no message leaves as `Faulted`, what is not understood as `Unrecognised`."""
        ...

    def snapshot(self) -> bytes:
        """Return the state as bytes, small when no turn runs."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a `snapshot` made by the same version of the same dialect.

        Raises:
            ValueError: it was made by another; feed the journal from its start instead.
        """
        ...

    def ended(self) -> list[AgentFact]:
        """Return the facts that follow from the agent's death: the running turn failed, open
        requests are withdrawn."""
        ...


class OrderImpossible(Exception):
    """The agent never offered what the order needs. Sessions turn it into an answer."""

    def __init__(self, order: str, why: str) -> None:
        super().__init__(f"cannot {order}: {why}")
        self.order = order
        self.why = why
