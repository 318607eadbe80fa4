"""Errors of repositories, places and landing."""

from dataclasses import dataclass
from pathlib import Path

from bullpen.errors.base import BullpenError


@dataclass(eq=False)
class DirectoryMissing(BullpenError):
    """The directory asked for does not exist, or is a file."""

    path: Path
    is_file: bool = False

    def __str__(self) -> str:
        if self.is_file:
            return f"workspace path is not a directory: {str(self.path)!r}"
        return f"workspace path does not exist: {str(self.path)!r}"


@dataclass(eq=False)
class NotARepository(BullpenError):
    """A worktree was asked for outside of a git repository."""

    path: Path

    def __str__(self) -> str:
        return f"not inside a git repository with a commit: {str(self.path)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "run `git init` and commit once, or use `--in directory`"


@dataclass(eq=False)
class BranchTaken(BullpenError):
    """The branch asked for exists already."""

    branch: str
    repo: Path

    def __str__(self) -> str:
        return f"branch {self.branch!r} exists already in {str(self.repo)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "choose another `--branch`"


@dataclass(eq=False)
class RefUnknown(BullpenError):
    """Git knows no such branch, tag or commit."""

    ref: str
    repo: Path

    def __str__(self) -> str:
        return f"no branch, tag or commit {self.ref!r} in {str(self.repo)!r}"


@dataclass(eq=False)
class BranchInvalid(BullpenError):
    """Git does not allow the name asked for as a branch."""

    branch: str

    def __str__(self) -> str:
        return f"invalid branch name: {self.branch!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return (
            "`git help check-ref-format` has the rules; letters, digits, `-`, `_` and `/` are safe"
        )


@dataclass(eq=False)
class BranchBusy(BullpenError):
    """A worktree has the branch checked out. Nothing was changed."""

    branch: str
    worktree: Path

    def __str__(self) -> str:
        return f"branch {self.branch!r} is checked out in {str(self.worktree)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "do it from there, or switch that worktree to another branch"


@dataclass(eq=False)
class BranchMoved(BullpenError):
    """The branch is no longer at the commit it was found at. Nothing was changed."""

    branch: str
    expected: str

    def __str__(self) -> str:
        return f"branch {self.branch!r} is no longer at commit {self.expected[:12]!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "somebody else moves it; try again"


@dataclass(eq=False)
class RepositoryBusy(BullpenError):
    """Another held the lock of a repository for too long. Nothing was changed."""

    repo: Path
    waited: float

    def __str__(self) -> str:
        return f"repository {str(self.repo)!r} was locked for {self.waited:g} s"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "another bullpen process works on it, or hangs; try again"


@dataclass(eq=False)
class PlaceTaken(BullpenError):
    """The folder a worktree is to be made in is not empty. Nothing was changed."""

    path: Path

    def __str__(self) -> str:
        return f"folder exists already and is not empty: {str(self.path)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "move it out of the way; it may hold work"


@dataclass(eq=False)
class WorktreeUnknown(BullpenError):
    """The folder is no worktree of the repository, or is its main one. Nothing was changed."""

    path: Path
    repo: Path

    def __str__(self) -> str:
        return f"folder {str(self.path)!r} is no linked worktree of {str(self.repo)!r}"


@dataclass(eq=False)
class WorktreeDirty(BullpenError):
    """A worktree to be removed holds uncommitted work. Nothing was removed."""

    path: Path
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"worktree {str(self.path)!r} holds {len(self.files)} uncommitted files"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"among them: {', '.join(self.files[:5])}"


@dataclass(eq=False)
class RemovalFailed(BullpenError):
    """A folder could not be deleted as a whole; part of it may be gone."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"cannot delete {str(self.path)!r}: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "files of another user or a mount may be inside; delete it by hand, then try again"


@dataclass(eq=False)
class OperationUnfinished(BullpenError):
    """A merge, rebase or the like is under way in a working tree. Nothing was changed."""

    path: Path
    operation: str

    def __str__(self) -> str:
        return f"a {self.operation} is under way in {str(self.path)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "finish or abort it first; `git status` there says how"


@dataclass(eq=False)
class CommitUnreachable(BullpenError):
    """A checkout cannot be moved forward to the commit. Nothing was changed."""

    commit: str
    checkout: Path

    def __str__(self) -> str:
        commit = self.commit[:12]
        return f"checkout {str(self.checkout)!r} cannot be moved forward to commit {commit!r}"


@dataclass(eq=False)
class TargetMissing(BullpenError):
    """There is no branch to land on. Nothing was changed."""

    checkout: Path
    why: str

    def __str__(self) -> str:
        return f"no branch to land on in {str(self.checkout)!r}: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "switch to a branch that has a commit, or name one as the target"


@dataclass(eq=False)
class TemplateInvalid(BullpenError):
    """A template for names does not say what it must."""

    template: str
    why: str

    def __str__(self) -> str:
        return f"template {self.template!r} is invalid: {self.why}"


@dataclass(eq=False)
class WorkUnsaved(BullpenError):
    """A place holds work that is neither committed nor merged."""

    session: str
    path: Path
    what: str

    def __str__(self) -> str:
        return f"session {self.session!r} holds unsaved work in {str(self.path)!r}: {self.what}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return (
            f"land it with `bullpen land {self.session}`, or remove it with `--force`, "
            f"which keeps it under refs/bullpen/rescue/{self.session}"
        )


@dataclass(eq=False)
class LandingConflict(BullpenError):
    """A branch does not merge cleanly. Nothing was changed."""

    branch: str
    target: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(repr(name) for name in self.files[:5])
        more = f" and {len(self.files) - 5} more" if len(self.files) > 5 else ""
        return f"branch {self.branch!r} conflicts with {self.target!r} in {names}{more}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"all work is kept; merge by hand: git merge {self.branch}"


@dataclass(eq=False)
class CheckoutDirty(BullpenError):
    """Local changes stand in the way of a merge. Nothing was changed."""

    checkout: Path
    why: str

    def __str__(self) -> str:
        return f"local changes in {str(self.checkout)!r} stand in the way"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"commit or stash them, then land again ({self.why})"


@dataclass(eq=False)
class NothingToLand(BullpenError):
    """The session's branch holds no commit of its own."""

    session: str
    branch: str

    def __str__(self) -> str:
        return f"session {self.session!r} has nothing to land: {self.branch!r} has no new commit"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"`bullpen land --commit {self.session}` commits what was left uncommitted first"


@dataclass(eq=False)
class SetupFailed(BullpenError):
    """The setup command of a place ended badly."""

    command: str
    exit_code: int | None
    output: str

    def __str__(self) -> str:
        how = "took too long" if self.exit_code is None else f"exited with code {self.exit_code}"
        return f"setup command {self.command!r} {how}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return self.output.strip()[-2000:]


@dataclass(eq=False)
class RepositoryMoved(BullpenError):
    """The repository a session's worktree belongs to is not where it was. Nothing was changed."""

    session: str
    repo: Path
    path: Path

    def __str__(self) -> str:
        return f"the repository of session {self.session!r} is no longer at {str(self.repo)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"move it back; the session's files are still in {str(self.path)!r}"


@dataclass(eq=False)
class WorktreeGone(BullpenError):
    """Somebody deleted the worktree a session works in."""

    session: str
    path: Path

    def __str__(self) -> str:
        return f"the worktree of session {self.session!r} is gone: {str(self.path)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        again = f"`bullpen stop {self.session}`, then `bullpen resume {self.session}`"
        return f"{again} makes it again from its branch"
