"""The tables. Migrations make them; a test holds both to the same shape.

Two groups, because events must not compete with state changes for SQLite's one write lock:
`events` are the truth, `state` is derived from them and can be rebuilt.
"""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

EVENTS = MetaData()
STATE = MetaData()

events = Table(
    "events",
    EVENTS,
    Column("session", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
    Index("events_by_kind", "session", "kind", "seq"),
    sqlite_with_rowid=False,
)
"""`body` is the fact as JSON, its `kind` included."""

progress = Table(
    "progress",
    EVENTS,
    Column("session", String, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("offset", Integer, nullable=False),
    Column("snapshot_offset", Integer, nullable=False),
    Column("snapshot", LargeBinary),
    sqlite_with_rowid=False,
)
"""How far the journal was read: committed with the events read up to `offset`. The dialect's
`snapshot` was taken at `snapshot_offset`; from there to `offset` it must be fed again."""

intents = Table(
    "intents",
    EVENTS,
    Column("session", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("turn", Integer),
    Column("body", LargeBinary),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""What we are about to write to an agent; the row goes when it is written. A prompt's body is
made again from its turn, all other bodies are kept."""

sessions = Table(
    "sessions",
    STATE,
    Column("id", String, primary_key=True),
    Column("key", String, unique=True),
    Column("state", String, nullable=False),
    Column("agent", String, nullable=False),
    Column("directory", String, nullable=False),
    Column("parent", String),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    Index("sessions_by_state", "removed", "state"),
)
"""`record` is the whole `SessionRecord` as JSON; the other columns are there to select by."""
