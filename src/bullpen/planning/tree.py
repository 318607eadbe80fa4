"""May two phases run side by side? The decision tree, with the rule that fired and its evidence."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from bullpen.planning.paths import expand, is_named, overlaps
from bullpen.planning.plan import Phase, Tree


class Decision(StrEnum):
    """How two phases may run."""

    PARALLEL = "parallel"
    PARALLEL_WITH_BRANCH = "parallel-with-branch"
    SEQUENTIAL = "sequential"


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What the tree is asked with."""

    reads: bool
    overlaps: bool
    separable: bool
    infra: bool


def decide(answers: Answers, *, tree: Tree) -> tuple[Decision, str]:
    """Return the decision and the rule that made it.

    The literal tree never asks about infrastructure where branches are separate; strict does.
    """
    if answers.reads:
        return Decision.SEQUENTIAL, "DT-1"
    if answers.overlaps and not answers.separable:
        return Decision.SEQUENTIAL, "DT-3"
    if answers.overlaps and answers.infra and tree == "strict":
        return Decision.SEQUENTIAL, "DT-5"
    if answers.overlaps:
        return Decision.PARALLEL_WITH_BRANCH, "DT-3"
    if answers.infra:
        return Decision.SEQUENTIAL, "DT-4"
    return Decision.PARALLEL, "DT-4"


class Sets(msgspec.Struct, frozen=True, kw_only=True):
    """A phase's sets, globs expanded."""

    phase: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    makes: tuple[str, ...]
    """What others may read of it: writes and outputs."""
    infra: frozenset[str]
    is_branchable: bool
    depends_on: frozenset[str]


def sets_of(phase: Phase, files: Sequence[str] = ()) -> Sets:
    """Return what `phase` reads, writes and makes in a repository of `files`."""
    writes = expand(phase.writes, files)
    outputs = expand(phase.outputs, files)
    return Sets(
        phase=phase.id,
        reads=expand(phase.reads, files),
        writes=writes,
        makes=tuple(dict.fromkeys((*writes, *outputs))),
        infra=frozenset(phase.infra),
        is_branchable=phase.branchable,
        depends_on=frozenset(phase.depends_on) | frozenset(phase.inputs),
    )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided over two phases."""

    first: str
    second: str
    decision: Decision
    rule: str
    tree: Tree
    evidence: tuple[str, ...] = ()
    """Paths, names and infrastructure it rests on."""
    waits: tuple[str, ...] = ()
    """Which of the two waits for the other; both is a cycle, none means either order."""

    @property
    def is_cycle(self) -> bool:
        """Whether each waits for the other."""
        return len(self.waits) > 1


def judge(first: Sets, second: Sets, *, tree: Tree = "strict") -> Verdict:
    """Ask the tree about two phases, in both directions."""
    backward = _read_evidence(reader=first, maker=second)
    forward = _read_evidence(reader=second, maker=first)
    shared = _shared(first.writes, second.writes)
    infra = sorted(first.infra & second.infra)
    answers = Answers(
        reads=bool(backward or forward),
        overlaps=bool(shared),
        separable=first.is_branchable and second.is_branchable,
        infra=bool(infra),
    )
    decision, rule = decide(answers, tree=tree)
    evidence = {"DT-1": (*forward, *backward), "DT-3": shared, "DT-5": (*shared, *infra)}
    waits = [one.phase for one, why in ((first, backward), (second, forward)) if why]
    return Verdict(
        first=first.phase,
        second=second.phase,
        decision=decision,
        rule="DT-6" if len(waits) > 1 else rule,
        tree=tree,
        evidence=tuple(evidence.get(rule, infra)),
        waits=tuple(waits),
    )


def _read_evidence(*, reader: Sets, maker: Sets) -> tuple[str, ...]:
    """Return why `reader` waits for `maker`. What both write is shared work and no output of one
    for the other: the question of overlap is asked about it."""
    declared = (f"depends on {maker.phase}",) if maker.phase in reader.depends_on else ()
    own = [one for one in reader.writes if not is_named(one)]
    read = [one for one in reader.reads if one not in own]
    return (*declared, *_shared(read, maker.makes))


def _shared(ones: Iterable[str], others: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for one in ones:
        for other in others:
            if overlaps(one, other):
                found[max(one, other, key=len)] = None
    return tuple(found)
