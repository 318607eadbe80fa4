"""What somebody wants: a session, with everything needed to start it."""

from typing import Any

import msgspec


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session somebody asks for."""

    agent: str
    """Id or alias of a catalog entry."""
    directory: str
    """Absolute path: where the agent works, or the repository its worktree is made from."""
    place: str = "directory"
    """`directory` or `worktree`."""
    branch: str | None = None
    """Branch of the worktree; None takes the template of the settings."""
    base: str | None = None
    """What the branch starts from; None is the commit checked out in `directory`."""
    id: str | None = None
    title: str = ""
    mode: str | None = None
    model: str | None = None
    environment: dict[str, str] = {}
    mcp_servers: list[Any] = []
    setup: str | None = None
    """A shell line run in the place before the agent starts."""
    setup_timeout: float | None = None
    """Seconds; None is the settings' default."""
    sparse: list[str] = []
    """Folders to check out; empty is all."""
    parent: str | None = None
    interface: str = "structured"
    """`structured` or `terminal`."""
    rehearsal: str | None = None
    """Absolute path of a rehearsal script: a model of ours answers instead of the agent's own."""
    policy: str | None = None
    """Absolute path of a policy file for this session alone."""
    fallback: str | None = None
    """Agent that takes over while this one's account is limited."""
    budget_usd: float | None = None
    """Hard budget of the session; None is the settings' default."""
    budget_tokens: int | None = None
    goal: str | None = None
    """What is to be reached; the session gets the tool to report it."""
    labels: dict[str, str] = {}
    prompt: str | None = None
    """The first turn, queued together with the session."""
    key: str | None = None
    """Idempotency key: a second request with the same key gets the first session."""
