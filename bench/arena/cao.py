"""CLI Agent Orchestrator: a server that drives terminal programs in tmux.

It runs the stand-in `claude`, which is what its users run, with the settings of its manual. Its
own mock provider, which needs no screen to be read, is measured too where that is quick, and told
beside it. It has no call that waits, so a waiter asks for the status fifty times a second.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from arena import install, machine
from arena.contender import Slice
from arena.figures import Figure, Skipped, Trouble, median, seconds, tails, typical
from arena.host import (
    TUI_AGENT,
    Effort,
    Http,
    at_once,
    clean_environment,
    daemon,
    scratch,
    timed,
    until,
)
from arena.marks import Marks

_PACKAGE = "cli-agent-orchestrator"
_SCREEN, _MOCK = "claude_code", "mock_cli"
_LINE_AGENT = TUI_AGENT.with_name("line_agent.py")
_POLL = 0.02
_STREAMS = 20
_LIVE = 16


class Server:
    """A running server of theirs."""

    def __init__(self, folder: Path, commands: Path) -> None:
        self.folder = folder
        self.commands = commands
        self.work = folder / "work"
        self.work.mkdir()
        self.marks = Marks(folder / "marks.jsonl")
        self.port = _free_port()
        self.http = Http(port=self.port)
        self.start = 0.0
        self.pid = 0
        self._sessions = 0
        self.environment = clean_environment(
            HOME=str(folder),
            TMUX_TMPDIR=str(folder / "tmux"),
            CAO_API_HOST="127.0.0.1",
            CAO_API_PORT=str(self.port),
            PATH=f"{folder / 'bin'}:{commands}:/usr/local/bin:/usr/bin:/bin",
            SHELL="/bin/bash",
            FASTMCP_CHECK_FOR_UPDATES="off",
            FASTMCP_SHOW_SERVER_BANNER="false",
        )
        self._lay_out()

    def _lay_out(self) -> None:
        (self.folder / "tmux").mkdir(mode=0o700)
        (self.folder / "bin").mkdir()
        for name, agent in (("claude", TUI_AGENT), ("mock_cli", _LINE_AGENT)):
            script = self.folder / "bin" / name
            marks = f"BENCH_MARKS='{self.marks.path}'"
            script.write_text(f"#!/bin/sh\n{marks} exec '{sys.executable}' -I '{agent}' \"$@\"\n")
            script.chmod(0o755)
        # tmux starts login shells, and /etc/profile sets a PATH of its own.
        (self.folder / ".bash_profile").write_text(f"export PATH={self.environment['PATH']}\n")

    @contextmanager
    def serving(self) -> Generator["Server"]:
        """Run the server; on exit it and its tmux server are ended."""
        begun = time.monotonic()
        argv = [self.commands / "cao-server"]
        log = self.folder / "server.log"
        with daemon(argv, env=self.environment, cwd=self.work, log=log) as process:
            self.pid = process.pid
            up = until(
                lambda: process.poll() is not None or self.http.answers("/health"),
                timeout=60,
                what="cao-server did not answer",
            )
            if process.poll() is not None:
                raise Trouble(f"cao-server ended: {log.read_text()[-200:]}")
            self.start = up - begun
            try:
                yield self
            finally:
                subprocess.run(
                    ["tmux", "kill-server"],
                    env=self.environment,
                    capture_output=True,
                    check=False,
                )

    def create(self, provider: str = _SCREEN, number: int | None = None) -> dict[str, Any]:
        """Create a session and return its terminal."""
        if number is None:
            self._sessions += 1
            number = self._sessions
        wish = {
            "provider": provider,
            "agent_profile": "developer",
            "session_name": f"b{number}-{provider[:4]}",
            "working_directory": str(self.work),
        }
        return self.http.ask("POST", f"/sessions?{urlencode(wish)}")

    def send(self, terminal: str, text: str) -> None:
        """Type a prompt."""
        self.http.ask("POST", f"/terminals/{terminal}/input?{urlencode({'message': text})}")

    def wait(self, terminal: str, *, timeout: float, every: float = _POLL) -> float:
        """Return the moment at which the status was first seen as completed."""
        return until(
            lambda: self.http.ask("GET", f"/terminals/{terminal}")["status"] == "completed",
            timeout=timeout,
            what="the status did not become completed",
            every=every,
        )

    def own(self) -> list[int]:
        """Return the pids of all that is theirs: server, tmux, shells; not the agents."""
        agents = {str(TUI_AGENT), str(_LINE_AGENT)}
        return [
            pid for pid in machine.of_scratch(self.folder) if not agents & set(machine.words(pid))
        ]


class Cao:
    """CLI Agent Orchestrator from PyPI."""

    name = "CAO"

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._commands = Path()

    def prepare(self) -> str:
        """See `Contender.prepare`."""
        for program in ("tmux", "bash"):
            if shutil.which(program) is None:
                raise Skipped(f"it needs {program}, which is not here")
        self._commands = install.from_pypi(self._cache, _PACKAGE)
        python = self._commands / "python"
        read = f"import importlib.metadata as m; print(m.version('{_PACKAGE}'))"
        version = install.run([python, "-c", read]).strip()
        tmux = install.run(["tmux", "-V"]).strip()
        return f"{_PACKAGE} {version} from PyPI, {tmux}, stand-in `claude`"

    @property
    def slices(self) -> Mapping[str, Slice]:
        """See `Contender.slices`."""
        return {
            "cold": self._cold,
            "verb": self._verb,
            "create": self._create,
            "turns": self._turns,
            "shell": self._shell,
            "busy": self._busy,
            "noisy": self._noisy,
            "storm": self._storm,
            "live": self._live,
        }

    @contextmanager
    def _running(self) -> Generator[Server]:
        with scratch("cao") as folder, Server(folder, self._commands).serving() as server:
            yield server

    def _cold(self, effort: Effort) -> dict[str, Figure]:
        fresh: list[float] = []
        again: list[float] = []
        for _ in range(effort.pick(3, 1)):
            with scratch("cao") as folder:
                server = Server(folder, self._commands)
                with server.serving():
                    fresh.append(server.start)
                with server.serving():
                    again.append(server.start)
        return {"cold-new": typical(fresh), "cold": typical(again)}

    def _verb(self, effort: Effort) -> dict[str, Figure]:
        took: list[float] = []
        with self._running() as server:
            session = server.create()["session_name"]
            argv = [self._commands / "cao", "session", "status", session]
            for _ in range(effort.times(10)):
                begun, ended, _ = timed(argv, env=server.environment, cwd=server.work)
                took.append(ended - begun)
        return {"verb": typical(took)}

    def _create(self, effort: Effort) -> dict[str, Figure]:
        took: dict[str, list[float]] = {_SCREEN: [], _MOCK: []}
        by_shell: list[float] = []
        with self._running() as server:
            for _ in range(effort.pick(4, 1)):
                for provider, times in took.items():
                    begun = time.monotonic()
                    server.create(provider)
                    times.append(time.monotonic() - begun)
            for number in range(effort.pick(3, 1)):
                argv = [self._commands / "cao", "launch", "--agents", "developer", "--headless"]
                argv += ["--provider", _SCREEN, "--auto-approve", "--session-name", f"s{number}"]
                begun, ended, _ = timed(argv, env=server.environment, cwd=server.work)
                by_shell.append(ended - begun)
        return {"create": _with_mock(took), "create-shell": typical(by_shell)}

    def _turns(self, effort: Effort) -> dict[str, Figure]:
        talks: dict[str, Talk] = {}
        with self._running() as server:
            for provider in (_SCREEN, _MOCK):
                terminal = server.create(provider)["id"]
                talks[provider] = _converse(server, terminal, effort.times(10), timeout=30)
        return {
            "send": _with_mock({provider: talk.sent for provider, talk in talks.items()}),
            "told-50": _with_mock({provider: talk.told for provider, talk in talks.items()}),
            "told-99": talks[_SCREEN].tails(p99=True),
        }

    def _shell(self, effort: Effort) -> dict[str, Figure]:
        sent: list[float] = []
        told: list[float] = []
        with self._running() as server:
            session = server.create()["session_name"]
            for number in range(effort.times(5)):
                argv = [self._commands / "cao", "session", "send", session, f"WORK=1 TAG=s{number}"]
                begun, ended, _ = timed(argv, env=server.environment, cwd=server.work)
                sent.append(server.marks.at("recv", f"s{number}") - begun)
                told.append(ended - server.marks.at("done", f"s{number}"))
        return {"send-shell": typical(sent), "told-shell": typical(told)}

    def _busy(self, effort: Effort) -> dict[str, Figure]:
        """With the spinner of real agents, and where that is too much for it with a slow one."""
        try:
            return self._busy_at(10, effort)
        except Trouble as trouble:
            found = self._busy_at(1, effort)
            fault = f"at 1 frame/s; at 10: {trouble}"
            return {row: Figure(f"{one.text} {fault}", one.number) for row, one in found.items()}

    def _busy_at(self, rate: int, effort: Effort) -> dict[str, Figure]:
        with self._running() as server:
            probe = server.create()["id"]
            _, others = at_once(_STREAMS, lambda number: server.create(number=100 + number))
            prompt = f"WORK=900 STREAM={rate} TAG=b"
            at_once(_STREAMS, lambda number: server.send(others[number]["id"], prompt))
            share = machine.share(server.own(), over=effort.pick(10, 3))
            # Each question may make it look at a screen, of which it is short here.
            talk = _converse(server, probe, effort.pick(5, 2), timeout=90, every=0.1)
        return {
            "busy-send": typical(talk.sent),
            "busy-50": talk.tails(p99=False),
            "busy-99": talk.tails(p99=True),
            "busy-cpu": Figure(f"{share:.0f} % of a core", share),
        }

    def _noisy(self, effort: Effort) -> dict[str, Figure]:
        with self._running() as server:
            probe, other = server.create()["id"], server.create()["id"]
            server.send(other, "FLOOD=60 TAG=f")
            server.marks.at("recv", "f")
            talk = _converse(server, probe, effort.pick(4, 2), timeout=90)
        return {
            "noisy-send": typical(talk.sent),
            "noisy-50": talk.tails(p99=False),
            "noisy-99": talk.tails(p99=True),
        }

    def _storm(self, effort: Effort) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for count in effort.pick((16, 64), (16,)):
            took: list[float] = []
            for _ in range(2 if count == 16 and not effort.is_quick else 1):
                with self._running() as server:
                    took.append(self._storm_of(server, count))
            figures[f"storm-{count}"] = typical([min(took)])
        return figures

    def _storm_of(self, server: Server, count: int) -> float:
        def one(number: int) -> str:
            try:
                server.create(number=number)
            except (Trouble, OSError) as trouble:
                return str(trouble)
            return ""

        took, faults = at_once(count, one)
        said = [fault for fault in faults if fault]
        if said:
            raise Trouble(f"{len(said)} of {count} failed after {seconds(took)}: {said[0]}")
        return took

    def _live(self, effort: Effort) -> dict[str, Figure]:
        with self._running() as server:
            at_once(2, lambda number: server.create(number=number))
            low = sum(map(machine.memory_bytes, server.own()))
            at_once(_LIVE - 2, lambda number: server.create(number=10 + number))
            high = sum(map(machine.memory_bytes, server.own()))
            slope = (high - low) / (_LIVE - 2) / 2**20
            time.sleep(2)
            pids = server.own()
            share = machine.share(pids, over=effort.pick(20, 5))
        told = f"{slope:.2f} MB (server, tmux, shells; {high / 2**20:.0f} MB at {_LIVE})"
        return {
            "memory": Figure(told, slope),
            "idle": Figure(f"{_LIVE} sessions: {share:.2f} %", share),
        }


class Talk:
    """What came of a few turns, one after the other."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.told: list[float] = []
        self.early: list[float] = []
        """How long before the end of the turn the status said that it was over."""

    def tails(self, *, p99: bool) -> Figure:
        """Return p50 or p99 of the turns whose end was not told before it came."""
        if not self.told:
            raise Trouble(f"all {len(self.early)} turns were told to be over before they were")
        figure = tails(self.told, p99=p99)
        if not self.early:
            return figure
        turns = len(self.told) + len(self.early)
        wrong = f"{len(self.early)} of {turns} told up to {seconds(max(self.early))} too early"
        return Figure(f"{figure.text}; {wrong}", figure.number)


def _converse(
    server: Server, terminal: str, times: int, *, timeout: float, every: float = _POLL
) -> Talk:
    talk = Talk()
    for number in range(times):
        tag = f"{terminal}-{number}"
        begun = time.monotonic()
        # Longer than the call that types, or the end would be there before anybody could ask.
        server.send(terminal, f"WORK=1 TAG={tag}")
        ended = server.wait(terminal, timeout=timeout, every=every)
        talk.sent.append(server.marks.at("recv", tag) - begun)
        done = server.marks.at("done", tag)
        if ended < done:
            talk.early.append(done - ended)
            time.sleep(1)
        else:
            talk.told.append(ended - done)
        time.sleep(0.3)
    return talk


def _with_mock(samples: Mapping[str, Sequence[float]]) -> Figure:
    main = typical(samples[_SCREEN])
    return Figure(f"{main.text}; mock {seconds(median(samples[_MOCK]))}", main.number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
