"""One writer per repository, over tasks and over processes."""

import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from bullpen.errors import RepositoryBusy
from bullpen.git.command import read, text

LOCK_WAIT = 120.0
"""Seconds. What is done under the lock takes milliseconds, so whoever waits this long waits for
something that hangs."""
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


async def common_directory(repo: Path) -> Path:
    """Return the folder all worktrees of `repo` share.

    Raises:
        CommandFailed: `repo` is not inside a repository.
    """
    done = await read("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=repo)
    return Path(text(done.stdout))


@asynccontextmanager
async def repository_lock(
    repo: Path, *, purpose: str = "worktrees", wait: float = LOCK_WAIT
) -> AsyncGenerator[Path]:
    """Hold the lock of `repo` for `purpose`, and yield the folder its worktrees share.

    Excludes every other holder of the same purpose on this machine, in this process or another;
    git commands that know nothing of us are not excluded. The kernel frees the lock when its
    holder dies. The lock file stays: removing it would let two holders in.

    Raises:
        RepositoryBusy: another held it for `wait` seconds.
    """
    common = await common_directory(repo)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    handle = os.open(common / f"bullpen-{purpose}.lock", flags, 0o600)
    try:
        await _locked(handle, repo, wait)
        yield common
    finally:
        os.close(handle)


async def _locked(handle: int, repo: Path, wait: float) -> None:
    pause = _FIRST_PAUSE
    with anyio.move_on_after(wait):
        while not _try_lock(handle):
            await anyio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return
    raise RepositoryBusy(repo, wait)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
