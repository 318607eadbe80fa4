"""Committing for an agent, and keeping what would be lost with a worktree."""

from dataclasses import dataclass
from pathlib import Path

import anyio

from bullpen.errors import CommandFailed, OperationUnfinished, RefUnknown
from bullpen.git.changes import status
from bullpen.git.command import (
    Signature,
    complaint,
    identity_environment,
    read,
    text,
    write,
)
from bullpen.git.merging import encoded
from bullpen.git.repository import (
    branch_tip,
    head_branch,
    is_ancestor,
    operation_under_way,
    resolve,
    top_of,
    tree_of,
)
from bullpen.git.snapshot import record_files, snapshot

RESCUES = "refs/bullpen/rescue/"
_TRIES = 20
_PAUSE = 0.1


async def commit_all(path: Path, message: str, *, fallback: Signature | None = None) -> str | None:
    """Commit all that differs from HEAD in the working tree of `path`; None if nothing does.

    New files are included, files that git ignores and repositories inside of the working tree are
    not. The commit is by the user; by `fallback` where git knows no user. No hook runs, nothing is
    signed. A merge without open conflicts is concluded by it.

    Raises:
        OperationUnfinished: files are in conflict, or a rebase is under way. Nothing was changed.
        CommandFailed: git failed, for instance because another git command holds the index for
            longer than two seconds. Files may be staged then.
    """
    top = await top_of(path)
    operation = await operation_under_way(top)
    if operation == "rebase" or (await status(top)).conflicted:
        raise OperationUnfinished(top, operation or "merge")
    await _staged(top)
    same = await read("diff", "--cached", "--quiet", "--no-ext-diff", cwd=top, check=False)
    if same.exit_code == 0 and operation != "merge":
        return None
    identity = await identity_environment(top, fallback or Signature())
    args = ("commit", "--quiet", "--no-verify", "--cleanup=verbatim", "--file=-")
    await write(*args, cwd=top, extra=identity, stdin=encoded(message))
    return await resolve(top, "HEAD")


async def _staged(top: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            await record_files(top, {})
        except CommandFailed as error:
            # An agent's own git command, such as its editor's status, comes and goes.
            if "index.lock" not in error.stderr or not left:
                raise
            await anyio.sleep(_PAUSE)
        else:
            return


@dataclass(frozen=True)
class _Work:
    """What a rescue has to keep: a tree on top of commits."""

    tree: str
    parents: tuple[str, ...]
    is_new: bool
    """Whether `tree` is not simply that of the first parent."""


async def save_rescue(
    repo: Path, worktree_path: Path, session: str, *, branch: str | None = None
) -> str | None:
    """Keep all work of a worktree under `refs/bullpen/rescue/<session>`, and return that ref.

    The commit's tree is the content of the worktree, with untracked files and with the files of
    repositories inside of it (not their history), without what git ignores. Its first parent is
    the worktree's HEAD; the tip of `branch` and what was staged are parents too where they hold
    something else. Touches no branch, index or file.

    Returns None when there is nothing to keep: no uncommitted work, and every commit is reachable
    from a ref that is neither the worktree's own branch nor `branch`. Saving the same work twice
    gives the same ref; other work of the same session goes to `<session>.2` and so on. Where the
    folder is gone, `branch` alone is kept.

    Raises:
        CommandFailed: a file cannot be read, or git fails. Nothing was kept.
    """
    own = {branch} - {None}
    if worktree_path.is_dir() and await top_of(worktree_path) == worktree_path.resolve():
        own |= {await head_branch(worktree_path)} - {None}
        work = await _work_in(worktree_path, session, branch)
    else:
        work = await _work_on(repo, branch)
    if work is None:
        return None
    refs = {f"refs/heads/{name}" for name in own}
    if not work.is_new and await _reached_otherwise(repo, work.parents, refs):
        return None
    return await _kept(repo, work, session)


async def _work_on(repo: Path, branch: str | None) -> _Work | None:
    if branch is None:
        return None
    try:
        tip = await branch_tip(repo, branch)
    except RefUnknown:
        return None
    return _Work(await tree_of(repo, tip), (tip,), is_new=False)


async def _work_in(path: Path, session: str, branch: str | None) -> _Work:
    taken = await snapshot(path, nested=True)
    on_branch = await _work_on(path, branch)
    try:
        head = await resolve(path, "HEAD")
    except RefUnknown:
        return _Work(taken.tree, on_branch.parents if on_branch else (), is_new=True)
    tree = await tree_of(path, head)
    parents = [head]
    if on_branch and not await is_ancestor(path, on_branch.parents[0], head):
        parents.append(on_branch.parents[0])
    if taken.staged not in (None, tree, taken.tree):
        note = f"bullpen rescue of {session}: what was staged"
        # Dated like HEAD, so that saving the same work again finds that it is kept already.
        date = text((await read("log", "-1", "--format=%ct +0000", head, cwd=path)).stdout)
        parents.append(await _commit(path, taken.staged, (head,), message=note, date=date))
    return _Work(taken.tree, tuple(parents), is_new=taken.tree != tree or len(parents) > 1)


async def _commit(
    repo: Path, tree: str, parents: tuple[str, ...], *, message: str, date: str | None = None
) -> str:
    by = Signature()
    extra = {f"GIT_{role}_NAME": by.name for role in ("AUTHOR", "COMMITTER")}
    extra |= {f"GIT_{role}_EMAIL": by.email for role in ("AUTHOR", "COMMITTER")}
    if date is not None:
        extra |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    args = [arg for parent in parents for arg in ("-p", parent)]
    stdin = encoded(message)
    done = await write("commit-tree", tree, *args, "-F", "-", cwd=repo, stdin=stdin, extra=extra)
    return text(done.stdout)


async def _reached_otherwise(repo: Path, commits: tuple[str, ...], own: set[str]) -> bool:
    for commit in commits:
        args = ("for-each-ref", "--contains", commit, "--format=%(refname)")
        refs = set(text((await read(*args, cwd=repo)).stdout).split("\n")) - own - {""}
        # A rescue is reported, so that whoever removes the worktree can say where the work is.
        if not any(not ref.startswith(RESCUES) for ref in refs):
            return False
    return True


async def _kept(repo: Path, work: _Work, session: str) -> str:
    taken = await rescues(repo)
    for ref, commit in taken.items():
        if _belongs(ref, session) and await _is_kept_by(repo, work, commit):
            return ref
    if work.is_new:
        message = f"bullpen rescue of {session}"
        commit = await _commit(repo, work.tree, work.parents, message=message)
    else:
        commit = work.parents[0]
    number = 1
    while True:
        ref = RESCUES + session + (f".{number}" if number > 1 else "")
        args = ("update-ref", "-m", "bullpen: rescue", ref, commit, "0" * len(commit))
        done = await write(*args, cwd=repo, check=False)
        if done.exit_code == 0:
            return ref
        if ref not in await rescues(repo):
            raise CommandFailed(("git", *args), done.exit_code, complaint(done.stderr))
        number += 1


def _belongs(ref: str, session: str) -> bool:
    # Session ids hold no dots, so a dot can only begin the number.
    return ref.removeprefix(RESCUES).partition(".")[0] == session


async def _is_kept_by(repo: Path, work: _Work, commit: str) -> bool:
    if not work.is_new:
        return commit == work.parents[0]
    shape = text((await read("log", "-1", "--format=%T %P", commit, cwd=repo)).stdout)
    return shape == f"{work.tree} {' '.join(work.parents)}"


async def rescues(repo: Path) -> dict[str, str]:
    """Return every rescue ref of the repository with its commit."""
    args = ("for-each-ref", "--format=%(refname) %(objectname)", RESCUES)
    lines = text((await read(*args, cwd=repo)).stdout).split("\n")
    pairs = (line.partition(" ") for line in lines if line)
    return {ref: commit for ref, _, commit in pairs}
