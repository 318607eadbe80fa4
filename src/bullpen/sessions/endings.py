"""How a process ended, in words and facts."""

from bullpen.model.fact import AnyFact, Faulted
from bullpen.process import Ending


def torn_line(torn: bytes) -> list[AnyFact]:
    """Return the fact that a dead agent did not finish its last line, if it did not."""
    if not torn:
        return []
    sample = torn[:200].decode(errors="replace")
    return [Faulted(why="torn line", sample=sample, length_bytes=len(torn))]


def described(ending: Ending) -> str:
    """Return how a process ended, in words."""
    if ending.signal is not None:
        return f"was ended by signal {ending.signal}"
    if ending.exit_code is not None:
        return f"exited with code {ending.exit_code}"
    return "is gone, and nobody saw how"
