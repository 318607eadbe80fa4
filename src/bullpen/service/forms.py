"""What requests may say. Unknown fields are refused: a typo must not be a silent default."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""What becomes an argument, a variable or a path of the system, which a NUL would cut off."""
Variable = Annotated[str, Field(pattern=r"^[^\x00=]+$")]
MOST = 2**53
"""The largest whole number that every JSON reader, and the store, takes as it is."""
Turn = Annotated[int, Field(ge=0, le=MOST)]


class Form(BaseModel):
    """Base of all request bodies."""

    model_config = ConfigDict(extra="forbid")


class CreateSession(Form):
    """A session somebody asks for."""

    agent: str
    path: Text = Field(description="Absolute path of an existing directory.")
    place: Literal["directory", "worktree"] = "directory"
    branch: Text | None = None
    base: Text | None = None
    id: str | None = None
    title: str = ""
    mode: str | None = None
    model: str | None = None
    environment: dict[Variable, Text] = {}
    mcp_servers: list[dict[str, Any]] = []
    setup: Text | None = None
    setup_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    sparse: list[Text] = []
    parent: str | None = None
    labels: dict[str, str] = {}
    interface: Literal["structured", "terminal"] = "structured"
    rehearsal: Text | None = Field(default=None, description="Absolute path of a script.")
    policy: Text | None = Field(default=None, description="Absolute path of a policy file.")
    fallback: str | None = None
    budget_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    budget_tokens: int | None = Field(default=None, gt=0, le=MOST)
    goal: str | None = None
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
    how: Literal["queue", "interrupt", "steer"] = "queue"
    sender: str | None = None


class WaitFor(Form):
    """Whom to wait for."""

    sessions: list[str] = Field(min_length=1, max_length=1000)
    until: Literal["all", "any"] = "all"
    turns: dict[str, Turn] = {}
    goal: bool = Field(default=False, description="Wait until no goal is active any more.")
    timeout: float | None = Field(default=None, ge=0)


class ResumeSession(Form):
    """How to bring a session back."""

    fresh: bool = False
    prompt: str | None = None


class SwitchSession(Form):
    """Another interface for a session."""

    interface: Literal["structured", "terminal"]
    interrupt: bool = False


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

    target: Text | None = None
    message: Text | None = None
    commit: bool = False


class Prune(Form):
    """What to free."""

    older_than: float = Field(default=7 * 86400, ge=0)
    dry_run: bool = True
