"""Kill a follower with -9 again and again while a writer writes; leave what was committed.

Arguments: folder, seconds, seed. The folder then holds `out.jsonl` and `commits/`, one file per
commit, named by the offsets it begins and ends at. Prints how many followers were killed.

Forks, because a fresh interpreter per round would leave time for a dozen rounds only.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import anyio

from bullpen.process import Batch, Follower, Watcher


def write(out: Path, seconds: float, chance: random.Random) -> None:
    """Write lines of all sizes, cut anywhere; the last one is never finished."""
    descriptor = os.open(out, os.O_WRONLY | os.O_APPEND)
    ends = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends:
        size = int(chance.paretovariate(0.7)) % 400_000
        line = b"%d " % number + chance.randbytes(size).replace(b"\n", b"\0") + b"\n"
        number += 1
        cut = chance.randrange(len(line))
        os.write(descriptor, line[:cut])
        if chance.random() < 0.05:
            time.sleep(chance.random() / 100)
        os.write(descriptor, line[cut:])
    os.write(descriptor, b"unfinished")


def committed(commits: Path) -> int:
    """Return the offset up to which everything is committed."""
    return max((int(path.name.split("-")[1]) for path in commits.glob("*-*")), default=0)


def commit(commits: Path, begins: int, batch: Batch) -> int:
    """Store lines and offset as one: a rename happens or does not."""
    draft = commits / "draft"
    draft.write_bytes(b"".join(line + b"\n" for line in batch.lines))
    draft.rename(commits / f"{begins:012d}-{batch.offset:012d}")
    return batch.offset


async def follow(out: Path, commits: Path) -> None:
    """Follow from the last commit until somebody kills us."""
    offset = committed(commits)
    async with Watcher.open() as watcher:
        follower = Follower(out, offset, watcher=watcher)
        while True:
            offset = commit(commits, offset, await follower.read())


async def finish(out: Path, commits: Path) -> None:
    """Commit what is left."""
    offset = committed(commits)
    async with Watcher.open() as watcher:
        follower = Follower(out, offset, watcher=watcher)
        commit(commits, offset, follower.drain())
        follower.close()


def main(folder: Path, seconds: float, seed: int) -> None:
    """Write in one process, follow in ever new ones."""
    signal.alarm(60)
    chance = random.Random(seed)
    anyio.run(anyio.sleep, 0)  # imports what every fork would otherwise import again
    out, commits = folder / "out.jsonl", folder / "commits"
    out.touch()
    commits.mkdir()
    writer = os.fork()
    if writer == 0:
        write(out, seconds, chance)
        os._exit(0)
    rounds = 0
    while os.waitpid(writer, os.WNOHANG) == (0, 0):
        follower = os.fork()
        if follower == 0:
            anyio.run(follow, out, commits)
        time.sleep(chance.random() / 20)
        os.kill(follower, signal.SIGKILL)
        os.waitpid(follower, 0)
        rounds += 1
    anyio.run(finish, out, commits)
    print(rounds)


main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
