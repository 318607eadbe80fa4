"""A whole plan decided: who waits for whom, and which phases run together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from bullpen.planning.caps import Cap, cap_of, split
from bullpen.planning.levels import Layers, cycle_of, layers_of
from bullpen.planning.paths import is_named
from bullpen.planning.plan import Phase, Plan, Tree
from bullpen.planning.tree import Decision, Sets, Verdict, judge, sets_of


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What was computed of a plan."""

    needs: dict[str, tuple[str, ...]]
    """Each phase and those it waits for."""
    verdicts: tuple[Verdict, ...]
    """Pairs that are not free of each other; every other pair is parallel by DT-4."""
    cycle: tuple[str, ...]
    """Phases that wait for each other; then there are no layers and no batches."""
    unknown: tuple[tuple[str, str], ...]
    """Pairs of a phase and what it names as a need and is no phase."""
    layers: Layers | None
    batches: tuple[tuple[str, ...], ...]
    caps: tuple[Cap, ...]
    """The cap that held for each batch."""


def schedule(plan: Plan, *, files: Sequence[str] = ()) -> Schedule:
    """Decide every pair of a plan, and put its phases into batches.

    Batches keep the levels, and within a level the plan's order as far as no pair in a batch must
    be sequential.

    Args:
        files: The repository's files, which globs are expanded against.
    """
    sets = {one.id: sets_of(one, files) for one in plan.phases}
    verdicts = tuple(_verdicts(sets, tree=plan.tree))
    needs, unknown = _needs(sets, verdicts)
    cycle = cycle_of(needs)
    layers = None if cycle else layers_of(needs)
    batches: list[tuple[str, ...]] = []
    caps: list[Cap] = []
    apart = _apart(verdicts)
    phases = {one.id: one for one in plan.phases}
    for level in layers.levels if layers else ():
        found = [phases[one] for one in level]
        cap = cap_of(found, wanted=plan.cap, reason=plan.cap_reason)
        made = _batches_of(found, cap=cap, apart=apart)
        batches.extend(made)
        caps.extend([cap] * len(made))
    return Schedule(
        needs=needs,
        verdicts=verdicts,
        cycle=cycle,
        unknown=unknown,
        layers=layers,
        batches=tuple(batches),
        caps=tuple(caps),
    )


def _verdicts(sets: Mapping[str, Sets], *, tree: Tree) -> Iterator[Verdict]:
    """Judge the pairs that share anything; the rest need not be looked at."""
    order = {one: at for at, one in enumerate(sets)}
    touched = _Index()
    for one in sets.values():
        touched.add(one.phase, _things(one))
    for one in sets.values():
        near = touched.near(_things(one)) | {name for name in one.depends_on if name in sets}
        for other in sorted(near, key=order.__getitem__):
            is_first = order[one.phase] < order[other]
            # A pair declared by its second phase alone is met from there only.
            if other == one.phase or (not is_first and one.phase in touched.near_of(sets[other])):
                continue
            first, second = (one, sets[other]) if is_first else (sets[other], one)
            verdict = judge(first, second, tree=tree)
            if verdict.decision is not Decision.PARALLEL:
                yield verdict


def _things(sets: Sets) -> list[str]:
    return [*sets.reads, *sets.makes, *(f"infra:{one}" for one in sets.infra)]


class _Index:
    """Finds who touches a path, what lies in it, or where it lies in."""

    def __init__(self) -> None:
        self._exact: dict[str, set[str]] = {}
        self._below: dict[str, set[str]] = {}
        self._near: dict[str, set[str]] = {}

    def add(self, phase: str, things: Iterable[str]) -> None:
        for thing in things:
            self._exact.setdefault(thing, set()).add(phase)
            for folder in _folders(thing):
                self._below.setdefault(folder, set()).add(phase)

    def near(self, things: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for thing in things:
            found |= self._exact.get(thing, set()) | self._below.get(thing, set())
            for folder in _folders(thing):
                found |= self._exact.get(folder, set())
        return found

    def near_of(self, sets: Sets) -> set[str]:
        """Return who is met from `sets`, declared needs included."""
        known = self._near.get(sets.phase)
        if known is None:
            known = self._near[sets.phase] = self.near(_things(sets)) | sets.depends_on
        return known


def _folders(path: str) -> Iterator[str]:
    """Yield every folder a path lies in, the repository (the empty path) last."""
    if is_named(path) or not path:
        return
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
    yield ""


def _needs(
    sets: Mapping[str, Sets], verdicts: Iterable[Verdict]
) -> tuple[dict[str, tuple[str, ...]], tuple[tuple[str, str], ...]]:
    found: dict[str, dict[str, None]] = {one: {} for one in sets}
    unknown = [
        (one.phase, name) for one in sets.values() for name in one.depends_on if name not in sets
    ]
    for one in sets.values():
        if one.phase in one.depends_on:
            found[one.phase][one.phase] = None
    for verdict in verdicts:
        for waiter in verdict.waits:
            other = verdict.second if waiter == verdict.first else verdict.first
            found[waiter][other] = None
    return {one: tuple(need) for one, need in found.items()}, tuple(sorted(unknown))


def _apart(verdicts: Iterable[Verdict]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in verdicts:
        if one.decision is Decision.SEQUENTIAL:
            found.setdefault(one.first, set()).add(one.second)
            found.setdefault(one.second, set()).add(one.first)
    return found


def _batches_of(
    phases: Sequence[Phase], *, cap: Cap, apart: Mapping[str, set[str]]
) -> list[tuple[str, ...]]:
    """Put one level into batches: first groups in which nobody must be apart, then each group
    split evenly."""
    groups: list[list[str]] = []
    for phase in phases:
        away = apart.get(phase.id, set())
        home = next((one for one in groups if away.isdisjoint(one)), None)
        if home is None:
            groups.append([phase.id])
        else:
            home.append(phase.id)
    made: list[tuple[str, ...]] = []
    for group in groups:
        at = 0
        for size in split(len(group), cap.sessions):
            made.append(tuple(group[at : at + size]))
            at += size
    return made
