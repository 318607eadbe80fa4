"""Opening the databases: pragmas, version check, the lock that keeps a second service out."""

import fcntl
import importlib
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine, event
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from bullpen.errors import StoreDamaged, StoreLocked, StoreTooNew, StoreUnavailable

HEADS = {"events": "0001", "state": "0001"}
"""The newest migration of each group; a test holds it to the files."""

_LAST_BREATH = 3.0
# Seconds for a lock whose holder is dead: a child that was being forked as it was killed has it
# until the child becomes another program.

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # A commit must survive our death, not the machine's: the journal files of the agents are
    # still there after a power cut, and WAL keeps the file consistent.
    "PRAGMA synchronous=NORMAL",
    "PRAGMA busy_timeout=10000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=67108864",
)


@contextmanager
def held_alone(lock: Path) -> Generator[None]:
    """Hold `lock` as the only process on this host; our pid stands in the file.

    Raises:
        StoreLocked: another process holds it. Nothing was changed.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _LAST_BREATH
        while not _locked(descriptor):
            holder = _holder(descriptor)
            if holder is None or _is_alive(holder) or time.monotonic() > until:
                raise StoreLocked(lock.parent, holder)
            time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> int | None:
    said = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(said) if said.isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def open_engine(url: str, *, group: str) -> Engine:
    """Return an engine for the tables of `group` at this version's schema.

    Raises:
        StoreTooNew: a newer version wrote the database. Nothing was changed.
        StoreUnavailable: the file or the server cannot be reached, or the URL means nothing.
        StoreDamaged: the file is no database.
    """
    engine = _made(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
    try:
        _bring_up(engine, group=group)
    except OperationalError as fault:
        engine.dispose()
        raise StoreUnavailable(shown(engine), " ".join(str(fault.orig).split())) from fault
    except DatabaseError as fault:
        engine.dispose()
        raise StoreDamaged(shown(engine), str(fault.orig)) from fault
    except BaseException:
        engine.dispose()
        raise
    return engine


def _made(url: str) -> Engine:
    try:
        return sa.create_engine(url, pool_size=4, max_overflow=12)
    except (ArgumentError, ModuleNotFoundError, TypeError) as fault:
        # No URL, no such kind of database, its driver is not installed, or it is no server's.
        name = sa.engine.url.make_url(url).database if "://" in url else None
        raise StoreUnavailable(name or "database", " ".join(str(fault).split())) from fault


def sqlite_url(file: Path) -> str:
    """Return the URL of the database `file`, which need not exist."""
    return sa.URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def _configure(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late and only for writes; we begin them ourselves.
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _bring_up(engine: Engine, *, group: str) -> None:
    revision = _revision(engine, group=group)
    if revision == HEADS[group]:
        return
    if revision is not None and revision > HEADS[group]:
        raise StoreTooNew(shown(engine), revision)
    migrate = importlib.import_module("bullpen.store.migrate")
    with engine.begin() as connection:
        migrate.upgrade(connection, group=group)


def _revision(engine: Engine, *, group: str) -> str | None:
    table = f"alembic_{group}"
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(table):
            return None
        return connection.scalar(sa.text(f"SELECT version_num FROM {table}"))


def shown(engine: Engine) -> str:
    """Return what people call the database: its file, or its name; never a password."""
    return engine.url.database or str(engine.url)
