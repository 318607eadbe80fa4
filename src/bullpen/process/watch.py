"""Who has written something: one inotify instance for all journals of a service.

One, because a user may have 128 of them at most; a bell per file tells the followers apart.
"""

import os
import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, cast

import anyio

if sys.platform == "linux":
    from inotify_simple import INotify, flags

    MODIFY = int(flags.MODIFY)
else:
    MODIFY = 0

_EVENT = struct.Struct("iIII")
# Events of a watched file carry no name behind these four numbers; those of folders would.
_EVENTS_AT_ONCE = 64 * 1024
_POLL_FIRST = 0.005
_POLL_LAST = 0.1


class _Inotify(Protocol):
    """What we use of the library, which has no types."""

    def add_watch(self, path: Path, mask: int) -> int: ...
    def rm_watch(self, wd: int) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class Bell:
    """Rings when its file changes. `count` says how often it has rung."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.users = 1
        self.watch: int | None = None
        self.is_closed = False
        self._size = -1
        self._event: anyio.Event | None = None

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        if self._event is not None:
            self._event.set()
            self._event = None

    async def rung_since(self, count: int) -> None:
        """Wait until the bell has rung more often than `count`.

        Read `count`, then look at the file, then wait: whatever is written in between rings.

        Raises:
            anyio.ClosedResourceError: the watcher is no more.
        """
        while self.count == count and not self.is_closed:
            self._event = self._event or anyio.Event()
            await self._event.wait()
        if self.is_closed:
            raise anyio.ClosedResourceError

    def poll(self) -> bool:
        """Ring if the file's size has changed since the last poll, and say so."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = -1
        has_changed = size != self._size
        self._size = size
        if has_changed:
            self.ring()
        return has_changed


class Watcher:
    """Tells the followers of any number of files that something was written.

    Where inotify is missing, or has no watch left for one more file, that file's size is looked
    at 10 to 200 times a second.
    """

    def __init__(self) -> None:
        self._inotify: _Inotify | None = None
        self._bells: dict[Path, Bell] = {}
        self._by_watch: dict[int, Bell] = {}
        self._polled: set[Bell] = set()
        self._has_polled = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, *, poll: bool = False) -> AsyncGenerator["Watcher"]:
        """Watch until the block is left; followers that still wait then get
        `anyio.ClosedResourceError`. `poll` does without inotify."""
        watcher = cls()
        if not poll:
            watcher._begin_inotify()
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                if watcher._inotify is not None:
                    tasks.start_soon(watcher._listen, watcher._inotify.fileno())
                tasks.start_soon(watcher._poll)
                try:
                    yield watcher
                except Exception as error:  # noqa: BLE001 - raised below, bare as it came
                    failure = error
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            # Not before the listener has let go of the descriptor.
            watcher._close()
        if failure is not None:
            raise failure

    def bell(self, path: Path) -> Bell:
        """Return the bell of `path`, which is armed when this returns. To be `release`d."""
        bell = self._bells.get(path)
        if bell is not None:
            bell.users += 1
            return bell
        bell = self._bells[path] = Bell(path)
        if self._inotify is not None:
            # Watches run out (fs.inotify.max_user_watches); polling one file is no tragedy.
            with suppress(OSError):
                bell.watch = self._inotify.add_watch(path, MODIFY)
        if bell.watch is None:
            self._polled.add(bell)
            self._has_polled.set()
        else:
            self._by_watch[bell.watch] = bell
        return bell

    def release(self, bell: Bell) -> None:
        """Give a bell back; its file is no longer watched once all its users did."""
        bell.users -= 1
        if bell.users or self._bells.pop(bell.path, None) is None:
            return
        self._polled.discard(bell)
        if bell.watch is not None and self._inotify is not None:
            self._by_watch.pop(bell.watch, None)
            # The kernel drops the watch by itself when the file is deleted.
            with suppress(OSError):
                self._inotify.rm_watch(bell.watch)

    def _begin_inotify(self) -> None:
        if sys.platform == "linux":
            # Instances run out (fs.inotify.max_user_instances, 128), and sandboxes lack them.
            with suppress(OSError):
                self._inotify = cast(_Inotify, INotify(nonblocking=True))

    async def _listen(self, descriptor: int) -> None:
        while True:
            await anyio.wait_readable(descriptor)
            self._ring(os.read(descriptor, _EVENTS_AT_ONCE))

    def _ring(self, events: bytes) -> None:
        changed: set[int] = {watch for watch, _, _, _ in _EVENT.iter_unpack(events)}
        if -1 in changed:
            # The kernel's queue was full and events were thrown away: anyone may be meant.
            changed.update(self._by_watch)
        for watch in changed:
            bell = self._by_watch.get(watch)
            if bell is not None:
                bell.ring()

    async def _poll(self) -> None:
        pause = _POLL_FIRST
        while True:
            if not self._polled:
                self._has_polled = anyio.Event()
                await self._has_polled.wait()
            has_changed = [bell.poll() for bell in tuple(self._polled)]
            pause = _POLL_FIRST if any(has_changed) else min(2 * pause, _POLL_LAST)
            await anyio.sleep(pause)

    def _close(self) -> None:
        for bell in self._bells.values():
            bell.is_closed = True
            bell.ring()
        self._bells.clear()
        self._by_watch.clear()
        self._polled.clear()
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
