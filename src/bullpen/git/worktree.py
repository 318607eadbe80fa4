"""Worktrees: made in parallel without a race, removed without losing what was not asked for."""

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
from anyio import to_thread

from bullpen.errors import (
    BranchBusy,
    BranchMoved,
    CommandFailed,
    PlaceTaken,
    RemovalFailed,
    WorktreeDirty,
    WorktreeUnknown,
)
from bullpen.git.changes import status
from bullpen.git.command import complaint, printable, write
from bullpen.git.lock import repository_lock
from bullpen.git.repository import (
    branch_tip,
    branches_in_use,
    create_branch,
    delete_branch,
    resolve,
    top_of,
    worktrees,
)

_TRIES = 5
_PAUSE = 0.02


async def add_worktree(
    repo: Path, path: Path, *, branch: str, base: str, sparse: Sequence[str] = ()
) -> str:
    """Make a worktree at `path` on a new `branch` from `base`, and return the base's commit.

    Any number of tasks and processes may do so at once: the part that git does not survive in
    parallel runs under the repository's lock, the checkout of the files outside of it. The branch
    tracks nothing. Submodules are not filled. Whatever fails, and also when cancelled, what was
    made is undone: branch, folder and git's own entry; never what others made.

    Args:
        path: Missing, or an empty folder; its parents are made.
        base: A branch, tag or commit.
        sparse: Folders (git's cone mode) to check out, instead of all. Turns the repository's
            `extensions.worktreeConfig` on, which gits before 2.20 cannot read.

    Raises:
        RefUnknown: `base` names no commit; also in a repository without any.
        BranchInvalid: git does not allow the name of the branch.
        BranchTaken: the branch exists, or its name is the folder of one that does.
        PlaceTaken: `path` is a file or a folder that is not empty.
        RepositoryBusy: the lock was not to be had.
        CommandFailed: git failed, for instance in a smudge filter or for want of space.
    """
    path = path.resolve()
    _check_free(path)
    commit = await resolve(repo, base)
    async with AsyncExitStack() as undo:
        async with repository_lock(repo):
            # Cut off in the middle, we could not tell our branch from one that was there before.
            with anyio.CancelScope(shield=True):
                await create_branch(repo, branch, commit)
            undo.push_async_callback(_drop_branch, repo, branch, commit)
            undo.push_async_callback(_unregister, repo, path)
            await _register(repo, path, branch)
            await _narrow(path, sparse)
        await _fill(path)
        undo.pop_all()
    return commit


async def restore_worktree(
    repo: Path, path: Path, *, branch: str, sparse: Sequence[str] = ()
) -> str:
    """Make a worktree at `path` on a `branch` that exists, and return the branch's commit.

    For a session whose folder was removed and that is to go on. Guarantees as `add_worktree`, but
    the branch stays whatever happens.

    Raises:
        RefUnknown: the branch does not exist.
        BranchBusy: another worktree has it checked out.
        PlaceTaken, RepositoryBusy, CommandFailed: as for `add_worktree`.
    """
    path = path.resolve()
    _check_free(path)
    commit = await branch_tip(repo, branch)
    async with AsyncExitStack() as undo:
        async with repository_lock(repo):
            user = (await branches_in_use(repo)).get(branch)
            if user is not None:
                raise BranchBusy(branch, user)
            undo.push_async_callback(_unregister, repo, path)
            await _register(repo, path, branch)
            await _narrow(path, sparse)
        await _fill(path)
        undo.pop_all()
    return commit


def _check_free(path: Path) -> None:
    if path.is_dir():
        with os.scandir(path) as entries:
            taken = next(entries, None) is not None
    else:
        taken = path.exists()
    if taken:
        raise PlaceTaken(path)


async def _register(repo: Path, path: Path, branch: str) -> None:
    args = ("worktree", "add", "--no-checkout", "--quiet", "--", str(path), branch)
    for left in reversed(range(_TRIES)):
        done = await write(*args, cwd=repo, check=False)
        if done.exit_code == 0:
            return
        said = complaint(done.stderr)
        if "already registered" in said:
            await _forget(repo, path)
        elif "commondir" not in said or not left:
            raise CommandFailed(("git", *args), done.exit_code, said)
        # A git command that knows nothing of our lock has half-made an entry of its own.
        await anyio.sleep(_PAUSE)
    raise PlaceTaken(path)


async def _narrow(path: Path, sparse: Sequence[str]) -> None:
    if not sparse:
        return
    folders = "".join(f"{folder}\n" for folder in sparse).encode()
    # Writes the configuration all worktrees share, which is why it runs under the lock.
    await write("sparse-checkout", "set", "--cone", "--stdin", cwd=path, stdin=folders)


async def _fill(path: Path) -> None:
    await write("reset", "--hard", "--quiet", cwd=path)


async def _unregister(repo: Path, path: Path) -> None:
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(_erase, path)
        async with repository_lock(repo):
            await _forget(repo, path)


async def _drop_branch(repo: Path, branch: str, commit: str) -> None:
    with anyio.CancelScope(shield=True):
        # Whoever committed to it meanwhile wants it kept.
        with suppress(BranchMoved, BranchBusy):
            await delete_branch(repo, branch, expected=commit)


async def _forget(repo: Path, path: Path) -> None:
    # Twice, because an entry that git was killed over is locked. Fails where there is none.
    await write("worktree", "remove", "--force", "--force", "--", str(path), cwd=repo, check=False)


async def remove_worktree(repo: Path, path: Path, *, force: bool = False) -> None:
    """Delete the worktree at `path`, with the files git ignores, and git's entry of it.

    Its branch and its commits stay. Without `force`, nothing happens to a worktree with
    uncommitted or untracked work; with it such work is gone: `save_rescue` comes first. A
    worktree that is gone already is fine, and so is one whose removal was cut off before.

    Raises:
        WorktreeDirty: it holds uncommitted work and `force` is false. Nothing was removed.
        WorktreeUnknown: `path` is no linked worktree of `repo`. Nothing was removed.
        RemovalFailed: part of the folder cannot be deleted; git's entry stays.
        RepositoryBusy: the lock was not to be had; the folder is gone, git's entry stays.
    """
    path = path.resolve()
    entries = {entry.path: entry for entry in (await worktrees(repo))[1:]}
    if path not in entries:
        if path.exists():
            raise WorktreeUnknown(path, repo)
        return
    if path.exists() and not force:
        await _check_clean(repo, path)
    await to_thread.run_sync(_erase, path)
    async with repository_lock(repo):
        await _forget(repo, path)


async def _check_clean(repo: Path, path: Path) -> None:
    # With its `.git` gone, git would answer for a repository around it.
    if await top_of(path) != path:
        raise WorktreeUnknown(path, repo)
    changes = await status(path)
    if not changes.is_clean:
        raise WorktreeDirty(path, tuple(printable(name) for name in changes.files))


def _erase(path: Path) -> None:
    if not path.is_dir():
        return
    # Caches of some tools are read-only folders, from which even their owner cannot delete.
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            Path(folder).chmod(stat.S_IRWXU)
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise RemovalFailed(path, str(error)) from error
