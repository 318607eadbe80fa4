"""All an ACP conversation remembers between two lines, and its form as a snapshot."""

from typing import Any, Final

import msgspec

from bullpen.agents.dialect import Open
from bullpen.agents.wire import Ask, name_request, request_id
from bullpen.model.fact import Choice, ConversationOpened

VERSION: Final = 1
_KEPT_TURNS: Final = 8
_WIDEST_GAP: Final = 1024
"""An agent that invents ids must not drive ours out of the range of exact numbers."""
MAX_CALLS: Final = 4096
_TWINS: Final = {
    Ask.INITIALIZE: Ask.INITIALIZE_TO_RESUME,
    Ask.INITIALIZE_TO_RESUME: Ask.INITIALIZE,
}
"""A journal may be read with another `Open` than it was written with; the id in it is right."""


class Call(msgspec.Struct, array_like=True):
    """What is remembered of a tool call, to complete later messages that leave it out."""

    status: str | None = None
    title: str | None = None
    tool_kind: str | None = None
    raw_input: Any = None
    locations: list[Any] | None = None
    content: list[Any] | None = None
    meta: Any = None

    @property
    def is_over(self) -> bool:
        """Whether the agent said how it ended."""
        return self.status in {"completed", "failed"}


class OpenRequest(msgspec.Struct, array_like=True):
    """A permission or question of the agent that nobody answered."""

    raw_id: Any
    is_question: bool = False
    options: list[str] = []
    page: str | None = None
    """The agent's id of a page to visit, by which it says that the visit is over."""


class State(msgspec.Struct, omit_defaults=True):
    """Everything a dialect knows. A fresh one knows nothing."""

    said: str = ""
    """The end of what was said in the running turn, for agents that tell of failures in words."""
    did: bool = False
    """Whether the agent did anything in the running turn but speak."""
    is_failed: bool = False
    """Whether the agent marked the running turn as failed."""
    phase: str = "new"
    """`new`, `opening`, `open`, `refused`, `closed`, `ended`."""
    serial: int = 0
    """Of our last request that was no prompt."""
    pending: dict[int, str | None] = {}
    """Our unanswered requests but prompts: wire id to the value asked for."""
    opening: Open | None = None
    """Kept until the conversation is open."""
    opened: ConversationOpened | None = None
    """Being filled while mode and model are set; None once it was told."""
    options: list[Any] | None = None
    """The agent's options while the conversation opens; None once they were told."""
    session: str | None = None
    silent: bool = False
    """Whether updates are the replayed history and not news."""
    abilities: list[str] = []
    methods: list[Choice] = []
    option_ids: list[str] = []
    mode_option: str | None = None
    option_modes: list[str] = []
    plain_modes: list[str] = []
    model_option: str | None = None
    has_plain_models: bool = False
    running: dict[int, bool] = {}
    """Turns under way, and whether each was interrupted."""
    ended: list[int] = []
    """The last few turns that are over."""
    calls: dict[str, Call] = {}
    requests: dict[str, OpenRequest] = {}

    def issue(self, ask: Ask, value: str | None = None) -> int:
        """Return the wire id of a new request and remember that it is unanswered."""
        self.serial += 1
        number = request_id(ask, self.serial)
        self.pending[number] = value
        return number

    def settle(self, ask: Ask, serial: int) -> tuple[bool, str | None]:
        """Take note of a response. Return whether it was expected, and the value asked for.

        A serial beyond our own is expected too: the journal is then being read without the
        orders that caused it.
        """
        for number in (request_id(ask, serial), request_id(_TWINS.get(ask, ask), serial)):
            if number in self.pending:
                return True, self.pending.pop(number)
        is_ahead = 0 < serial - self.serial <= _WIDEST_GAP
        if is_ahead:
            self.serial = serial
        return is_ahead, None

    def remember_end(self, turn: int) -> None:
        """Note that `turn` is over, so that a second response to it is told apart."""
        self.ended = [*self.ended, turn][-_KEPT_TURNS:]

    def remember_call(self, call: str, seen: Call) -> None:
        """Merge `seen` into what is known of `call`. A flood of calls drops the oldest."""
        known = self.calls.get(call)
        if known is None:
            if len(self.calls) >= MAX_CALLS:
                del self.calls[next(iter(self.calls))]
            self.calls[call] = seen
            return
        known.status = seen.status or known.status
        known.title = seen.title or known.title
        known.tool_kind = seen.tool_kind or known.tool_kind
        known.raw_input = seen.raw_input or known.raw_input
        known.locations = seen.locations or known.locations
        known.content = seen.content or known.content
        known.meta = seen.meta or known.meta
        if known.is_over:
            # Nobody asks for leave any more, and a file may be large.
            known.raw_input = known.locations = known.content = known.meta = None

    def find_request(self, raw_id: Any) -> str | None:
        """Return the name of the agent's open request with that wire id."""
        name = name_request(raw_id)
        return name if name in self.requests else None


class _Snapshot(msgspec.Struct):
    dialect: str
    version: int
    state: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_read_head = msgspec.json.Decoder(_Snapshot).decode
_read_state = msgspec.json.Decoder(State).decode


def to_snapshot(state: State) -> bytes:
    """Return `state` as bytes; about 200 of them when no turn runs."""
    return _encode(_Snapshot("acp", VERSION, msgspec.Raw(_encode(state))))


def from_snapshot(raw: bytes) -> State:
    """Return the state of which `to_snapshot` made `raw`.

    Raises:
        ValueError: another version or another dialect made it, or it is damaged.
    """
    try:
        head = _read_head(raw)
        if (head.dialect, head.version) != ("acp", VERSION):
            raise ValueError(f"made by {head.dialect!r} version {head.version}")
        return _read_state(head.state)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a snapshot: {error}") from error
