"""What a repository is: its folders, refs, branches and worktrees, read and compared."""

import re
from dataclasses import dataclass
from pathlib import Path

from bullpen.errors import (
    BranchBusy,
    BranchInvalid,
    BranchMoved,
    BranchTaken,
    CommandFailed,
    NotARepository,
    RefUnknown,
)
from bullpen.git.command import complaint, paths, read, text, write
from bullpen.git.lock import common_directory
from bullpen.git.merging import Merged, merge_tree

_HEADS = "refs/heads/"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository as seen from one of its working trees, or a bare one."""

    root: Path
    """Top of the working tree that was asked about; of a bare repository, the repository."""
    common_dir: Path
    """What all its worktrees share; names the repository whichever worktree is asked about."""
    head_branch: str | None
    """Without `refs/heads/`; None when HEAD is detached. May have no commit yet."""
    head_commit: str | None
    """None when there is no commit yet."""
    is_bare: bool


@dataclass(frozen=True, kw_only=True)
class Worktree:
    """One entry of the list of worktrees; the first of a list is the main one."""

    path: Path
    commit: str | None
    branch: str | None
    is_bare: bool = False
    is_locked: bool = False
    is_missing: bool = False
    """Its folder is gone."""


async def version() -> tuple[int, ...]:
    """Return git's version, such as `(2, 39, 5)`.

    Raises:
        ProgramNotFound: git is not installed.
    """
    done = await read("version", cwd=Path("/"))
    found = re.search(r"\d+(\.\d+)*", text(done.stdout))
    return tuple(int(part) for part in found.group().split(".")) if found else ()


async def repository_of(path: Path) -> Repository:
    """Return the repository whose working tree holds `path`, or that is bare and is `path`.

    Raises:
        NotARepository: `path` is a missing folder, in no repository, or inside of a `.git`.
        CommandFailed: git refuses to look, for instance because another user owns the folder;
            its hint says what git wants.
    """
    if not path.is_dir():
        raise NotARepository(path)
    asked = ("--is-bare-repository", "--is-inside-work-tree")
    done = await read("rev-parse", *asked, cwd=path, check=False)
    if done.exit_code != 0:
        said = complaint(done.stderr)
        if "not a git repository" in said:
            raise NotARepository(path)
        raise CommandFailed(("git", "rev-parse", *asked), done.exit_code, said)
    bare, inside = (word == "true" for word in text(done.stdout).split("\n")[:2])
    if not inside and not bare:
        raise NotARepository(path)
    common = await common_directory(path)
    top = common if bare else await top_of(path)
    return Repository(
        root=top,
        common_dir=common,
        head_branch=await head_branch(path),
        head_commit=await _commit_or_none(path, "HEAD"),
        is_bare=bare,
    )


async def top_of(path: Path) -> Path:
    """Return the top of the working tree that holds `path`.

    Raises:
        CommandFailed: `path` is in no working tree.
    """
    return Path(text((await read("rev-parse", "--show-toplevel", cwd=path)).stdout))


async def head_branch(path: Path) -> str | None:
    """Return the branch HEAD is on, None when it is detached. The branch may have no commit."""
    done = await read("symbolic-ref", "--quiet", "HEAD", cwd=path, check=False)
    full = text(done.stdout)
    return full.removeprefix(_HEADS) if full.startswith(_HEADS) else None


async def resolve(repo: Path, ref: str) -> str:
    """Return the full id of the commit that `ref` names: a branch, tag, id or `HEAD~2`.

    Raises:
        RefUnknown: there is no such ref, or it names no commit.
    """
    found = await _commit_or_none(repo, ref)
    if found is None:
        raise RefUnknown(ref, repo)
    return found


async def _commit_or_none(repo: Path, ref: str) -> str | None:
    # A leading dash would be read as an option, and `^x` as "not x".
    if not ref or ref[0] in "-^" or any(sign in ref for sign in "\0\n"):
        return None
    done = await read(
        "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", cwd=repo, check=False
    )
    return text(done.stdout) if done.exit_code == 0 else None


async def branch_tip(repo: Path, branch: str) -> str:
    """Return the commit `branch` is at; a tag of the same name is not mistaken for it.

    Raises:
        RefUnknown: there is no such branch.
    """
    found = await _commit_or_none(repo, _HEADS + branch)
    if found is None:
        raise RefUnknown(branch, repo)
    return found


async def branch_exists(repo: Path, branch: str) -> bool:
    """Say whether `branch` is a local branch with a commit."""
    return await _commit_or_none(repo, _HEADS + branch) is not None


async def is_ancestor(repo: Path, older: str, newer: str) -> bool:
    """Say whether all of commit `older` is part of commit `newer`."""
    args = ("merge-base", "--is-ancestor", older, newer)
    done = await read(*args, cwd=repo, check=False)
    if done.exit_code not in (0, 1):
        raise CommandFailed(("git", *args), done.exit_code, complaint(done.stderr))
    return done.exit_code == 0


async def check_branch_name(repo: Path, branch: str) -> None:
    """Pass when `branch` can be the name of a branch.

    Raises:
        BranchInvalid: git does not allow the name.
    """
    if "\0" in branch or branch == "HEAD":
        raise BranchInvalid(branch)
    # Unlike `--branch`, the full form expands nothing: `@{-1}` stays what it is.
    done = await read("check-ref-format", _HEADS + branch, cwd=repo, check=False)
    if done.exit_code != 0 or branch.startswith("-"):
        raise BranchInvalid(branch)


async def create_branch(repo: Path, branch: str, commit: str) -> None:
    """Make `branch` at `commit`, if and only if it does not exist.

    Writes no tracking configuration. Atomic: of two callers one gets `BranchTaken`.

    Raises:
        BranchInvalid: git does not allow the name.
        BranchTaken: it exists, or a branch exists that is its folder or is inside of it, such as
            `x` for `x/y`; the error names the one that exists.
    """
    await check_branch_name(repo, branch)
    reason = f"branch: Created from {commit}"
    args = (
        "update-ref",
        "--create-reflog",
        "-m",
        reason,
        _HEADS + branch,
        commit,
        "0" * len(commit),
    )
    done = await write(*args, cwd=repo, check=False)
    if done.exit_code == 0:
        return
    rival = await _rival(repo, branch)
    if rival is not None:
        raise BranchTaken(rival, repo)
    raise CommandFailed(("git", "update-ref"), done.exit_code, complaint(done.stderr))


async def _rival(repo: Path, branch: str) -> str | None:
    parts = branch.split("/")
    for end in range(len(parts), 0, -1):
        name = "/".join(parts[:end])
        if await branch_exists(repo, name):
            return name
    args = ("for-each-ref", "--count=1", "--format=%(refname)", f"{_HEADS}{branch}/")
    inside = text((await read(*args, cwd=repo)).stdout)
    return inside.removeprefix(_HEADS) or None


async def move_branch(repo: Path, branch: str, *, new: str, old: str) -> None:
    """Point `branch` at commit `new`, if and only if it is at commit `old`.

    Touches no working tree: meant for a branch that is checked out nowhere.

    Raises:
        BranchMoved: it is elsewhere by now, or gone. Nothing was changed.
    """
    args = ("update-ref", "-m", "bullpen: land", _HEADS + branch, new, old)
    done = await write(*args, cwd=repo, check=False)
    if done.exit_code == 0:
        return
    if await _commit_or_none(repo, _HEADS + branch) != old:
        raise BranchMoved(branch, old)
    raise CommandFailed(("git", *args), done.exit_code, complaint(done.stderr))


async def delete_branch(repo: Path, branch: str, *, expected: str) -> None:
    """Delete `branch`, if and only if it is at commit `expected`; gone already is fine.

    Looks at nothing else: whether its commits are merged or rescued is the caller's to know.
    Deletes no commit; until git collects its garbage they can be found by their ids.

    Raises:
        BranchBusy: a worktree has it checked out.
        BranchMoved: it is at another commit by now.
    """
    if not await branch_exists(repo, branch):
        return
    user = (await branches_in_use(repo)).get(branch)
    if user is not None:
        raise BranchBusy(branch, user)
    args = ("update-ref", "-d", _HEADS + branch, expected)
    done = await write(*args, cwd=repo, check=False)
    if done.exit_code != 0:
        if await _commit_or_none(repo, _HEADS + branch) != expected:
            raise BranchMoved(branch, expected)
        raise CommandFailed(("git", *args), done.exit_code, complaint(done.stderr))
    # A push of the agent may have left a section that a later branch of this name would inherit.
    await write("config", "--local", "--remove-section", f"branch.{branch}", cwd=repo, check=False)


async def unmerged_commits(repo: Path, branch: str, *, into: str) -> int:
    """Return how many commits of `branch` have not reached `into` in any form; 0 is "all merged".

    A commit has reached `into` when it is an ancestor, or when a commit with the same patch is
    (rebased, cherry-picked). Besides, the answer is 0 when merging `branch` would change no file
    of `into`: that is a branch that was merged by squashing, or whose commits undo each other.
    It is never 0 when `into` lacks content that `branch` has.

    Raises:
        RefUnknown: `branch` or `into` does not exist.
    """
    ours, theirs = await resolve(repo, into), await resolve(repo, _HEADS + branch)
    if await is_ancestor(repo, theirs, ours):
        return 0
    if await _changes_nothing(repo, ours, theirs):
        return 0
    span = f"{ours}...{theirs}"
    args = ("rev-list", "--count", "--cherry-pick", "--right-only", "--no-merges", span)
    done = await read(*args, cwd=repo)
    # A merge that holds more than its parents has no patch to compare, and still counts.
    return max(1, int(text(done.stdout)))


async def _changes_nothing(repo: Path, ours: str, theirs: str) -> bool:
    if not text((await read("merge-base", ours, theirs, cwd=repo, check=False)).stdout):
        return False
    merged = await merge_tree(repo, ours, theirs)
    return isinstance(merged, Merged) and merged.tree == await tree_of(repo, ours)


async def tree_of(repo: Path, commit: str) -> str:
    """Return the id of the tree of `commit`."""
    return text((await read("rev-parse", "--verify", f"{commit}^{{tree}}", cwd=repo)).stdout)


async def worktrees(repo: Path) -> list[Worktree]:
    """Return the worktrees of the repository; the main one comes first."""
    done = await read("worktree", "list", "--porcelain", "-z", cwd=repo)
    blocks = done.stdout.split(b"\0\0")
    return [_worktree_from(paths(block)) for block in blocks if block]


def _worktree_from(lines: list[str]) -> Worktree:
    pairs = (line.partition(" ") for line in lines)
    said = {key: value for key, _, value in pairs}
    branch = said.get("branch")
    commit = said.get("HEAD")
    return Worktree(
        path=Path(said["worktree"]),
        # A branch without a commit is listed with an id of zeros.
        commit=commit if commit and commit.strip("0") else None,
        branch=branch.removeprefix(_HEADS) if branch else None,
        is_bare="bare" in said,
        is_locked="locked" in said,
        is_missing="prunable" in said,
    )


async def branches_in_use(repo: Path) -> dict[str, Path]:
    """Return each branch that a worktree holds, with the worktree's folder.

    A branch that is being rebased counts, although HEAD is detached while it is.
    """
    found: dict[str, Path] = {}
    for place in await worktrees(repo):
        if place.is_bare or place.is_missing:
            continue
        branch = place.branch or await _rebased_branch(place.path)
        if branch is not None:
            found[branch] = place.path
    return found


async def _rebased_branch(path: Path) -> str | None:
    folder = await git_directory(path)
    for kind in ("rebase-merge", "rebase-apply"):
        note = folder / kind / "head-name"
        if note.is_file():
            return note.read_text(errors="surrogateescape").strip().removeprefix(_HEADS)
    return None


async def git_directory(path: Path) -> Path:
    """Return the folder where git keeps what belongs to this one worktree."""
    return Path(text((await read("rev-parse", "--absolute-git-dir", cwd=path)).stdout))


_OPERATIONS = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}


async def operation_under_way(path: Path) -> str | None:
    """Return what the worktree at `path` is in the middle of, such as `merge`; None if nothing."""
    folder = await git_directory(path)
    for name, operation in _OPERATIONS.items():
        if (folder / name).exists():
            return operation
    return None
