"""Folders: the one a session is asked for in, and the one its worktree gets."""

import hashlib
import os
import re
import stat
from pathlib import Path

from anyio import to_thread

from bullpen.errors import DirectoryMissing

_BLOCK_BYTES = 512
"""What `st_blocks` counts, whatever the block size of the file system."""


def check_directory(path: Path) -> Path:
    """Return `path` as it really is: absolute, `~` expanded, links followed.

    Two ways to write one folder give the same answer, so it can be compared.

    Raises:
        DirectoryMissing: it does not exist, is a file, or cannot be looked at.
    """
    try:
        real = path.expanduser().resolve(strict=True)
        is_folder = stat.S_ISDIR(real.stat().st_mode)
    except (OSError, RuntimeError, ValueError) as error:
        # A loop of links, an unknown user behind `~`, a NUL in the name.
        raise DirectoryMissing(path, is_file=isinstance(error, NotADirectoryError)) from error
    if not is_folder:
        raise DirectoryMissing(path, is_file=True)
    return real


def worktree_path(home: Path, repo_root: Path, session: str) -> Path:
    """Return where the worktree of `session` belongs: `<home>/worktrees/<repository>/<session>`.

    Always the same for the same repository and session, so that a conversation brought back finds
    itself where it was. Repositories of one name are told apart by a hash of their path. Nothing
    is made.
    """
    real = repo_root.resolve()
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", real.name.removesuffix(".git")).strip("-.")[:40]
    return home / "worktrees" / (f"{name}-{digest}" if name else digest) / session


async def measure(folder: Path) -> int:
    """Return how many bytes of disk `folder` takes; 0 when it is not there.

    What is on disk counts, not the length of files; a file with two names counts once. Links are
    not followed, other file systems not entered. What cannot be read does not count.
    """
    return await to_thread.run_sync(_measured, folder, abandon_on_cancel=True)


def _measured(folder: Path) -> int:
    try:
        top = folder.lstat()
    except OSError:
        return 0
    seen = {(top.st_dev, top.st_ino): top.st_blocks}
    for _, folders, files, handle in os.fwalk(folder):
        kept: list[str] = []
        for name in [*folders, *files]:
            try:
                facts = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except OSError:
                continue
            if facts.st_dev != top.st_dev:
                continue
            seen[facts.st_dev, facts.st_ino] = facts.st_blocks
            kept.append(name)
        folders[:] = [name for name in folders if name in kept]
    return sum(seen.values()) * _BLOCK_BYTES
