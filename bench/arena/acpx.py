"""acpx: a command line for ACP agents, with a Node process per session that holds the agent.

It has no other door than the shell, so it stands in the rows of the shell.
"""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from arena import install, machine
from arena.contender import Slice
from arena.figures import Figure, Skipped, Trouble, seconds, typical
from arena.host import ACP_AGENT, Effort, at_once, clean_environment, scratch, timed
from arena.marks import Marks

_VERSION = "0.19.1"
_STREAMS = 20
_LIVE = 8


class Desk:
    """A home in which acpx is used."""

    def __init__(self, folder: Path, node: Path, script: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.marks = Marks(folder / "marks.jsonl")
        self._argv: list[str | Path] = [node, script, "--approve-all", "--agent"]
        agent = [sys.executable, "-I", str(ACP_AGENT), str(self.marks.path)]
        self._argv.append(shlex.join(agent))
        self.environment = clean_environment(
            HOME=str(folder),
            PATH=f"{node.parent}:/usr/local/bin:/usr/bin:/bin",
            # It leaves a folder there for each of its own.
            TMPDIR=str(folder),
        )

    def run(self, *words: str, timeout: float = 120) -> tuple[float, float, str]:
        """Run one command of theirs; see `timed`."""
        argv = [*self._argv, *words]
        return timed(argv, env=self.environment, cwd=self.work, timeout=timeout)

    def warm(self, name: str) -> None:
        """Create a session and let it answer once, after which its process stays."""
        self.run("sessions", "new", "--name", name)
        self.run("prompt", "-s", name, f"TAG=warm-{name}")

    def background(self, *words: str) -> "subprocess.Popen[bytes]":
        """Return a context manager that runs one command of theirs until it is left."""
        return subprocess.Popen(
            [str(one) for one in (*self._argv, *words)],
            env=self.environment,
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def own(self) -> list[int]:
        """Return the pids of all that is theirs and stays; not the agents."""
        agent = str(ACP_AGENT)
        return [
            pid
            for pid in machine.of_scratch(self.folder)
            if "node" in Path((machine.words(pid) or [""])[0]).name
            or agent not in machine.words(pid)
        ]


class Acpx:
    """acpx from npm, on the Node it asks for."""

    name = "acpx"

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._node = Path()
        self._script = Path()

    def prepare(self) -> str:
        """See `Contender.prepare`."""
        if shutil.which("npm") is None:
            raise Skipped("it needs npm, which is not here")
        package = install.node_package()
        modules = install.from_npm(self._cache, f"acpx@{_VERSION}", package)
        self._node = modules / package.partition("@")[0] / "bin" / "node"
        self._script = modules / "acpx" / "dist" / "cli.js"
        node = install.run([self._node, "--version"]).strip()
        return f"acpx {_VERSION} from npm, Node {node}"

    @property
    def slices(self) -> Mapping[str, Slice]:
        """See `Contender.slices`."""
        return {
            "verb": self._verb,
            "create": self._create,
            "shell": self._shell,
            "busy": self._busy,
            "storm": self._storm,
            "live": self._live,
            "ingest": self._ingest,
        }

    @contextmanager
    def _desk(self) -> Generator[Desk]:
        with scratch("acpx") as folder:
            yield Desk(folder, self._node, self._script)

    def _verb(self, effort: Effort) -> dict[str, Figure]:
        took: list[float] = []
        with self._desk() as desk:
            desk.warm("one")
            for _ in range(effort.times(30)):
                begun, ended, _ = desk.run("status", "-s", "one")
                took.append(ended - begun)
        return {"verb": typical(took)}

    def _create(self, effort: Effort) -> dict[str, Figure]:
        took: list[float] = []
        with self._desk() as desk:
            for number in range(effort.times(10)):
                begun, ended, _ = desk.run("sessions", "new", "--name", f"n{number}")
                took.append(ended - begun)
        return {"create-shell": typical(took)}

    def _shell(self, effort: Effort) -> dict[str, Figure]:
        with self._desk() as desk:
            desk.warm("one")
            sent, told = _converse(desk, "one", effort.times(15))
        return {"send-shell": typical(sent), "told-shell": typical(told)}

    def _busy(self, effort: Effort) -> dict[str, Figure]:
        with self._desk() as desk, ExitStack() as stack:
            desk.warm("one")
            at_once(_STREAMS, lambda number: desk.warm(f"s{number}"))
            for number in range(_STREAMS):
                prompt = f"WORK=600 STREAM=50 TAG=stream-{number}"
                process = desk.background("prompt", "-s", f"s{number}", prompt)
                stack.callback(process.wait)
                stack.callback(process.kill)
            for number in range(_STREAMS):
                desk.marks.at("recv", f"stream-{number}")
            _, told = _converse(desk, "one", effort.times(10))
        return {"busy-shell": typical(told)}

    def _storm(self, effort: Effort) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for count in effort.pick((16, 64), (16,)):
            took: list[float] = []
            for _ in range(2 if count == 16 and not effort.is_quick else 1):
                with self._desk() as desk:
                    took.append(_storm_of(desk, count))
            figures[f"storm-{count}"] = typical([min(took)])
        return figures

    def _live(self, effort: Effort) -> dict[str, Figure]:
        with self._desk() as desk:
            for number in range(_LIVE):
                desk.warm(f"n{number}")
            time.sleep(2)
            pids = desk.own()
            each = sum(map(machine.memory_bytes, pids)) / _LIVE / 2**20
            share = machine.share(pids, over=effort.pick(20, 5))
        told = f"{each:.1f} MB ({len(pids)} processes for {_LIVE} sessions)"
        return {
            "memory": Figure(told, each),
            "idle": Figure(f"{_LIVE} sessions: {share:.2f} %", share),
        }

    def _ingest(self, effort: Effort) -> dict[str, Figure]:
        count = 20_000
        rates: list[float] = []
        for _ in range(effort.pick(3, 1)):
            with self._desk() as desk:
                desk.warm("one")
                _, ended, _ = desk.run("prompt", "-s", "one", f"FLOOD={count} TAG=f")
                rates.append(count / (ended - desk.marks.at("flood", "text")))
        return {"ingest": Figure(f"{max(rates):,.0f}/s ({count:,} updates)", max(rates))}


def _converse(desk: Desk, session: str, times: int) -> tuple[list[float], list[float]]:
    sent: list[float] = []
    told: list[float] = []
    for number in range(times):
        begun, ended, _ = desk.run("prompt", "-s", session, f"WORK=0.5 TAG=t{number}")
        sent.append(desk.marks.at("recv", f"t{number}") - begun)
        told.append(ended - desk.marks.at("done", f"t{number}"))
    return sent, told


def _storm_of(desk: Desk, count: int) -> float:
    def one(number: int) -> str:
        try:
            desk.run("sessions", "new", "--name", f"n{number}")
        except Trouble as trouble:
            return str(trouble)
        return ""

    took, faults = at_once(count, one)
    said = [fault for fault in faults if fault]
    if said:
        raise Trouble(f"{len(said)} of {count} failed after {seconds(took)}: {said[0]}")
    return took
