"""Reading a conversation back from its events: messages and the log."""

import msgspec

from bullpen.model.fact import Event, MessageStreamed, TurnQueued, TurnStarted, TurnSteered
from bullpen.store import Store

_BOUNDS = ("message-streamed", "turn-started", "turn-steered", "tool-called")
_PAGE = 500


class Message(msgspec.Struct, frozen=True):
    """One message of the agent, whole."""

    turn: int
    text: str


class Entry(msgspec.Struct, frozen=True):
    """One line of the log: a prompt or a message."""

    role: str
    """`human` or `assistant`."""
    text: str
    turn: int
    at: float


async def messages(
    store: Store, session: str, *, count: int, turn: int | None = None
) -> list[Message]:
    """Return the agent's last `count` messages, oldest first, byte for byte as streamed.

    Pieces belong together while the agent gives them the same message id and nothing else happens
    in between. With `turn`, only messages of that turn.
    """
    newest: list[Event] = []
    before: int | None = None
    while True:
        page = await store.last_events(session, kinds=_BOUNDS, limit=_PAGE, before=before)
        newest += page
        begun = await _turn_before(store, session, page[-1].seq) if page else 0
        found = _grouped(list(reversed(newest)), turn=begun)
        wanted = [one for one in found if turn is None or one.turn == turn]
        # The oldest group of an unfinished read may lack its beginning.
        if len(page) < _PAGE or len(wanted) > count:
            return wanted[-count:] if count else []
        before = page[-1].seq


async def _turn_before(store: Store, session: str, seq: int) -> int:
    """Return the turn that ran before event `seq`; 0 for none."""
    begun = await store.last_events(session, kinds=("turn-started",), limit=1, before=seq)
    return next((one.fact.turn for one in begun if isinstance(one.fact, TurnStarted)), 0)


def _grouped(events: list[Event], *, turn: int) -> list[Message]:
    reader = _Reader(turn=turn)
    for event in events:
        reader.take(event)
    reader.close()
    return [Message(one.turn, one.text) for one in reader.entries if one.role == "assistant"]


async def log(store: Store, session: str) -> list[Entry]:
    """Return the whole conversation: prompts as they were started, words added to a turn while it
    ran, and the agent's messages."""
    reader = _Reader()
    after = 0
    while page := await store.events(session, after=after, kinds=(*_BOUNDS, "turn-queued")):
        after = page[-1].seq
        for event in page:
            reader.take(event)
    reader.close()
    return reader.entries


class _Reader:
    """Puts pieces of messages together again."""

    def __init__(self, *, turn: int = 0) -> None:
        self.entries: list[Entry] = []
        self._texts: dict[int, str] = {}
        self._turn = turn
        self._message: str | None = None
        self._pieces: list[str] = []
        self._at = 0.0

    def take(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, TurnQueued):
            self._texts[fact.turn] = fact.text
            return
        if not isinstance(fact, MessageStreamed):
            self.close()
            if isinstance(fact, TurnStarted):
                self._turn = fact.turn
                text = self._texts.pop(fact.turn, "")
                self.entries.append(Entry("human", text, fact.turn, event.at))
            if isinstance(fact, TurnSteered):
                self.entries.append(Entry("human", fact.text, fact.turn, event.at))
            return
        if fact.message != self._message:
            self.close()
        if not self._pieces:
            self._at = event.at
        self._message = fact.message
        self._pieces.append(fact.text)

    def close(self) -> None:
        if self._pieces:
            text = "".join(self._pieces)
            self.entries.append(Entry("assistant", text, self._turn, self._at))
            self._pieces.clear()
        self._message = None
