"""Errors of the host: configuration, store, service, requests."""

from dataclasses import dataclass
from pathlib import Path

from bullpen.errors.base import BullpenError


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
class StoreUnavailable(BullpenError):
    """The database cannot be opened. Nothing was changed."""

    database: str
    why: str

    def __str__(self) -> str:
        return f"database {self.database!r} cannot be opened: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "look at free disk space, the permissions of the file, or the database server"


@dataclass(eq=False)
class StoreRefused(BullpenError):
    """The database refused a commit; nothing is committed after that."""

    database: str
    why: str

    def __str__(self) -> str:
        return f"database {self.database!r} refused a commit: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "agents keep running; free disk space or mend the database, then start the service"


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
