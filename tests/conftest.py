"""What all tests share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The web server and the protocol's own package both live on asyncio."""
    return "asyncio"
