"""Letting limited sessions go on: with their process if it lives, else brought back first."""

from bullpen.agents.dialect import ChangeGoal, OrderImpossible, SetGoal
from bullpen.errors import GoalMissing, RequestInvalid, SessionOver
from bullpen.model.fact import (
    BudgetChanged,
    GoalChanged,
    GoalSet,
    LimitEntered,
    LimitLeft,
    MessageStreamed,
    TurnQueued,
)
from bullpen.model.session import OVER, Limit, SessionRecord, SessionState
from bullpen.model.wanted import NewSession
from bullpen.sessions import goals
from bullpen.sessions.ledger import check_storable
from bullpen.sessions.limits import going_on
from bullpen.sessions.live import read_texts
from bullpen.sessions.stage import Stage
from bullpen.sessions.supervisor import Supervisor

_SHOWN_CHARS = 4000


class Lifter:
    """What the keeper of limits, and verbs about goals and budgets, do with sessions."""

    def __init__(self, stage: Stage, supervisor: Supervisor) -> None:
        self._stage = stage
        self._supervisor = supervisor

    async def records(self) -> list[SessionRecord]:
        """See `limits.Host.records`."""
        return await self._supervisor.records()

    # ---- limits ----------------------------------------------------------------------------

    async def enter(self, session: str, limit: Limit) -> None:
        """Have an idle session with waiting prompts wait for the limit of its account."""
        ledger = await self._supervisor.ledger(session)
        fact = LimitEntered(
            limit=limit.limit,
            account=limit.account,
            until=limit.until,
            is_guess=limit.is_guess,
            message=limit.message,
        )
        await ledger.write(fact).wait()

    async def lift(self, session: str, *, reason: str, go_on: bool) -> None:
        """Let a limited session go on, or only wait no longer.

        The turn that was cut short is told again when the agent never began on it.
        """
        ledger = await self._supervisor.ledger(session)
        record = ledger.record
        if record.limit is None:
            return
        facts = [LimitLeft(reason=reason)]
        if go_on:
            prompt = await self._prompt(record, record.limit)
            facts = going_on(record, reason=reason, prompt=prompt)
        live = self._supervisor.live(session)
        if live is not None:
            await live.go_on(facts).wait()
            return
        await ledger.write(*facts).wait()
        if go_on and record.state in OVER:
            await self._supervisor.resume(session)

    async def _prompt(self, record: SessionRecord, limit: Limit) -> str:
        if limit.turn is None or await self._has_begun(record.id, limit.turn):
            return self._stage.settings.limits.prompt
        texts = await read_texts(self._stage, record.id, [limit.turn])
        return texts.get(limit.turn) or self._stage.settings.limits.prompt

    async def _has_begun(self, session: str, turn: int) -> bool:
        kinds = ("turn-started", "message-streamed", "tool-called", "thought-streamed")
        for event in await self._stage.store.last_events(session, kinds=kinds, limit=1):
            return not hasattr(event.fact, "turn")
        return False

    async def hand_over(self, session: str, agent: str) -> None:
        """Have another agent take over in the same place; the session is stopped."""
        record = await self._supervisor.record(session)
        limit = record.limit
        if limit is None or limit.turn is None:
            return
        wanted = NewSession(
            agent=agent,
            directory=record.path or record.directory,
            parent=session,
            title=record.title,
            labels=record.labels | {"takes-over": session},
            key=f"takes-over:{session}:{limit.turn}",
            prompt=await self._handover(record, limit),
        )
        made, _ = await self._supervisor.create(wanted, wait=False)
        await self.lift(session, reason=f"handed over to {made.id}", go_on=False)
        await self._supervisor.stop(session)

    async def _handover(self, record: SessionRecord, limit: Limit) -> str:
        turn = limit.turn or 0
        texts = await read_texts(self._stage, record.id, [turn])
        kinds = ("message-streamed",)
        said = await self._stage.store.last_events(record.id, kinds=kinds, limit=50)
        words = "".join(
            one.fact.text for one in reversed(said) if isinstance(one.fact, MessageStreamed)
        )
        return (
            f"Another agent ({record.agent}) worked on this here until a usage limit stopped it. "
            "Take over. Look at what is changed already (git status, git diff) first.\n\n"
            f"The task:\n{texts.get(turn, record.title)}\n\n"
            f"The last it said:\n{words[-_SHOWN_CHARS:] or '(nothing)'}"
        )

    # ---- goals -----------------------------------------------------------------------------

    async def set_goal(
        self,
        session: str,
        objective: str,
        *,
        budget_tokens: int | None = None,
        budget_usd: float | None = None,
        max_turns: int | None = None,
    ) -> SessionRecord:
        """Give a session a goal and begin with it; it replaces the one before.

        Raises:
            RequestInvalid: it is empty.
            SessionOver: the session has no process.
        """
        if not objective.strip():
            raise RequestInvalid("a goal says what is to be reached")
        ledger = await self._supervisor.ledger(session)
        record = ledger.record
        live = self._supervisor.live(session)
        if record.state in OVER or live is None:
            raise SessionOver(session, record.state, record.reason)
        is_native = "goal" in record.abilities
        fact = GoalSet(
            goal=goals.fresh_id(),
            objective=objective,
            budget_tokens=budget_tokens,
            budget_usd=budget_usd,
            max_turns=max_turns,
            is_native=is_native,
        )
        check_storable(fact)
        if is_native:
            await ledger.write(fact).wait()
            await live.order(SetGoal(objective=objective, budget_tokens=budget_tokens)).wait()
            return record
        turn = record.turns + 1
        prompt = goals.first_prompt(objective)
        await live.go_on([fact, TurnQueued(turn=turn, text=prompt, sender="goal")]).wait()
        return record

    async def begin_goal(self, session: str, objective: str) -> SessionRecord:
        """Give a new session its goal, also one that still waits for its start."""
        ledger = await self._supervisor.ledger(session)
        if self._supervisor.live(session) is not None:
            return await self.set_goal(session, objective)
        fact = GoalSet(goal=goals.fresh_id(), objective=objective)
        check_storable(fact)
        turn = ledger.record.turns + 1
        prompt = TurnQueued(turn=turn, text=goals.first_prompt(objective), sender="goal")
        await ledger.write(fact, prompt).wait()
        return ledger.record

    async def change_goal(self, session: str, status: str) -> SessionRecord:
        """Pause (`paused`), go on with (`active`) or drop (`cleared`) the session's goal.

        Raises:
            GoalMissing: it has none.
        """
        ledger = await self._supervisor.ledger(session)
        record, live = ledger.record, self._supervisor.live(session)
        goal = record.goal
        if goal is None:
            raise GoalMissing(session)
        fact = GoalChanged(goal=goal.id, status=status, by="user")
        if goal.is_native and live is not None:
            await ledger.write(fact).wait()
            try:
                await live.order(ChangeGoal(status=status)).wait()
            except OrderImpossible as refusal:
                raise RequestInvalid(str(refusal)) from refusal
            return record
        if status == "active" and live is not None and record.state is SessionState.IDLE:
            prompt = TurnQueued(turn=record.turns + 1, text=goals.next_prompt(goal), sender="goal")
            await live.go_on([fact, prompt]).wait()
            return record
        await ledger.write(fact).wait()
        return record

    async def report_goal(self, session: str, status: str, note: str) -> SessionRecord:
        """Take an agent's own report of its goal.

        Raises:
            GoalMissing: it has none.
            RequestInvalid: `status` is neither `complete` nor `blocked`.
        """
        if status not in goals.STATUSES:
            raise RequestInvalid(f"status must be one of {', '.join(goals.STATUSES)}")
        ledger = await self._supervisor.ledger(session)
        goal = ledger.record.goal
        if goal is None:
            raise GoalMissing(session)
        fact = GoalChanged(goal=goal.id, status=status, note=note[:2000], by="agent")
        check_storable(fact)
        await ledger.write(fact).wait()
        return ledger.record

    # ---- budgets ---------------------------------------------------------------------------

    async def set_budget(
        self, session: str, *, usd: float | None, tokens: int | None
    ) -> SessionRecord:
        """Give a session another hard budget, and let it go on if it was held by the old one."""
        ledger = await self._supervisor.ledger(session)
        fact = BudgetChanged(usd=usd, tokens=tokens)
        live = self._supervisor.live(session)
        ticket = ledger.write(fact) if live is None else live.go_on([fact])
        await ticket.wait()
        return ledger.record
