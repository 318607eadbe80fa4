"""Runs the migrations of the state tables on the connection it is given."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_state",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
