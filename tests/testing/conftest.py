"""The demo agent as a real process, with its own home and git identity."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

import bullpen.testing
from bullpen.testing.line_client import LineClient, line_client

PROGRAM = Path(bullpen.testing.__file__).with_name("demo_agent.py")
Launch = Callable[..., AbstractAsyncContextManager[LineClient]]


@pytest.fixture
def argv() -> list[str]:
    return [sys.executable, "-I", str(PROGRAM)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the agent sees: nothing of the configuration of whoever runs the tests."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "BULLPEN_DEMO_HOME": str(tmp_path / "conversations"),
    }


@pytest.fixture
def launch(argv: list[str], environment: dict[str, str], tmp_path: Path) -> Launch:
    def start(**more: str) -> AbstractAsyncContextManager[LineClient]:
        return line_client(argv, env=environment | more, stderr=tmp_path / "stderr")

    return start


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
async def agent(launch: Launch, cwd: Path) -> AsyncIterator[LineClient]:
    """An agent with an open conversation in `cwd`, whose client takes every kind of question."""
    async with launch() as client:
        yield await client.open(cwd, elicitation={"form": {}, "url": {}})
