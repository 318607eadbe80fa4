"""Find an agent that an earlier service started."""

import anyio
import anyio.to_thread

from bullpen.process.child import Child, open_link
from bullpen.process.identity import Identity, gone
from bullpen.process.journal import Journal
from bullpen.process.reap import Kin
from bullpen.process.table import look, marked, marks
from bullpen.process.watch import Watcher

_LATE_WRAPPER = 1.0
# Seconds for a wrapper that finds its run given up to end. It needs a millisecond.


async def adopt(
    journal: Journal, *, session: str, run: int, identity: Identity | None, watcher: Watcher
) -> Child | None:
    """Return the living agent of `run` as if we had started it; None when there is none.

    Args:
        identity: What was recorded of the wrapper. None when we died before we could: then the
            wrapper is found by its pid file and by the marks in its environment. If the agent
            has not started by now it never will, however late its wrapper wakes.

    An agent whose wrapper alone was killed is adopted too; how it ends nobody will see. What an
    agent that has ended left running is not adopted, and not touched.
    """
    found = identity
    if found is None:
        found = await _find_unrecorded(journal, session, run)
    elif not found.alive():
        found = await anyio.to_thread.run_sync(_find_left, journal, session, run, found.pid)
    entry = None if found is None else found.look()
    if found is None or entry is None:
        return None
    # The group's number is the wrapper's pid, also when the wrapper is no more.
    kin = Kin(Identity(entry.group, found.start_time), session, run)
    return Child(found, kin=kin, journal=journal, watcher=watcher, link=open_link(journal))


async def _find_unrecorded(journal: Journal, session: str, run: int) -> Identity | None:
    if journal.give_up(run):
        # No pid file, so no agent, and now there will be none. Unless somebody deleted the file:
        # then the wrapper does not end by itself.
        found = await anyio.to_thread.run_sync(_find_wrapper, session, run)
        if found is not None:
            with anyio.move_on_after(_LATE_WRAPPER):
                await gone(found)
                return None
        return found
    pid = journal.wrapper(run)
    if pid is None:
        # The wrapper has made the file and not written it yet, or never came to.
        return await anyio.to_thread.run_sync(_find_wrapper, session, run)
    entry = look(pid)
    if entry is not None and not entry.is_dead and marks(pid) == (session, run):
        return Identity(pid, entry.start_time)
    return await anyio.to_thread.run_sync(_find_left, journal, session, run, pid)


def _find_left(journal: Journal, session: str, run: int, wrapper: int) -> Identity | None:
    """Return the agent of a wrapper that was killed: the oldest left of its group."""
    if journal.ending(run) is not None:
        return None  # the agent ended and the wrapper with it; the rest is leftovers
    for one in marked():
        if (one.session, one.run, one.group) == (session, run, wrapper):
            return Identity(one.pid, one.start_time)
    return None


def _find_wrapper(session: str, run: int) -> Identity | None:
    """Return the oldest process of the run that leads its group: all others are younger."""
    for one in marked():
        if (one.session, one.run, one.pid) == (session, run, one.group):
            return Identity(one.pid, one.start_time)
    return None
