"""The exit codes of `bullpen`, in one table that also makes the documentation.

They are a contract with scripts: a code is never given another meaning.
"""

from collections.abc import Iterable

DONE = 0
ERROR = 1
USAGE = 2
TURN_FAILED = 3
NEEDS_USER = 4
TIMEOUT = 124
INTERRUPTED = 130
UNREACHABLE = 255

EXITS: tuple[tuple[int, str, str], ...] = (
    (DONE, "done", "what was asked for was done"),
    (ERROR, "error", "it could not be done; stderr says why and what to do"),
    (USAGE, "usage", "the command line itself is wrong; nothing was done"),
    (
        TURN_FAILED,
        "turn failed",
        "the turn ended otherwise than by the agent's own choice (failed, cancelled, refused, "
        "truncated, withdrawn), or the session is over (stopped, failed, lost)",
    ),
    (
        NEEDS_USER,
        "needs the user",
        "the agent waits for a permission (asking) or for an answer (waiting)",
    ),
    (TIMEOUT, "timeout", "time ran out; the agent goes on, and waiting again is safe"),
    (INTERRUPTED, "interrupted", "Ctrl-C; agents go on"),
    (UNREACHABLE, "unreachable", "the service cannot be reached, or cannot be started"),
)
"""Code, short name and meaning of every exit code."""

OUTCOMES: dict[str, int] = {
    "completed": DONE,
    "idle": DONE,
    "asking": NEEDS_USER,
    "waiting": NEEDS_USER,
    "doubted": NEEDS_USER,
    "cancelled": TURN_FAILED,
    "refused": TURN_FAILED,
    "truncated": TURN_FAILED,
    "withdrawn": TURN_FAILED,
    "failed": TURN_FAILED,
    "stopped": TURN_FAILED,
    "lost": TURN_FAILED,
    "queued": TIMEOUT,
    "starting": TIMEOUT,
    "working": TIMEOUT,
    "limited": TIMEOUT,
}
"""What each outcome of a session means as an exit code. The last four are only ever seen by a
`wait` whose time ran out."""

_BADNESS = (DONE, NEEDS_USER, TURN_FAILED, TIMEOUT)


def of_outcome(word: str) -> int:
    """Return the exit code of one outcome; an unknown word, from a newer service, is an error."""
    return OUTCOMES.get(word, ERROR)


def worst(codes: Iterable[int]) -> int:
    """Return the code that stands for all of `codes`, 0 when there are none.

    A timeout outranks a failed turn, which outranks an agent that waits for the user, which
    outranks success: the first says that the others may not be the last word.
    """
    return max(codes, key=_rank, default=DONE)


def _rank(code: int) -> int:
    return _BADNESS.index(code) if code in _BADNESS else len(_BADNESS)


class Refusal(Exception):
    """A verb ends here, with words for people, a code for programs and an exit code.

    Stands in the door and not in `bullpen.errors`, because most are only read back from the
    service's answers, and importing `bullpen.errors` costs every verb about 10 ms.
    """

    def __init__(self, code: str, message: str, *, hint: str = "", exit_code: int = ERROR) -> None:
        super().__init__(message)
        self.code = code
        """Stable name, as in the service's answers: `session-not-found`."""
        self.message = message
        """One sentence without a full stop."""
        self.hint = hint
        """What to do next; may be empty."""
        self.exit_code = exit_code
        """One of `EXITS`."""


def usage(message: str, *, hint: str = "") -> Refusal:
    """Return the refusal of a wrong command line."""
    return Refusal("usage", message, hint=hint, exit_code=USAGE)


def unreachable(message: str, *, hint: str = "") -> Refusal:
    """Return the refusal of a verb that finds no service to talk to."""
    return Refusal("service-unreachable", message, hint=hint, exit_code=UNREACHABLE)
