"""The store as the brains see it: add batches, read events and records."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio.to_thread
import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from bullpen.errors import StoreDamaged, StoreRefused, StoreUnavailable
from bullpen.model.fact import Event, Unrecognised, decode_fact
from bullpen.model.session import SessionRecord
from bullpen.model.story import apply
from bullpen.store.engine import held_alone, open_engine, sqlite_url
from bullpen.store.schema import events, intents, progress, sessions
from bullpen.store.writer import Batch, Ticket, Writer, session_row, write_sessions

_PAGE = 2000
_Read = TypeVar("_Read")


class StoredProgress(msgspec.Struct, frozen=True):
    """How far a session's journal was read, and the dialect's state on the way."""

    run: int
    offset: int
    snapshot_offset: int
    snapshot: bytes | None


class UnwrittenIntent(msgspec.Struct, frozen=True):
    """Something we meant to write to an agent and may not have written."""

    number: int
    run: int
    kind: str
    turn: int | None
    body: bytes | None


class Store:
    """Events and records of one host. One process at a time holds it."""

    def __init__(self, events_engine: Engine, state_engine: Engine) -> None:
        self._events = events_engine
        self._state = state_engine
        self._writer = Writer(events_engine, state_engine)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, *, lock: Path, url: str | None = None
    ) -> AsyncGenerator[Self]:
        """Open (or make) the databases in `folder`, or both groups at the Postgres `url`.

        Brings the schema up to date and the state rows up to their events. On exit, what was
        added is committed.

        Raises:
            StoreLocked: another process holds `lock`.
            StoreTooNew, StoreDamaged, StoreUnavailable: see there. Nothing was changed.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        with held_alone(lock):
            store = cls(
                open_engine(url or sqlite_url(folder / "events.db"), group="events"),
                open_engine(url or sqlite_url(folder / "state.db"), group="state"),
            )
            try:
                await anyio.to_thread.run_sync(store.catch_up)
                store._writer.start()
                try:
                    yield store
                finally:
                    await store._writer.close()
            finally:
                store._events.dispose()
                store._state.dispose()

    def add(self, batch: Batch, *, after: Callable[[], None] | None = None) -> Ticket:
        """See `Writer.add`."""
        return self._writer.add(batch, after=after)

    def on_fault(self, call: Callable[[StoreRefused], None]) -> None:
        """Have `call` run in the loop when the database refuses a commit."""
        self._writer.on_fault = call

    @property
    def fault(self) -> StoreRefused | None:
        """Why the database refused a commit; None while it takes them."""
        return self._writer.fault

    # ---- reads; each runs in a thread ---------------------------------------------------

    async def events(
        self, session: str, *, after: int = 0, limit: int = _PAGE, kinds: Sequence[str] = ()
    ) -> list[Event]:
        """Return up to `limit` events of `session` with a `seq` above `after`, in order."""
        return await self._reading(partial(self._read_events, session, after, limit, kinds))

    async def last_events(
        self, session: str, *, kinds: Sequence[str], limit: int, before: int | None = None
    ) -> list[Event]:
        """Return the newest `limit` events of `kinds` below seq `before`, newest first."""

        def read() -> list[Event]:
            query = (
                sa.select(events)
                .where(events.c.session == session, events.c.kind.in_(kinds))
                .order_by(events.c.seq.desc())
                .limit(limit)
            )
            if before is not None:
                query = query.where(events.c.seq < before)
            with self._events.connect() as connection:
                return [_event(row) for row in connection.execute(query).mappings()]

        return await self._reading(read)

    async def events_of(self, *, kinds: Sequence[str], since: float = 0.0) -> list[Event]:
        """Return the events of `kinds` of all sessions from `since` on, oldest first."""

        def read() -> list[Event]:
            query = (
                sa.select(events)
                .where(events.c.kind.in_(kinds), events.c.at >= since)
                .order_by(events.c.at, events.c.session, events.c.seq)
            )
            with self._events.connect() as connection:
                return [_event(row) for row in connection.execute(query).mappings()]

        return await self._reading(read)

    async def first_fact(self, session: str, *, kind: str) -> Event | None:
        """Return the first event of `kind`."""
        found = await self.events(session, limit=1, kinds=(kind,))
        return found[0] if found else None

    async def progress(self, session: str) -> StoredProgress | None:
        """Return how far the journal of `session` was read."""

        def read() -> StoredProgress | None:
            query = sa.select(progress).where(progress.c.session == session)
            with self._events.connect() as connection:
                row = connection.execute(query).mappings().first()
            if row is None:
                return None
            return StoredProgress(
                row["run"], row["offset"], row["snapshot_offset"], row["snapshot"]
            )

        return await self._reading(read)

    async def unwritten(self, session: str) -> list[UnwrittenIntent]:
        """Return the open intents of `session`, oldest first."""

        def read() -> list[UnwrittenIntent]:
            query = (
                sa.select(intents).where(intents.c.session == session).order_by(intents.c.number)
            )
            with self._events.connect() as connection:
                return [
                    UnwrittenIntent(
                        row["number"], row["run"], row["kind"], row["turn"], row["body"]
                    )
                    for row in connection.execute(query).mappings()
                ]

        return await self._reading(read)

    async def records(
        self, *, states: Sequence[str] = (), ids: Sequence[str] = (), key: str | None = None
    ) -> list[SessionRecord]:
        """Return records, removed ones only when asked for by id or key, oldest first."""

        def read() -> list[SessionRecord]:
            query = sa.select(sessions.c.record).order_by(sessions.c.created_at, sessions.c.id)
            if ids:
                query = query.where(sessions.c.id.in_(ids))
            elif key is not None:
                query = query.where(sessions.c.key == key)
            else:
                query = query.where(sessions.c.removed.is_(False))
            if states:
                query = query.where(sessions.c.state.in_(states))
            with self._state.connect() as connection:
                return [_decoder.decode(raw) for raw in connection.scalars(query)]

        return await self._reading(read)

    async def _reading(self, read: Callable[[], _Read]) -> _Read:
        """Run a read in a thread.

        Raises:
            StoreUnavailable: the database cannot be read, for instance because the disk is full.
        """
        try:
            return await anyio.to_thread.run_sync(read)
        except DatabaseError as fault:
            name = self._events.url.database or "events"
            raise StoreUnavailable(name, str(fault.orig or fault)) from fault

    # ---- upkeep -------------------------------------------------------------------------

    def catch_up(self) -> int:
        """Apply events the state rows have not seen; return how many. Called before writing."""
        seen = self._seen()
        count = 0
        with self._events.connect() as connection:
            newest = connection.execute(
                sa.select(events.c.session, sa.func.max(events.c.seq)).group_by(events.c.session)
            ).all()
        behind = [
            (session, seen.get(session, 0)) for session, seq in newest if seq > seen.get(session, 0)
        ]
        for session, known in behind:
            count += self._apply(session, known)
        return count

    def rebuild(self) -> int:
        """Make every state row anew from the events; return how many rows there are."""
        with self._events.connect() as connection:
            names = list(connection.scalars(sa.select(events.c.session).distinct()))
        with self._state.begin() as connection:
            connection.execute(sa.delete(sessions))
        for session in names:
            self._apply(session, 0)
        return len(names)

    def check(self) -> list[StoreDamaged]:
        """Return what the databases' own integrity checks and our gap check complain about."""
        faults: list[StoreDamaged] = []
        for engine in (self._events, self._state):
            if engine.dialect.name == "sqlite":
                with engine.connect() as connection:
                    said = connection.exec_driver_sql("PRAGMA quick_check").scalar()
                if said != "ok":
                    faults.append(StoreDamaged(engine.url.database or "", str(said)))
        query = (
            sa.select(events.c.session, sa.func.count(), sa.func.max(events.c.seq))
            .group_by(events.c.session)
            .having(sa.func.count() != sa.func.max(events.c.seq))
        )
        with self._events.connect() as connection:
            faults.extend(
                StoreDamaged("events", f"session {name!r} has {count} events up to number {top}")
                for name, count, top in connection.execute(query)
            )
        return faults

    def _seen(self) -> dict[str, int]:
        """Return up to which event each row is. One that cannot be read has seen nothing."""
        columns = (sessions.c.id, sessions.c.seq, sessions.c.removed, sessions.c.record)
        with self._state.connect() as connection:
            rows = connection.execute(sa.select(*columns))
            return {row.id: row.seq for row in rows if row.removed or _is_readable(row.record)}

    def _apply(self, session: str, known: int) -> int:
        record: SessionRecord | None = None
        if known:
            with self._state.connect() as connection:
                query = sa.select(sessions.c.record).where(sessions.c.id == session)
                record = _decoder.decode(connection.scalar(query) or "")
        count = 0
        while page := self._read_events(session, known, _PAGE, ()):
            for event in page:
                record = apply(record, event)
            known = page[-1].seq
            count += len(page)
        if record is not None:
            with self._state.begin() as connection:
                write_sessions(connection, [session_row(msgspec.json.encode(record))])
        return count

    def _read_events(
        self, session: str, after: int, limit: int, kinds: Sequence[str]
    ) -> list[Event]:
        query = (
            sa.select(events)
            .where(events.c.session == session, events.c.seq > after)
            .order_by(events.c.seq)
            .limit(limit)
        )
        if kinds:
            query = query.where(events.c.kind.in_(kinds))
        with self._events.connect() as connection:
            return [_event(row) for row in connection.execute(query).mappings()]


_decoder = msgspec.json.Decoder(SessionRecord)


def _is_readable(record: str) -> bool:
    try:
        _decoder.decode(record)
    except msgspec.MsgspecError:
        return False
    return True


def _event(row: Any) -> Event:
    try:
        fact = decode_fact(row["body"])
    except msgspec.ValidationError:
        # Another version knows other facts; it must not cost us the session to read them.
        fact = Unrecognised(what=row["kind"], raw=msgspec.json.decode(row["body"]))
    return Event(row["session"], row["seq"], row["at"], fact)
