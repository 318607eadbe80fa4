"""Merge one branch into another, and move the user's checkout along."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from bullpen.errors import (
    BranchBusy,
    BranchMoved,
    CommitUnreachable,
    LandingConflict,
    NothingToLand,
    OperationUnfinished,
    TargetMissing,
    WorktreeUnknown,
)
from bullpen.git import (
    Conflicted,
    Repository,
    branch_tip,
    branches_in_use,
    commit_tree,
    fast_forward,
    files_changed,
    head_branch,
    is_ancestor,
    merge_tree,
    move_branch,
    operation_under_way,
    printable,
    repository_lock,
    repository_of,
    tree_of,
)

_TRIES = 5
"""How often the target may move under us before we give up; each try takes milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Landed:
    """A branch has come home."""

    target: str
    commit: str
    """The merge commit; its first parent is the target as it was."""
    files: int
    """How many paths of the target differ from before; a renamed file counts twice."""


@dataclass(frozen=True, kw_only=True)
class _Merge:
    """The merge of `branch` as computed: nothing points at it yet."""

    old: str
    new: str


async def land(
    repo: Path,
    *,
    branch: str,
    checkout: Path,
    message: str,
    target: str | None = None,
    session: str | None = None,
) -> Landed:
    """Merge `branch` into `target` by a merge commit, and move `checkout` along if it is on it.

    All or nothing: whatever is raised, and also when cancelled, target and checkout are as they
    were, or the branch has landed. The branch itself is never changed. Local changes in the
    checkout stay as they are, unless they stand in the way; then nothing happens. Landings in one
    repository wait for each other, over processes too; when somebody else moves the target
    meanwhile, the merge is made anew.

    Args:
        repo: Any folder in the repository; it may be bare.
        checkout: The user's working tree, which may be on another branch than `target`. For a bare
            repository, the repository.
        message: Of the merge commit. It is by the user, where git knows one.
        target: A local branch; the one `checkout` is on, by default.
        session: Named in errors; the branch, by default.

    Raises:
        NothingToLand: all of `branch` is in the target already, be it by commits or by content.
        LandingConflict: the two do not merge cleanly.
        CheckoutDirty: local changes in `checkout` stand in the way.
        OperationUnfinished: a merge, rebase or the like is under way in `checkout`, which is on
            the target.
        TargetMissing: no target was named and `checkout` is on none: its HEAD is detached or has
            no commit, or the repository is bare.
        BranchBusy: the target is checked out in another worktree than `checkout`.
        RefUnknown: the branch or the target named does not exist.
        NotARepository, WorktreeUnknown: `checkout` is in no repository, or in another than `repo`.
        BranchMoved: somebody moved the target again and again.
        RepositoryBusy: other landings took too long.
        CommandFailed: git failed, for instance because the two share no history.
    """
    home = await repository_of(checkout)
    if home.common_dir != (await repository_of(repo)).common_dir:
        raise WorktreeUnknown(checkout, repo)
    async with repository_lock(repo, purpose="landing"):
        goal = await _target(home, target)
        merge = await _landed(home, branch, goal, session=session or branch, message=message)
        files = await files_changed(repo, merge.old, merge.new)
        return Landed(target=goal, commit=merge.new, files=len(files))


async def _landed(
    home: Repository, branch: str, target: str, *, session: str, message: str
) -> _Merge:
    for _ in range(_TRIES):
        merge = await _merged(home.root, branch, target, session=session, message=message)
        with suppress(BranchMoved, CommitUnreachable):
            await _move(home, target, merge)
            return merge
    raise BranchMoved(target, await branch_tip(home.root, target))


async def _target(home: Repository, named: str | None) -> str:
    if named is not None:
        await branch_tip(home.root, named)
        return named
    if home.is_bare:
        raise TargetMissing(home.root, "the repository is bare")
    if home.head_branch is None:
        operation = await operation_under_way(home.root)
        if operation is not None:
            raise OperationUnfinished(home.root, operation)
        raise TargetMissing(home.root, "its HEAD is detached")
    if home.head_commit is None:
        raise TargetMissing(home.root, f"branch {home.head_branch!r} has no commit yet")
    return home.head_branch


async def _merged(repo: Path, branch: str, target: str, *, session: str, message: str) -> _Merge:
    ours, theirs = await branch_tip(repo, target), await branch_tip(repo, branch)
    if await is_ancestor(repo, theirs, ours):
        raise NothingToLand(session, branch)
    merged = await merge_tree(repo, ours, theirs)
    if isinstance(merged, Conflicted):
        raise LandingConflict(branch, target, tuple(printable(name) for name in merged.files))
    if merged.tree == await tree_of(repo, ours):
        raise NothingToLand(session, branch)
    new = await commit_tree(repo, merged.tree, parents=(ours, theirs), message=message)
    return _Merge(old=ours, new=new)


async def _move(home: Repository, target: str, merge: _Merge) -> None:
    user = (await branches_in_use(home.root)).get(target)
    if user is None:
        # Git may be between having moved the branch and telling us so.
        with anyio.CancelScope(shield=True):
            await move_branch(home.root, target, new=merge.new, old=merge.old)
        return
    if home.is_bare or user.resolve() != home.root.resolve():
        raise BranchBusy(target, user)
    operation = await operation_under_way(home.root)
    if operation not in (None, "bisect"):
        raise OperationUnfinished(home.root, operation)
    with anyio.CancelScope(shield=True):
        if await head_branch(home.root) != target:
            raise BranchMoved(target, merge.old)
        await fast_forward(home.root, merge.new)
