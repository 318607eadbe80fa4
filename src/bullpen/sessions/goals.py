"""Goals: a session is prompted again until its agent says that the goal is reached.

For agents that pursue goals by themselves (`goal` among their abilities) we only watch. For all
others the next prompt is queued in the same commit as the end of the turn before, so a goal
survives any crash. The agent reports with the tool `goal_update`, or with a line of its own at the
end of its last message.
"""

import re
import secrets
from collections.abc import Sequence

from bullpen.agents.dialect import ChangeGoal
from bullpen.model.fact import (
    AgentFact,
    AnyFact,
    GoalChanged,
    GoalReported,
    LimitReached,
    MessageStreamed,
    TokensCounted,
    TurnEnded,
    TurnFailed,
    TurnQueued,
)
from bullpen.model.session import Goal, SessionRecord
from bullpen.sessions.reflex import Reaction

STATUSES = ("complete", "blocked")
"""What an agent may report."""
_MARK = re.compile(r"^\s*\**GOAL (COMPLETE|BLOCKED)\**:?\s*(.*?)\s*$", re.IGNORECASE)
_MOST_IDLE = 2
_MOST_FAILED = 2
_HOW = (
    "When it is reached, or when you cannot go on without help, say so: call the tool goal_update "
    "with status `complete` or `blocked` and a note, if you have that tool; else end your last "
    "message with a line of its own, `GOAL COMPLETE: note` or `GOAL BLOCKED: note`."
)


def fresh_id() -> str:
    """Return an id for a goal."""
    return secrets.token_hex(3)


def first_prompt(objective: str) -> str:
    """Return the prompt that begins the work on a goal."""
    return f"Your goal: {objective}\n\nWork on it until it is reached. {_HOW}"


def next_prompt(goal: Goal) -> str:
    """Return the prompt that goes on with a goal."""
    return f"Go on with your goal: {goal.objective}\n\nDo the next step. {_HOW}"


def reported_in(text: str) -> tuple[str, str] | None:
    """Return status and note that the last line of a message reports, None when it reports
    none."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = _MARK.match(lines[-1]) if lines else None
    return (found[1].lower(), found[2]) if found else None


class Goals:
    """The reflex that goes on with goals."""

    def react(self, record: SessionRecord, heard: Sequence[AgentFact]) -> Sequence[Reaction]:
        """Go on with the goal behind a turn that is over, or say why not."""
        goal = record.goal
        if goal is None:
            return []
        if goal.is_native:
            return self._watch(record, goal, heard)
        end = next((one for one in heard if isinstance(one, (TurnEnded, TurnFailed))), None)
        if end is None or goal.status != "active" or end.turn < goal.first_turn:
            return []
        facts = self._after(record, goal, end, heard)
        return [Reaction(facts=facts)] if facts else []

    def holds(self, record: SessionRecord, coming: Sequence[AnyFact]) -> bool:
        """Never: a goal only adds turns."""
        return False

    def _after(
        self,
        record: SessionRecord,
        goal: Goal,
        end: TurnEnded | TurnFailed,
        heard: Sequence[AgentFact],
    ) -> list[AnyFact]:
        if any(isinstance(one, LimitReached) for one in heard):
            # The limit goes on with it.
            return []
        if isinstance(end, TurnEnded) and end.stop == "cancelled":
            return [_changed(goal, "paused", "interrupted", by="user")]
        said = reported_in(_last_words(record, heard))
        if said is not None:
            return [_changed(goal, said[0], said[1], by="agent")]
        why = _why_not(record, goal, end, heard)
        if why is not None:
            return [_changed(goal, why[0], why[1], by="bullpen")]
        if record.queue:
            # What the user wants comes first; the goal goes on behind it.
            return []
        return [TurnQueued(turn=record.turns + 1, text=next_prompt(goal), sender="goal")]

    def _watch(
        self, record: SessionRecord, goal: Goal, heard: Sequence[AgentFact]
    ) -> list[Reaction]:
        found: list[Reaction] = []
        for fact in heard:
            if isinstance(fact, GoalReported) and fact.status not in (goal.status, None):
                change = _changed(goal, fact.status or "cleared", fact.note, by="agent")
                found.append(Reaction(facts=[change]))
        end = next((one for one in heard if isinstance(one, TurnEnded)), None)
        if end is None or goal.status != "active" or found:
            return found
        why = _spent(goal, heard)
        if why is not None:
            change = _changed(goal, "budget-limited", why, by="bullpen")
            found.append(Reaction(facts=[change], orders=[ChangeGoal(status="paused")]))
        return found


def _changed(goal: Goal, status: str, note: str, *, by: str) -> GoalChanged:
    return GoalChanged(goal=goal.id, status=status, note=note, by=by)


def _last_words(record: SessionRecord, heard: Sequence[AgentFact]) -> str:
    text = "".join(one.text for one in heard if isinstance(one, MessageStreamed))
    return text or record.last_line


def _why_not(
    record: SessionRecord, goal: Goal, end: TurnEnded | TurnFailed, heard: Sequence[AgentFact]
) -> tuple[str, str] | None:
    """Return status and reason when the goal is not gone on with."""
    if isinstance(end, TurnFailed) and goal.failed_turns + 1 >= _MOST_FAILED:
        return "blocked", f"{_MOST_FAILED} turns failed one after the other: {end.message}"[:500]
    spent = _spent(goal, heard)
    if spent is not None:
        return "budget-limited", spent
    turn = record.turn
    is_idle = isinstance(end, TurnEnded) and turn is not None and turn.tools == 0
    if is_idle and goal.idle_turns + 1 >= _MOST_IDLE:
        return "blocked", f"{_MOST_IDLE} turns one after the other did nothing"
    return None


def _spent(goal: Goal, heard: Sequence[AgentFact]) -> str | None:
    counted = [one for one in heard if isinstance(one, TokensCounted)]
    tokens = goal.used_tokens + sum(
        (one.input_tokens or 0) + (one.output_tokens or 0) for one in counted
    )
    usd = goal.used_usd + sum(one.cost_usd or 0.0 for one in counted)
    if goal.max_turns is not None and goal.turns + 1 >= goal.max_turns:
        return f"all {goal.max_turns} turns are used"
    if goal.budget_tokens is not None and tokens >= goal.budget_tokens:
        return f"{tokens} of {goal.budget_tokens} tokens are used"
    if goal.budget_usd is not None and usd >= goal.budget_usd:
        return f"{usd:.2f} of {goal.budget_usd:.2f} USD are spent"
    return None
