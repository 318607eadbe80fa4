"""Numbers and how they are told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What stands in one cell of the table."""

    text: str
    number: float | None = None
    """What is held against the row's target; None cannot miss it."""


class Skipped(Exception):
    """This cannot be measured here; the reason stands in the notes below the table."""


class Trouble(Exception):
    """A contender did not do what was asked of it; shown in the cell, never hidden."""


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` per cent of all samples do not exceed.

    This is the nearest-rank definition: always a value that was measured, never a mix of two.
    """
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def median(samples: Sequence[float]) -> float:
    """Return the 50th percentile, a sample that was measured."""
    return percentile(samples, 50)


def seconds(value: float) -> str:
    """Return a duration with three digits that mean something."""
    milliseconds = value * 1000
    if milliseconds < 9.95:
        return f"{milliseconds:.2f} ms"
    if milliseconds < 99.5:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 9_995:
        return f"{milliseconds:.0f} ms"
    return f"{value:.1f} s"


def typical(samples: Sequence[float]) -> Figure:
    """Return the median, with the fastest and slowest where there are several."""
    if not samples:
        raise Trouble("no sample came")
    middle = median(samples)
    if len(samples) == 1:
        return Figure(seconds(middle), middle)
    spread = f"{seconds(min(samples))} to {seconds(max(samples))}"
    return Figure(f"{seconds(middle)} ({spread}, n={len(samples)})", middle)


def tails(samples: Sequence[float], *, p99: bool) -> Figure:
    """Return p50 or p99 alone; p99 of fewer than 100 samples is told as the slowest."""
    if not samples:
        raise Trouble("no sample came")
    if not p99:
        middle = median(samples)
        return Figure(f"{seconds(middle)} (n={len(samples)})", middle)
    if len(samples) < 100:
        return Figure(f"slowest of {len(samples)}: {seconds(max(samples))}", max(samples))
    high = percentile(samples, 99)
    return Figure(f"{seconds(high)} (max {seconds(max(samples))})", high)
