"""What a restarted service does with each session it finds recorded."""

from contextlib import suppress
from pathlib import Path

import anyio.to_thread
import msgspec

from bullpen.agents.dialect import (
    AnswerPermission,
    Dialect,
    Interrupt,
    OrderImpossible,
    Prompt,
)
from bullpen.errors import BullpenError, JournalDamaged
from bullpen.model.fact import (
    AgentAdopted,
    AgentEnded,
    AnyFact,
    AskAnswered,
    DeliveryDoubted,
    Faulted,
    LaunchIntended,
    OrderRefused,
    SessionCreated,
    TurnDelivered,
    TurnStarted,
)
from bullpen.model.session import SessionRecord, SessionState, TurnState
from bullpen.process import (
    Child,
    Ending,
    Follower,
    Identity,
    Journal,
    adopt,
    marked,
    reap_group,
)
from bullpen.sessions.endings import described, torn_line
from bullpen.sessions.intake import Intake
from bullpen.sessions.launch import journal_of, opening, speaker
from bullpen.sessions.ledger import Ledger
from bullpen.sessions.live import LiveSession
from bullpen.sessions.outbox import Letter
from bullpen.sessions.stage import Stage
from bullpen.store import Progress, StoredProgress, UnwrittenIntent


class Found(msgspec.Struct, frozen=True):
    """A process that outlived the service before us, and what stands in the store about it."""

    child: Child
    wanted: SessionCreated


async def find(stage: Stage, ledger: Ledger) -> Child | None:
    """Return the living process of a recorded session, None when there is none."""
    record = ledger.record
    if record.run == 0:
        return None
    identity = None
    if record.pid is not None and record.start_time is not None:
        identity = Identity(record.pid, record.start_time)
    journal = journal_of(stage, record.id)
    return await adopt(
        journal, session=record.id, run=record.run, identity=identity, watcher=stage.watcher
    )


async def end_leftovers(stage: Stage, ledger: Ledger) -> None:
    """End every process of a session that nobody supervises: its agent, its setup command."""
    record = ledger.record
    folder = journal_of(stage, record.id).folder.resolve()
    found = [
        Identity(one.pid, one.start_time)
        for one in await anyio.to_thread.run_sync(marked)
        if one.journal == folder
    ]
    if record.pid is not None and record.start_time is not None:
        found.append(Identity(record.pid, record.start_time))
    for identity in found:
        await reap_group(identity, grace=stage.settings.stop_grace)


async def readopt(stage: Stage, ledger: Ledger, found: Found) -> LiveSession:
    """Take up the conversation with a process that is alive, exactly where it was left."""
    record = ledger.record
    dialect, progress = await _rebuilt(stage, ledger, found.wanted)
    offset = progress.offset if progress else record.run_offset
    open_intents = [
        intent for intent in await stage.store.unwritten(record.id) if intent.run == record.run
    ]
    first = max((intent.number for intent in open_intents), default=0) + 1
    live = LiveSession(
        stage=stage,
        ledger=ledger,
        dialect=dialect,
        child=found.child,
        offset=offset,
        first_intent=first,
    )
    live.opened.set()
    ledger.write(AgentAdopted(run=found.child.run, pid=found.child.pid))
    await live.load_texts()
    await live.catch_up()
    reacted = await _has_reacted(stage, record.id)
    _redeliver(ledger, live, open_intents, reacted=reacted)
    return live


async def bury(stage: Stage, ledger: Ledger, wanted: SessionCreated) -> None:
    """Read the last words of a process that died while no service ran, and record how it ended."""
    record = ledger.record
    journal = journal_of(stage, record.id)
    facts: list[AnyFact] = []
    if journal.stdout.exists() and record.run > 0:
        facts = await _last_words(stage, ledger, wanted, journal)
    ending = journal.ending(record.run) or Ending(None, None)
    state = SessionState.FAILED
    if record.state is SessionState.STOPPING:
        state = SessionState.STOPPED
    elif ending.exit_code is None and ending.signal is None:
        state = SessionState.LOST
    tail = journal.stderr_tail()
    end = AgentEnded(
        run=record.run, exit_code=ending.exit_code, signal=ending.signal, stderr_tail=tail
    )
    reason = f"the agent {described(ending)} while no service ran"
    await ledger.write(*facts, *ledger.turn_lost(), end, ledger.moved(state, reason)).wait()


async def _last_words(
    stage: Stage, ledger: Ledger, wanted: SessionCreated, journal: Journal
) -> list[AnyFact]:
    record = ledger.record
    try:
        dialect, progress = await _rebuilt(stage, ledger, wanted)
    except BullpenError:
        # Its catalog entry is gone; the journal stays for whoever brings it back.
        return []
    offset = progress.offset if progress else record.run_offset
    follower = Follower(journal.stdout, offset, watcher=stage.watcher)
    intake = Intake(dialect, offset=offset)
    damage: list[AnyFact] = []
    try:
        while lines := follower.drain().lines:
            taken = intake.take(lines)
            ledger.write(*taken.facts, progress=Progress(record.run, taken.offset))
    except JournalDamaged as fault:
        damage.append(Faulted(why=str(fault)))
    finally:
        follower.close()
    held = intake.flush()
    ended = dialect.ended()
    ledger.write(*held.facts, *ended, progress=Progress(record.run, held.offset))
    return [*damage, *torn_line(follower.torn)]


async def _rebuilt(
    stage: Stage, ledger: Ledger, wanted: SessionCreated
) -> tuple[Dialect, StoredProgress | None]:
    """Return a dialect in the state it had at the committed offset."""
    record = ledger.record
    dialect = speaker(stage, wanted, ledger.record)
    progress = await stage.store.progress(record.id)
    begun = await stage.store.last_events(record.id, kinds=("launch-intended",), limit=1)
    resume = any(isinstance(one.fact, LaunchIntended) and one.fact.resume for one in begun)
    first = opening(wanted, ledger, resume=resume)
    if progress is None or progress.run != record.run:
        dialect.order(first)
        return dialect, None
    start = record.run_offset
    try:
        if progress.snapshot is None or progress.snapshot_offset < start:
            raise ValueError("no snapshot of this run")
        dialect.restore(progress.snapshot)
        start = progress.snapshot_offset
    except ValueError:
        # Also when another version took it: the journal says it all again.
        dialect.order(first)
    was_told = _order_again(record, dialect)
    feed_again(dialect, journal_of(stage, record.id).stdout, start=start, end=progress.offset)
    if not was_told:
        # It had to hear from the journal first that there is a conversation.
        _order_again(record, dialect)
    await _answer_again(stage, record, dialect)
    return dialect, progress


def _order_again(record: SessionRecord, dialect: Dialect) -> bool:
    """Orders are not in the journal. Those of the running turn were given, their bytes written.

    Returns whether the dialect could take them.
    """
    turn = record.turn
    if turn is None or turn.state is not TurnState.RUNNING or turn.is_foreign:
        return True
    try:
        dialect.order(Prompt(turn=turn.number, text=""))
        if turn.interrupted:
            dialect.order(Interrupt(turn=turn.number))
    except OrderImpossible:
        return False
    return True


async def _answer_again(stage: Stage, record: SessionRecord, dialect: Dialect) -> None:
    """Tell the dialect which of the requests it heard again were answered."""
    turn = record.turn
    if turn is None or turn.state is not TurnState.RUNNING:
        return
    for event in await stage.store.last_events(record.id, kinds=("ask-answered",), limit=100):
        fact = event.fact
        assert isinstance(fact, AskAnswered), "asked for by kind"
        with suppress(OrderImpossible):
            dialect.order(AnswerPermission(request=fact.request, option=fact.choice))


def feed_again(dialect: Dialect, file: Path, *, start: int, end: int) -> None:
    """Feed the lines between two offsets, whose facts are stored and whose answers were sent."""
    with file.open("rb") as journal:
        journal.seek(start)
        while start < end:
            line = journal.readline()
            if not line:
                return
            start += len(line)
            dialect.feed(line.rstrip(b"\n"))


_SIGNS = (
    "message-streamed",
    "thought-streamed",
    "user-echoed",
    "tool-called",
    "tool-changed",
    "plan-shown",
    "permission-asked",
    "question-asked",
    "turn-ended",
    "turn-failed",
)


_UNKNOWN = "nobody knows whether the agent got the words that were added to its turn"


async def _has_reacted(stage: Stage, session: str) -> bool:
    """Whether the agent did anything since the newest turn was started."""
    newest = await stage.store.last_events(session, kinds=(*_SIGNS, "turn-started"), limit=1)
    return bool(newest) and not isinstance(newest[0].fact, TurnStarted)


def _redeliver(
    ledger: Ledger, live: LiveSession, intents: list[UnwrittenIntent], *, reacted: bool
) -> None:
    """Decide for each open intent whether it is written again.

    An answer, an interrupt or a setting may come twice without harm. A prompt may not: unless the
    journal shows that the agent reacted, nobody can know, and that is what we say. Nor may words
    that were added to a turn.
    """
    if not intents:
        return
    # We may have died in the middle of a line; a newline ends it, and an empty line means nothing.
    letters = [Letter((), b"\n")]
    for intent in intents:
        if intent.kind == "steer":
            unknown = OrderRefused(order="steer", code="delivery-unknown", message=_UNKNOWN)
            ledger.write(unknown, written=(intent.number,))
            continue
        if intent.body is not None:
            letters.append(Letter((intent.number,), intent.body))
            continue
        turn = ledger.record.turn
        facts: list[AnyFact] = []
        if turn is not None and turn.number == intent.turn and turn.state is TurnState.RUNNING:
            fact = TurnDelivered if reacted else DeliveryDoubted
            facts.append(fact(turn=turn.number))
        ledger.write(*facts, written=(intent.number,))
    live.resume_delivery(letters)
