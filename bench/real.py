"""Measure real agents: native dialects beside adapters, `python bench/real.py [AGENT...]`.

Each agent is rehearsed: the real program, our model behind it. Rounds alternate between the agents,
so that all of them meet the same machine.
"""

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


async def measure(pen: bullpen.Pen, agent: str, script: Path) -> tuple[float, float]:
    """Return seconds from create to ready, and megabytes after one turn."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        session = await pen.create(agent, folder, rehearsal=str(script))
        ready = time.monotonic() - begun
        await session.ask("say it")
        memory = _memory(session.id)
        await session.kill()
        await session.remove(force=True)
    return ready, memory


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


async def rounds(agents: list[str], folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the figures of each agent, one of each in turn."""
    script = folder / "script.yaml"
    script.write_text(SCRIPT)
    figures: dict[str, list[tuple[float, float]]] = {agent: [] for agent in agents}
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
        figures = anyio.run(rounds, agents, Path(folder))
    sys.stdout.write("| agent | create → ready | memory after a turn |\n| --- | --- | --- |\n")
    for agent, rows in figures.items():
        seconds, memory = (statistics.median(column) for column in zip(*rows, strict=True))
        sys.stdout.write(f"| `{agent}` | {seconds * 1000:.0f} ms | {memory:.0f} MB |\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(AGENTS))
