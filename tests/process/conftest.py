"""A journal, a watcher, and agents that are ended whatever happens."""

import os
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from bullpen.process import Child, Follower, Journal, Watcher, spawn, whole_environment

ALARM = "import signal; signal.alarm(60)\n"


class Stage:
    """One session's journal and the agents started on it."""

    def __init__(self, folder: Path, watcher: Watcher) -> None:
        self.folder = folder
        self.watcher = watcher
        self.journal = Journal(folder / "sessions" / "brisk-otter")
        self.env = whole_environment(os.environ)
        self.children: list[Child] = []
        self.before = self.descriptors()

    @staticmethod
    def descriptors() -> set[str]:
        """Return the descriptors this process has open."""
        return {path.name for path in Path("/dev/fd").iterdir()}

    async def start(
        self, argv: Sequence[str], *, run: int = 1, env: dict[str, str] | None = None
    ) -> tuple[Child, Follower]:
        """Prepare the journal, start `argv` on it and follow its output."""
        offset = self.journal.prepare(run=run)
        child = await spawn(
            argv,
            journal=self.journal,
            run=run,
            cwd=self.folder,
            env={**self.env, **(env or {})},
            watcher=self.watcher,
        )
        self.children.append(child)
        return child, child.follow(offset)

    async def python(self, body: str, *, run: int = 1) -> tuple[Child, Follower]:
        """`start` a Python program that ends by itself after a minute."""
        return await self.start([sys.executable, "-S", "-u", "-c", ALARM + body], run=run)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with Watcher.open() as watcher:
        stage = Stage(tmp_path, watcher)
        yield stage
        for child in stage.children:
            await child.reap(grace=0.1)
            child.close()
        assert stage.descriptors() == stage.before, "a descriptor was left open"
