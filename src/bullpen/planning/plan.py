"""Plans and their phases: what is wanted, before anything is decided."""

from enum import StrEnum
from typing import Literal

import msgspec


class Exec(StrEnum):
    """How a phase is worked on."""

    QUICK = "quick"
    TDD = "tdd"
    PAIR = "pair"
    CHECKPOINT = "checkpoint"
    SWARM = "swarm"
    SPIKE = "spike"


Profile = Literal["unlimited", "budget", "pay-per-use"]
Tree = Literal["strict", "literal"]
Review = Literal["none", "A", "B", "C", "D"]


class Inferred(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a read or write set came from when nobody declared it."""

    path: str
    confidence: float
    """Between 0 and 1."""
    why: str
    """`brief`, `import` or `history`, and the evidence."""


class Issue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the issue registry."""

    id: str
    title: str = ""
    url: str = ""
    status: str = ""
    exec: str = ""
    estimate: str = ""
    depends_on: tuple[str, ...] = ()


class Phase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of work for one session."""

    id: str
    issue: str = ""
    """Id of its issue or task."""
    title: str = ""
    """The issue's title."""
    url: str = ""
    """Where the issue lies; empty when the tracker's link template says it."""
    focus: str = ""
    exec: Exec = Exec.PAIR
    produces_changes: bool = True
    """False for analysis only: the result is knowledge."""
    investigation: bool = False
    reads: tuple[str, ...] = ()
    """Paths, directories or globs, or `kind:name` for schemas and interfaces."""
    writes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    """What others may read: paths or `kind:name`. What is written counts as well."""
    infra: tuple[str, ...] = ()
    """Shared infrastructure it changes: `db-schema`, `ci`, …"""
    branchable: bool = True
    """Whether its work can stand on a branch beside others that touch the same files."""
    estimate_usd: float = 0.0
    points: int = 0
    """Estimate in Fibonacci points; 0 is derived from the cost."""
    agent: str = ""
    """Id of an agent; empty is the plan's."""
    role: str = ""
    model: str = ""
    depends_on: tuple[str, ...] = ()
    batch: int = 0
    """Declared batch, 0 for what the rules compute."""
    merge_order: int = 0
    """Declared place in the order of landing, 0 for the order of the plan."""
    override: str = ""
    """The recorded reason for building on an unresolved spike."""
    inputs: tuple[str, ...] = ()
    """Spikes whose results it builds on."""
    context: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    acceptance: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    deliverable: str = ""
    brief: str = ""
    """The whole prompt, for who writes it himself; else it is made from the fields above."""
    tests: str = ""
    """A command that must succeed in its place before the phase counts as done."""
    tests_timeout: float = 600.0
    loop: int = 0
    """Longest number of attempts of the loop for long tasks, 0 for no loop."""
    inferred: tuple[Inferred, ...] = ()

    @property
    def touches(self) -> tuple[str, ...]:
        """Every path it changes."""
        return self.writes


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A master plan."""

    title: str
    id: str = ""
    issue: str = ""
    """Id of the master issue."""
    issue_title: str = ""
    url: str = ""
    date: str = ""
    """YYYY-MM-DD."""
    session: str = ""
    supersedes: str = ""
    repo: str = ""
    """Path of the repository; relative to the plan's file."""
    agent: str = ""
    profile: Profile = "budget"
    threshold_usd: float = 10.0
    budget_usd: float | None = None
    tree: Tree = "strict"
    cap: int = 0
    """Longest number of sessions at once, 0 for the rules'."""
    cap_reason: str = ""
    review: Review = "none"
    reviewers: tuple[str, ...] = ()
    """Agents that review, for option D."""
    gates: tuple[int, ...] = ()
    """Gates a person must pass: 1, 2, 3."""
    auto_gates: tuple[int, ...] = ()
    """Gates that pass by preference, and are recorded as such."""
    start_timeout: float = 120.0
    """Seconds until a session must have confirmed its start."""
    target: str = ""
    """Branch to land on, empty for the one the repository is on."""
    land: bool = True
    link: str = ""
    """Link template of the tracker, with `{id}`."""
    plan_url: str = ""
    """Where the plan is attached to the master issue."""
    issues: tuple[Issue, ...] = ()
    phases: tuple[Phase, ...] = ()
    verification: tuple[str, ...] = ()
    key_files: tuple[tuple[str, str], ...] = ()
    """Pairs of a file and its purpose."""
    notes: str = ""

    def phase(self, name: str) -> Phase:
        """Return the phase with that id; raises `KeyError`."""
        for one in self.phases:
            if one.id == name:
                return one
        raise KeyError(name)

    def agent_of(self, phase: Phase) -> str:
        """Return the agent that works on `phase`, empty when neither says."""
        return phase.agent or self.agent
