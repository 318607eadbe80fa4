"""Errors of policies, rehearsals, interfaces, goals and budgets."""

from dataclasses import dataclass
from pathlib import Path

from bullpen.errors.base import BullpenError


@dataclass(eq=False)
class PolicyInvalid(BullpenError):
    """A policy file does not say what it must."""

    file: Path
    why: str

    def __str__(self) -> str:
        return f"policy file {str(self.file)!r} is invalid: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "mend it; until then nothing is allowed by rules. See docs/reference/policy.md"


@dataclass(eq=False)
class RuleUnknown(BullpenError):
    """No rule has that id."""

    rule: str

    def __str__(self) -> str:
        return f"no rule {self.rule!r}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "`bullpen policy list` shows them; rules of a repository are changed in its own file"


@dataclass(eq=False)
class RehearsalInvalid(BullpenError):
    """A rehearsal script does not say what it must."""

    file: Path
    why: str

    def __str__(self) -> str:
        return f"rehearsal script {str(self.file)!r} is invalid: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "`bullpen rehearse --example` prints one; docs/how-to/rehearse.md lists every step"


@dataclass(eq=False)
class RehearsalUnsupported(BullpenError):
    """Nobody knows how to point the agent at another model."""

    agent: str

    def __str__(self) -> str:
        return f"agent {self.agent!r} cannot be rehearsed"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "give its catalog file a [rehearsal] table; docs/reference/catalog.md says how"


@dataclass(eq=False)
class InterfaceUnsupported(BullpenError):
    """The agent cannot be run through the interface asked for."""

    agent: str
    interface: str
    why: str

    def __str__(self) -> str:
        return f"agent {self.agent!r} has no {self.interface} interface: {self.why}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return "`bullpen agents --json` shows which interfaces an agent has"


@dataclass(eq=False)
class GoalMissing(BullpenError):
    """The session has no goal."""

    session: str

    def __str__(self) -> str:
        return f"session {self.session!r} has no goal"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        return f'set one: bullpen goal {self.session} "OBJECTIVE"'


@dataclass(eq=False)
class BudgetSpent(BullpenError):
    """A hard budget is reached, so no turn may start."""

    session: str
    budget: str
    spent: str
    limit: str

    def __str__(self) -> str:
        return f"the {self.budget} budget is spent: {self.spent} of {self.limit}"

    @property
    def hint(self) -> str:
        """See `BullpenError.hint`."""
        if self.budget == "day":
            return "raise day_usd in the [budget] table of config.toml, or wait for tomorrow"
        return f"raise it: bullpen budget {self.session} --usd N or --tokens N"
