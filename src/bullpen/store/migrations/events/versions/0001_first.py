"""The first tables: events, progress, intents."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "events",
        sa.Column("session", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("events_by_kind", "events", ["session", "kind", "seq"])
    op.create_table(
        "progress",
        sa.Column("session", sa.String, primary_key=True),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column(
            "snapshot_offset", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False
        ),
        sa.Column("snapshot", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "intents",
        sa.Column("session", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("turn", sa.Integer),
        sa.Column("body", sa.LargeBinary),
        sa.Column("at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
