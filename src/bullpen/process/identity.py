"""Who a process is: a pid alone does not say, since pids are used again."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass

import anyio

from bullpen.process.table import Entry, look

_POLL_FIRST = 0.005
_POLL_LAST = 0.1


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, not to be mistaken for a later one with the same pid."""

    pid: int
    start_time: str
    """Linux: `<boot id>:<clock ticks since boot>`. Elsewhere: seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """Return who has `pid` at this moment, a zombie too; None when nobody has."""
        entry = look(pid)
        return None if entry is None else cls(pid, entry.start_time)

    def look(self) -> Entry | None:
        """Return what the process table says of this very process, zombie or not."""
        entry = look(self.pid)
        return entry if entry is not None and entry.start_time == self.start_time else None

    def alive(self) -> bool:
        """Whether the process runs: false for a zombie, and for another that got its pid."""
        entry = self.look()
        return entry is not None and not entry.is_dead

    def signal(self, sign: signal.Signals) -> None:
        """Send `sign` to this very process. Nothing happens when it is gone or not ours."""
        descriptor = _pidfd(self.pid)
        try:
            # The descriptor pins the process: whom we look at is whom we signal.
            if not self.alive():
                return
            with suppress(ProcessLookupError, PermissionError):
                if descriptor is None:
                    os.kill(self.pid, sign)
                else:
                    signal.pidfd_send_signal(descriptor, sign)
        finally:
            if descriptor is not None:
                os.close(descriptor)


async def gone(identity: Identity) -> None:
    """Wait until the process has ended; a zombie has. Costs no thread, and no polling where the
    kernel has pidfds."""
    descriptor = _pidfd(identity.pid)
    if descriptor is None:
        await _poll_until_gone(identity)
        return
    try:
        if identity.alive():
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def collect(identity: Identity) -> int | None:
    """Take our own zombie off the process table, so that its pid is free.

    Returns its exit code (below zero: killed by that signal), None when it is alive, was
    collected before, or is no child of this process.
    """
    entry = identity.look()
    if entry is None or not entry.is_dead:
        return None
    try:
        pid, status = os.waitpid(identity.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        # Gone, or no descriptor left, or a sandbox forbids the call: the table has the answer.
        return None


async def _poll_until_gone(identity: Identity) -> None:
    pause = _POLL_FIRST
    while identity.alive():
        await anyio.sleep(pause)
        pause = min(2 * pause, _POLL_LAST)
