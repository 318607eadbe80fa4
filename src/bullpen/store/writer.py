"""The one writer: a thread that commits whatever is waiting as one transaction.

Events go first, with the journal offset they were read up to and the intents that follow from
them; the state rows follow in a second transaction. A crash between the two leaves the state
behind, and opening the store reads the missing events again.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from bullpen.errors import StoreRefused
from bullpen.model.fact import Event, encode_fact
from bullpen.model.session import SessionRecord
from bullpen.store.engine import shown
from bullpen.store.schema import events, intents, progress, sessions

log = logging.getLogger("bullpen.store")

_MOST_AT_ONCE = 2000
# Batches per transaction: bounds how long a waiter can be kept by the batches behind it.


class Progress(msgspec.Struct, frozen=True):
    """How far a journal was read. `snapshot` None leaves the stored one as it is."""

    run: int
    offset: int
    snapshot: bytes | None = None


class NewIntent(msgspec.Struct, frozen=True):
    """Something about to be written to an agent."""

    number: int
    run: int
    kind: str
    turn: int | None
    body: bytes | None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is committed together, or not at all."""

    session: str
    events: Sequence[Event] = ()
    progress: Progress | None = None
    intents: Sequence[NewIntent] = ()
    written: Sequence[int] = ()
    """Numbers of intents that are no longer open."""
    record: bytes | None = None
    """The session's record after these events, as JSON."""
    is_purge: bool = False
    """Delete all there is of a session that never came up; nothing else is in such a batch."""


class Ticket:
    """A promise that a batch will be committed."""

    __slots__ = ("_done", "_fault")

    def __init__(self) -> None:
        self._done = anyio.Event()
        self._fault: StoreRefused | None = None

    async def wait(self) -> None:
        """Return when the batch is committed.

        Raises:
            StoreRefused: it never will be.
        """
        await self._done.wait()
        if self._fault is not None:
            raise self._fault

    @property
    def is_done(self) -> bool:
        """Whether the batch is committed or refused."""
        return self._done.is_set()

    def settle(self, fault: StoreRefused | None) -> None:
        """Release those who wait."""
        self._fault = fault
        self._done.set()


class _Entry(msgspec.Struct):
    batch: Batch
    ticket: Ticket
    after: Callable[[], None] | None


class Writer:
    """Commits batches in the order they were added. One per store."""

    def __init__(self, events_engine: Engine, state_engine: Engine) -> None:
        self._events_engine = events_engine
        self._state_engine = state_engine
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._token = anyio.lowlevel.current_token()
        self._thread = threading.Thread(target=self._work, name="bullpen-writer", daemon=True)
        self.fault: StoreRefused | None = None
        """Why the database refused; None while it does not."""
        self.on_fault: Callable[[StoreRefused], None] | None = None
        """Called once, in the loop, when the database refused; nothing is committed after that."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, batch: Batch, *, after: Callable[[], None] | None = None) -> Ticket:
        """Queue `batch` for the next commit. `after` is called in the loop once it is committed,
        in the order of the batches, before the ticket is released."""
        ticket = Ticket()
        if self.fault is not None:
            ticket.settle(self.fault)
        else:
            self._queue.put(_Entry(batch, ticket, after))
        return ticket

    async def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join)

    def _work(self) -> None:
        ended = False
        while not ended:
            entries: list[_Entry] = []
            entry = self._queue.get()
            while entry is not None:
                entries.append(entry)
                if len(entries) >= _MOST_AT_ONCE:
                    break
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            ended = entry is None
            if entries:
                self._commit(entries)

    def _commit(self, entries: list[_Entry]) -> None:
        batches = [entry.batch for entry in entries]
        fault = self.fault = self.fault or self._try(batches)
        try:
            anyio.from_thread.run_sync(self._release, entries, fault, token=self._token)
        except RuntimeError:
            # The loop is gone; so is everybody who could wait.
            return

    def _try(self, batches: Sequence[Batch]) -> StoreRefused | None:
        try:
            _write_events(self._events_engine, batches)
            _write_state(self._state_engine, batches)
        except SQLAlchemyError as refusal:
            why = " ".join(str(getattr(refusal, "orig", None) or refusal).split())
            return StoreRefused(shown(self._events_engine), why)
        except Exception as bug:
            # The thread must live, or everybody who waits for a commit would wait for ever.
            log.exception("a batch could not be written")
            return StoreRefused(shown(self._events_engine), type(bug).__name__)
        return None

    def _release(self, entries: list[_Entry], fault: StoreRefused | None) -> None:
        for entry in entries:
            if fault is None and entry.after is not None:
                entry.after()
            entry.ticket.settle(fault)
        if fault is not None and self.on_fault is not None:
            call, self.on_fault = self.on_fault, None
            call(fault)


def _write_events(engine: Engine, batches: Sequence[Batch]) -> None:
    batches = _after_purges(batches)
    with engine.begin() as connection:
        purged = [batch.session for batch in batches if batch.is_purge]
        for table in (events, progress, intents) if purged else ():
            connection.execute(sa.delete(table).where(table.c.session.in_(purged)))
        _insert_events(connection, [event for batch in batches for event in batch.events])
        for batch in batches:
            if batch.written:
                connection.execute(
                    sa.delete(intents).where(
                        intents.c.session == batch.session, intents.c.number.in_(batch.written)
                    )
                )
        new = [_intent_row(batch, one) for batch in batches for one in batch.intents]
        gone = {(batch.session, number) for batch in batches for number in batch.written}
        new = [row for row in new if (row["session"], row["number"]) not in gone]
        if new:
            connection.execute(sa.insert(intents), new)
        _write_progress(connection, batches)


def _after_purges(batches: Sequence[Batch]) -> list[Batch]:
    """Drop what a purge in the same transaction makes pointless."""
    last = {batch.session: index for index, batch in enumerate(batches) if batch.is_purge}
    return [batch for index, batch in enumerate(batches) if index >= last.get(batch.session, -1)]


def _insert_events(connection: Connection, added: Sequence[Event]) -> None:
    rows = [_event_row(event) for event in added]
    if rows and connection.dialect.name == "sqlite":
        # To the driver as they are: arranging each row by name would cost as much time as SQLite
        # takes to store it, and a noisy agent's neighbours wait for its commits.
        connection.exec_driver_sql(_INSERT_EVENT, rows)
    elif rows:
        names = events.c.keys()
        named = [dict(zip(names, row, strict=True)) for row in rows]
        connection.execute(sa.insert(events), named)


def _event_row(event: Event) -> tuple[Any, ...]:
    """Return the columns of `events`, in the order of the table."""
    fact = event.fact
    body = encode_fact(fact).decode()
    return event.session, event.seq, event.at, fact.__struct_config__.tag, body


_INSERT_EVENT = str(sa.insert(events).compile(dialect=sqlite.dialect()))


def _intent_row(batch: Batch, intent: NewIntent) -> dict[str, Any]:
    return {
        "session": batch.session,
        "number": intent.number,
        "run": intent.run,
        "kind": intent.kind,
        "turn": intent.turn,
        "body": intent.body,
        "at": batch.events[-1].at if batch.events else 0.0,
    }


def _write_progress(connection: Connection, batches: Sequence[Batch]) -> None:
    last: dict[str, Progress] = {}
    snapshots: dict[str, Progress] = {}
    for batch in batches:
        if batch.progress is not None:
            last[batch.session] = batch.progress
            if batch.progress.snapshot is not None:
                snapshots[batch.session] = batch.progress
    plain: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    for session, now in last.items():
        row: dict[str, Any] = {"session": session, "run": now.run, "offset": now.offset}
        taken = snapshots.get(session)
        if taken is None:
            plain.append(row | {"snapshot_offset": now.offset, "snapshot": None})
        else:
            whole.append(row | {"snapshot_offset": taken.offset, "snapshot": taken.snapshot})
    _upsert(connection, progress, plain, changes=("run", "offset"))
    _upsert(connection, progress, whole, changes=("run", "offset", "snapshot_offset", "snapshot"))


def _write_state(engine: Engine, batches: Sequence[Batch]) -> None:
    batches = _after_purges(batches)
    purged = [batch.session for batch in batches if batch.is_purge]
    records = {batch.session: batch.record for batch in batches if batch.record is not None}
    if not records and not purged:
        return
    with engine.begin() as connection:
        if purged:
            connection.execute(sa.delete(sessions).where(sessions.c.id.in_(purged)))
        write_sessions(connection, [session_row(record) for record in records.values()])


def session_row(record: bytes) -> dict[str, Any]:
    """Return the row of the `sessions` table for a record in JSON."""
    read = _record_decoder.decode(record)
    return {
        "id": read.id,
        "key": read.key,
        "state": read.state.value,
        "agent": read.agent,
        "directory": read.directory,
        "parent": read.parent,
        "created_at": read.created_at,
        "used_at": read.used_at,
        "seq": read.seq,
        "removed": read.removed,
        "record": record.decode(),
    }


_record_decoder = msgspec.json.Decoder(SessionRecord)


def write_sessions(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of the `sessions` table, or replace those that were read from fewer events."""
    changes = ("state", "used_at", "seq", "removed", "record")
    _upsert(connection, sessions, rows, changes=changes, key="id", age="seq")


def _upsert(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[dict[str, Any]],
    *,
    changes: Sequence[str],
    key: str = "session",
    age: str | None = None,
) -> None:
    if not rows:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=[key],
        set_={name: statement.excluded[name] for name in changes},
        where=None if age is None else statement.excluded[age] >= table.c[age],
    )
    connection.execute(statement, list(rows))
