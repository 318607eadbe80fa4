"""A running agent: write to it, follow it, wait for it, end it."""

import errno
import fcntl
import logging
import os
import signal
from contextlib import suppress

import anyio
import anyio.to_thread

from bullpen.errors import ProcessGone
from bullpen.process.follow import Follower
from bullpen.process.identity import Identity, collect, gone
from bullpen.process.journal import UNSEEN, Ending, Journal
from bullpen.process.reap import Kin, end
from bullpen.process.table import Mark, arguments, is_wrapper
from bullpen.process.watch import Watcher

_LOOK_EVERY = 1.0
# Seconds after which a writer who finds no room asks whether the reader still lives: the FIFO
# has our own descriptor as a reader, so it never reports that the agent has gone.
_LARGEST_PIPE_BYTES = 1024 * 1024
_LARGEST_WRITE_BYTES = 256 * 1024

_log = logging.getLogger(__name__)

_uncollected: set[Identity] = set()
# Children let go before they ended. Each becomes a zombie of ours that somebody has to collect.


class Child:
    """One run of one agent, started here or adopted.

    It does not depend on this object: dropping it, or dying, leaves the agent running.
    """

    def __init__(
        self, identity: Identity, *, group: int, mark: Mark, journal: Journal, watcher: Watcher
    ) -> None:
        """Open the journal's FIFO for writing. `group` is that of the run's wrapper, which may
        be dead."""
        self.identity = identity
        self.journal = journal
        self.survivors: tuple[int, ...] = ()
        """Pids that outlived `reap`: stuck in the kernel, or of another user. Nearly always
        empty."""
        self._run = mark.run
        self._kin = Kin(Identity(group, identity.start_time), mark)
        self._watcher = watcher
        self._link: int | None = _open_link(journal)
        self._followers: list[Follower] = []
        self._writing = anyio.Lock()
        self._waiting_for_room: anyio.CancelScope | None = None
        self._has_torn_write = False
        self._exit_code: int | None = None
        self._last_signal: signal.Signals | None = None

    @property
    def pid(self) -> int:
        """The wrapper's pid, which is also the number of the process group."""
        return self.identity.pid

    @property
    def run(self) -> int:
        """Which of the session's runs this is."""
        return self._run

    async def write(self, data: bytes) -> None:
        """Write all of `data` to the agent's stdin, after what others are writing.

        Waits while the FIFO is full. That it returns means the kernel has the bytes, not that
        the agent read them. If it is cancelled midway, the agent gets the torn line closed with
        a newline before the next write.

        Raises:
            ProcessGone: the agent ended; nobody will read what was not read before.
            anyio.ClosedResourceError: `close` was called.
        """
        async with self._writing:
            if not self.identity.alive():
                raise ProcessGone(self.pid)
            if self._has_torn_write:
                data = b"\n" + data
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[await self._write_some(rest) :]
            finally:
                is_begun = len(rest) < len(data)
                ends_line = data[len(data) - len(rest) - 1 : len(data) - len(rest)] == b"\n"
                if is_begun:
                    self._has_torn_write = bool(rest) and not ends_line

    def follow(self, offset: int) -> Follower:
        """Follow the agent's stdout from `offset`, the start of a line. `close` closes it too."""
        follower = Follower(self.journal.stdout, offset, watcher=self._watcher)
        self._followers.append(follower)
        return follower

    async def wait(self) -> Ending:
        """Wait until the process is gone and return how it ended, as far as anyone saw.

        Any number of tasks may wait. What the agent started may live on: `reap` ends that.
        """
        await gone(self.identity)
        code = collect(self.identity)
        if code is not None:
            self._exit_code = code
        return self._ending()

    def interrupt(self) -> None:
        """Send SIGINT to the agent and all of its group, as Ctrl-C would. Nothing happens when
        it is gone."""
        if self.identity.alive():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._kin.leader.pid, signal.SIGINT)

    async def runs(self, program: str) -> bool:
        """Whether the agent or anything it started is that program: a file of that name, a script
        of that name under an interpreter, or what calls itself so. Reads the process table."""
        living = await anyio.to_thread.run_sync(self._kin.living)
        return any(program in _names(arguments(entry.pid)) for entry in living)

    async def reap(self, *, grace: float = 5.0) -> Ending:
        """End the agent and everything it started, and return how the agent ended.

        SIGTERM first, SIGKILL after `grace` seconds, also for what left the process group but
        carries the session's marks in its environment. Shielded from cancellation, and bounded
        by `grace` and some 5 seconds; whoever survived that stands in `survivors`. May be
        called when the agent has ended already: what it left behind is ended.
        """
        with anyio.CancelScope(shield=True):
            self.survivors = await end(self._kin, grace=grace, before_signal=self._note)
            if self.survivors:
                _log.warning("processes %s outlived SIGKILL", self.survivors)
            with anyio.move_on_after(1.0):
                await self.wait()
        return self._ending()

    def close(self) -> None:
        """Drop our descriptors, those of followers too. The agent is left running. Harmless
        when done twice."""
        for follower in self._followers:
            follower.close()
        self._followers.clear()
        if self._link is None:
            return
        link, self._link = self._link, None
        if self._waiting_for_room is not None:
            # The loop still watches the descriptor; the writer closes it once it does not.
            self._waiting_for_room.cancel()
        else:
            os.close(link)
        if collect(self.identity) is None:
            _uncollected.add(self.identity)

    async def _write_some(self, data: memoryview) -> int:
        if self._link is None:
            raise anyio.ClosedResourceError
        try:
            # Bounded, so that room is not looked for in one huge copy at a time.
            return os.write(self._link, data[:_LARGEST_WRITE_BYTES])
        except BlockingIOError:
            await self._room_for(len(data))
            return 0

    async def _room_for(self, size_bytes: int) -> None:
        link = self._link
        assert link is not None, "the caller has looked"
        if _widen(link, size_bytes):
            return
        try:
            with anyio.move_on_after(_LOOK_EVERY) as self._waiting_for_room:
                await anyio.wait_writable(link)
        finally:
            self._waiting_for_room = None
            if self._link is None:
                os.close(link)
        if not self.identity.alive():
            raise ProcessGone(self.pid)

    def _ending(self) -> Ending:
        seen = self.journal.ending(self.run)
        if seen is not None:
            return seen
        # The wrapper passes the agent's code on, for a disk too full for the exit file. Had the
        # wrapper itself been killed, that would say nothing of the agent.
        if self._exit_code is not None and self._exit_code >= 0:
            return Ending.of(self._exit_code)
        return UNSEEN if self._last_signal is None else Ending.of(-self._last_signal)

    def _note(self, sign: signal.Signals) -> None:
        # Before it is sent, since whoever is in `wait` may be faster than `reap`. What ends
        # later than the agent says nothing about the agent.
        if self.identity.alive():
            self._last_signal = sign


def _open_link(journal: Journal) -> int:
    """Open the FIFO for writing. Open for reading too: so it opens with nobody at the other
    end, and a write is never answered with SIGPIPE."""
    return os.open(journal.stdin, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def collect_strays() -> None:
    """Take the zombies of children that were let go before their end off the process table."""
    for identity in tuple(_uncollected):
        if collect(identity) is not None or identity.look() is None:
            _uncollected.discard(identity)


def _names(words: list[str]) -> set[str]:
    """Return by which names a process with that argv may be called; none for our wrapper."""
    if is_wrapper(words):
        return set()
    # Who renames itself overwrites its argv with one text, as `pi` does.
    heads = [word.split(" ")[0] for word in words[:2]]
    return {head.rpartition("/")[2] for head in heads}


def _widen(link: int, size_bytes: int) -> bool:
    """Give the FIFO more room; return whether it has any. Only on demand: beyond 64 MiB for all
    pipes of a user together, the kernel makes every further pipe of that user a tiny one."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return False
    held = fcntl.fcntl(link, fcntl.F_GETPIPE_SZ)
    wanted = min(held + size_bytes, _LARGEST_PIPE_BYTES)
    if wanted <= held:
        return False
    try:
        fcntl.fcntl(link, fcntl.F_SETPIPE_SZ, wanted)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY, errno.ENOMEM):
            raise
        return False
    return fcntl.fcntl(link, fcntl.F_GETPIPE_SZ) > held
