"""A `bullpen` command to run as a real process, and a stand-in for the service."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from bullpen.cli.start import is_running
from bullpen.model.home import Home

LONGEST = 30.0
"""Far above what any verb here takes, so that a hang is a failure and not a stuck run."""


@dataclass
class Asked:
    """One request the stand-in got."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """One answer of the stand-in: JSON, or the bytes of a whole response as they go out."""

    document: Any = None
    status: int = 200
    raw: bytes | None = None
    unread: bool = False
    gate: threading.Event | None = None
    after: bytes = b""


@dataclass
class Stub:
    """A service that says what it was told to say and remembers what it was asked."""

    home: Home
    asked: list[Asked] = field(default_factory=list[Asked])
    was_left_waiting: bool = False
    """Whether somebody who was to open a gate wanted what comes behind it first."""
    _replies: dict[tuple[str, str], list[Reply]] = field(
        default_factory=dict[tuple[str, str], list[Reply]]
    )
    _server: socketserver.BaseServer | None = None

    def on(self, method: str, path: str, document: Any = None, **options: Any) -> None:
        """Add an answer; those of one route are used in order, the last one again and again."""
        self._replies.setdefault((method, path), []).append(Reply(document, **options))

    def refuse(
        self, method: str, path: str, code: str, message: str = "no", **options: Any
    ) -> None:
        error = {"code": code, "message": message, "hint": options.pop("hint", "")}
        self.on(method, path, {"error": error}, **{"status": 409, **options})

    def forget(self, method: str, path: str) -> None:
        """Take the answers of one route back."""
        del self._replies[method, path]

    def record(self, session: str, **fields: Any) -> dict[str, Any]:
        """Answer for a session, and return its record."""
        record = {
            "id": session,
            "agent": "demo",
            "directory": "/w",
            "state": "idle",
            "outcome": "idle",
            **fields,
        }
        self.on("GET", f"/v1/sessions/{session}", record)
        return record

    def reply(self, method: str, path: str) -> Reply:
        replies = self._replies.get((method, path))
        if replies is None:
            error = {"code": "session-not-found", "message": "session not found: 'x'", "hint": "h"}
            return Reply({"error": error}, status=404)
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def only(self, method: str, path: str) -> Asked:
        """Return the one request there was for a route."""
        (found,) = [one for one in self.asked if (one.method, one.path) == (method, path)]
        return found

    def start(self) -> None:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

            def do(self) -> None:
                stub.serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = False
            request_queue_size = 64

        self.home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.socket.unlink(missing_ok=True)
        self._server = Server(str(self.home.socket), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()

    def stop(self) -> None:
        """End it; requests being answered are answered first."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.home.socket.unlink(missing_ok=True)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        reply = self.reply(handler.command, parts.path)
        body = b""
        if not reply.unread:
            body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        query = parse_qs(parts.query, keep_blank_values=True)
        self.asked.append(Asked(handler.command, parts.path, query, headers, body))
        handler.wfile.write(_response(reply) if reply.raw is None else reply.raw)
        handler.wfile.flush()
        if reply.gate is not None:
            self.was_left_waiting = not reply.gate.wait(LONGEST / 3)
            handler.wfile.write(reply.after)


def _response(reply: Reply) -> bytes:
    raw = json.dumps(reply.document, ensure_ascii=False).encode()
    head = f"HTTP/1.1 {reply.status} Said\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    # Where tmp_path is too long for a socket, the runtime folder must be short.
    with TemporaryDirectory(prefix="bullpen-", dir="/tmp") as runtime:
        yield Home.of({"BULLPEN_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": runtime})


@dataclass
class Service:
    """A real service on a home of its own, started by whoever needs it first."""

    bullpen: Command
    dev: Command
    folder: Path
    home: Home

    def pid(self) -> int:
        return self.bullpen("serve", "--status", "--json").json["pid"]

    def create(self, *words: str) -> str:
        created = self.bullpen("create", "--agent", "demo", "-q", *words)
        assert created.code == 0, created.err
        return created.out.strip()

    def end(self) -> None:
        """End every agent and the service, and prove that they are gone."""
        if not is_running(self.home) and not any(self.home.sessions.glob("*")):
            return
        listed = self.bullpen("list", "--all", "--json").json
        agents = [psutil.Process(one["pid"]) for one in listed if _is_alive(one.get("pid"))]
        killed = self.bullpen("kill", "--all")
        assert killed.code == 0, killed.err
        stopped = self.bullpen("serve", "--stop")
        assert stopped.code == 0, stopped.err
        assert not is_running(self.home)
        _, left = psutil.wait_procs(agents, timeout=10)
        assert not [one for one in left if one.status() != psutil.STATUS_ZOMBIE]


def _is_alive(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One real service for the tests of a module, which all make sessions of their own."""
    folder = tmp_path_factory.mktemp("host")
    yield from _serving(folder)


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A real service for a test that kills it, or wants to see it start."""
    yield from _serving(tmp_path)


def _serving(folder: Path) -> Iterator[Service]:
    with TemporaryDirectory(prefix="bullpen-", dir="/tmp") as runtime:
        home = Home.of({"BULLPEN_HOME": str(folder / "state"), "XDG_RUNTIME_DIR": runtime})
        environment = _environment(folder, home, runtime)
        del environment["BULLPEN_NO_AUTOSTART"]
        bullpen = Command("bullpen.cli.main", environment, folder)
        dev = Command("bullpen.cli.dev_sessions", environment, folder)
        service = Service(bullpen, dev, folder, home)
        yield service
        service.end()


@pytest.fixture
def stub(home: Home) -> Iterator[Stub]:
    stub = Stub(home)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture
def environment(tmp_path: Path, home: Home) -> dict[str, str]:
    # The last folder but one of a long socket path, or any: the short one is not used then.
    return _environment(tmp_path, home, str(home.socket.parent.parent))


def _environment(folder: Path, home: Home, runtime: str) -> dict[str, str]:
    """Return that of a user of its own: nothing of whoever runs the tests is seen or touched."""
    (folder / "user").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "user"),
        "BULLPEN_HOME": str(home.folder),
        "XDG_RUNTIME_DIR": runtime,
        "BULLPEN_NO_AUTOSTART": "1",
        "LC_ALL": "C.UTF-8",
    }


@dataclass
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """Runs one program of ours; each call is a process."""

    def __init__(self, module: str, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self.folder = folder
        self.argv = [
            sys.executable,
            "-c",
            f"import sys; from {module} import main; sys.exit(main())",
        ]

    def __call__(
        self, *words: str | bytes, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> Ended:
        done = subprocess.run(
            [*self.argv, *words],
            input=stdin,
            capture_output=True,
            env={**self.environment, **(env or {})},
            cwd=self.folder,
            timeout=LONGEST,
            check=False,
        )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        return Ended(done.returncode, out, err, done.stdout)

    def begin(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one that goes on; the caller ends it."""
        return subprocess.Popen(
            [*self.argv, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **(env or {})},
            cwd=self.folder,
        )


@pytest.fixture
def bullpen(environment: dict[str, str], tmp_path: Path) -> Command:
    return Command("bullpen.cli.main", environment, tmp_path)


@pytest.fixture
def dev(environment: dict[str, str], tmp_path: Path) -> Command:
    return Command("bullpen.cli.dev_sessions", environment, tmp_path)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds, for one that no event tells of."""
    tick = threading.Event()

    def wait(condition: Callable[[], bool]) -> None:
        for _ in range(int(LONGEST * 100)):
            if condition():
                return
            tick.wait(0.01)
        raise AssertionError("it never came to hold")

    return wait
