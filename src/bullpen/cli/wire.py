"""Requests to the service over its unix socket, with the socket module alone.

`http.client` would cost every verb 26 ms of import, more than Python's own start. Spoken is the
part of HTTP/1.1 that is needed: one request per connection, bodies by length, by chunks or to
the end of the stream.

What happens when the service goes away: a request that was not sent is sent to the next service,
which is started when there is none. A request that was sent is repeated only if that cannot do
anything twice: a GET, or one with an idempotency key. For every other one the caller is told that
nobody knows whether it was carried out.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import BufferedReader

from bullpen.cli.exits import Refusal, unreachable
from bullpen.model.home import Home

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any


PATIENCE = 30.0
"""How long a verb keeps asking while the service is away: a restart takes about one second, and
reading a long journal again may take ten."""
ANSWER_TIMEOUT = 60.0
"""How long a service may take for a short answer before it counts as hung."""
_PAUSE = 0.05
_BLOCK = 65536


class ServiceGone(Exception):
    """The connection broke before the whole answer was there."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("the service ended before it answered")
        self.sent = sent
        """Whether the service may have seen the request."""


class Wire:
    """The way from one verb to the service of one host. Holds no connection between requests."""

    def __init__(self, home: Home, environment: Mapping[str, str], *, start: bool = True) -> None:
        """Talk to the service of `home`.

        Args:
            environment: Given to a service that has to be started.
            start: Start a service where none answers; `BULLPEN_NO_AUTOSTART=1` forbids it too.
        """
        self.home = home
        self.environment = environment
        self.may_start = start and environment.get("BULLPEN_NO_AUTOSTART", "") in ("", "0")

    @classmethod
    def here(cls, *, start: bool = True) -> Wire:
        """Return the wire to this user's service on this host."""
        return cls(Home.of(os.environ), os.environ, start=start)

    def get(self, path: str, **query: str | int) -> Any:
        """Return the JSON answer to a GET. See `call`."""
        return self.call("GET", with_query(path, query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer to a POST. See `call`."""
        return self.call("POST", path, body or {})

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        repeat: bool | None = None,
        timeout: float | None = ANSWER_TIMEOUT,
    ) -> Any:
        """Return the JSON answer to one request.

        Args:
            path: With its query, see `with_query`.
            key: Idempotency key; makes the request safe to repeat.
            repeat: Whether sending it twice does no harm; by default so for GET and with a key.
            timeout: Seconds until the answer must begin, and between two parts of it.

        Raises:
            Refusal: the service refused, cannot be reached, or died in the middle.
        """
        if repeat is None:
            repeat = method == "GET" or bool(key)
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        head = _head(method, path, len(raw), key)
        with self._persist(head + raw, repeat=repeat, timeout=timeout) as answer:
            return answer.document()

    def fetch(self, path: str) -> bytes:
        """Return the body of a GET as it came. See `call`."""
        request = _head("GET", path, 0, "")
        with self._persist(request, repeat=True, timeout=ANSWER_TIMEOUT) as answer:
            return answer.whole()

    def lines(self, path: str, *, timeout: float | None = ANSWER_TIMEOUT) -> Iterator[Any]:
        """Yield the JSON lines of a GET as they come.

        Raises:
            Refusal: as `call`.
            ServiceGone: the stream broke; the caller knows where to go on.
        """
        request = _head("GET", path, 0, "")
        with self._persist(request, repeat=True, timeout=timeout, whole=False) as answer:
            yield from answer.lines()

    def connect(self) -> socket.socket:
        """Return a connection, starting the service if need be. The caller closes it.

        Raises:
            Refusal: `service-unreachable`.
        """
        try:
            return dial(self.home)
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError) as error:
            if not self.may_start:
                raise unreachable(
                    f"no service answers at {str(self.home.socket)!r}",
                    hint="start one with `bullpen serve --daemon`",
                ) from error
        except OSError as error:
            raise unreachable(
                f"cannot connect to {str(self.home.socket)!r}: {error.strerror or error}"
            ) from error
        # Named by a string, because all it imports is wasted on a verb that finds its service.
        connection: socket.socket = import_module("bullpen.cli.start").started(
            self.home, self.environment
        )
        return connection

    def _persist(
        self, request: bytes, *, repeat: bool, timeout: float | None, whole: bool = True
    ) -> Answer:
        """Send `request` until a service that is not stopping takes it, and read the answer."""
        until = time.monotonic() + PATIENCE
        while True:
            gone = False
            try:
                answer = self._exchange(request, timeout)
                if whole:
                    answer.keep()
                if not answer.is_stopping():
                    return answer
            except ServiceGone as error:
                gone = True
                if error.sent and not repeat:
                    raise died() from error
            if time.monotonic() > until:
                raise died() if gone else unreachable("the service is stopping and does not end")
            time.sleep(_PAUSE)

    def _exchange(self, request: bytes, timeout: float | None) -> Answer:
        connection = self.connect()
        connection.settimeout(timeout)
        broken = False
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            # A service may refuse a body before it has read it all; its answer is still there.
            broken = True
        except TimeoutError as error:
            connection.close()
            raise _hung(timeout) from error
        try:
            return Answer(connection)
        except TimeoutError as error:
            connection.close()
            raise _hung(timeout) from error
        except (OSError, ServiceGone) as error:
            connection.close()
            # A service acts on whole requests only.
            raise ServiceGone(sent=not broken) from error


class Answer:
    """One response being read. A context manager that closes the connection."""

    def __init__(self, connection: socket.socket) -> None:
        """Read status and headers.

        Raises:
            ServiceGone: there were none.
        """
        self._connection = connection
        self._stream: BufferedReader = connection.makefile("rb")
        words = self._stream.readline(_BLOCK).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):
            raise ServiceGone(sent=True)
        self.status = int(words[1])
        self._headers: dict[bytes, bytes] = {}
        while (line := self._stream.readline(_BLOCK)) not in (b"\r\n", b"\n"):
            if not line:
                raise ServiceGone(sent=True)
            name, _, value = line.partition(b":")
            self._headers[name.strip().lower()] = value.strip()
        self._kept: bytes | None = None

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._connection.close()

    def is_stopping(self) -> bool:
        """Say whether the service is on its way down and did nothing; closes if so."""
        if self.status != 503 or _error_of(self.keep())[0] != "service-stopping":
            return False
        self.__exit__()
        return True

    def keep(self) -> bytes:
        """Read the whole body, good or bad, and return it.

        Raises:
            ServiceGone: it broke off. The connection is closed.
        """
        if self._kept is None:
            try:
                self._kept = b"".join(self._blocks())
            except ServiceGone:
                self.__exit__()
                raise
        return self._kept

    def whole(self) -> bytes:
        """Return the whole body of a good answer.

        Raises:
            Refusal: the service said no.
            ServiceGone: it broke off.
        """
        raw = self.keep()
        if self.status >= 400:
            raise refusal(raw, self.status)
        return raw

    def document(self) -> Any:
        """Return the body as JSON, None when empty. Raises as `whole`."""
        raw = self.whole()
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise unreachable(f"the service answered what is no JSON: {raw[:80]!r}") from error

    def lines(self) -> Iterator[Any]:
        """Yield each line of the body as JSON, as soon as it is there. Raises as `whole`."""
        if self.status >= 400:
            self.whole()
        rest = b""
        for block in self._blocks():
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                if line:
                    yield json.loads(line)
        if rest.strip():
            raise ServiceGone(sent=True)

    def _blocks(self) -> Iterator[bytes]:
        try:
            if self._headers.get(b"transfer-encoding", b"").lower() == b"chunked":
                yield from self._chunks()
            elif (length := self._headers.get(b"content-length")) is not None:
                yield from self._counted(int(length))
            else:
                while block := self._stream.read1(_BLOCK):
                    yield block
        except OSError as error:
            raise ServiceGone(sent=True) from error

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._stream.readline(_BLOCK)
            if not line.endswith(b"\n"):
                raise ServiceGone(sent=True)
            size = int(line.split(b";")[0], 16)
            if not size:
                return
            yield from self._counted(size)
            self._stream.readline(_BLOCK)

    def _counted(self, size: int) -> Iterator[bytes]:
        while size:
            block = self._stream.read1(min(size, _BLOCK))
            if not block:
                raise ServiceGone(sent=True)
            size -= len(block)
            yield block


def dial(home: Home) -> socket.socket:
    """Return a connection to the service of `home`, with no attempt to start one.

    Raises:
        OSError: nobody answers, or may not be asked.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(home.socket))
    except BaseException:
        connection.close()
        raise
    return connection


def session_path(session: str, rest: str = "") -> str:
    """Return `/v1/sessions/<session><rest>` with the id quoted."""
    return f"/v1/sessions/{_quoted(session)}{rest}"


def with_query(path: str, query: Mapping[str, str | int | list[str]]) -> str:
    """Return `path` with `query`; a list becomes a repeated name."""
    pairs: list[str] = []
    for name, value in query.items():
        values = value if isinstance(value, list) else [str(value)]
        pairs += [f"{name}={_quoted(each)}" for each in values]
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def fresh_key() -> str:
    """Return an idempotency key nobody else has."""
    return os.urandom(16).hex()


def died() -> Refusal:
    """Return the refusal of a request whose fate is unknown."""
    return unreachable(
        "the service ended before it answered",
        hint="nobody knows whether the request was carried out; look with `bullpen list --all`",
    )


def refusal(raw: bytes, status: int) -> Refusal:
    """Return what an error answer of the service says."""
    code, message, hint = _error_of(raw)
    return Refusal(code, message or f"the service answered with status {status}", hint=hint)


def _error_of(raw: bytes) -> tuple[str, str, str]:
    try:
        error = json.loads(raw)["error"]
        return str(error["code"]), str(error["message"]), str(error.get("hint") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "internal", raw[:200].decode("utf-8", "replace").strip(), ""


def _hung(timeout: float | None) -> Refusal:
    return unreachable(
        f"the service did not answer within {timeout:g} s",
        hint="look at its log; `bullpen serve --status` says where it is",
    )


def _head(method: str, path: str, length: int, key: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: bullpen", "Connection: close"]
    if length or method not in ("GET", "DELETE"):
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    if key:
        lines.append(f"Idempotency-Key: {_quoted(key)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def _quoted(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
