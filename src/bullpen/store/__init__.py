"""Events and the tables read from them: SQLite by default, Postgres by URL, one writer.

Owns: the schema and its migrations, the writer thread that commits in groups, the reads.
Refuses: meaning; it stores facts and records and knows no rule about them. Confines sqlalchemy
and alembic.
"""

from bullpen.store.store import Store, StoredProgress, UnwrittenIntent
from bullpen.store.writer import Batch, NewIntent, Progress, Ticket

__all__ = [
    "Batch",
    "NewIntent",
    "Progress",
    "Store",
    "StoredProgress",
    "Ticket",
    "UnwrittenIntent",
]
