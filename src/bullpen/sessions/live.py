"""A session that has a process: a task that reads, one that writes, one that awaits the end."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import anyio
from anyio.abc import TaskGroup

from bullpen.agents.dialect import (
    Abandon,
    AnyOrder,
    Close,
    Dialect,
    Interrupt,
    OrderImpossible,
    Prompt,
    Steer,
)
from bullpen.errors import (
    AskNotFound,
    JournalDamaged,
    ProcessGone,
    RequestInvalid,
    SteerUnsupported,
    StoreRefused,
)
from bullpen.model.fact import (
    AgentEnded,
    AgentFact,
    AnyFact,
    AskAnswered,
    ConversationClosed,
    ConversationOpened,
    Faulted,
    InterruptRequested,
    LimitLeft,
    LoginRequired,
    OpeningFailed,
    OrderDone,
    OrderRefused,
    StateChanged,
    TurnDelivered,
    TurnEnded,
    TurnFailed,
    TurnQueued,
    TurnStarted,
    TurnSteered,
    TurnWithdrawn,
)
from bullpen.model.session import OVER, SessionState, TurnState
from bullpen.process import Child, Ending
from bullpen.sessions.answering import Answer, spoken
from bullpen.sessions.endings import described, torn_line
from bullpen.sessions.foreign import in_dialect, numbered
from bullpen.sessions.hub import Delta
from bullpen.sessions.intake import Intake, Taken
from bullpen.sessions.ledger import Ledger, check_storable
from bullpen.sessions.outbox import Letter, Outbox
from bullpen.sessions.reflex import Reaction, holds, reactions
from bullpen.sessions.stage import Stage
from bullpen.sessions.watchdog import DIED, watchdog_of
from bullpen.store import NewIntent, Progress, Ticket

_SLICE = 200
# Lines fed before others get the loop: a noisy agent delays nobody by more than a millisecond.
_CLOSE_PATIENCE = 0.5
_FLUSH_PATIENCE = 1.0


class LiveSession:
    """The conversation with one running agent.

    Everything it decides follows from the ledger's record; everything it does is in the ledger
    before it is done. Cancelling `run` lets go of the agent and leaves it running.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        ledger: Ledger,
        dialect: Dialect,
        child: Child,
        offset: int,
        first_intent: int = 1,
    ) -> None:
        self._stage = stage
        self._ledger = ledger
        self._dialect = dialect
        self.child = child
        self._intake = Intake(dialect, offset=offset, on_text=self._stream)
        self._follower = child.follow(offset)
        self._outbox = Outbox(run=child.run, first=first_intent)
        self._texts: dict[int, str] = {}
        self._steered: deque[TurnSteered] = deque()
        # Words added to turns, as long as the agent has not said whether it takes them.
        self._tasks: TaskGroup | None = None
        self._watchdog = watchdog_of(stage, ledger.record.agent, child)
        self._ticket: Ticket | None = None
        self.opened = anyio.Event()
        """Set when the handshake is done, was refused, or the agent died over it."""
        self.opening_fault: LoginRequired | OpeningFailed | None = None
        self.model_refusal: str | None = None
        """Why the agent did not take the model it was opened with."""
        self.gone = anyio.Event()
        """Set when the process is gone and its last words are committed."""
        self._closed = anyio.Event()
        self.ending: Ending | None = None
        self._end_reason = ""
        self._is_dying = False

    @property
    def record_id(self) -> str:
        """The session's id."""
        return self._ledger.record.id

    # ---- what the brain asks for --------------------------------------------------------

    def go_on(self, facts: Sequence[AnyFact]) -> Ticket:
        """Record `facts`, and start the turn they queue or the first that waits."""
        self._texts |= {one.turn: one.text for one in facts if isinstance(one, TurnQueued)}
        ticket = self._ledger.write(*facts)
        self.begin()
        return ticket

    def submit(
        self, text: str, *, key: str | None, sender: str | None, replace: bool
    ) -> tuple[int, Ticket]:
        """Queue a prompt and start it when no turn runs.

        With `replace` the running turn is interrupted, prompts that wait are withdrawn, and this
        one is next. Returns the turn's number, and the ticket of its commit.
        """
        record = self._ledger.record
        turn = record.turns + 1
        self._texts[turn] = text
        facts: list[AnyFact] = []
        for number in record.queue if replace else ():
            self._texts.pop(number, None)
            facts.append(TurnWithdrawn(turn=number, reason=f"replaced by turn {turn}"))
        facts.append(TurnQueued(turn=turn, text=text, key=key, sender=sender))
        if self._may_start() and self.opened.is_set():
            return turn, self._start_turn(turn, facts)
        ticket = self._ledger.write(*facts)
        if replace:
            self.interrupt()
        return turn, ticket

    def steer(self, text: str, *, key: str | None, sender: str | None) -> tuple[int, Ticket]:
        """Add words to the running turn; return its number and the ticket of the commit.

        Words the agent refuses after all, because they came too late, are queued as a prompt.

        Raises:
            SteerUnsupported: the agent, or this turn, takes none. Nothing was written.
        """
        record = self._ledger.record
        assert record.turn is not None, "asked for when a turn runs"
        turn = record.turn.number
        if "steer" not in record.abilities:
            raise SteerUnsupported(record.id, f"{record.agent} takes no words while it works")
        try:
            lines = self._dialect.order(Steer(turn=in_dialect(record, turn), text=text))
        except OrderImpossible as refusal:
            raise SteerUnsupported(record.id, refusal.why) from refusal
        fact = TurnSteered(turn=turn, text=text, key=key, sender=sender)
        self._steered.append(fact)
        intents, letters = self._outbox.draft("steer", lines, turn=turn)
        after = partial(self._outbox.post, letters)
        return turn, self._ledger.write(fact, intents=intents, after=after)

    def interrupt(self) -> None:
        """Ask the agent to end the running turn; without one, do nothing."""
        record = self._ledger.record
        turn = record.turn
        if record.limit is not None:
            self._ledger.write(LimitLeft(reason="interrupted"))
            return
        if turn is None or turn.state is not TurnState.RUNNING:
            return
        facts: list[AnyFact] = [InterruptRequested(turn=turn.number)]
        facts += [AskAnswered(request=ask.request, outcome="cancelled") for ask in record.asks]
        name = in_dialect(record, turn.number)
        self._order(Interrupt(turn=name), facts)
        if self._tasks is not None:
            self._tasks.start_soon(self._insist, turn.number)

    def answer(self, request: str, answer: Answer) -> Ticket:
        """Answer an open permission or question.

        Raises:
            AskNotFound: nothing open has that name; it may be answered already.
            ChoiceInvalid: the agent does not offer that answer.
            RequestInvalid: what was said is no answer to a request of this kind.
        """
        record = self._ledger.record
        ask = next((one for one in record.asks if one.request == request), None)
        if ask is None:
            raise AskNotFound(record.id, request)
        order, fact = spoken(ask, answer)
        check_storable(fact)
        try:
            return self._order(order, [fact])
        except OrderImpossible as refusal:
            raise RequestInvalid(str(refusal)) from refusal

    def order(self, order: AnyOrder) -> Ticket:
        """Give the agent an order that belongs to no turn, such as another mode.

        Raises:
            OrderImpossible: the agent never offered it.
        """
        return self._order(order, [])

    async def end(self, *, grace: float, reason: str) -> None:
        """End the process and return when its last words are committed.

        The agent is told to close the conversation where it can, then SIGTERM, then after
        `grace` seconds SIGKILL, each to the whole group.
        """
        record = self._ledger.record
        if record.state in OVER:
            # It died by itself, and its last words are on their way to the store.
            await self.gone.wait()
            return
        if record.state is not SessionState.STOPPING:
            self._ledger.write(self._ledger.moved(SessionState.STOPPING, reason))
        self._end_reason = reason
        if grace > 0 and "close" in record.abilities and self.opened.is_set():
            # Impossible when somebody before us had it closed already.
            with suppress(OrderImpossible):
                self.order(Close())
            with anyio.move_on_after(min(grace, _CLOSE_PATIENCE)):
                await self._closed.wait()
        await self.child.reap(grace=grace)
        await self.gone.wait()

    async def abandon(self, reason: str) -> None:
        """End a process whose handshake failed; the session is `failed` for `reason`."""
        self._end_reason = reason
        grace = self._stage.settings.stop_grace
        await self.child.reap(grace=grace)
        with anyio.move_on_after(2 * grace + 5):
            await self.gone.wait()

    # ---- its life -----------------------------------------------------------------------

    def open(self, order: AnyOrder) -> None:
        """Begin the handshake."""
        lines = self._dialect.order(order)
        # Not an intent: a service that dies over a handshake starts the agent anew.
        self._outbox.post([Letter((), b"".join(lines))])

    def resume_delivery(self, letters: list[Letter]) -> None:
        """Write letters a service before us had recorded and may not have written."""
        self._outbox.post(letters)

    async def run(self) -> None:
        """Live until the process is gone. Cancelled, let go and leave it running."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._read)
                tasks.start_soon(self._write)
                tasks.start_soon(self._watch_agent)
                self._insist_again()
                await self.child.wait()
                tasks.cancel_scope.cancel()
            self._tasks = None
            with anyio.CancelScope(shield=True):
                await self._finish(await self.child.wait())
        finally:
            self._follower.close()
            self.child.close()

    async def flush(self) -> None:
        """Write what is committed and waits to be written, as far as the agent takes it at once."""
        with suppress(StoreRefused), anyio.move_on_after(_FLUSH_PATIENCE):
            await self._ledger.committed()
            await self._outbox.emptied()

    def begin(self) -> None:
        """Start the first queued turn, if the conversation is open and none runs."""
        record = self._ledger.record
        if record.queue and self._may_start():
            self._start_turn(record.queue[0], [])

    def _may_start(self) -> bool:
        record = self._ledger.record
        ready = record.state is SessionState.IDLE and not self._is_dying
        return ready and not holds(self._stage.reflexes, record, ())

    async def load_texts(self) -> None:
        """Read the texts of queued turns back from the store, after a restart."""
        missing = [turn for turn in self._ledger.record.queue if turn not in self._texts]
        if missing:
            self._texts |= await read_texts(self._stage, self._ledger.record.id, missing)

    async def catch_up(self) -> None:
        """Take and commit what the agent wrote while no service ran; called before `run`."""
        while lines := self._follower.drain().lines:
            await self._take(lines)
        await self._keep(self._intake.flush())
        if self._ticket is not None:
            await self._ticket.wait()

    async def _read(self) -> None:
        try:
            await self._read_on()
        except JournalDamaged as fault:
            # Nobody can know what the agent says from here on, so it must not go on.
            self._end_reason = str(fault)
            self._ledger.write(Faulted(why=str(fault)))
            await self.child.reap(grace=self._stage.settings.stop_grace)

    async def _read_on(self) -> None:
        while True:
            if self._intake.is_holding:
                lines: Sequence[bytes] = ()
                with anyio.move_on_after(self._intake.patience + 0.001):
                    lines = (await self._follower.read()).lines
                if not lines:
                    await self._keep(self._intake.flush())
                    continue
            else:
                lines = (await self._follower.read()).lines
            await self._take(lines)

    async def _take(self, lines: Sequence[bytes]) -> None:
        if self._watchdog is not None:
            self._watchdog.heard()
        for start in range(0, len(lines), _SLICE):
            await self._keep(self._intake.take(lines[start : start + _SLICE]))
            await anyio.lowlevel.checkpoint()

    async def _keep(self, taken: Taken) -> None:
        """Write what came of some lines, and react to it."""
        facts = numbered(self._ledger.record, taken.facts, run=self.child.run)
        late = self._too_late(facts)
        facts += late
        intents, letters = self._outbox.draft("reply", taken.out)
        reflex_intents, reflex_letters = self._reflexes(taken.facts, facts)
        intents += reflex_intents
        letters += reflex_letters
        follow_intents, follow_letters = self._follow(taken.facts, facts)
        intents += follow_intents
        letters += follow_letters
        if not facts and not intents and taken.snapshot is None:
            return
        facts = self._moves(facts)
        previous, self._ticket = (
            self._ticket,
            self._ledger.write(
                *facts,
                progress=Progress(self.child.run, taken.offset, taken.snapshot),
                intents=intents,
                after=lambda: self._kept(letters, taken.covered),
            ),
        )
        self._react(taken.facts)
        if late:
            self.begin()
        if previous is not None and not previous.is_done:
            # Reading faster than the disk writes would only move the backlog into memory.
            await previous.wait()

    def _too_late(self, heard: Sequence[AnyFact]) -> list[AnyFact]:
        """Return the prompts that become of words the agent did not take."""
        prompts: list[AnyFact] = []
        turns = self._ledger.record.turns
        for fact in heard:
            if isinstance(fact, TurnQueued):
                turns = fact.turn
            if not isinstance(fact, (OrderDone, OrderRefused)) or fact.order != "steer":
                continue
            if not self._steered:
                continue
            words = self._steered.popleft()
            if isinstance(fact, OrderRefused):
                turns += 1
                self._texts[turns] = words.text
                prompts.append(TurnQueued(turn=turns, text=words.text, sender=words.sender))
        return prompts

    def _kept(self, letters: list[Letter], covered: int) -> None:
        self._stage.hub.stored(self._ledger.record.id, covered=covered)
        self._outbox.post(letters)

    def _moves(self, facts: list[AnyFact]) -> list[AnyFact]:
        """Add the move out of `starting` right behind the fact that causes it."""
        if self._ledger.record.state is not SessionState.STARTING:
            return facts
        for index, fact in enumerate(facts):
            if isinstance(fact, ConversationOpened):
                how = "conversation brought back" if fact.resumed else "conversation opened"
                moved = self._ledger.moved(SessionState.IDLE, how)
                return [*facts[: index + 1], moved, *facts[index + 1 :]]
        return facts

    def _reflexes(
        self, heard: Sequence[AgentFact], facts: list[AnyFact]
    ) -> tuple[list[NewIntent], list[Letter]]:
        """Add what the reflexes do about what was heard, to be committed together with it."""
        intents: list[NewIntent] = []
        letters: list[Letter] = []
        if not heard:
            return intents, letters
        for reaction in reactions(self._stage.reflexes, self._ledger.record, heard):
            more = self._carry_out(reaction, facts)
            intents += more[0]
            letters += more[1]
        return intents, letters

    def _carry_out(
        self, reaction: Reaction, facts: list[AnyFact]
    ) -> tuple[list[NewIntent], list[Letter]]:
        lines: list[bytes] = []
        try:
            for order in reaction.orders:
                lines += self._dialect.order(order)
        except OrderImpossible:
            # What cannot be said did not happen, so neither is it recorded.
            return [], []
        facts += reaction.facts
        self._texts |= {one.turn: one.text for one in reaction.facts if isinstance(one, TurnQueued)}
        return self._outbox.draft("reflex", lines)

    def _follow(
        self, heard: Sequence[AgentFact], facts: list[AnyFact]
    ) -> tuple[list[NewIntent], list[Letter]]:
        """Start the next queued turn right behind the end of the one before."""
        record = self._ledger.record
        over = any(isinstance(fact, (TurnEnded, TurnFailed)) for fact in heard)
        if self._is_dying or record.state is SessionState.STOPPING:
            return [], []
        waiting = [*record.queue, *(one.turn for one in facts if isinstance(one, TurnQueued))]
        if not over or not waiting or holds(self._stage.reflexes, record, facts):
            return [], []
        turn = waiting[0]
        text = self._texts.pop(turn, None)
        if text is None:
            return [], []
        facts.append(TurnStarted(turn=turn, run=self.child.run))
        return self._outbox.draft(
            "prompt", self._dialect.order(Prompt(turn=turn, text=text)), turn=turn
        )

    def _react(self, facts: Sequence[AgentFact]) -> None:
        for fact in facts if not self.opened.is_set() else ():
            # Said together with the opening; later ones answer somebody who waits for them.
            if isinstance(fact, OrderRefused) and fact.order == "set-model":
                self.model_refusal = fact.message or fact.code
        for fact in facts:
            if isinstance(fact, ConversationOpened):
                self.opened.set()
                if self.model_refusal is None:
                    self.begin()
            elif isinstance(fact, (LoginRequired, OpeningFailed)):
                self.opening_fault = fact
                self.opened.set()
            elif isinstance(fact, ConversationClosed):
                self._closed.set()

    def _start_turn(self, turn: int, facts: list[AnyFact]) -> Ticket:
        text = self._texts.pop(turn)
        lines = self._dialect.order(Prompt(turn=turn, text=text))
        intents, letters = self._outbox.draft("prompt", lines, turn=turn)
        return self._ledger.write(
            *facts,
            TurnStarted(turn=turn, run=self.child.run),
            intents=intents,
            after=lambda: self._outbox.post(letters),
        )

    def _order(self, order: AnyOrder, facts: list[AnyFact]) -> Ticket:
        kind = order.__struct_config__.tag
        intents, letters = self._outbox.draft(str(kind), self._dialect.order(order))
        return self._ledger.write(*facts, intents=intents, after=lambda: self._outbox.post(letters))

    async def _write(self) -> None:
        while True:
            try:
                letter = await self._outbox.deliver_next(self.child)
            except ProcessGone:
                # Whoever waits for its end has the rest; what was not written stays an intent.
                return
            facts = [] if letter.turn is None else [TurnDelivered(turn=letter.turn)]
            if letter.numbers:
                self._ledger.write(*facts, written=letter.numbers)

    def _insist_again(self) -> None:
        """Take up the patience of a service before us with a turn that was interrupted."""
        turn = self._ledger.record.turn
        if turn is not None and turn.state is TurnState.RUNNING and turn.interrupted:
            assert self._tasks is not None, "called by run"
            self._tasks.start_soon(self._insist, turn.number)

    async def _insist(self, turn: int) -> None:
        """End a process that does not end an interrupted turn in time."""
        await anyio.sleep(self._stage.settings.interrupt_grace)
        now = self._ledger.record.turn
        if now is None or now.number != turn or now.state is not TurnState.RUNNING:
            return
        if now.doubted:
            why = "nobody knows whether the agent ever got it"
            lost = TurnFailed(turn=turn, code="delivery-unknown", message=why)
            self._order(Abandon(turn=turn), [lost])
            self.begin()
            return
        self._end_reason = "the agent did not end an interrupted turn in time"
        await self.child.reap(grace=self._stage.settings.stop_grace)

    async def _watch_agent(self) -> None:
        """End an adapter whose agent died in the middle of a turn and that does not say so."""
        if self._watchdog is None:
            return
        await self._watchdog.died(self._busy_turn)
        self._end_reason = DIED
        self._is_dying = True
        turn = self._busy_turn()
        if turn is not None:
            failed = TurnFailed(turn=turn, code="agent-died", message=DIED)
            self._order(Abandon(turn=in_dialect(self._ledger.record, turn)), [failed])
        await self.child.reap(grace=self._stage.settings.stop_grace)

    def _busy_turn(self) -> int | None:
        record = self._ledger.record
        is_busy = record.turn is not None and record.turn.state is TurnState.RUNNING
        return record.turn.number if record.turn and is_busy and not record.asks else None

    async def _finish(self, ending: Ending) -> None:
        """Commit the agent's last words and how it ended."""
        self._is_dying = True
        # Descendants that outlived the agent may still write, and must not.
        await self.child.reap(grace=0.5)
        damage: list[AnyFact] = []
        try:
            while lines := self._follower.drain().lines:
                await self._take(lines)
        except JournalDamaged as fault:
            damage.append(Faulted(why=str(fault)))
        held = self._intake.flush()
        # With the offset behind it: whoever buries us, should we die here, must not read it again.
        self._ledger.write(
            *held.facts,
            *self._dialect.ended(),
            progress=Progress(self.child.run, held.offset),
            after=lambda: self._kept([], held.covered),
        )
        tail = self.child.journal.stderr_tail()
        end = AgentEnded(
            run=self.child.run,
            exit_code=ending.exit_code,
            signal=ending.signal,
            stderr_tail=tail,
        )
        self.ending = ending
        last = [*damage, *torn_line(self._follower.torn), *self._ledger.turn_lost(), end]
        await self._ledger.write(*last, self._last_move(ending)).wait()
        self.opened.set()
        self.gone.set()

    def _last_move(self, ending: Ending) -> StateChanged:
        record = self._ledger.record
        how = described(ending)
        if record.state is SessionState.STOPPING:
            return self._ledger.moved(
                SessionState.STOPPED, self._end_reason or "ended on request", evidence=how
            )
        reason = self._end_reason or f"the agent {how}"
        if ending.exit_code is None and ending.signal is None:
            return self._ledger.moved(SessionState.LOST, reason, evidence="no exit status was left")
        return self._ledger.moved(SessionState.FAILED, reason, evidence=how)

    def _stream(self, fact: Delta) -> None:
        if self._stage.hub.wants_deltas(self._ledger.record.id):
            number = self._intake.streamed
            self._stage.hub.stream(self._ledger.record.id, fact, number=number)


async def read_texts(stage: Stage, session: str, turns: Sequence[int]) -> dict[int, str]:
    """Return the texts of `turns` as they were queued."""
    texts: dict[int, str] = {}
    after = 0
    while page := await stage.store.events(session, after=after, kinds=("turn-queued",)):
        for event in page:
            if isinstance(event.fact, TurnQueued) and event.fact.turn in turns:
                texts[event.fact.turn] = event.fact.text
        after = page[-1].seq
    return texts
