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
  SteerUnsupported      the running turn takes no words; nothing was queued
  DirectoryMissing      the directory asked for does not exist, or is a file
  AgentUnknown          the catalog has no agent of that name
  CatalogInvalid        a catalog file does not say what it must
  ModeUnsupported       the agent cannot honour the launch mode asked for
  ModelRefused          the agent does not take the model asked for
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
  WorktreeGone          somebody deleted the worktree a session works in
  RepositoryMoved       the repository of a session's worktree is not where it was
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
  ConfigInvalid         the configuration file does not say what it must
  StoreLocked           another service holds the database files
  StoreTooNew           the database was written by a newer version
  StoreDamaged          the database does not pass its own check
  StoreUnavailable      the database cannot be opened
  StoreRefused          the database refused a commit
  JournalDamaged        a session's folder is not as we left it
  ServiceUnreachable    no service answers at the socket
  ServiceStopping       the service is on its way down; ask again
  RequestInvalid        a request does not have the form it must have
  RemoteError           the service told of an error this version has no class for
  PolicyInvalid         a policy file does not say what it must
  RuleUnknown           no rule has that id
  RehearsalInvalid      a rehearsal script does not say what it must
  RehearsalUnsupported  nobody knows how to point the agent at another model
  InterfaceUnsupported  the agent cannot be run through the interface asked for
  GoalMissing           the session has no goal
  BudgetSpent           a hard budget is reached, so no turn may start
  WaitTimedOut          the time given to a wait ran out
  TurnNotCompleted      a turn somebody waited for ended otherwise, or needs the user

An error is data: its fields say what happened, `str()` says it in one sentence, `hint` says what
to do next. Doors (cli, service, client) add the exit code or the HTTP status; errors know nothing
of either. Anything that is not a `BullpenError` is a bug and is not caught.
"""

from bullpen.errors.agents import (
    AgentDied,
    AgentUnknown,
    CatalogInvalid,
    HandshakeRefused,
    HandshakeTimedOut,
    LoginNeeded,
    ModelRefused,
    ModeUnsupported,
    ResumeUnsupported,
)
from bullpen.errors.base import (
    BullpenError,
    CommandFailed,
    CommandTimedOut,
    IllegalMove,
    JournalDamaged,
    ProcessGone,
    ProgramNotFound,
)
from bullpen.errors.hosts import (
    ConfigInvalid,
    RemoteError,
    RequestInvalid,
    ServiceStopping,
    ServiceUnreachable,
    StoreDamaged,
    StoreLocked,
    StoreRefused,
    StoreTooNew,
    StoreUnavailable,
)
from bullpen.errors.policies import (
    BudgetSpent,
    GoalMissing,
    InterfaceUnsupported,
    PolicyInvalid,
    RehearsalInvalid,
    RehearsalUnsupported,
    RuleUnknown,
)
from bullpen.errors.repositories import (
    BranchBusy,
    BranchInvalid,
    BranchMoved,
    BranchTaken,
    CheckoutDirty,
    CommitUnreachable,
    DirectoryMissing,
    LandingConflict,
    NotARepository,
    NothingToLand,
    OperationUnfinished,
    PlaceTaken,
    RefUnknown,
    RemovalFailed,
    RepositoryBusy,
    RepositoryMoved,
    SetupFailed,
    TargetMissing,
    TemplateInvalid,
    WorktreeDirty,
    WorktreeGone,
    WorktreeUnknown,
    WorkUnsaved,
)
from bullpen.errors.sessions import (
    AskNotFound,
    ChoiceInvalid,
    InvalidSessionId,
    MessageInvalid,
    SessionBusy,
    SessionIdTaken,
    SessionNotFound,
    SessionOver,
    SteerUnsupported,
    TurnNotCompleted,
    WaitTimedOut,
)

__all__ = [
    "AgentDied",
    "AgentUnknown",
    "AskNotFound",
    "BranchBusy",
    "BranchInvalid",
    "BranchMoved",
    "BranchTaken",
    "BudgetSpent",
    "BullpenError",
    "CatalogInvalid",
    "CheckoutDirty",
    "ChoiceInvalid",
    "CommandFailed",
    "CommandTimedOut",
    "CommitUnreachable",
    "ConfigInvalid",
    "DirectoryMissing",
    "GoalMissing",
    "HandshakeRefused",
    "HandshakeTimedOut",
    "IllegalMove",
    "InterfaceUnsupported",
    "InvalidSessionId",
    "JournalDamaged",
    "LandingConflict",
    "LoginNeeded",
    "MessageInvalid",
    "ModeUnsupported",
    "ModelRefused",
    "NotARepository",
    "NothingToLand",
    "OperationUnfinished",
    "PlaceTaken",
    "PolicyInvalid",
    "ProcessGone",
    "ProgramNotFound",
    "RefUnknown",
    "RehearsalInvalid",
    "RehearsalUnsupported",
    "RemoteError",
    "RemovalFailed",
    "RepositoryBusy",
    "RepositoryMoved",
    "RequestInvalid",
    "ResumeUnsupported",
    "RuleUnknown",
    "ServiceStopping",
    "ServiceUnreachable",
    "SessionBusy",
    "SessionIdTaken",
    "SessionNotFound",
    "SessionOver",
    "SetupFailed",
    "SteerUnsupported",
    "StoreDamaged",
    "StoreLocked",
    "StoreRefused",
    "StoreTooNew",
    "StoreUnavailable",
    "TargetMissing",
    "TemplateInvalid",
    "TurnNotCompleted",
    "WaitTimedOut",
    "WorkUnsaved",
    "WorktreeDirty",
    "WorktreeGone",
    "WorktreeUnknown",
]
