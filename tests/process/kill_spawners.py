"""Kill a process with -9 at random moments while it starts an agent; then adopt, or start anew.

Arguments: folder, seconds, seed. Prints as JSON how many agents were adopted, how many had not
been started, and what went wrong.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import anyio

from bullpen.process import Journal, Watcher, adopt, marked, spawn

AGENT = ["/bin/sh", "-c", "echo up; while read -r line; do echo got $line; done"]
SESSION = f"torture-{os.getpid()}"


async def start(journal: Journal, run: int, folder: Path) -> None:
    """Do what a service does, up to the moment it records the pid."""
    async with Watcher.open() as watcher:
        env = {"PATH": os.defpath, "BULLPEN_SESSION": SESSION}
        await spawn(AGENT, journal=journal, run=run, cwd=folder, env=env, watcher=watcher)
        os.kill(os.getpid(), signal.SIGKILL)


async def recover(journal: Journal, run: int, begins: int) -> bool:
    """Adopt the agent, if there is one, talk to it and end it; return whether there was one."""
    async with Watcher.open() as watcher:
        child = await adopt(journal, session=SESSION, run=run, identity=None, watcher=watcher)
        if child is None:
            return False
        follower = child.follow(begins)
        await child.write(b"ping\n")
        lines: list[bytes] = []
        with anyio.fail_after(10):
            while len(lines) < 2:
                lines += (await follower.read()).lines
        assert lines == [b"up", b"got ping"], lines
        ending = await child.reap(grace=10)
        assert ending.signal == signal.SIGTERM, ending
        child.close()
        return True


def main(folder: Path, seconds: float, seed: int) -> None:
    """One journal, one run after the other."""
    signal.alarm(60)
    chance = random.Random(seed)
    anyio.run(anyio.sleep, 0)  # imports what every fork would otherwise import again
    ends = time.monotonic() + seconds
    counts = {"adopted": 0, "not started": 0}
    run = 0
    silent: list[tuple[int, Path]] = []
    while time.monotonic() < ends:
        run += 1
        journal = Journal(folder / f"run-{run}")
        begins = journal.prepare(run=run)
        spawner = os.fork()
        if spawner == 0:
            anyio.run(start, journal, run, folder)
        time.sleep(chance.random() / 80)
        os.kill(spawner, signal.SIGKILL)
        os.waitpid(spawner, 0)
        was_there = anyio.run(recover, journal, run, begins)
        counts["adopted" if was_there else "not started"] += 1
        if not was_there:
            silent.append((run, journal.stdout))
    lost = [run for run, stdout in silent if stdout.stat().st_size]
    left = [one.pid for one in marked() if one.session == SESSION]
    print(json.dumps({**counts, "lost": lost, "left": left}))


main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
