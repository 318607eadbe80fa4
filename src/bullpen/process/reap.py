"""End processes with all they started, and see that they are gone."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import anyio
import anyio.to_thread

from bullpen.process.identity import Identity
from bullpen.process.table import Entry, Mark, arguments, born, census, forebears, is_wrapper, look

_KILL_LIMIT = 5.0
# Seconds SIGKILL gets. It needs milliseconds, unless a process hangs in the kernel.
_POLL_FIRST = 0.005
_POLL_LAST = 0.05
_LOOK_AGAIN = 0.1
# Seconds between readings of the whole table while those we know are alive.


@dataclass(frozen=True, slots=True)
class Kin:
    """A process we started and everything that came of it.

    Its kin are its process group and the groups of its kernel session, and those that left both
    but carry our marks. Neither this process nor any it descends from is ever kin.
    """

    leader: Identity
    """The process that made the group. It may be dead; the group lives on without it. One that
    made none is its only kin."""
    mark: Mark | None = None
    """None: marks are not looked at. Marks of earlier runs count, those of later ones do not."""

    def living(self) -> list[Entry]:
        """Return those that run; zombies do not. Reads the whole process table."""
        spared = forebears()
        head = look(self.leader.pid)
        # A pid is not used again while a group still has it for a name, so another process of
        # that number means that our group was empty before.
        is_recycled = head is not None and head.start_time != self.leader.start_time
        return [
            entry
            for entry, mark in census()
            if entry.pid not in spared
            and ((not is_recycled and self._has(entry)) or self._is_meant(mark))
        ]

    def signal(self, entries: list[Entry], sign: signal.Signals) -> None:
        """Send `sign` to `entries`, which `living` has just returned: to the group at once, so
        that none of it can fork away, to the others one by one."""
        group = self.leader.pid
        as_group = os.getpgrp() != group and any(entry.group == group for entry in entries)
        if as_group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, sign)
        for entry in entries:
            if not as_group or entry.group != group:
                _identity(entry).signal(sign)

    def _has(self, entry: Entry) -> bool:
        if self.leader.pid not in (entry.pid, entry.group, entry.kernel_session):
            return False
        boot, instant = born(entry.start_time)
        our_boot, our_instant = born(self.leader.start_time)
        return boot == our_boot and instant >= our_instant

    def _is_meant(self, theirs: Mark | None) -> bool:
        ours = self.mark
        if ours is None or theirs is None:
            return False
        is_same = (ours.session, ours.journal) == (theirs.session, theirs.journal)
        return is_same and theirs.run <= ours.run


async def end(
    kin: Kin, *, grace: float, before_signal: Callable[[signal.Signals], None] | None = None
) -> tuple[int, ...]:
    """SIGTERM all `kin`, give them `grace` seconds, SIGKILL the rest, until none is left.

    Shielded from cancellation; takes at most `grace` and some 5 seconds. Returns the pids that
    SIGKILL did not end, nearly always none: stuck in the kernel, or of another user (setuid).

    Args:
        before_signal: Called before SIGTERM and before SIGKILL, with the signal.
    """
    survivors: list[Entry] = []
    with anyio.CancelScope(shield=True):
        survivors = await _end(kin, grace, before_signal or _ignore)
    return tuple(entry.pid for entry in survivors)


async def reap_group(identity: Identity, *, grace: float) -> None:
    """End the process and the group that it leads or led, as `end` does.

    Nothing is touched when the pid belongs to another process by now.
    """
    await end(Kin(identity), grace=grace)


async def _end(
    kin: Kin, grace: float, before_signal: Callable[[signal.Signals], None]
) -> list[Entry]:
    living = await _living(kin)
    if living:
        before_signal(signal.SIGTERM)
        living = await _press(kin, living, signal.SIGTERM, limit=grace)
    if not living:
        return []
    before_signal(signal.SIGKILL)
    deadline = anyio.current_time() + _KILL_LIMIT
    while living and anyio.current_time() < deadline:
        living = await _press(kin, living, signal.SIGKILL, limit=0.2)
    return living


async def _press(
    kin: Kin, living: list[Entry], sign: signal.Signals, *, limit: float
) -> list[Entry]:
    """Send `sign` to `living`, and to whoever joins them; wait at most `limit` seconds for all
    to be gone; return who lives then."""
    # Asked before, as the answer may change at any moment: a wrapper outlives SIGTERM by design,
    # and so does its fork until it has become the agent.
    told = {entry for entry in living if not is_wrapper(arguments(entry.pid))}
    kin.signal(living, sign)
    # What is stopped (SIGSTOP) cannot act on a signal before it goes on.
    kin.signal(living, signal.SIGCONT)
    began = anyio.current_time()
    look_again = began + _LOOK_AGAIN
    pause = _POLL_FIRST
    while living:
        left = began + limit - anyio.current_time()
        if left <= 0:
            return await _living(kin)
        await anyio.sleep(min(pause, left))
        pause = min(2 * pause, _POLL_LAST)
        if any(_identity(entry).alive() for entry in living) and (
            anyio.current_time() < look_again
        ):
            continue
        # Only the whole table shows whom they started meanwhile, above all the agent itself.
        living = await _living(kin)
        look_again = anyio.current_time() + _LOOK_AGAIN
        for newcomer in set(living) - told:
            if not is_wrapper(arguments(newcomer.pid)):
                told.add(newcomer)
            _identity(newcomer).signal(sign)
    return living


async def _living(kin: Kin) -> list[Entry]:
    return await anyio.to_thread.run_sync(kin.living)


def _identity(entry: Entry) -> Identity:
    return Identity(entry.pid, entry.start_time)


def _ignore(sign: signal.Signals) -> None:
    """Nobody wants to know."""
