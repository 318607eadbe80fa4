"""The smallest client an agent can have: it starts the program and passes lines, and adds nothing.

For tests that must see exactly what an agent writes. It answers no request by itself and checks
nothing.
"""

import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast

import anyio
import anyio.abc
import psutil

Json = dict[str, Any]


class Played(list[Json]):
    """The messages of one turn, its answer last."""

    @property
    def answer(self) -> Json:
        """The response to the prompt."""
        return self[-1]

    @property
    def stop(self) -> str | None:
        """The stop reason; None for an error."""
        return self.answer.get("result", {}).get("stopReason")

    def updates(self, kind: str) -> list[Json]:
        """Return the updates of one kind, oldest first."""
        found = [
            each["params"]["update"] for each in self if each.get("method") == "session/update"
        ]
        return [update for update in found if update["sessionUpdate"] == kind]

    def text(self, kind: str = "agent_message_chunk") -> str:
        """Return all streamed text of one kind."""
        return "".join(update["content"]["text"] for update in self.updates(kind))


PATIENCE = 15.0
"""Seconds an agent may be silent while something is expected of it; ample on a busy machine."""


class LineClient:
    """One running agent. All it wrote so far is in `heard`."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.heard: list[Json] = []
        self.junk: list[bytes] = []
        """Lines that were no JSON objects."""
        self.session = ""
        self._torn: list[bytes] = []
        self._lines: deque[bytes] = deque()
        self._requests = 0

    @property
    def torn(self) -> bytes:
        """What was heard of a line that has not ended."""
        return b"".join(self._torn)

    async def exit_code(self) -> int:
        """Wait until the agent is gone and return how it ended; a signal is a negative number."""
        with anyio.fail_after(PATIENCE):
            return await self.process.wait()

    async def send(self, **message: Any) -> None:
        """Write one message."""
        await self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def write(self, data: bytes) -> None:
        """Write bytes."""
        assert self.process.stdin is not None
        await self.process.stdin.send(data)

    async def line(self) -> bytes:
        """Return the next line without its newline.

        Raises:
            anyio.EndOfStream: the agent closed its stdout; a torn last line is in `torn`.
            TimeoutError: the agent was silent for too long.
        """
        assert self.process.stdout is not None
        while not self._lines:
            with anyio.fail_after(PATIENCE):
                data = await self.process.stdout.receive(1 << 20)
            self._torn.append(data)
            if b"\n" in data:
                *lines, rest = b"".join(self._torn).split(b"\n")
                self._lines.extend(lines)
                self._torn = [rest]
        return self._lines.popleft()

    async def message(self) -> Json:
        """Return the next message; lines that are none go to `junk`."""
        while True:
            line = await self.line()
            try:
                message: Any = json.loads(line)
            except ValueError:
                self.junk.append(line)
                continue
            if isinstance(message, dict):
                self.heard.append(cast("Json", message))
                return self.heard[-1]
            self.junk.append(line)

    async def until(self, wanted: Callable[[Json], object]) -> list[Json]:
        """Return the next messages up to and with the first that is wanted."""
        found: list[Json] = []
        while not found or not wanted(found[-1]):
            found.append(await self.message())
        return found

    async def request(self, method: str, **params: Any) -> int:
        """Send a request and return its id."""
        self._requests += 1
        await self.send(id=self._requests, method=method, params=params)
        return self._requests

    async def call(self, method: str, **params: Any) -> Json:
        """Send a request and return its response; what comes before it is in `heard`."""
        number = await self.request(method, **params)
        return (await self.until(lambda each: _answers(each, number)))[-1]

    async def open(self, cwd: Path, **capabilities: Any) -> Self:
        """Shake hands and open a conversation, whose id is in `session`."""
        await self.call("initialize", protocolVersion=1, clientCapabilities=capabilities)
        opened = await self.call("session/new", cwd=str(cwd), mcpServers=[])
        self.session = opened["result"]["sessionId"]
        return self

    async def prompt(self, text: str) -> int:
        """Send a prompt and return the request's id."""
        blocks = [{"type": "text", "text": text}]
        return await self.request("session/prompt", sessionId=self.session, prompt=blocks)

    async def ended(self, prompt: int) -> Played:
        """Return the messages up to the answer to a prompt."""
        return Played(await self.until(lambda each: _answers(each, prompt)))

    async def play(self, text: str) -> Played:
        """Run a whole turn that asks nothing."""
        return await self.ended(await self.prompt(text))

    async def asked(self, method: str) -> Json:
        """Return the next request of the agent for this method."""
        return (await self.until(lambda each: each.get("method") == method))[-1]

    async def cancel(self) -> None:
        """Cancel the running turn."""
        await self.send(method="session/cancel", params={"sessionId": self.session})

    async def allow(self, request: Json, kind: str) -> None:
        """Answer a permission request with its option of this kind."""
        options = {each["kind"]: each["optionId"] for each in request["params"]["options"]}
        outcome = {"outcome": "selected", "optionId": options[kind]}
        await self.send(id=request["id"], result={"outcome": outcome})


def _answers(message: Json, number: int) -> bool:
    return message.get("id") == number and "method" not in message


@asynccontextmanager
async def line_client(
    argv: Sequence[str], *, env: Mapping[str, str], stderr: Path
) -> AsyncGenerator[LineClient]:
    """Start a program and yield its client. The program is killed on exit, and gone after it; what
    it started itself is not looked for."""
    with stderr.open("ab") as log:
        process = await anyio.open_process(argv, env=env, stderr=log)
    try:
        yield LineClient(process)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def eventually(check: Callable[[], object]) -> None:
    """Wait until `check()` is true of the world outside of this process.

    Raises:
        TimeoutError: it is not, and that for longer than `PATIENCE`.
    """
    with anyio.fail_after(PATIENCE):
        while not check():  # noqa: ASYNC110 - another process sets no Event of ours
            await anyio.sleep(0.005)


async def exists(file: Path) -> None:
    """Wait until there is such a file.

    Raises:
        TimeoutError: as `eventually`.
    """
    await eventually(file.exists)


async def gone(pid: int) -> None:
    """Wait until a process is gone, or dead and only waiting to be reaped.

    Raises:
        TimeoutError: as `eventually`.
    """
    await eventually(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
