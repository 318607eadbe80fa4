"""What all tests share."""

import signal
from pathlib import Path

import pytest

from kit.world import World

pytest_plugins = ["kit.leftovers", "kit.contract_table"]


# A job in the background of a script ignores Ctrl-C, and so would all it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """The web server and the protocol's own package both live on asyncio."""
    return "asyncio"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Folders and environment of a host of the test's own."""
    return World(tmp_path)
