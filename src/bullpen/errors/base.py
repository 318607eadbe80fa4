"""The base of all errors, and those of programs and processes."""

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
class JournalDamaged(BullpenError):
    """A session's folder is not as we left it."""

    folder: Path
    why: str

    def __str__(self) -> str:
        return f"journal {str(self.folder)!r} is damaged: {self.why}"
