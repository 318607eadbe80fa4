"""Errors of sessions, turns and asks."""

from dataclasses import dataclass

from bullpen.errors.base import BullpenError


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
        if self.state in ("queued", "starting", "stopping"):
            return f"wait for it: `bullpen wait {self.session}`"
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
class SteerUnsupported(BullpenError):
    """The running turn takes no words; nothing was queued."""

    session: str
    why: str

    def __str__(self) -> str:
        return f"session {self.session!r} cannot be steered: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "send it without `--steer`: it is queued behind the running turn"


_ALL_OPEN = "`bullpen approvals` lists"


@dataclass(eq=False)
class AskNotFound(BullpenError):
    """No such permission or question is open."""

    session: str
    """Empty when it was looked for in all of them."""
    request: str

    def __str__(self) -> str:
        if not self.session:
            return f"nothing is asked under {self.request!r}"
        return f"session {self.session!r} has no open request {self.request!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        shows = f"`bullpen inspect {self.session}` shows" if self.session else _ALL_OPEN
        return f"{shows} what is open; it may be answered already"


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
