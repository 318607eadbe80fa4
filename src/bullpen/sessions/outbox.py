"""What is to be written to an agent, in order; each line is an intent in the store first."""

from collections import deque

import anyio
import msgspec

from bullpen.process import Child
from bullpen.store import NewIntent


class Letter(msgspec.Struct, frozen=True):
    """Lines to write, and the intents they fulfil."""

    numbers: tuple[int, ...]
    data: bytes
    turn: int | None = None
    """The turn whose prompt this is."""


class Outbox:
    """Letters whose intents are committed, waiting for room in the agent's stdin."""

    def __init__(self, *, run: int, first: int = 1) -> None:
        self._run = run
        self._next = first
        self._letters: deque[Letter] = deque()
        self._news = anyio.Event()
        self._empty = anyio.Event()

    def draft(
        self, kind: str, lines: list[bytes], *, turn: int | None = None
    ) -> tuple[list[NewIntent], list[Letter]]:
        """Return the intent to commit for `lines`, and the letter to `post` once it is.

        The body of a prompt is not kept in the intent: the turn has its text.
        """
        if not lines:
            return [], []
        number = self._next
        self._next += 1
        data = b"".join(lines)
        body = None if kind == "prompt" else data
        intent = NewIntent(number, self._run, kind, turn, body)
        return [intent], [Letter((number,), data, turn if kind == "prompt" else None)]

    def post(self, letters: list[Letter]) -> None:
        """Hand over letters whose intents are committed."""
        if letters:
            self._letters.extend(letters)
            self._news.set()

    async def deliver_next(self, child: Child) -> Letter:
        """Wait for a letter, write all of it, and return it.

        Cancelled in the middle of a long letter, part of it is written; whoever comes next must
        close the torn line.
        """
        while not self._letters:
            self._news = anyio.Event()
            await self._news.wait()
        letter = self._letters[0]
        await child.write(letter.data)
        self._letters.popleft()
        if not self._letters:
            self._empty.set()
        return letter

    async def emptied(self) -> None:
        """Return when nothing waits to be written."""
        while self._letters:
            self._empty = anyio.Event()
            await self._empty.wait()
