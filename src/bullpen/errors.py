"""Every error we raise on purpose.

BullpenError
  ProgramNotFound       a program we were told to run is not installed
  CommandFailed         a short command ended with another code than 0
  CommandTimedOut       a short command took longer than it was given
  ProcessGone           the process we were writing to has ended
  IllegalMove           a session was asked to enter a state it cannot reach
  SessionNotFound       no session has that id
  SessionIdTaken        the id asked for belongs to another session, now or earlier
  InvalidSessionId      the id asked for is not of the allowed form
  SessionOver           the session has no process, and the verb needs one
  SessionBusy           the session has a process, and the verb needs one without
  DirectoryMissing      the directory asked for does not exist, or is a file
  AgentUnknown          the catalog has no agent of that name
  CatalogInvalid        a catalog file does not say what it must
  ModeUnsupported       the agent cannot honour the launch mode asked for
  LoginNeeded           the agent wants somebody to log in first
  AgentDied             the agent ended before its handshake was done
  HandshakeTimedOut     the agent did not answer its handshake in time
  HandshakeRefused      the agent answered its handshake with an error
  ResumeUnsupported     the agent cannot bring a conversation back
  AskNotFound           no such permission or question is open
  ChoiceInvalid         the answer is not one of those the agent offered
  MessageInvalid        the message is empty or not text
  NotARepository        a worktree was asked for outside of a git repository
  BranchTaken           the branch asked for exists already
  RefUnknown            git knows no such branch, tag or commit
  BranchInvalid         git does not allow the name asked for as a branch
  BranchBusy            a worktree has the branch checked out
  BranchMoved           the branch is no longer at the commit it was found at
  RepositoryBusy        another held the lock of a repository for too long
  PlaceTaken            the folder a worktree is to be made in is not empty
  WorktreeUnknown       the folder is no worktree of the repository
  WorktreeDirty         a worktree to be removed holds uncommitted work
  RemovalFailed         a folder could not be deleted as a whole
  OperationUnfinished   a merge, rebase or the like is under way
  CommitUnreachable     a checkout cannot be moved forward to the commit
  TargetMissing         there is no branch to land on
  TemplateInvalid       a template for names does not say what it must
  WorkUnsaved           a place holds work that is neither committed nor merged
  LandingConflict       a branch does not merge cleanly
  CheckoutDirty         local changes stand in the way of a merge
  NothingToLand         the session's branch holds no commit of its own
  SetupFailed           the setup command of a place ended badly
  CapInvalid            a configured cap is not a number above zero
  ConfigInvalid         the configuration file does not say what it must
  StoreLocked           another service holds the database files
  StoreTooNew           the database was written by a newer version
  StoreDamaged          the database does not pass its own check
  JournalDamaged        a session's folder is not as we left it
  ServiceUnreachable    no service answers at the socket
  ServiceStopping       the service is on its way down; ask again
  RequestInvalid        a request does not have the form it must have
  RemoteError           the service told of an error this version has no class for
  WaitTimedOut          the time given to a wait ran out
  TurnNotCompleted      a turn somebody waited for ended otherwise, or needs the user

An error is data: its fields say what happened, `str()` says it in one sentence, `hint` says what
to do next. Doors (cli, service, client) add the exit code or the HTTP status; errors know nothing
of either. Anything that is not a `BullpenError` is a bug and is not caught.
"""

import re
from dataclasses import dataclass
from pathlib import Path


class BullpenError(Exception):
    """Base of every error in this module."""

    @property
    def code(self) -> str:
        """Stable name for scripts and for HTTP bodies, such as `session-not-found`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def hint(self) -> str:
        """What the reader can do about it; empty when there is nothing to say."""
        return ""

    def __reduce__(self) -> tuple[object, ...]:
        # The default rebuilds from `args` alone, which turns any error with fields into a
        # TypeError once it was pickled.
        return _blank, (type(self),), self.__dict__


def _blank(kind: type[BullpenError]) -> BullpenError:
    return kind.__new__(kind)


@dataclass(eq=False)
class ProgramNotFound(BullpenError):
    """A program we were told to run is not on the PATH we were given."""

    program: str
    path: str
    install: str = ""

    def __str__(self) -> str:
        return f"cannot find program {self.program!r} on PATH {self.path!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return self.install or f"install {self.program!r}, or name it by its full path"


@dataclass(eq=False)
class CommandFailed(BullpenError):
    """A short command, such as a git verb, ended with another code than 0."""

    argv: tuple[str, ...]
    exit_code: int
    stderr: str

    def __str__(self) -> str:
        return f"command {' '.join(self.argv[:3])!r} failed with code {self.exit_code}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return self.stderr.strip()


@dataclass(eq=False)
class CommandTimedOut(BullpenError):
    """A short command took longer than it was given, and was stopped."""

    argv: tuple[str, ...]
    timeout: float

    def __str__(self) -> str:
        return f"command {' '.join(self.argv[:3])!r} did not end within {self.timeout:g} s"


@dataclass(eq=False)
class ProcessGone(BullpenError):
    """The process we were writing to has ended."""

    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} has ended"


@dataclass(eq=False)
class IllegalMove(BullpenError):
    """A session was asked to enter a state it cannot reach from where it is."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"a session cannot go from {self.before!r} to {self.after!r}"


@dataclass(eq=False)
class SessionNotFound(BullpenError):
    """No session has that id."""

    session: str

    def __str__(self) -> str:
        return f"session not found: {self.session!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "`bullpen list --all` shows every session there is"


@dataclass(eq=False)
class SessionIdTaken(BullpenError):
    """The id asked for belongs to another session, now or earlier."""

    session: str

    def __str__(self) -> str:
        return f"session id already in use: {self.session!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "ids are never used twice; leave `--id` out to get a fresh one"


@dataclass(eq=False)
class InvalidSessionId(BullpenError):
    """The id asked for is not of the allowed form."""

    session: str

    def __str__(self) -> str:
        return f"invalid session id: {self.session!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "use 2 to 64 lower-case letters, digits and single dashes, starting with a letter"


@dataclass(eq=False)
class SessionOver(BullpenError):
    """The session has no process, and the verb needs one."""

    session: str
    state: str
    reason: str = ""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"session {self.session!r} is {self.state}{why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"bring it back with `bullpen resume {self.session}`"


@dataclass(eq=False)
class SessionBusy(BullpenError):
    """The session has a process, and the verb needs one without."""

    session: str
    state: str

    def __str__(self) -> str:
        return f"session {self.session!r} is {self.state}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"end it first: `bullpen stop {self.session}`"


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
class AgentUnknown(BullpenError):
    """The catalog has no agent of that name."""

    agent: str
    known: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"unknown agent {self.agent!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        if self.near:
            return f"did you mean {', '.join(self.near)}? `bullpen agents` lists all"
        return "`bullpen agents` lists those you can use"


@dataclass(eq=False)
class CatalogInvalid(BullpenError):
    """A catalog file does not say what it must."""

    file: Path
    why: str

    def __str__(self) -> str:
        return f"catalog file {str(self.file)!r} is invalid: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "mend or remove the file; docs/reference/catalog.md lists every key"


@dataclass(eq=False)
class ModeUnsupported(BullpenError):
    """The agent cannot honour the launch mode asked for."""

    agent: str
    mode: str
    supported: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"agent {self.agent!r} has no launch mode {self.mode!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        if not self.supported:
            return "this agent offers no launch modes; leave `--mode` out"
        return f"it has: {', '.join(self.supported)}"


@dataclass(eq=False)
class LoginNeeded(BullpenError):
    """The agent wants somebody to log in first."""

    agent: str
    how: str = ""

    def __str__(self) -> str:
        return f"agent {self.agent!r} needs a login"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return self.how or "start the agent once by hand and log in"


@dataclass(eq=False)
class AgentDied(BullpenError):
    """The agent ended before its handshake was done."""

    agent: str
    exit_code: int | None
    stderr: str = ""

    def __str__(self) -> str:
        how = "vanished" if self.exit_code is None else f"exited with code {self.exit_code}"
        return f"agent {self.agent!r} {how} before it was ready"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        said = self.stderr.strip()
        return f"its last words: {said}" if said else "it wrote nothing to stderr"


@dataclass(eq=False)
class HandshakeTimedOut(BullpenError):
    """The agent did not answer its handshake in time."""

    agent: str
    timeout: float
    stderr: str = ""

    def __str__(self) -> str:
        return f"agent {self.agent!r} did not answer its handshake within {self.timeout:g} s"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        said = self.stderr.strip()
        return f"its last words: {said}" if said else "raise `start_timeout` in its catalog file"


@dataclass(eq=False)
class HandshakeRefused(BullpenError):
    """The agent answered its handshake with an error."""

    agent: str
    why: str

    def __str__(self) -> str:
        return f"agent {self.agent!r} refused the handshake: {self.why}"


@dataclass(eq=False)
class ResumeUnsupported(BullpenError):
    """The agent cannot bring a conversation back."""

    session: str
    agent: str

    def __str__(self) -> str:
        return f"agent {self.agent!r} cannot bring the conversation of {self.session!r} back"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"`bullpen resume {self.session} --fresh` starts a new conversation in its place"


@dataclass(eq=False)
class AskNotFound(BullpenError):
    """No such permission or question is open."""

    session: str
    request: str

    def __str__(self) -> str:
        return f"session {self.session!r} has no open request {self.request!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"`bullpen inspect {self.session}` shows what is open; it may be answered already"


@dataclass(eq=False)
class ChoiceInvalid(BullpenError):
    """The answer is not one of those the agent offered."""

    request: str
    choice: str
    offered: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"request {self.request!r} has no answer {self.choice!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"the agent offers: {', '.join(self.offered)}" if self.offered else ""


@dataclass(eq=False)
class MessageInvalid(BullpenError):
    """The message is empty or not text."""

    why: str

    def __str__(self) -> str:
        return f"the message cannot be sent: {self.why}"


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
        return f"{str(self.path)!r} is no linked worktree of {str(self.repo)!r}"


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
        return f"{str(self.checkout)!r} cannot be moved forward to commit {self.commit[:12]!r}"


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
class CapInvalid(BullpenError):
    """A configured cap is not a number above zero."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"cap {self.name!r} must be a whole number above zero, not {self.value!r}"


@dataclass(eq=False)
class ConfigInvalid(BullpenError):
    """The configuration file does not say what it must."""

    file: Path
    why: str

    def __str__(self) -> str:
        return f"configuration {str(self.file)!r} is invalid: {self.why}"


@dataclass(eq=False)
class StoreLocked(BullpenError):
    """Another service holds the database files."""

    folder: Path
    pid: int | None = None

    def __str__(self) -> str:
        who = f" (pid {self.pid})" if self.pid else ""
        return f"another service{who} holds {str(self.folder)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "one service runs per state folder; set BULLPEN_HOME to use another folder"


@dataclass(eq=False)
class StoreTooNew(BullpenError):
    """The database was written by a newer version."""

    database: str
    revision: str

    def __str__(self) -> str:
        return f"database {self.database!r} is at unknown revision {self.revision!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "upgrade bullpen; nothing was changed"


@dataclass(eq=False)
class StoreDamaged(BullpenError):
    """The database does not pass its own check."""

    database: str
    why: str

    def __str__(self) -> str:
        return f"database {self.database!r} is damaged: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "run `bullpen doctor --fix`, or restore the file from a copy"


@dataclass(eq=False)
class JournalDamaged(BullpenError):
    """A session's folder is not as we left it."""

    folder: Path
    why: str

    def __str__(self) -> str:
        return f"journal {str(self.folder)!r} is damaged: {self.why}"


@dataclass(eq=False)
class ServiceUnreachable(BullpenError):
    """No service answers at the socket."""

    socket: Path
    why: str = ""

    def __str__(self) -> str:
        return f"no service answers at {str(self.socket)!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return self.why or "start one with `bullpen serve --daemon`"


@dataclass(eq=False)
class ServiceStopping(BullpenError):
    """The service is on its way down; ask again."""

    def __str__(self) -> str:
        return "the service is stopping"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "agents keep running; ask again in a moment"


@dataclass(eq=False)
class RequestInvalid(BullpenError):
    """A request does not have the form it must have."""

    why: str

    def __str__(self) -> str:
        return f"invalid request: {self.why}"


@dataclass(eq=False)
class RemoteError(BullpenError):
    """The service told of an error this version has no class for."""

    remote_code: str
    message: str
    advice: str = ""

    def __str__(self) -> str:
        return self.message

    @property
    def code(self) -> str:
        """The service's own code."""
        return self.remote_code

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return self.advice


@dataclass(eq=False)
class WaitTimedOut(BullpenError):
    """The time given to a wait ran out; the session goes on."""

    session: str
    timeout: float

    def __str__(self) -> str:
        return f"session {self.session!r} did not settle within {self.timeout:g} s"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f"the agent keeps working; wait again with `bullpen wait {self.session}`"


@dataclass(eq=False)
class TurnNotCompleted(BullpenError):
    """A turn somebody waited for ended otherwise, or needs the user first."""

    session: str
    turn: int
    outcome: str
    why: str = ""

    def __str__(self) -> str:
        why = f": {self.why}" if self.why else ""
        return f"turn {self.turn} of session {self.session!r} is {self.outcome}{why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        if self.outcome in ("asking", "waiting"):
            return f"answer it: `bullpen answer {self.session}`"
        return f"see what happened: `bullpen logs {self.session}`"
