"""HTTP over the service's socket: asking, asking again, and streams of lines."""

import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast
from urllib.parse import quote

import anyio
import httpx
import msgspec

from bullpen.client.told import error_in
from bullpen.errors import BullpenError, ServiceUnreachable
from bullpen.model.fact import Event
from bullpen.model.home import Home

_T = TypeVar("_T")
PAGE = 1000
"""Events asked for at once."""
_PATIENCE = 60.0
# A service that drains answers 503 until it is gone, and a fresh one needs a few seconds to open
# its store on a slow disk.


class Link:
    """HTTP over the service's socket, and the service's start."""

    def __init__(self, home: Home, *, start: bool) -> None:
        self._home = home
        self._start = start
        self._starting = anyio.Lock()
        self.streams: set[Stream[Any]] = set()
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(home.socket),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            ),
            base_url="http://bullpen",
            timeout=None,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every stream and connection."""
        for stream in list(self.streams):
            await stream.aclose()
        await self._http.aclose()

    async def json(self, method: str, path: str, **rest: Any) -> Any:
        """Like `request`, and return the JSON of the answer."""
        return msgspec.json.decode((await self.request(method, path, **rest)).content)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Any = None,
        key: str | None = None,
        again: bool = False,
        stream: bool = False,
    ) -> httpx.Response:
        """Send one request and return its answer, again and again while the service restarts.

        A request that may have been carried out before the connection broke is repeated only
        when it reads, has a `key`, or the caller says so with `again`.
        """
        request = self._http.build_request(
            method,
            path,
            params=query,
            content=None if body is None else msgspec.json.encode(body),
            headers={"Content-Type": "application/json"}
            | ({"Idempotency-Key": key} if key else {}),
        )
        harmless = again or key is not None or method == "GET"
        end = anyio.current_time() + _PATIENCE
        while True:
            answer = await self._once(request, harmless=harmless, stream=stream)
            if isinstance(answer, httpx.Response):
                return answer
            if anyio.current_time() > end:
                raise answer
            await self._bring_up()
            await anyio.sleep(0.05)

    async def _once(
        self, request: httpx.Request, *, harmless: bool, stream: bool
    ) -> httpx.Response | BullpenError:
        """Return the answer, or the error that asking again may cure."""
        try:
            response = await self._http.send(request, stream=stream)
        except httpx.ConnectError as error:
            return ServiceUnreachable(self._home.socket, str(error))
        except httpx.TransportError as error:
            why = "the connection broke before the answer came; the request may be carried out"
            broken = ServiceUnreachable(self._home.socket, why)
            if not harmless:
                raise broken from error
            return broken
        if response.is_success:
            return response
        content = await response.aread()
        error = error_in(content, status=response.status_code)
        if error.code == "service-stopping":
            return error
        raise error

    async def _bring_up(self) -> None:
        if not self._start:
            raise ServiceUnreachable(self._home.socket, "start one: `bullpen serve --daemon`")
        async with self._starting:
            environment = {**os.environ, "BULLPEN_HOME": str(self._home.folder)}
            done = await anyio.run_process(
                [sys.executable, "-m", "bullpen", "serve", "--daemon"],
                check=False,
                env=environment,
            )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise ServiceUnreachable(self._home.socket, said)


class Stream(Generic[_T]):
    """Events as they come: `async for`, and `async with` to close it before the pen closes."""

    def __init__(
        self,
        link: Link,
        session: str,
        *,
        query: dict[str, int],
        read: Callable[[bytes], _T | None],
    ) -> None:
        self._link = link
        self._path = f"/v1/sessions/{quoted(session)}/events"
        self._query = query
        self._read = read
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._rest: list[bytes] = []
        self._lines: deque[bytes] = deque()
        self._page = 0

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> _T:
        while True:
            line = await self._next_line()
            found = self._read(line) if line.strip() else None
            if isinstance(found, Event):
                if found.seq <= self._query["after"]:
                    continue
                self._query["after"] = found.seq
                self._page += 1
            if found is not None:
                return found

    async def aclose(self) -> None:
        """Close the connection. Does nothing the second time."""
        self._link.streams.discard(self)
        response, self._response, self._chunks = self._response, None, None
        if response is not None:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _next_line(self) -> bytes:
        while not self._lines:
            chunk = await self._next_chunk()
            *whole, rest = chunk.split(b"\n")
            for part in whole:
                self._lines.append(b"".join([*self._rest, part]))
                self._rest.clear()
            self._rest.append(rest)
        return self._lines.popleft()

    async def _next_chunk(self) -> bytes:
        if self._chunks is None:
            await self._open()
        try:
            return await anext(cast("AsyncIterator[bytes]", self._chunks))
        except (StopAsyncIteration, httpx.TransportError) as end:
            # A line cut by the end of the connection was not stored by the reader: it comes
            # again, because `after` counts only events that were handed out.
            full_page, self._page = self._page >= PAGE, 0
            self._rest.clear()
            await self.aclose()
            broken = isinstance(end, httpx.TransportError)
            if not (broken or full_page or self._query["follow"]):
                raise StopAsyncIteration from None
            if not full_page:
                await anyio.sleep(0.05)
            return b""

    async def _open(self) -> None:
        self._response = await self._link.request("GET", self._path, query=self._query, stream=True)
        self._chunks = self._response.aiter_bytes()
        self._link.streams.add(self)


def quoted(session: str) -> str:
    """Return an id as one part of a path, whatever is in it."""
    return quote(session, safe="")
