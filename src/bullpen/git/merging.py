"""Merging without a working tree, and moving a working tree to the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bullpen.errors import CheckoutDirty, CommandFailed, CommitUnreachable
from bullpen.git.command import (
    Signature,
    complaint,
    identity_environment,
    paths,
    read,
    text,
    write,
)

_CONFLICT = 1
"""The exit code by which `git merge-tree` says that it could not merge all."""


@dataclass(frozen=True)
class Merged:
    """Two commits merge cleanly; the result is in the object store, on no branch."""

    tree: str


@dataclass(frozen=True)
class Conflicted:
    """Two commits do not merge cleanly."""

    files: tuple[str, ...]
    """Sorted; relative to the top of the repository."""


async def merge_tree(repo: Path, ours: str, theirs: str) -> Merged | Conflicted:
    """Merge two commits, touching no branch, index or working tree.

    Raises:
        CommandFailed: git cannot merge them at all, for instance because they share no history.
    """
    args = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs)
    done = await write(*args, cwd=repo, check=False)
    if done.exit_code not in (0, _CONFLICT):
        raise CommandFailed(("git", *args), done.exit_code, complaint(done.stderr))
    tree, *files = paths(done.stdout)
    if done.exit_code == _CONFLICT:
        return Conflicted(tuple(sorted(set(files))))
    return Merged(tree)


async def commit_tree(
    repo: Path,
    tree: str,
    *,
    parents: Sequence[str],
    message: str,
    fallback: Signature | None = None,
) -> str:
    """Return a new commit of `tree`, by the user; by `fallback` where git knows no user.

    The message is kept as it is. No branch points at the commit; the caller sees to that.
    """
    identity = await identity_environment(repo, fallback or Signature())
    args = [arg for parent in parents for arg in ("-p", parent)]
    done = await write(
        "commit-tree", tree, *args, "-F", "-", cwd=repo, stdin=encoded(message), extra=identity
    )
    return text(done.stdout)


def encoded(message: str) -> bytes:
    """Return a commit message as bytes: never empty, ended by a newline, without NUL."""
    whole = message.replace("\0", "").strip("\n") or "(no message)"
    return whole.encode("utf-8", "backslashreplace") + b"\n"


async def fast_forward(checkout: Path, commit: str) -> None:
    """Move the branch that `checkout` is on, its index and its files forward to `commit`.

    Local changes to files that `commit` does not touch stay as they are. All or nothing: when a
    local change stands in the way, nothing is changed. No file that git ignores is overwritten,
    and no hook of the user runs.

    Raises:
        CheckoutDirty: a local change, or an untracked or ignored file, stands in the way.
        CommitUnreachable: `commit` is not a descendant of where the branch is by now.
        CommandFailed: git could not do it for another reason.
    """
    args = ("merge", "--ff-only", "--quiet", "--no-autostash", "--no-squash", "--commit")
    args = (*args, "--no-verify-signatures", "--no-overwrite-ignore", commit)
    done = await write(*args, cwd=checkout, check=False)
    if done.exit_code == 0:
        return
    said = complaint(done.stderr)
    if "would be overwritten" in said or "would lose untracked files" in said:
        raise CheckoutDirty(checkout, said)
    if "Not possible to fast-forward" in said:
        raise CommitUnreachable(commit, checkout)
    raise CommandFailed(("git", *args), done.exit_code, said)


async def files_changed(repo: Path, older: str, newer: str) -> list[str]:
    """Return the paths in which two commits differ; a renamed file counts with both names."""
    args = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", older, newer)
    return paths((await read(*args, cwd=repo)).stdout)
