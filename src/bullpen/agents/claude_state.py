"""All a conversation with Claude Code remembers between two lines."""

import re
from typing import Any, Final

import msgspec

from bullpen.agents.dialect import Open

VERSION: Final = 1
_MAX_CALLS: Final = 4096
_PROMPT: Final = "00000000-0000-4000-8000-"
_STEER: Final = "00000000-0000-4000-9000-"
_OURS: Final = re.compile(f"{_PROMPT}([0-9a-f]{{12}})|{_STEER}([0-9a-f]{{8}})[0-9a-f]{{4}}")


class Ask(msgspec.Struct):
    """A request of the agent that nobody answered."""

    tool: str
    input: dict[str, Any] = {}
    suggestions: list[Any] = []
    questions: list[str] | None = None
    """For a question: the texts, in the order of the form's fields."""


class Block(msgspec.Struct):
    """One block of the message that is being streamed."""

    kind: str


class State(msgspec.Struct, omit_defaults=True):
    """Everything the dialect knows. A fresh one knows nothing."""

    phase: str = "new"
    """`new`, `opening`, `open`, `refused`, `ended`."""
    serial: int = 0
    pending: dict[str, str] = {}
    """Our unanswered settings: request id to the value asked for."""
    opening: Open | None = None
    session: str = ""
    model: str | None = None
    mode: str | None = None
    running: dict[int, bool] = {}
    """The running turn, and whether it was interrupted."""
    steers: dict[str, bool] = {}
    """Words added to the running turn: uuid, and whether the agent took them up."""
    message: str = ""
    """The message that is being streamed."""
    streamed: list[str] = []
    """Kinds of blocks of that message that came in pieces."""
    calls: dict[str, str] = {}
    """Tool calls that are not over, and the tool."""
    asks: dict[str, Ask] = {}
    error: str = ""
    """The kind of error the newest answer named."""
    cost: float = 0.0
    """Of this process, up to the last result."""
    limit_kind: str = ""
    limit_resets_at: float | None = None

    def next_id(self, ask: str, value: str = "") -> str:
        """Return the id of a request of ours; it says what it asks for."""
        self.serial += 1
        name = f"{ask}-{self.serial}"
        self.pending[name] = value
        return name

    def remember_call(self, call: str, tool: str) -> None:
        """Note a tool call. A flood of calls drops the oldest."""
        if len(self.calls) >= _MAX_CALLS:
            del self.calls[next(iter(self.calls))]
        self.calls[call] = tool


def prompt_uuid(turn: int) -> str:
    """Return the name under which the agent speaks of a prompt of ours.

    The same turn always has the same: an agent that saw it once does not run it twice.
    """
    return f"{_PROMPT}{turn:012x}"


def steer_uuid(turn: int, number: int) -> str:
    """Return the name of words added to a turn."""
    return f"{_STEER}{turn:08x}{number:04x}"


def turn_of(name: str) -> int | None:
    """Return the turn that the name of a prompt, or of words added to one, was made for."""
    whole = _OURS.fullmatch(name)
    return None if whole is None else int(whole[1] or whole[2], 16)


def is_steer(name: str) -> bool:
    """Whether `name` is that of words added to a turn."""
    return name.startswith(_STEER)
