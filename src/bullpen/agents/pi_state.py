"""All a conversation with pi remembers between two lines."""

from typing import Any, Final

import msgspec

from bullpen.agents.dialect import Open
from bullpen.model.fact import Choice

VERSION: Final = 1
_MAX_CALLS: Final = 4096
ANSWER: Final = "answer"
"""The one field of the form that an extension's question becomes."""


class Dialog(msgspec.Struct):
    """A question of an extension that nobody answered."""

    method: str
    """`permission` for one of our own extension, else pi's word: `select confirm input editor`."""


class Running(msgspec.Struct):
    """The turn that runs."""

    number: int
    interrupted: bool = False
    accepted: bool = False
    """pi has taken the prompt; what ended before was another run."""
    started: bool = False
    """A run of the model began with it."""


class Spent(msgspec.Struct):
    """What the running turn has cost."""

    input: int = 0
    output: int = 0
    thought: int = 0
    cached_read: int = 0
    cached_write: int = 0
    total: int = 0
    cost: float = 0.0


class State(msgspec.Struct, omit_defaults=True):
    """Everything the dialect knows. A fresh one knows nothing."""

    phase: str = "new"
    """`new`, `opening`, `open`, `refused`, `ended`."""
    serial: int = 0
    pending: list[str] = []
    """Ids of our settings that were not answered."""
    opening: Open | None = None
    resumed: bool = False
    session: str = ""
    title: str = ""
    mode: str | None = None
    model: str | None = None
    models: list[Choice] = []
    """What may be chosen; the id is `provider/model`."""
    sizes: dict[str, int] = {}
    """Context windows by model, in tokens."""
    thinking: str | None = None
    levels: list[str] = []
    settles: bool = True
    """This pi says when nothing follows by itself; an older one only when a run ends."""
    turn: Running | None = None
    foreign: bool = False
    """A run began that no prompt of ours asked for, and nothing was said in it yet."""
    steers: int = 0
    """Words added to the running turn so far."""
    messages: int = 0
    """Messages of the model seen, so that each has a name."""
    streamed: bool = False
    """Something of the newest message came in pieces."""
    stop: str | None = None
    """How the turn's newest answer ended, in pi's word."""
    error: str = ""
    spent: Spent | None = None
    calls: dict[str, str] = {}
    """Tool calls that are not over, and the tool."""
    dialogs: dict[str, Dialog] = {}

    def next_id(self, ask: str, value: str = "") -> str:
        """Return the id of a request of ours; it says what it asks for."""
        self.serial += 1
        return f"{ask}:{self.serial}:{value}"

    def remember_call(self, call: str, tool: str) -> None:
        """Note a tool call. A flood of calls drops the oldest."""
        if len(self.calls) >= _MAX_CALLS:
            del self.calls[next(iter(self.calls))]
        self.calls[call] = tool

    def begin_turn(self, number: int) -> None:
        """Take note of a prompt; a second time for the same turn changes nothing."""
        if self.turn is not None and self.turn.number == number:
            return
        self.turn = Running(number)
        self.steers = 0
        self.stop, self.error, self.spent = None, "", None

    @property
    def is_interrupted(self) -> bool:
        """Whether a turn runs that somebody wants to end."""
        return self.turn is not None and self.turn.interrupted


def read_id(raw: Any) -> tuple[str, str]:
    """Return what a request of ours asked for, and the rest of its id: a turn or a value."""
    ask, _, rest = raw.partition(":") if isinstance(raw, str) else ("", "", "")
    return ask, rest


def turn_of(rest: str) -> int | None:
    """Return the turn in the rest of an id."""
    number = rest.partition(":")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None


def value_of(rest: str) -> str:
    """Return the value in the rest of an id, which follows the serial."""
    return rest.partition(":")[2]
