"""What every contender needs: a scratch folder, commands that are timed, HTTP that is not slow."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from arena import machine
from arena.figures import Trouble

_T = TypeVar("_T")
_KEPT = 2.0
# Seconds a connection is kept unused; most servers drop theirs after five.
_AGENTS = Path(__file__).parents[1] / "agents"
ACP_AGENT = _AGENTS / "acp_agent.py"
TUI_AGENT = _AGENTS / "tui_agent.py"


class Effort:
    """How much is measured. Quick finds blunders; only whole runs belong into documents."""

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick

    def times(self, whole: int) -> int:
        """Return how often to repeat something that a whole run repeats `whole` times."""
        return max(3, whole // 6) if self.is_quick else whole

    def pick(self, whole: _T, quick: _T) -> _T:
        """Return one of two amounts."""
        return quick if self.is_quick else whole


@contextmanager
def scratch(name: str) -> Generator[Path]:
    """Give a folder of our own under the system's temporary one. On exit every process that
    carries its name is ended and the folder deleted."""
    folder = Path(tempfile.mkdtemp(prefix=f"bp-bench-{name}-"))
    try:
        yield folder
    finally:
        machine.sweep(folder)
        shutil.rmtree(folder, ignore_errors=True)


def clean_environment(**settings: str) -> dict[str, str]:
    """Return an environment without the user's settings of any tool that is measured."""
    kept = {"PATH", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE"}
    base = {name: value for name, value in os.environ.items() if name in kept}
    return {**base, "LANG": "C.UTF-8", "DO_NOT_TRACK": "1", **settings}


def timed(
    argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, timeout: float = 120
) -> tuple[float, float, str]:
    """Run a command and return when it began, when it ended, and what it printed.

    Raises:
        Trouble: it failed or took longer than `timeout` seconds.
    """
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [str(one) for one in argv],
            env=dict(env),
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as late:
        raise Trouble(f"`{_shown(argv)}` took longer than {timeout:g} s") from late
    ended = time.monotonic()
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Trouble(f"`{_shown(argv)}` ended with {done.returncode}: {' '.join(said)[:160]}")
    return begun, ended, done.stdout


def at_once(count: int, call: Callable[[int], _T]) -> tuple[float, list[_T]]:
    """Call `call` with 0 to `count` - 1 in as many threads, released together; return how long
    all of it took, and the results. The first error is raised when all are done."""
    gate = threading.Barrier(count + 1)

    def one(number: int) -> _T:
        gate.wait()
        return call(number)

    with ThreadPoolExecutor(count) as threads:
        waiting = [threads.submit(one, number) for number in range(count)]
        gate.wait()
        begun = time.monotonic()
    took = time.monotonic() - begun
    return took, [one.result() for one in waiting]


class Http:
    """JSON over HTTP/1.1 with one kept connection per thread, to a unix socket or a port."""

    def __init__(self, *, unix: Path | None = None, port: int = 0, timeout: float = 300) -> None:
        self._unix = unix
        self._port = port
        self._timeout = timeout
        self._threads = threading.local()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the JSON of the answer.

        Raises:
            Trouble: the answer is an error.
            OSError: nobody listens.
        """
        link = self._link()
        data = None if body is None else json.dumps(body).encode()
        try:
            link.request(method, path, data, {"Content-Type": "application/json"})
            answer = link.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            link.close()
            self._threads.link = None
            raise
        self._threads.used_at = time.monotonic()
        if answer.status >= 400:
            raise Trouble(f"{method} {path[:60]}: {answer.status} {content[:160].decode()}")
        return json.loads(content or b"null")

    def _link(self) -> http.client.HTTPConnection:
        """Return this thread's connection, a fresh one when servers may have dropped the old."""
        link: http.client.HTTPConnection | None = getattr(self._threads, "link", None)
        if link is not None and time.monotonic() - self._threads.used_at > _KEPT:
            link.close()
            link = None
        if link is None:
            link = self._threads.link = self._connected()
            self._threads.used_at = time.monotonic()
        return link

    def answers(self, path: str) -> bool:
        """Whether somebody answers a GET of `path` without an error."""
        try:
            self.ask("GET", path)
        except (OSError, http.client.HTTPException, Trouble):
            return False
        return True

    def _connected(self) -> http.client.HTTPConnection:
        link = http.client.HTTPConnection("127.0.0.1", self._port or 80, timeout=self._timeout)
        if self._unix is not None:
            link.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.sock.settimeout(self._timeout)
            try:
                link.sock.connect(str(self._unix))
            except OSError:
                link.sock.close()
                raise
        else:
            link.connect()
            link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link


@contextmanager
def daemon(
    argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a server in a session of its own until the block is left; SIGTERM, then SIGKILL."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(one) for one in argv],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(call: Callable[[], bool], *, timeout: float, what: str, every: float = 0.001) -> float:
    """Ask `call` every `every` seconds until it says yes; return the moment of that answer.

    Raises:
        Trouble: it never did within `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while not call():
        if time.monotonic() > end:
            raise Trouble(f"{what} within {timeout:g} s")
        time.sleep(every)
    return time.monotonic()


def _shown(argv: Sequence[str | Path]) -> str:
    return " ".join(Path(str(one)).name for one in argv[:6])[:80]
