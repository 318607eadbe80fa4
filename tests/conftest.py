"""What all tests share."""

from pathlib import Path

import pytest

from kit.world import World

pytest_plugins = ["kit.leftovers", "kit.contract_table"]


@pytest.fixture
def anyio_backend() -> str:
    """The web server and the protocol's own package both live on asyncio."""
    return "asyncio"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Folders and environment of a host of the test's own."""
    return World(tmp_path)
