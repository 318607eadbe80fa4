"""All a conversation with Codex remembers between two lines."""

from typing import Any, Final

import msgspec

from bullpen.agents.dialect import Open
from bullpen.model.fact import Choice, ConversationOpened, TokensCounted

VERSION: Final = 1
_MAX_CALLS: Final = 4096


class Running(msgspec.Struct, omit_defaults=True):
    """The running turn."""

    agent_turn: str | None = None
    """The agent's own id of it, once it said so."""
    is_interrupted: bool = False
    is_interrupt_sent: bool = False
    has_output: bool = False
    """Whether the agent said or did anything in it."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    thought_tokens: int = 0

    def counted(self, turn: int, model: str | None) -> TokensCounted | None:
        """Return what the turn used, None when the agent did not say."""
        if not self.input_tokens and not self.output_tokens:
            return None
        return TokensCounted(
            turn=turn,
            input_tokens=max(0, self.input_tokens - self.cached_tokens),
            output_tokens=self.output_tokens,
            thought_tokens=self.thought_tokens,
            cached_read_tokens=self.cached_tokens,
            total_tokens=self.input_tokens + self.output_tokens,
            model=model,
        )


class Ask(msgspec.Struct):
    """A request of the agent that nobody answered."""

    raw_id: Any
    method: str
    decisions: dict[str, Any] = {}
    """Option id to the decision it stands for."""
    cancel: Any = None
    """What is answered when the turn ends first."""


class Item(msgspec.Struct, omit_defaults=True):
    """What is remembered of an item that is not over."""

    kind: str
    was_streamed: bool = False
    command: str | None = None
    directory: str | None = None
    paths: list[str] = []
    content: list[Any] | None = None
    server: str | None = None
    tool: str | None = None


class State(msgspec.Struct, omit_defaults=True):
    """Everything the dialect knows. A fresh one knows nothing."""

    phase: str = "new"
    """`new`, `opening`, `open`, `refused`, `ended`."""
    serial: int = 0
    pending: dict[str, str] = {}
    """Our unanswered requests but prompts: id to the value asked for."""
    opening: Open | None = None
    opened: ConversationOpened | None = None
    """Being filled while the answers of the opening come in; None once it was told."""
    needs_login: bool = False
    models: list[Choice] = []
    directory: str = ""
    thread: str = ""
    mode: str = ""
    model: str | None = None
    wanted_model: str | None = None
    running: dict[int, Running] = {}
    items: dict[str, Item] = {}
    asks: dict[str, Ask] = {}
    error: dict[str, Any] | None = None
    """The newest error the agent will not try again after."""
    resets_at: float | None = None
    """When the fullest window of the account's limits is empty again, once one is full."""

    def next_id(self, ask: str, value: str = "") -> str:
        """Return the id of a request of ours; it says what it asks for."""
        self.serial += 1
        name = f"{ask}-{self.serial}"
        self.pending[name] = value
        return name

    def turn_of(self, agent_turn: str | None) -> int | None:
        """Return our number of the agent's turn, None when it is none that runs."""
        for turn, running in self.running.items():
            if running.agent_turn == agent_turn or running.agent_turn is None:
                return turn
        return None

    def current(self) -> Running | None:
        """Return the running turn."""
        return next(iter(self.running.values()), None)

    def remember(self, name: str, item: Item) -> None:
        """Note an item that began. A flood of items drops the oldest."""
        if len(self.items) >= _MAX_CALLS:
            del self.items[next(iter(self.items))]
        self.items[name] = item
