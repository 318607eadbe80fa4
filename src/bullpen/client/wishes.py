"""What may be said about sessions, answers and rules."""

from typing import Any, Literal, TypedDict


class SessionOptions(TypedDict, total=False):
    """What may be said about a new session."""

    place: Literal["directory", "worktree"]
    branch: str
    base: str
    id: str
    title: str
    mode: str
    """`plan`, `ask`, `edit` or `bypass`."""
    model: str
    environment: dict[str, str]
    mcp_servers: list[Any]
    setup: str
    setup_timeout: float
    """Seconds."""
    sparse: list[str]
    parent: str
    """Left out: the session this program itself runs in, if any."""
    labels: dict[str, str]
    interface: Literal["structured", "terminal"]
    rehearsal: str
    """Absolute path of a rehearsal script."""
    policy: str
    """Absolute path of a policy file for this session alone."""
    fallback: str
    budget_usd: float
    budget_tokens: int
    goal: str
    """Work until this is reached; see `RemoteSession.set_goal`."""


class Answer(TypedDict, total=False):
    """What may be said to an open permission or question; see `RemoteSession.answer`."""

    allow: bool
    always: bool
    choice: str
    content: dict[str, Any]
    action: Literal["accept", "decline", "cancel"]
    reason: str


class RuleFields(TypedDict, total=False):
    """What may be said about a rule; see `docs/reference/policy.md`."""

    kind: str
    command: str
    exact: bool
    path: str
    mcp: str
    host: str
    workspace: str
    """Absolute path."""
    expires: str
    """A date such as `2030-01-31`."""
    reason: str
    session: str
    """A rule of this session alone."""
