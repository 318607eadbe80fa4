"""A service in small: starts the agent named on the command line, says so, and waits to be killed.

Arguments: folder of the journal, working directory, then the agent's argv.
"""

import json
import os
import sys
from pathlib import Path

import anyio

from bullpen.process import Journal, Watcher, spawn


async def main(folder: str, cwd: str, argv: list[str]) -> None:
    """Start the agent and print its identity."""
    journal = Journal(Path(folder))
    offset = journal.prepare(run=1)
    async with Watcher.open() as watcher:
        child = await spawn(
            argv, journal=journal, run=1, cwd=Path(cwd), env=dict(os.environ), watcher=watcher
        )
        follower = child.follow(offset)
        await follower.read()
        print(json.dumps([child.identity.pid, child.identity.start_time]), flush=True)
        await anyio.sleep_forever()


anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])
