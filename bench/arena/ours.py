"""Our own column: a service in a folder of its own, measured as its users meet it."""

import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from arena.figures import Trouble
from arena.host import ACP_AGENT, Http, clean_environment, daemon, scratch, until
from arena.marks import Marks
from bullpen.model.home import Home
from bullpen.testing import demo_agent

DEMO_AGENT = Path(str(demo_agent.__file__))
COMMAND = Path(sys.executable).with_name("bullpen")
_CATALOG = """\
id = "stand-in"
name = "Stand-in"
vendor = "bench"
dialect = "acp"
command = ["{python}", "-I", "%s", "%s"]
version_args = []
memory_mb = 20
"""


class Stage:
    """A folder in which a service of ours can run, with the stand-in agent in its catalog."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.marks = Marks(folder / "marks.jsonl")
        catalog = folder / "config" / "agents"
        catalog.mkdir(parents=True)
        (catalog / "stand-in.toml").write_text(_CATALOG % (ACP_AGENT, self.marks.path))
        self.environment = clean_environment(
            HOME=str(folder),
            BULLPEN_HOME=str(folder / "state"),
            BULLPEN_CONFIG=str(folder / "config"),
            BULLPEN_DEMO_HOME=str(folder / "demo"),
        )
        self.home = Home.of(self.environment)

    @contextmanager
    def serving(self) -> Generator["Service"]:
        """Run a service; on exit its sessions are killed and it is stopped."""
        http = Http(unix=self.home.socket)
        argv = [sys.executable, "-m", "bullpen", "serve"]
        begun = time.monotonic()
        with daemon(
            argv, env=self.environment, cwd=self.folder, log=self.folder / "serve.log"
        ) as process:
            up = until(
                lambda: self._is_up(http, process), timeout=30, what="our service did not answer"
            )
            service = Service(self, http, process.pid, up - begun)
            try:
                yield service
            finally:
                service.kill_all()

    def _is_up(self, http: Http, process: "subprocess.Popen[bytes]") -> bool:
        if process.poll() is not None:
            said = (self.folder / "serve.log").read_text()[-300:]
            raise Trouble(f"our service ended with {process.returncode}: {said}")
        return self.home.socket.exists() and http.answers("/v1/health")


class Service:
    """A running service of ours."""

    def __init__(self, stage: Stage, http: Http, pid: int, start: float) -> None:
        self.stage = stage
        self.marks = stage.marks
        self.http = http
        self.pid = pid
        self.start = start
        """Seconds from its launch to its first answer."""

    def create(self, agent: str = "stand-in") -> dict[str, Any]:
        """Create a session and return its record once it is ready."""
        return self.http.ask("POST", "/v1/sessions", {"agent": agent, "path": str(self.stage.work)})

    def send(self, session: str, text: str) -> int:
        """Queue a prompt and return its turn."""
        return self.http.ask("POST", f"/v1/sessions/{session}/turns", {"text": text})["turn"]

    def wait(self, session: str, turn: int, *, timeout: float = 60) -> dict[str, Any]:
        """Return the session's record when `turn` is over."""
        wish = {"sessions": [session], "turns": {session: turn}, "timeout": timeout}
        told = self.http.ask("POST", "/v1/wait", wish)
        if told["timed_out"]:
            raise Trouble(f"turn {turn} of {session} did not end within {timeout:g} s")
        return told["sessions"][session]

    def kill_all(self) -> None:
        """End every session's process."""
        with suppress(OSError, Trouble):
            live = self.http.ask("GET", "/v1/sessions")["sessions"]
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(self._kill, [one["id"] for one in live]))

    def _kill(self, session: str) -> None:
        with suppress(OSError, Trouble):
            self.http.ask("POST", f"/v1/sessions/{session}/kill")

    def wrappers(self) -> list[int]:
        """Return the pids of the shells that hold agents."""
        live = self.http.ask("GET", "/v1/sessions")["sessions"]
        return [one["pid"] for one in live if one.get("pid")]


@contextmanager
def running() -> Generator[Service]:
    """Run a fresh service in a fresh folder."""
    with scratch("ours") as folder, Stage(folder).serving() as service:
        yield service


def version() -> str:
    """Return who we are."""
    return f"bullpen {importlib.metadata.version('bullpen')}"


class BareAgent:
    """The demo agent with nobody between: started when this is made."""

    def __init__(self, environment: Mapping[str, str], work: Path) -> None:
        self._work = work
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(DEMO_AGENT)],
            env=dict(environment),
            cwd=work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def shake_hands(self) -> None:
        """Return when it has opened a conversation."""
        self._ask(1, "initialize", {"protocolVersion": 1})
        self._ask(2, "session/new", {"cwd": str(self._work), "mcpServers": []})

    def end(self) -> None:
        """End it at once."""
        with self._process:
            self._process.kill()

    def _ask(self, number: int, method: str, params: dict[str, Any]) -> None:
        assert self._process.stdin is not None, "asked for"
        assert self._process.stdout is not None, "asked for"
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if json.loads(line).get("id") == number:
                return
        raise Trouble(f"the demo agent did not answer {method}")
