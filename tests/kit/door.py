"""A real service in a process of its own, and a plain HTTP client to it."""

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import anyio
import httpx

from kit.world import World, eventually


@contextmanager
def service(world: World) -> Generator[subprocess.Popen[bytes]]:
    """Run a service; agents it leaves are ended by whoever opens the host next."""
    with (world.folder / "service.log").open("ab") as log:
        argv = [sys.executable, "-m", "bullpen", "serve"]
        process = subprocess.Popen(argv, env=world.environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def door(world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the service that runs; waits until it answers."""
    transport = httpx.AsyncHTTPTransport(uds=str(world.home.socket))
    await eventually(world.home.socket.exists)
    async with httpx.AsyncClient(transport=transport, base_url="http://host", timeout=30) as client:
        yield client


@asynccontextmanager
async def served(world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """A service with a client; afterwards its sessions are stopped and the service is gone."""
    async with AsyncExitStack() as stack:
        stack.enter_context(service(world))
        client = await stack.enter_async_context(door(world))
        stack.push_async_callback(stop_all, client)
        yield client


async def stop_all(client: httpx.AsyncClient) -> None:
    with anyio.CancelScope(shield=True), suppress(httpx.TransportError):
        # A test may have ended the service itself.
        listed = (await client.get("/v1/sessions")).json()["sessions"]
        for record in listed:
            await client.post(f"/v1/sessions/{record['id']}/kill")
