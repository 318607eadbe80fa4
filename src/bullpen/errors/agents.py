"""Errors of agents, their catalog and their handshake."""

from dataclasses import dataclass
from pathlib import Path

from bullpen.errors.base import BullpenError


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
        return "`bullpen agents` lists those you can use; new files are read when a service starts"


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
    is_unknown_conversation: bool = False
    """Whether it does not know the conversation it was to go on with."""

    def __str__(self) -> str:
        return f"agent {self.agent!r} refused the handshake: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        if self.is_unknown_conversation:
            return "`bullpen resume ID --fresh` begins a new conversation in the same place"
        return ""


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
class ModelRefused(BullpenError):
    """The agent does not take the model asked for."""

    agent: str
    model: str
    why: str

    def __str__(self) -> str:
        return f"agent {self.agent!r} does not take model {self.model!r}: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "name a model in the agent's own words, or leave `--model` out"
