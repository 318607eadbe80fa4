"""Telling those who wait that something was committed.

Nobody gets a queue that could grow: a listener is woken and reads from the store what it has not
read yet. Streamed text that is not stored yet is the one
thing that is pushed; a listener that does not keep up loses deltas, never events.
"""

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import anyio

from bullpen.model.fact import MessageStreamed, ThoughtStreamed

_MOST_DELTAS = 1000

Delta = MessageStreamed | ThoughtStreamed


class Listener:
    """Woken whenever one of its sessions has news."""

    __slots__ = ("_event", "deltas", "gap")

    def __init__(self, *, deltas: bool) -> None:
        self._event = anyio.Event()
        self.deltas: deque[tuple[int, Delta]] | None = deque() if deltas else None
        self.gap = False
        """True once a delta was dropped; the stored events hold the whole text."""

    async def wait(self) -> None:
        """Return when there was news since the last call."""
        await self._event.wait()
        self._event = anyio.Event()

    def wake(self) -> None:
        """End the current or the next `wait`."""
        self._event.set()


class Hub:
    """All listeners of one host."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}
        self._everything: set[Listener] = set()

    @contextmanager
    def listening(
        self, sessions: Iterable[str] | None, *, deltas: bool = False
    ) -> Generator[Listener]:
        """Listen to `sessions`, or to all of them with None, until the block is left."""
        listener = Listener(deltas=deltas)
        names = None if sessions is None else list(sessions)
        groups = (
            [self._everything]
            if names is None
            else [self._listeners.setdefault(name, set()) for name in names]
        )
        for group in groups:
            group.add(listener)
        try:
            yield listener
        finally:
            for group in groups:
                group.discard(listener)
            for name in names or ():
                if not self._listeners.get(name, True):
                    del self._listeners[name]

    def publish(self, session: str) -> None:
        """Wake who listens to `session`: events of it were committed."""
        for listener in self._listeners.get(session, ()):
            listener.wake()
        for listener in self._everything:
            listener.wake()

    def wake_all(self) -> None:
        """Wake every listener, news or not."""
        for group in (self._everything, *self._listeners.values()):
            for listener in group:
                listener.wake()

    def stream(self, session: str, delta: Delta, *, number: int) -> None:
        """Push streamed text that is not stored yet: the session's piece `number`."""
        for listener in self._listeners.get(session, ()):
            if listener.deltas is None:
                continue
            if len(listener.deltas) >= _MOST_DELTAS:
                listener.gap = True
                listener.deltas.clear()
            listener.deltas.append((number, delta))
            listener.wake()

    def stored(self, session: str, *, covered: int) -> None:
        """Drop pushed text up to piece `covered` that nobody took yet: it is an event now."""
        for listener in self._listeners.get(session, ()):
            deltas = listener.deltas
            while deltas and deltas[0][0] <= covered:
                deltas.popleft()

    def wants_deltas(self, session: str) -> bool:
        """Whether anybody would get a delta of `session`."""
        return any(one.deltas is not None for one in self._listeners.get(session, ()))
