"""Levels of phases, the critical path, and cycles by name."""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """How phases lie above each other."""

    levels: tuple[tuple[str, ...], ...]
    """Phases of level 1, of level 2, …; within a level in the order of the plan."""
    critical: tuple[str, ...]
    """The dearest chain, first phase first."""


def cycle_of(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return phases of which each waits for the next and the last for the first; empty if none.

    The answer is one cycle and not every phase behind it.
    """
    left = _left_over(needs)
    if not left:
        return ()
    walked: dict[str, int] = {}
    at = next(iter(left))
    while at not in walked:
        walked[at] = len(walked)
        at = next(one for one in needs[at] if one in left)
    return tuple(walked)[walked[at] :]


def _left_over(needs: Mapping[str, Sequence[str]]) -> dict[str, None]:
    """Return phases that wait for a cycle or are part of one, each with a need among them."""
    open_needs = {one: len(set(found)) for one, found in needs.items()}
    waiting = _dependants(needs)
    ready = deque(one for one, count in open_needs.items() if not count)
    left = dict.fromkeys(needs)
    while ready:
        done = ready.popleft()
        del left[done]
        for one in waiting[done]:
            open_needs[one] -= 1
            if not open_needs[one]:
                ready.append(one)
    return left


def _dependants(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    waiting: dict[str, list[str]] = {one: [] for one in needs}
    for one, found in needs.items():
        for need in set(found):
            waiting[need].append(one)
    return waiting


def layers_of(
    needs: Mapping[str, Sequence[str]], *, weights: Mapping[str, float] | None = None
) -> Layers:
    """Return levels and critical path of phases that have no cycle.

    Args:
        needs: Each phase, in the plan's order, and those it waits for; all of them are keys.
        weights: How long or dear a phase is; left out, each counts one.

    Raises:
        ValueError: there is a cycle; see `cycle_of`.
    """
    level: dict[str, int] = {}
    cost: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for one in _in_order(needs):
        found = needs[one]
        level[one] = 1 + max((level[need] for need in found), default=0)
        best = max(found, key=lambda need: cost[need], default=None)
        before[one] = best
        own = 1.0 if weights is None else weights.get(one, 0.0)
        cost[one] = own + (0.0 if best is None else cost[best])
    levels: list[list[str]] = [[] for _ in range(max(level.values(), default=0))]
    for one in needs:
        levels[level[one] - 1].append(one)
    chain: list[str] = []
    at = max(needs, key=lambda one: cost[one], default=None)
    while at is not None:
        chain.append(at)
        at = before[at]
    return Layers(levels=tuple(map(tuple, levels)), critical=tuple(reversed(chain)))


def _in_order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    open_needs = {one: len(set(found)) for one, found in needs.items()}
    waiting = _dependants(needs)
    ready = deque(one for one, count in open_needs.items() if not count)
    ordered: list[str] = []
    while ready:
        done = ready.popleft()
        ordered.append(done)
        for one in waiting[done]:
            open_needs[one] -= 1
            if not open_needs[one]:
                ready.append(one)
    if len(ordered) < len(needs):
        raise ValueError("there is a cycle")
    return ordered
