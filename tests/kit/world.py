"""A host in this process, with its own folders, and real demo agents as real processes."""

import os
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from bullpen.api import Bullpen
from bullpen.model.fact import Event
from bullpen.model.home import Home
from bullpen.model.session import SessionRecord
from bullpen.model.wanted import NewSession


class World:
    """Folders and environment of one test's host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", "/tmp"),
            "HOME": str(folder / "home"),
            "BULLPEN_HOME": str(folder / "state"),
            "BULLPEN_CONFIG": str(folder / "config"),
            "BULLPEN_DEMO_HOME": str(folder / "demo"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        self.agents: dict[str, dict[str, str]] = {}
        """Variables for sessions of an agent; see `kit.real`."""
        (folder / "home").mkdir()

    @property
    def home(self) -> Home:
        return Home.of(self.environment)

    def configure(self, text: str) -> None:
        (self.folder / "config").mkdir(exist_ok=True)
        (self.folder / "config" / "config.toml").write_text(text)

    def wish(self, **fields: object) -> NewSession:
        wanted: dict[str, object] = {"agent": "demo", "directory": str(self.work)}
        known = self.agents.get(str(fields.get("agent")))
        if known is not None:
            wanted["environment"] = known
        return NewSession(**(wanted | fields))  # pyright: ignore[reportArgumentType]

    @asynccontextmanager
    async def host(self, *, end: bool = True) -> AsyncGenerator[Bullpen]:
        """Open the host; with `end`, stop all sessions before leaving, so no agent is left."""
        async with Bullpen.open(self.home, self.environment) as bullpen:
            try:
                yield bullpen
            finally:
                await stop_all(bullpen, end=end)

    def git(self, *argv: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=T", "-c", "user.email=t@example.invalid", *argv],
            cwd=self.work,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def repository(self) -> Path:
        self.git("init", "-q", "-b", "main")
        (self.work / "a.txt").write_text("one\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        return self.work


async def stop_all(bullpen: Bullpen, *, end: bool) -> None:
    with anyio.CancelScope(shield=True):
        for record in await bullpen.sessions() if end else ():
            await bullpen.stop(record.id, grace=0.2)


async def until(
    bullpen: Bullpen, session: str, seen: Callable[[SessionRecord], bool], *, timeout: float = 20
) -> SessionRecord:
    """Wait until the session's record is as wanted."""
    with anyio.fail_after(timeout), bullpen.listening([session]) as listener:
        while not seen(record := await bullpen.session(session)):
            await listener.wait()
        return record


async def eventually(check: Callable[[], bool], *, timeout: float = 20) -> None:
    """Return once `check` holds, for what nobody can wait for: files and processes of others."""
    with anyio.fail_after(timeout):
        while not check():  # noqa: ASYNC110 - there is no event for what others do
            await anyio.sleep(0.01)


async def all_events(bullpen: Bullpen, session: str) -> list[Event]:
    return await bullpen.events(session, limit=10**6, kinds=()) or []


async def ask(bullpen: Bullpen, session: str, text: str) -> SessionRecord:
    """Send a prompt and wait for its end."""
    turn = await bullpen.send(session, text)
    with anyio.fail_after(20):
        await bullpen.wait([session], turns={session: turn})
    return await bullpen.session(session)
