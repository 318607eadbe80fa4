"""Bring a database to this version's schema. Imported only when one is behind: alembic is slow
to load, and a service that finds its files up to date does not need it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, *, group: str) -> None:
    """Run the migrations of `group` (`events` or `state`) up to the newest.

    The caller commits; a failure in the middle leaves the database as it was.
    """
    config = Config()
    config.set_main_option("script_location", str(_FOLDER / group).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
