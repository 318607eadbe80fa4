"""Prove from the kernel that processes are alive, or dead."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio

_HOLD = "import os, signal; signal.alarm({limit}); os.write(os.open({path!r}, os.O_WRONLY), b'.')\n"
_LIMIT = 60
# Seconds after which the alarm ends a program that a failing test left behind.


class Lifeline:
    """A FIFO that every process under test holds open for writing.

    Each holder sends one dot, so counting dots proves that they run. End-of-file comes when the
    kernel has closed the last descriptor, which proves that all are dead, without sleeping and
    without reading process tables. Until `cut` we hold the line too, or a gap between two
    holders would look like death.
    """

    def __init__(self, path: Path, *, reader: int, ours: int) -> None:
        self.path = path
        self._reader = reader
        self._ours: int | None = ours

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Generator["Lifeline"]:
        """Make the FIFO `lifeline` in `folder`; close our ends of it when the block is left."""
        path = folder / "lifeline"
        os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        lifeline = cls(path, reader=reader, ours=os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        try:
            yield lifeline
        finally:
            lifeline._let_go()
            os.close(reader)
            path.unlink()

    def hold(self) -> str:
        """Return the line of Python by which a program takes the line, and ends after 60 s."""
        return _HOLD.format(path=str(self.path), limit=_LIMIT)

    def python(self, body: str) -> list[str]:
        """Return the argv of a Python program that takes the line, then runs `body`."""
        return [sys.executable, "-S", "-c", self.hold() + body]

    async def held_by(self, count: int) -> None:
        """Wait until `count` more processes have taken the line."""
        dots = 0
        while dots < count:
            await anyio.wait_readable(self._reader)
            dots += len(os.read(self._reader, count - dots))

    async def cut(self) -> None:
        """Let go of the line and wait until every holder is dead. Bound it with `fail_after`."""
        self._let_go()
        piece = b"."
        while piece:  # dots nobody counted come before the end
            await anyio.wait_readable(self._reader)
            piece = os.read(self._reader, 4096)

    def _let_go(self) -> None:
        if self._ours is not None:
            os.close(self._ours)
            self._ours = None
