"""Read a journal's output line by line while it grows."""

import os
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel

from bullpen.errors import JournalDamaged
from bullpen.process.watch import Watcher

_PIECE_BYTES = 256 * 1024
LINE_LIMIT_BYTES = 256 * 1024 * 1024
# An agent that never ends its line would otherwise fill the memory of everybody's service.


@dataclass
class Batch:
    """Whole lines, in order, each without its newline and otherwise byte for byte as written."""

    lines: list[bytes]
    offset: int
    """Just behind the last line and its newline: where to follow on from, once the lines are
    stored."""


class Follower:
    """Reads the lines of one growing file, each once.

    Cancelling `read` loses nothing. Two tasks must not read at the same time.
    """

    def __init__(
        self, path: Path, offset: int, *, watcher: Watcher, line_limit_bytes: int = LINE_LIMIT_BYTES
    ) -> None:
        """Begin at `offset`, which must be the start of a line."""
        self._path = path
        self._limit_bytes = line_limit_bytes
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._watcher = watcher
        self._bell = watcher.bell(path)
        self._position = offset
        self._offset = offset
        self._pieces: list[bytes] = []
        self._is_closed = False

    @property
    def torn(self) -> bytes:
        """The last line as far as it was read, when its newline was not."""
        return b"".join(self._pieces)

    async def read(self) -> Batch:
        """Wait for at least one whole line; return all there are, up to about 256 KiB.

        Other tasks get their turn before each batch and within a long line, so an agent that
        never pauses delays nobody.

        Raises:
            JournalDamaged: the file became shorter, or one line is longer than the limit.
            anyio.ClosedResourceError: the follower or its watcher was closed.
        """
        while True:
            await anyio.lowlevel.checkpoint()
            if self._is_closed:
                raise anyio.ClosedResourceError
            count = self._bell.count
            before = self._position
            lines: list[bytes] = []
            self._take(lines)
            if lines:
                return Batch(lines, self._offset)
            if self._position == before:
                await self._bell.rung_since(count)

    def drain(self) -> Batch:
        """Return all whole lines there are at this moment, none is fine, without waiting.

        Raises:
            JournalDamaged: as for `read`.
        """
        lines: list[bytes] = []
        while self._take(lines):
            pass
        return Batch(lines, self._offset)

    def close(self) -> None:
        """Let go of the file. Harmless when done twice; a `read` under way is woken and raises."""
        if self._is_closed:
            return
        self._is_closed = True
        os.close(self._descriptor)
        self._bell.ring()
        self._watcher.release(self._bell)

    def _take(self, lines: list[bytes]) -> bool:
        """Add the lines of the next piece; return whether there was one."""
        piece = os.pread(self._descriptor, _PIECE_BYTES, self._position)
        if not piece:
            if os.fstat(self._descriptor).st_size < self._position:
                raise JournalDamaged(self._path.parent, f"{self._path.name!r} became shorter")
            return False
        self._position += len(piece)
        # Only the new piece is searched: a line that comes in a hundred pieces is joined once.
        head, *others = piece.split(b"\n")
        if head:
            self._pieces.append(head)
        if others:
            lines.append(self.torn)
            last = others.pop()
            lines.extend(others)
            self._pieces = [last] if last else []
            self._offset = self._position - len(last)
        if self._position - self._offset > self._limit_bytes:
            why = f"a line of {self._path.name!r} is longer than {self._limit_bytes} bytes"
            raise JournalDamaged(self._path.parent, why)
        return True
