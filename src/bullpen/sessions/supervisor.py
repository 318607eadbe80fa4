"""All sessions of one host: created, queued, started, adopted again, ended, removed."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Self, cast

import anyio
from anyio.abc import TaskGroup

from bullpen.errors import (
    BullpenError,
    RequestInvalid,
    ResumeUnsupported,
    SessionBusy,
    SessionNotFound,
    SessionOver,
    StoreDamaged,
)
from bullpen.model.fact import (
    AgentEnded,
    PlaceRemoved,
    SessionCreated,
    SessionRemoved,
    SessionRenamed,
    TurnQueued,
    TurnWithdrawn,
)
from bullpen.model.session import LIVE, OVER, SessionRecord, SessionState
from bullpen.model.wanted import NewSession
from bullpen.process import Child
from bullpen.sessions import placing, recover
from bullpen.sessions.launch import journal_of, launch
from bullpen.sessions.ledger import Ledger, check_storable
from bullpen.sessions.live import LiveSession
from bullpen.sessions.seating import Seating
from bullpen.sessions.sending import steerable, turn_of
from bullpen.sessions.stage import Stage
from bullpen.sessions.waste import delete_folder
from bullpen.sessions.wishes import Wishes, check_message

log = logging.getLogger("bullpen.sessions")


class Start:
    """One attempt to bring a session up."""

    def __init__(self, *, resume: bool, keep: bool) -> None:
        self.resume = resume
        self.keep = keep
        """Whether the session stays in the list when it does not come up."""
        self.is_unwanted = False
        """True once somebody stopped the session before it was up."""
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.fault: BullpenError | None = None


class Supervisor:
    """Keeps every session of the host. Use `open`; on exit agents are left running."""

    def __init__(self, stage: Stage, tasks: TaskGroup) -> None:
        self._stage = stage
        self._tasks = tasks
        self._ledgers: dict[str, Ledger] = {}
        self._live: dict[str, LiveSession] = {}
        self._starts: dict[str, Start] = {}
        self._wishes = Wishes(stage)
        self._disappeared = 0
        self._seating = Seating(stage)

    @classmethod
    @asynccontextmanager
    async def open(cls, stage: Stage) -> AsyncGenerator[Self]:
        """Adopt, bury or queue again what the service before us left; then supervise."""
        async with anyio.create_task_group() as tasks:
            supervisor = cls(stage, tasks)
            await supervisor._take_over()
            try:
                yield supervisor
            finally:
                with anyio.CancelScope(shield=True):
                    await supervisor._flush()
                tasks.cancel_scope.cancel()

    async def end_processes(self, *, grace: float) -> None:
        """End every process we know, for when there is no place left to record anything in."""
        async with anyio.create_task_group() as tasks:
            for live in list(self._live.values()):
                tasks.start_soon(partial(live.child.reap, grace=grace))

    async def _flush(self) -> None:
        """Let go of agents in good order: what was promised to them is written."""
        async with anyio.create_task_group() as tasks:
            for live in self._live.values():
                tasks.start_soon(live.flush)

    # ---- finding ------------------------------------------------------------------------

    async def record(self, session: str) -> SessionRecord:
        """Return the record of `session`.

        Raises:
            SessionNotFound: there is none, or it was removed.
        """
        return (await self.ledger(session)).record

    async def records(self) -> list[SessionRecord]:
        """Return all records, oldest first, as fresh as memory has them."""
        found = await self._stage.store.records()
        fresh = [self._ledgers[one.id].record if one.id in self._ledgers else one for one in found]
        return [one for one in fresh if not one.removed]

    async def ledger(self, session: str) -> Ledger:
        """Return the ledger of `session`, read from the store when it is not in memory."""
        ledger = self._ledgers.get(session)
        while ledger is None:
            before = self._disappeared
            found = await self._stage.store.records(ids=[session])
            # Somebody else may have read it, or removed it, while we waited.
            ledger = self._ledgers.get(session)
            if ledger is None and before == self._disappeared:
                if not found or found[0].removed:
                    raise SessionNotFound(session)
                ledger = self._ledgers[session] = self._open_ledger(found[0])
        _must_exist(ledger)
        return ledger

    def live(self, session: str) -> LiveSession | None:
        """Return the session's conversation while it has a process."""
        return self._live.get(session)

    # ---- creating -----------------------------------------------------------------------

    async def create(self, wanted: NewSession, *, wait: bool = True) -> tuple[SessionRecord, bool]:
        """Make a session and return it, and whether it is new.

        With `wait`, returns when the agent answered its handshake, or when the session is queued
        behind a cap; a session that does not come up leaves nothing behind and its error is
        raised. Without, returns once the wish is stored.

        Raises:
            SessionOver: somebody stopped it before it was up. It is kept, stopped.
        """
        async with self._wishes.alone(wanted.key):
            known = await self._known(wanted.key)
            ledger = known or await self._wish(wanted)
            if known is None:
                self._begin(ledger, Start(resume=False, keep=not wait))
        await self._started(ledger, wait=wait)
        return ledger.record, known is None

    async def _known(self, key: str | None) -> Ledger | None:
        """Return the session that was created with `key`."""
        found = [] if key is None else await self._stage.store.records(key=key)
        if not found:
            return None
        if found[0].removed:
            why = f"idempotency key {key!r} belongs to session {found[0].id!r}, which was removed"
            raise RequestInvalid(why)
        try:
            return await self.ledger(found[0].id)
        except SessionNotFound:
            # Gone since we looked: it never came up, or was removed.
            return await self._known(key)

    async def _wish(self, wanted: NewSession) -> Ledger:
        """Store the wish."""
        session, fact = await self._wishes.settle(wanted)
        prompts = [] if wanted.prompt is None else [TurnQueued(turn=1, text=wanted.prompt)]
        store, hub = self._stage.store, self._stage.hub
        ledger = Ledger.begin(session, fact, *prompts, store=store, hub=hub)
        self._ledgers[session] = ledger
        # A creator who is cancelled here must not leave a session that nobody ever starts.
        with anyio.CancelScope(shield=True):
            await ledger.committed()
        return ledger

    # ---- starting -----------------------------------------------------------------------

    def _begin(self, ledger: Ledger, start: Start) -> None:
        """Start the session now, or queue it and say why."""
        session = ledger.record.id
        self._starts[session] = start
        why = self._seating.take(ledger.record)
        if why is None:
            ledger.write(ledger.moved(SessionState.STARTING, "there is room"))
            self._tasks.start_soon(self._bring_up, ledger, start)
        elif ledger.record.state is SessionState.QUEUED:
            ledger.record.reason = f"queued: {why}"
        else:
            ledger.write(ledger.moved(SessionState.QUEUED, f"queued: {why}"))

    async def _started(self, ledger: Ledger, *, wait: bool) -> None:
        start = self._starts.get(ledger.record.id)
        if start is None or not wait or ledger.record.state is SessionState.QUEUED:
            return
        await start.done.wait()
        if start.fault is not None:
            raise start.fault
        await ledger.committed()

    async def _bring_up(self, ledger: Ledger, start: Start) -> None:
        session = ledger.record.id
        try:
            with start.scope:
                created = await self.created(session)
                # A conversation in which nothing was said yet is not kept by every agent, and
                # there is nothing in it to bring back.
                said = ledger.record.turn is not None
                resume = start.resume and said and ledger.record.agent_session is not None
                await launch(
                    self._stage,
                    ledger,
                    created,
                    resume=resume,
                    scope=start.scope,
                    adopt_into=self._adopt_into,
                )
        except BullpenError as fault:
            start.fault = fault
        except Exception as bug:
            log.exception("session %s could not be started", session)
            start.fault = BullpenError(f"{type(bug).__name__}: {bug}")
        await self._after_start(ledger, start)
        self._starts.pop(session, None)
        start.done.set()
        self._admit()

    async def _after_start(self, ledger: Ledger, start: Start) -> None:
        """Settle what became of an attempt to start."""
        record = ledger.record
        if self._stage.store.fault is not None:
            return
        if start.is_unwanted:
            start.fault = SessionOver(record.id, SessionState.STOPPED, _ON_REQUEST)
        if record.state in _UNSETTLED and record.id not in self._live:
            # It ended before anything was made that could have been undone.
            is_unwanted = record.state is SessionState.STOPPING
            after = SessionState.STOPPED if is_unwanted else SessionState.FAILED
            reason = _ON_REQUEST if is_unwanted else str(start.fault)
            await ledger.write(ledger.moved(after, reason)).wait()
        if record.state in OVER:
            self._seating.leave(record.id)
            if not start.keep:
                log.info("session %s did not come up: %s", record.id, start.fault)
                await self._undo_wish(ledger)

    def _adopt_into(self, live: LiveSession) -> None:
        self._live[live.record_id] = live
        self._tasks.start_soon(self._supervise, live)

    async def _supervise(self, live: LiveSession) -> None:
        session = live.record_id
        try:
            await live.run()
        except Exception as fault:
            log.exception("session %s: its supervision failed", session)
            await self._give_up(live, fault)
        del self._live[session]
        if session not in self._starts:
            self._seating.leave(session)
            self._admit()

    async def _give_up(self, live: LiveSession, fault: Exception) -> None:
        """End the agent of a session that cannot be supervised; the session is `failed`."""
        if self._stage.store.fault is None:
            await live.child.reap(grace=0)
            ledger = self._ledgers[live.record_id]
            if ledger.record.state in LIVE:
                await self._lose(ledger, _reason(fault))
        # Else nothing can be recorded any more, and the agent is left to the next service.
        live.opened.set()
        live.gone.set()

    async def _lose(self, ledger: Ledger, reason: str) -> None:
        """Record that a session failed and has no process any more."""
        record = ledger.record
        end = AgentEnded(run=record.run, exit_code=None, signal=None, stderr_tail="")
        failed = ledger.moved(SessionState.FAILED, reason)
        await ledger.write(*ledger.turn_lost(), end, failed).wait()

    def _admit(self) -> None:
        """Start queued sessions for which there is room, in order."""
        if self._stage.store.fault is not None:
            return
        for session in self._seating.admitted():
            ledger = self._ledgers[session]
            start = self._starts.setdefault(session, Start(resume=True, keep=True))
            start.keep = True
            ledger.write(ledger.moved(SessionState.STARTING, "there is room now"))
            self._tasks.start_soon(self._bring_up, ledger, start)

    # ---- ending and coming back ---------------------------------------------------------

    async def resume(
        self, session: str, *, fresh: bool = False, prompt: str | None = None
    ) -> SessionRecord:
        """Bring a session that is over back, with its conversation unless `fresh`.

        Raises:
            SessionBusy: it has a process.
            ResumeUnsupported: the agent cannot bring the conversation back. Nothing was changed.
            SessionOver: somebody stopped it before it was up.
        """
        ledger = await self.ledger(session)
        if prompt is not None:
            check_message(prompt)
        async with ledger.gate:
            await self._laid_to_rest(ledger)
            record = ledger.record
            if record.state not in OVER:
                raise SessionBusy(session, record.state)
            profile = self._stage.catalog.find(record.agent)
            able = set(record.abilities or profile.abilities) & {"resume", "load"}
            if not fresh and record.agent_session is not None and not able:
                raise ResumeUnsupported(session, record.agent)
            if prompt is not None:
                ledger.write(TurnQueued(turn=record.turns + 1, text=prompt))
            self._begin(ledger, Start(resume=not fresh, keep=True))
            await self._started(ledger, wait=True)
        return ledger.record

    async def stop(self, session: str, *, grace: float | None = None) -> SessionRecord:
        """End the session's process; the session may be resumed. A second call does nothing.

        A session that failed or was lost is laid to rest: it is `stopped` and leaves the lists.
        """
        ledger = await self.ledger(session)
        grace = self._stage.settings.stop_grace if grace is None else grace
        start = self._starts.get(session)
        if start is not None and ledger.record.state in _UNSETTLED:
            await self._call_off(ledger, start, grace=grace)
        if ledger.record.state is SessionState.QUEUED:
            self._seating.leave(session)
            self._starts.pop(session, None)
            ledger.write(ledger.moved(SessionState.STOPPED, _ON_REQUEST))
        live = self._live.get(session)
        if live is not None:
            await live.end(grace=grace, reason=_ON_REQUEST)
        elif ledger.record.state in OVER - {SessionState.STOPPED}:
            ledger.write(ledger.moved(SessionState.STOPPED, "laid to rest on request"))
        await ledger.committed()
        return ledger.record

    async def _call_off(self, ledger: Ledger, start: Start, *, grace: float) -> None:
        """Stop a session that is not up yet; what was made for it is undone."""
        if ledger.record.state is SessionState.STARTING:
            ledger.write(ledger.moved(SessionState.STOPPING, _ON_REQUEST))
        start.keep = start.is_unwanted = True
        start.scope.cancel()
        live = self._live.get(ledger.record.id)
        if live is not None:
            await live.child.reap(grace=grace)
        await start.done.wait()

    async def _laid_to_rest(self, ledger: Ledger) -> None:
        """Return when nothing is left to do for a process that has died.

        Raises:
            SessionNotFound: the session was removed while we waited for it.
        """
        live = self._live.get(ledger.record.id)
        if live is not None and ledger.record.state in OVER:
            await live.gone.wait()
        _must_exist(ledger)

    async def remove(self, session: str, *, force: bool = False) -> str | None:
        """Take a session that is over out of the lists, with its worktree and its journal.

        Returns the ref that keeps what was not merged, None when there was nothing to keep. The
        id is never used again; the session's events stay in the store.

        Raises:
            SessionBusy: it has a process.
            WorkUnsaved: see `placing.remove`. Nothing was changed.
        """
        ledger = await self.ledger(session)
        async with ledger.gate:
            await self._laid_to_rest(ledger)
            if ledger.record.state not in OVER | {SessionState.QUEUED}:
                raise SessionBusy(session, ledger.record.state)
            removed = await self._cleared(ledger, force=force)
            with anyio.CancelScope(shield=True):
                if removed is not None:
                    ledger.write(removed)
                await self._forget(ledger)
        return removed.rescue if removed else None

    async def _cleared(self, ledger: Ledger, *, force: bool) -> PlaceRemoved | None:
        """Take the session's place away, and see that the session does not start meanwhile."""
        record = ledger.record
        self._seating.leave(record.id)
        try:
            removed = await placing.remove(self._stage, ledger, force=force)
        except BaseException:
            if record.state is SessionState.QUEUED:
                self._seating.wait(record)
                self._admit()
            raise
        self._starts.pop(record.id, None)
        return removed

    async def rename(self, session: str, title: str) -> SessionRecord:
        """Give the session another title."""
        ledger = await self.ledger(session)
        renamed = SessionRenamed(title=title)
        check_storable(renamed)
        await ledger.write(renamed).wait()
        return ledger.record

    async def send(
        self,
        session: str,
        text: str,
        *,
        key: str | None = None,
        sender: str | None = None,
        replace: bool = False,
        steer: bool = False,
    ) -> int:
        """Queue a prompt and return the number of its turn once it is committed.

        A session that is queued or starting takes prompts too. A second call with the same `key`
        returns the first turn. With `steer` the words go to the running turn at once, and its
        number is returned; where none runs they are a prompt like any other.

        Raises:
            MessageInvalid: it is empty.
            SessionOver: the session has no process and none is coming. Nothing was queued.
            SteerUnsupported: the running turn takes no words. Nothing was queued.
        """
        check_message(text)
        ledger = await self.ledger(session)

        async def submit() -> int:
            live = steerable(ledger, self._live.get(session)) if steer else None
            if live is None:
                return await self._submit(ledger, text, key=key, sender=sender, replace=replace)
            turn, ticket = live.steer(text, key=key, sender=sender)
            await ticket.wait()
            return turn

        if key is None:
            return await submit()
        async with ledger.sending:
            known = await turn_of(self._stage.store, session, key)
            return known if known is not None else await submit()

    async def _submit(
        self, ledger: Ledger, text: str, *, key: str | None, sender: str | None, replace: bool
    ) -> int:
        record = ledger.record
        live = self._live.get(record.id)
        if live is not None and record.state not in OVER | {SessionState.STOPPING}:
            turn, ticket = live.submit(text, key=key, sender=sender, replace=replace)
        elif record.state in (SessionState.QUEUED, SessionState.STARTING):
            turn = record.turns + 1
            reason = f"replaced by turn {turn}"
            over = record.queue if replace else []
            withdrawn = [TurnWithdrawn(turn=number, reason=reason) for number in over]
            queued = TurnQueued(turn=turn, text=text, key=key, sender=sender)
            ticket = ledger.write(*withdrawn, queued)
        else:
            raise SessionOver(record.id, record.state, record.reason)
        await ticket.wait()
        return turn

    def running(self, ledger: Ledger) -> LiveSession:
        """Return the live session behind a ledger.

        Raises:
            SessionOver: it has no process.
        """
        live = self._live.get(ledger.record.id)
        if live is None:
            raise SessionOver(ledger.record.id, ledger.record.state, ledger.record.reason)
        return live

    async def _undo_wish(self, ledger: Ledger) -> None:
        """Leave nothing of a session that never came up, so even its id may be asked for again."""
        session = ledger.record.id
        ledger.close()
        await delete_folder(journal_of(self._stage, session).folder)
        await ledger.purge().wait()
        self._drop(session)
        self._wishes.release(session)

    async def _forget(self, ledger: Ledger) -> None:
        session = ledger.record.id
        removal = ledger.write(SessionRemoved())
        ledger.close()
        await removal.wait()
        await delete_folder(journal_of(self._stage, session).folder)
        self._drop(session)

    def _drop(self, session: str) -> None:
        self._disappeared += 1
        self._ledgers.pop(session, None)

    # ---- taking over --------------------------------------------------------------------

    async def _take_over(self) -> None:
        states = [state.value for state in LIVE | {SessionState.QUEUED}]
        found = await self._stage.store.records(states=states)
        for record in found:
            self._ledgers[record.id] = self._open_ledger(record)
        async with anyio.create_task_group() as tasks:
            for record in found:
                tasks.start_soon(self._take_over_one, self._ledgers[record.id])
        self._admit()

    async def _take_over_one(self, ledger: Ledger) -> None:
        record = ledger.record
        if record.state is SessionState.QUEUED:
            self._seating.wait(record)
            return
        child = None
        try:
            created = await self.created(record.id)
            child = await recover.find(self._stage, ledger)
            await self._taken_over(ledger, created, child)
        except Exception as fault:
            if child is not None:
                child.close()
            if self._stage.store.fault is not None:
                # Not the session's fault; its agent is left to a service that can record.
                raise
            # One damaged session must not keep the service from all the others.
            log.exception("session %s cannot be taken over", record.id)
            await recover.end_leftovers(self._stage, ledger)
            await self._lose(ledger, f"cannot be taken over: {_reason(fault)}")

    async def _taken_over(
        self, ledger: Ledger, created: SessionCreated, child: Child | None
    ) -> None:
        record = ledger.record
        if record.state in _UNSETTLED:
            if child is not None:
                await child.reap(grace=self._stage.settings.stop_grace)
                child.close()
            await recover.end_leftovers(self._stage, ledger)
            if record.state is SessionState.STARTING:
                ledger.write(ledger.moved(SessionState.QUEUED, "the service died over its start"))
                self._seating.wait(record)
                return
            child = None
        if child is None:
            await recover.bury(self._stage, ledger, created)
            return
        live = await recover.readopt(self._stage, ledger, recover.Found(child, created))
        self._seating.keep(record)
        self._adopt_into(live)

    def _open_ledger(self, record: SessionRecord) -> Ledger:
        return Ledger(record, store=self._stage.store, hub=self._stage.hub)

    async def created(self, session: str) -> SessionCreated:
        """Return the wish the session began with."""
        event = await self._stage.store.first_fact(session, kind="session-created")
        if event is None:
            raise StoreDamaged("events", f"the story of session {session!r} has no beginning")
        assert isinstance(event.fact, SessionCreated), "asked for by kind"
        return event.fact


_ON_REQUEST = "ended on request"
_UNSETTLED = frozenset({SessionState.STARTING, SessionState.STOPPING})


def _must_exist(ledger: Ledger) -> None:
    if ledger.is_closed:
        raise SessionNotFound(ledger.record.id)


def _reason(fault: BaseException) -> str:
    if isinstance(fault, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", fault)
        return _reason(group.exceptions[0])
    return str(fault) if isinstance(fault, BullpenError) else "a bug in bullpen, see service.log"
