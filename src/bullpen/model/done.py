"""The facts about what we did ourselves."""

from typing import Any

from bullpen.model.heard import Fact


class SessionCreated(Fact, frozen=True):
    """Somebody wants a session. Everything needed to start it, now or after a crash."""

    agent: str
    directory: str
    place: str = "directory"
    repo: str | None = None
    branch: str | None = None
    base: str | None = None
    mode: str | None = None
    model: str | None = None
    title: str = ""
    parent: str | None = None
    key: str | None = None
    environment: dict[str, str] = {}
    mcp_servers: list[Any] = []
    setup: str | None = None
    setup_timeout: float | None = None
    sparse: list[str] = []
    include: str = "copy"
    labels: dict[str, str] = {}
    interface: str = "structured"
    """`structured`: we speak to the agent; `terminal`: it has a screen people may sit at."""
    rehearsal: str | None = None
    """Absolute path of the script a model of ours answers from instead of the agent's own."""
    policy: str | None = None
    """Absolute path of a policy file for this session alone."""
    fallback: str | None = None
    """Agent that takes over while this one's account is limited."""
    budget_usd: float | None = None
    budget_tokens: int | None = None


class StateChanged(Fact, frozen=True):
    """The session moved. `reason` is one sentence, `evidence` what it rests on."""

    before: str
    after: str
    reason: str
    evidence: str = ""


class PlacePrepared(Fact, frozen=True):
    """The directory the session works in exists."""

    path: str
    branch: str | None = None
    base: str | None = None
    base_commit: str | None = None
    included: int = 0


class PlaceRemoved(Fact, frozen=True):
    """The session's worktree is gone; `rescue` is the ref that keeps what was not merged."""

    path: str
    rescue: str | None = None


class SetupPrinted(Fact, frozen=True):
    """Output of the setup command."""

    text: str


class SetupEnded(Fact, frozen=True):
    """The setup command ended; None as exit code means it was stopped at its time limit."""

    exit_code: int | None


class LaunchIntended(Fact, frozen=True):
    """A process is about to be started; committed before it is, so that none is ever unknown."""

    run: int
    argv: list[str]
    offset: int
    """Where in the journal this run begins."""
    resume: bool = False
    notes: list[str] = []
    """What the user should know of how it is started."""


class AgentLaunched(Fact, frozen=True):
    """A process was started for the session. `start_time` makes the pid unmistakable."""

    run: int
    pid: int
    start_time: str


class AgentAdopted(Fact, frozen=True):
    """A restarted service found the process alive and follows it again."""

    run: int
    pid: int


class AgentEnded(Fact, frozen=True):
    """The process is gone. Both codes None: nobody saw how."""

    run: int
    exit_code: int | None = None
    signal: int | None = None
    stderr_tail: str = ""


class TurnQueued(Fact, frozen=True):
    """A prompt was accepted. It is sent when the turns before it are over."""

    turn: int
    text: str
    key: str | None = None
    sender: str | None = None


class TurnStarted(Fact, frozen=True):
    """The prompt is being written to the agent."""

    turn: int
    run: int = 0
    is_foreign: bool = False
    """True when the turn did not come from us; see `TurnTyped`."""


class TurnDelivered(Fact, frozen=True):
    """The whole prompt was written to the agent."""

    turn: int


class TurnWithdrawn(Fact, frozen=True):
    """A queued prompt will not be sent."""

    turn: int
    reason: str


class DeliveryDoubted(Fact, frozen=True):
    """We died while writing the prompt and cannot know whether the agent has it."""

    turn: int


class InterruptRequested(Fact, frozen=True):
    """Somebody asked to end the running turn."""

    turn: int


class TurnSteered(Fact, frozen=True):
    """Words were added to the running turn. If the agent refuses them (`OrderRefused` of `steer`),
    they are queued as a prompt behind it."""

    turn: int
    text: str
    key: str | None = None
    sender: str | None = None


class LimitEntered(Fact, frozen=True):
    """The session waits for a limit to end; no turn is started before."""

    limit: str
    account: str
    """Sessions with the same name share the limit."""
    until: float
    """Seconds since the epoch at which we try again."""
    is_guess: bool = False
    """True when the agent did not say when it ends."""
    message: str = ""
    turn: int | None = None
    """The turn that was cut short and goes on afterwards."""


class LimitLeft(Fact, frozen=True):
    """The session no longer waits for a limit; `reason` is one sentence."""

    reason: str
    continued_by: int | None = None
    """The turn that goes on with the one that was cut short."""


class GoalSet(Fact, frozen=True):
    """Somebody gave the session a goal; it replaces the one before."""

    goal: str
    """Id of the goal."""
    objective: str
    budget_tokens: int | None = None
    budget_usd: float | None = None
    max_turns: int | None = None
    is_native: bool = False
    """The agent pursues it by itself; else we prompt it again."""


class GoalChanged(Fact, frozen=True):
    """The goal is now `status`; nothing more is done for it unless that is `active`."""

    goal: str
    status: str
    """`active paused blocked limited budget-limited complete cleared`."""
    note: str = ""
    by: str = "user"
    """`user`, `agent` or `bullpen`."""


class CostReckoned(Fact, frozen=True):
    """A turn cost `usd`, which the agent did not say of that turn itself."""

    turn: int
    usd: float
    model: str = ""
    source: str = ""
    """`agent`: the difference of what it says of the session; else the price table."""


class BudgetChanged(Fact, frozen=True):
    """The session's hard budget is now this; None is none."""

    usd: float | None = None
    tokens: int | None = None


class BudgetReached(Fact, frozen=True):
    """What was spent reached a budget. A hard one lets no further turn start."""

    budget: str
    """`session` or `day`."""
    is_hard: bool
    spent: float
    limit: float
    unit: str
    """`usd` or `tokens`."""


class AskAnswered(Fact, frozen=True):
    """A permission or question was answered. `choice` is the option id, None for a refusal
    without an option."""

    request: str
    outcome: str
    """`allowed`, `rejected`, `cancelled`, `accepted` or `declined`."""
    choice: str | None = None
    content: dict[str, Any] | None = None
    by: str = "user"
    """`user`, `policy`, or who else answered."""
    reason: str = ""
    """For a policy, the rule that decided."""


class InterfaceChanged(Fact, frozen=True):
    """From its next run on the session has another interface: `structured` or `terminal`."""

    interface: str


class SessionRenamed(Fact, frozen=True):
    """The session's title was changed by a user."""

    title: str


class WorkCommitted(Fact, frozen=True):
    """What the agent had left uncommitted was committed for it."""

    commit: str
    files: int


class WorkLanded(Fact, frozen=True):
    """The session's branch was merged into `target`."""

    target: str
    commit: str
    files: int


class LandingRefused(Fact, frozen=True):
    """The session's branch could not be merged; all of its work is where it was."""

    target: str
    why: str
    conflicts: list[str] = []


class SessionRemoved(Fact, frozen=True):
    """The session is gone from lists; its id is never used again."""
