"""What limits, goals and money do to a session's record: one pure step per fact."""

from collections.abc import Callable
from typing import Any

from bullpen.model.fact import (
    BudgetChanged,
    BudgetReached,
    CostReckoned,
    GoalChanged,
    GoalSet,
    LimitEntered,
    LimitLeft,
    TokensCounted,
    TurnEnded,
    TurnFailed,
)
from bullpen.model.session import Budget, Goal, Limit, SessionRecord, Spent

_KEPT_CONTINUATIONS = 8
GOAL_OVER = frozenset({"complete", "cleared"})
"""A goal with one of these statuses is never pursued again."""


def limited(record: SessionRecord, fact: LimitEntered, _at: float) -> None:
    """Take that the session waits for a limit."""
    record.limits_in_a_row += 1
    record.limit = Limit(
        limit=fact.limit,
        account=fact.account,
        until=fact.until,
        is_guess=fact.is_guess,
        message=fact.message,
        turn=fact.turn,
    )


def unlimited(record: SessionRecord, fact: LimitLeft, _at: float) -> None:
    """Take that it waits no longer, and which turn goes on with the one that was cut short."""
    cut_short = record.limit.turn if record.limit is not None else None
    record.limit = None
    if cut_short is not None and fact.continued_by is not None:
        record.continued[cut_short] = fact.continued_by
        for old in sorted(record.continued)[:-_KEPT_CONTINUATIONS]:
            del record.continued[old]


def goal_set(record: SessionRecord, fact: GoalSet, at: float) -> None:
    """Take a new goal."""
    record.goal = Goal(
        id=fact.goal,
        objective=fact.objective,
        is_native=fact.is_native,
        budget_tokens=fact.budget_tokens,
        budget_usd=fact.budget_usd,
        max_turns=fact.max_turns,
        set_at=at,
        first_turn=record.turns + 1,
    )


def goal_changed(record: SessionRecord, fact: GoalChanged, _at: float) -> None:
    """Take how the goal stands."""
    goal = record.goal
    if goal is None or goal.id != fact.goal:
        return
    if fact.status == "cleared":
        record.goal = None
        return
    goal.status = fact.status
    goal.note = fact.note or goal.note
    goal.idle_turns = goal.failed_turns = 0


def turn_over(record: SessionRecord, fact: TurnEnded | TurnFailed) -> None:
    """Count a turn that is over: for the goal, and for limits one after the other."""
    if isinstance(fact, TurnEnded) and fact.stop != "cancelled":
        record.limits_in_a_row = 0
    goal, turn = record.goal, record.turn
    if goal is None or goal.status != "active" or turn is None or fact.turn < goal.first_turn:
        return
    goal.turns += 1
    goal.failed_turns = goal.failed_turns + 1 if isinstance(fact, TurnFailed) else 0
    goal.idle_turns = goal.idle_turns + 1 if turn.tools == 0 else 0


def tokens(record: SessionRecord, fact: TokensCounted, _at: float) -> None:
    """Add what a turn used."""
    spent = record.spent = record.spent or Spent()
    spent.input_tokens = _sum(spent.input_tokens, fact.input_tokens)
    spent.output_tokens = _sum(spent.output_tokens, fact.output_tokens)
    spent.cached_tokens = _sum(spent.cached_tokens, fact.cached_read_tokens)
    used = (fact.input_tokens or 0) + (fact.output_tokens or 0)
    if record.goal is not None and record.goal.status == "active":
        record.goal.used_tokens += used
    if fact.cost_usd is not None:
        record.prices_itself = True
        _pay(record, spent, fact.cost_usd)
    else:
        spent.unpriced_turns += 1


def reckoned(record: SessionRecord, fact: CostReckoned, _at: float) -> None:
    """Add what a turn cost that the agent did not price itself."""
    spent = record.spent = record.spent or Spent()
    spent.unpriced_turns = max(0, spent.unpriced_turns - 1)
    spent.is_estimate = spent.is_estimate or fact.source != "agent"
    if fact.source == "agent":
        record.cost_counted = (record.cost_counted or 0.0) + fact.usd
    _pay(record, spent, fact.usd)


def _pay(record: SessionRecord, spent: Spent, usd: float) -> None:
    spent.usd = (spent.usd or 0.0) + usd
    if record.goal is not None and record.goal.status == "active":
        record.goal.used_usd += usd


def _sum(known: int | None, more: int | None) -> int | None:
    return known if more is None else (known or 0) + more


def budget_changed(record: SessionRecord, fact: BudgetChanged, _at: float) -> None:
    """Take another budget; a hard one that was reached is open again."""
    record.budget = Budget(usd=fact.usd, tokens=fact.tokens)


def budget_reached(record: SessionRecord, fact: BudgetReached, _at: float) -> None:
    """Take that a budget is reached."""
    budget = record.budget = record.budget or Budget()
    if fact.is_hard:
        budget.is_spent = fact.budget == "session" or budget.is_spent
    else:
        budget.is_warned = True


STEPS: dict[type, Callable[[SessionRecord, Any, float], None]] = {
    LimitEntered: limited,
    LimitLeft: unlimited,
    GoalSet: goal_set,
    GoalChanged: goal_changed,
    TokensCounted: tokens,
    CostReckoned: reckoned,
    BudgetChanged: budget_changed,
    BudgetReached: budget_reached,
}
