"""Measure real agents: native dialects beside adapters, `python bench/real.py [AGENT...]`.

Each agent is rehearsed: the real program, our model behind it. Rounds alternate between the agents,
so that all of them meet the same machine.
"""

import math
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio
import psutil

import bullpen
from bullpen.testing.install import install

AGENTS = ("claude", "claude-acp", "codex", "codex-acp", "pi", "pi-acp")
ROUNDS = 5
SCRIPT = "replies: [{steps: [done]}]\n"
NOWHERE = {"ANTHROPIC_API_KEY": "dummy", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
PLAIN = {"claude": NOWHERE, "claude-acp": NOWHERE}
"""Agents that start without an account and without a rehearsal, and what they need for it."""


Row = tuple[float, float, float]


async def measure(pen: bullpen.Pen, agent: str, script: Path) -> Row:
    """Return seconds from create to ready, the same without a rehearsal (else NaN), and megabytes
    after one turn."""
    with tempfile.TemporaryDirectory() as folder:
        plain = float("nan")
        if agent in PLAIN:
            begun = time.monotonic()
            session = await pen.create(agent, folder, environment=PLAIN[agent])
            plain = time.monotonic() - begun
            await _drop(session)
        begun = time.monotonic()
        session = await pen.create(agent, folder, rehearsal=str(script))
        ready = time.monotonic() - begun
        await session.ask("say it")
        memory = _memory(session.id)
        await _drop(session)
    return ready, plain, memory


async def _drop(session: bullpen.RemoteSession) -> None:
    await session.kill()
    await session.remove(force=True)


def _memory(session: str) -> float:
    """Return the proportional set size of all processes that carry the session's mark."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get("BULLPEN_SESSION") != session:
                continue
            if "scripted_model" not in " ".join(process.cmdline()):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


async def rounds(agents: list[str], folder: Path) -> dict[str, list[Row]]:
    """Return the figures of each agent, one of each in turn."""
    script = folder / "script.yaml"
    script.write_text(SCRIPT)
    figures: dict[str, list[Row]] = {agent: [] for agent in agents}
    async with bullpen.connect(folder / "state") as pen:
        try:
            for agent in agents * ROUNDS:
                figures[agent].append(await measure(pen, agent, script))
        finally:
            os.kill((await pen.health())["pid"], signal.SIGTERM)
    return figures


def main(agents: list[str]) -> None:
    """Measure all agents and print a table."""
    for each in [install(agent) for agent in agents]:
        os.environ |= each.environment
        os.environ["PATH"] = os.pathsep.join([*map(str, each.path), os.environ["PATH"]])
    with tempfile.TemporaryDirectory(prefix="bullpen-real-") as folder:
        # The user's own settings and history stay out of it.
        os.environ["HOME"] = folder
        figures = anyio.run(rounds, agents, Path(folder))
    titles = "| agent | create → ready, rehearsed | create → ready | memory after a turn |"
    sys.stdout.write(f"{titles}\n| --- | --- | --- | --- |\n")
    for agent, rows in figures.items():
        ready, plain, memory = (statistics.median(column) for column in zip(*rows, strict=True))
        alone = "-" if math.isnan(plain) else f"{plain * 1000:.0f} ms"
        sys.stdout.write(f"| `{agent}` | {ready * 1000:.0f} ms | {alone} | {memory:.0f} MB |\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(AGENTS))
