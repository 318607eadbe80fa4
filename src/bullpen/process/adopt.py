"""Find an agent that an earlier service started."""

from collections.abc import Iterable

import anyio
import anyio.to_thread

from bullpen.process.child import Child
from bullpen.process.identity import Identity, gone
from bullpen.process.journal import Journal
from bullpen.process.table import Entry, Mark, born, census, look, marks
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
    mark = Mark.of(session, run, journal.folder)
    found = identity
    if found is None:
        found = await _find_unrecorded(journal, mark)
    elif not found.alive():
        found = await anyio.to_thread.run_sync(_find_left, journal, mark, found.pid)
    entry = None if found is None else found.look()
    if found is None or entry is None:
        return None
    # The group's number is the wrapper's pid, also when the wrapper is no more.
    return Child(found, group=entry.group, mark=mark, journal=journal, watcher=watcher)


async def _find_unrecorded(journal: Journal, mark: Mark) -> Identity | None:
    if journal.give_up(mark.run):
        # No pid file, so no agent, and now there will be none. Unless somebody deleted the file:
        # then the wrapper does not end by itself.
        found = await anyio.to_thread.run_sync(_find_wrapper, mark)
        if found is not None:
            with anyio.move_on_after(_LATE_WRAPPER):
                await gone(found)
                return None
        return found
    pid = journal.wrapper(mark.run)
    if pid is None:
        # The wrapper has made the file and not written it yet, or never came to.
        return await anyio.to_thread.run_sync(_find_wrapper, mark)
    entry = look(pid)
    if entry is not None and not entry.is_dead and marks(pid) == mark:
        return Identity(pid, entry.start_time)
    return await anyio.to_thread.run_sync(_find_left, journal, mark, pid)


def _find_left(journal: Journal, mark: Mark, wrapper: int) -> Identity | None:
    """Return the agent of a wrapper that was killed: the oldest left of its group."""
    if journal.ending(mark.run) is not None:
        return None  # the agent ended and the wrapper with it; the rest is leftovers
    return _oldest(entry for entry, theirs in census() if (theirs, entry.group) == (mark, wrapper))


def _find_wrapper(mark: Mark) -> Identity | None:
    """Return the oldest process of the run that leads its group: all others are younger."""
    return _oldest(
        entry for entry, theirs in census() if (theirs, entry.group) == (mark, entry.pid)
    )


def _oldest(entries: Iterable[Entry]) -> Identity | None:
    found = min(entries, key=lambda entry: born(entry.start_time), default=None)
    return None if found is None else Identity(found.pid, found.start_time)
