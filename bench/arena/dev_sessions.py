"""dev-sessions: a command line that types into `claude` in tmux and reads its transcript.

It is no public package; it takes part when DEV_SESSIONS_DIR names a checkout that was built.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from arena import install, machine
from arena.contender import Slice
from arena.figures import Figure, Skipped, Trouble, median, seconds, typical
from arena.host import TUI_AGENT, Effort, at_once, clean_environment, scratch, timed
from arena.marks import Marks

_VARIABLE = "DEV_SESSIONS_DIR"
_INTERVAL = "0.05"
_LIVE = 16


class Desk:
    """A home in which dev-sessions is used, with a tmux server of its own."""

    def __init__(self, folder: Path, node: str, script: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.marks = Marks(folder / "marks.jsonl")
        self._argv: list[str | Path] = [node, script]
        binaries = folder / "bin"
        binaries.mkdir()
        (folder / "tmux").mkdir(mode=0o700)
        claude = binaries / "claude"
        marks = f"BENCH_MARKS='{self.marks.path}'"
        claude.write_text(f"#!/bin/sh\n{marks} exec '{sys.executable}' -I '{TUI_AGENT}' \"$@\"\n")
        claude.chmod(0o755)
        path = f"{binaries}:{Path(node).parent}:/usr/local/bin:/usr/bin:/bin"
        # It starts login shells, and /etc/profile sets a PATH of its own.
        (folder / ".bash_profile").write_text(f"export PATH={path}\n")
        self.environment = clean_environment(
            HOME=str(folder), TMUX_TMPDIR=str(folder / "tmux"), PATH=path, SHELL="/bin/bash"
        )

    def run(self, *words: str | Path) -> tuple[float, float, str]:
        """Run one command of theirs; see `timed`."""
        return timed([*self._argv, *words], env=self.environment, cwd=self.work)

    def create(self) -> tuple[float, str]:
        """Create a session; return how long it took, and its id."""
        begun, ended, said = self.run("create", "--cli", "claude", "--path", self.work, "--quiet")
        return ended - begun, said.strip()

    def own(self) -> list[int]:
        """Return the pids of all that is theirs and stays: tmux and shells, not the agents."""
        agent = str(TUI_AGENT)
        return [pid for pid in machine.of_scratch(self.folder) if agent not in machine.words(pid)]


class DevSessions:
    """dev-sessions from a checkout."""

    name = "dev-sessions"

    def __init__(self) -> None:
        self._node = ""
        self._script = Path()

    def prepare(self) -> str:
        """See `Contender.prepare`."""
        checkout = os.environ.get(_VARIABLE)
        if not checkout:
            raise Skipped(f"{_VARIABLE} names no checkout")
        self._script = Path(checkout).absolute() / "dist" / "index.js"
        if not self._script.exists():
            raise Skipped(f"{self._script} is not built: npm ci && npm run build")
        for program in ("node", "tmux", "bash"):
            if shutil.which(program) is None:
                raise Skipped(f"it needs {program}, which is not here")
        self._node = os.path.realpath(str(shutil.which("node")))
        version = install.run([self._node, self._script, "--version"]).strip()
        node = install.run([self._node, "--version"]).strip()
        return f"dev-sessions {version} from a checkout, Node {node}, stand-in `claude`"

    @property
    def slices(self) -> Mapping[str, Slice]:
        """See `Contender.slices`."""
        return {
            "verb": self._verb,
            "create": self._create,
            "shell": self._shell,
            "storm": self._storm,
            "live": self._live,
        }

    @contextmanager
    def _desk(self) -> Generator[Desk]:
        with scratch("devs") as folder:
            desk = Desk(folder, self._node, self._script)
            try:
                yield desk
            finally:
                subprocess.run(
                    ["tmux", "kill-server"], env=desk.environment, capture_output=True, check=False
                )

    def _verb(self, effort: Effort) -> dict[str, Figure]:
        took: list[float] = []
        with self._desk() as desk:
            _, session = desk.create()
            for _ in range(effort.times(30)):
                begun, ended, _ = desk.run("status", session)
                took.append(ended - begun)
        return {"verb": typical(took)}

    def _create(self, effort: Effort) -> dict[str, Figure]:
        with self._desk() as desk:
            took = [desk.create()[0] for _ in range(effort.times(10))]
        return {"create-shell": typical(took)}

    def _shell(self, effort: Effort) -> dict[str, Figure]:
        """Waits with its own interval of 2 s, and with one of 50 ms, its best."""
        sent: list[float] = []
        told: dict[bool, list[float]] = {True: [], False: []}
        with self._desk() as desk:
            _, session = desk.create()
            for number in range(effort.times(12)):
                tag, is_eager = f"t{number}", number % 2 == 0
                begun, _, _ = desk.run("send", session, f"WORK=1.5 TAG={tag}")
                _, ended, _ = desk.run("wait", session, *(["-i", _INTERVAL] if is_eager else []))
                sent.append(desk.marks.at("recv", tag) - begun)
                told[is_eager].append(ended - desk.marks.at("done", tag))
        best = typical(told[True])
        usual = f"{best.text}; with its own 2 s interval {seconds(median(told[False]))}"
        return {"send-shell": typical(sent), "told-shell": Figure(usual, best.number)}

    def _storm(self, effort: Effort) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for count in effort.pick((16, 64), (16,)):
            with self._desk() as desk:
                figures[f"storm-{count}"] = _storm_of(desk, count)
        return figures

    def _live(self, effort: Effort) -> dict[str, Figure]:
        with self._desk() as desk:
            for _ in range(_LIVE):
                desk.create()
            time.sleep(2)
            pids = desk.own()
            each = sum(map(machine.memory_bytes, pids)) / _LIVE / 2**20
            share = machine.share(pids, over=effort.pick(20, 5))
        return {
            "memory": Figure(f"{each:.2f} MB (tmux, shells)", each),
            "idle": Figure(f"{_LIVE} sessions: {share:.2f} %", share),
        }


def _storm_of(desk: Desk, count: int) -> Figure:
    """Return how long it took; creations that failed are told, not hidden."""

    def one(_: int) -> str:
        try:
            desk.create()
        except Trouble as trouble:
            return str(trouble)
        return ""

    took, faults = at_once(count, one)
    said = [fault for fault in faults if fault]
    if len(said) == count:
        raise Trouble(f"all {count} failed: {said[0]}")
    failed = f", {len(said)} failed" if said else ""
    return Figure(f"{seconds(took)}{failed}", took)
