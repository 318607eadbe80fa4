"""What requests may say. Unknown fields are refused: a typo must not be a silent default."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Form(BaseModel):
    """Base of all request bodies."""

    model_config = ConfigDict(extra="forbid")


class CreateSession(Form):
    """A session somebody asks for."""

    agent: str
    path: str = Field(description="Absolute path of an existing directory.")
    place: Literal["directory", "worktree"] = "directory"
    branch: str | None = None
    base: str | None = None
    id: str | None = None
    title: str = ""
    mode: str | None = None
    model: str | None = None
    environment: dict[str, str] = {}
    mcp_servers: list[dict[str, Any]] = []
    setup: str | None = None
    setup_timeout: float | None = Field(default=None, gt=0)
    sparse: list[str] = []
    parent: str | None = None
    labels: dict[str, str] = {}
    prompt: str | None = None
    wait: bool = True


class ChangeSession(Form):
    """What may be changed about a session."""

    title: str | None = None
    mode: str | None = None
    model: str | None = None


class QueueTurn(Form):
    """A prompt."""

    text: str
    how: Literal["queue", "interrupt"] = "queue"
    sender: str | None = None


class WaitFor(Form):
    """Whom to wait for."""

    sessions: list[str] = Field(min_length=1, max_length=1000)
    until: Literal["all", "any"] = "all"
    turns: dict[str, int] = {}
    timeout: float | None = Field(default=None, ge=0)


class ResumeSession(Form):
    """How to bring a session back."""

    fresh: bool = False
    prompt: str | None = None


class StopSession(Form):
    """How to end a session's process."""

    grace: float | None = Field(default=None, ge=0, le=600)


class AnswerAsk(Form):
    """An answer to a permission or question."""

    request: str | None = None
    allow: bool | None = None
    always: bool = False
    choice: str | None = None
    content: dict[str, Any] | None = None
    action: Literal["accept", "decline", "cancel"] | None = None
    reason: str = ""


class LandSession(Form):
    """How to land a session's branch."""

    target: str | None = None
    message: str | None = None
    commit: bool = False


class Prune(Form):
    """What to free."""

    older_than: float = Field(default=7 * 86400, ge=0)
    dry_run: bool = True
