"""How sessions end, on request and otherwise, and how they come back."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from bullpen.api import Bullpen
from bullpen.errors import (
    AgentDied,
    AgentUnknown,
    BullpenError,
    ResumeUnsupported,
    SessionBusy,
    SessionOver,
)
from bullpen.model.fact import ConversationClosed, MessageStreamed, StateChanged, TurnFailed
from bullpen.model.session import OVER, SessionRecord
from bullpen.process import Identity, marked
from bullpen.sessions.outbox import Letter
from kit.agents import add_breakable, add_demo, add_forgetful
from kit.world import World, all_events, ask, eventually, until


def identity_of(record: SessionRecord) -> Identity:
    assert record.pid is not None
    assert record.start_time is not None
    return Identity(record.pid, record.start_time)


def end_unseen(record: SessionRecord) -> None:
    """Kill the session's processes and return when they are dead, without giving up the loop."""
    identity = identity_of(record)
    os.killpg(identity.pid, signal.SIGKILL)
    until_when = time.monotonic() + 10
    while identity.alive() and time.monotonic() < until_when:
        pass
    assert not identity.alive()


def processes_of(world: World, session: str) -> list[int]:
    folder = (world.home.sessions / session).resolve()
    return [one.pid for one in marked() if one.journal == folder]


async def at_once(*calls: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)


async def between_two_commits(bullpen: Bullpen, session: str) -> None:
    """Return when the session's end is in memory, and on its way to the store."""
    ledger = await bullpen._supervisor.ledger(session)
    with anyio.fail_after(20):
        while ledger.record.state not in OVER:
            await anyio.lowlevel.checkpoint()


# ---- on request --------------------------------------------------------------------------------


async def test_a_stopped_session_was_told_to_close_and_has_no_process(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        identity = identity_of(record)
        with anyio.fail_after(10):
            record = await bullpen.stop(record.id)
        assert (record.state, record.reason, record.pid) == ("stopped", "ended on request", None)
        assert not identity.alive()
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        assert any(isinstance(fact, ConversationClosed) for fact in facts)
        seq = record.seq
        assert (await bullpen.stop(record.id)).seq == seq


async def test_an_agent_that_ignores_sigterm_is_killed_after_the_grace(world: World):
    world.configure("stop_grace = 0.3\n")
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        prompt = "%% ignore-term\n%% ignore-cancel\n%% say deaf\n%% sleep 60"
        await bullpen.send(record.id, prompt)
        await until(bullpen, record.id, lambda one: one.last_line == "deaf")
        identity = identity_of(record)
        with anyio.fail_after(10):
            record = await bullpen.stop(record.id)
        assert (record.state, record.signal) == ("stopped", 9)
        assert not identity.alive()
        assert record.turn is not None
        assert record.turn.state != "running"


async def test_a_killed_session_is_gone_at_once_whatever_it_does(world: World):
    world.configure("stop_grace = 600\n")
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.send(record.id, "%% ignore-term\n%% ignore-cancel\n%% say deaf\n%% sleep 60")
        await until(bullpen, record.id, lambda one: one.last_line == "deaf")
        with anyio.fail_after(10):
            record = await bullpen.stop(record.id, grace=0)
        assert record.state == "stopped"
        assert processes_of(world, record.id) == []


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_what_an_agent_leaves_behind_ends_with_it(world: World, how: str):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        record = await ask(bullpen, record.id, "%% orphan 60")
        orphan = int(record.last_line.split()[-1])
        identity = Identity.of(orphan)
        assert identity is not None
        with anyio.fail_after(20):
            if how == "stop":
                await bullpen.stop(record.id)
            else:
                await bullpen.send(record.id, "%% crash 3")
                await until(bullpen, record.id, lambda one: one.state == "failed")
        assert not identity.alive()


async def test_stopping_ends_a_turn_that_runs_and_keeps_those_that_wait(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% say on it\n%% sleep 60"))
        await bullpen.send(record.id, "%% say later")
        await until(bullpen, record.id, lambda one: one.last_line == "on it")
        record = await bullpen.stop(record.id)
        assert record.turn is not None
        assert record.turn.state != "running"
        assert record.queue == [2]
        await bullpen.resume(record.id)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert (await bullpen.session(record.id)).last_line == "later"


async def test_two_stops_and_a_kill_at_once_are_one_end(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        ends: list[str] = []

        async def end(grace: float | None) -> None:
            ends.append((await bullpen.stop(record.id, grace=grace)).state)

        await at_once(*(partial(end, grace) for grace in (None, 5, 0, None)))
        assert ends == ["stopped"] * 4
        moves = [e.fact for e in await all_events(bullpen, record.id)]
        assert [m.after for m in moves if isinstance(m, StateChanged)][-2:] == [
            "stopping",
            "stopped",
        ]


@pytest.mark.parametrize("turns_of_loop", range(6))
async def test_a_stop_that_meets_the_agents_own_death_is_no_error(world: World, turns_of_loop: int):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        end_unseen(record)
        for _ in range(turns_of_loop * turns_of_loop):
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(20):
            record = await bullpen.stop(record.id)
        assert record.state in OVER


async def test_a_stop_that_comes_before_a_death_is_committed_is_no_error(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        end_unseen(record)
        await between_two_commits(bullpen, record.id)
        with anyio.fail_after(20):
            record = await bullpen.stop(record.id)
        assert record.state in OVER


async def test_a_prompt_that_meets_the_agents_death_does_not_count_as_a_bug(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        live = bullpen._supervisor.live(record.id)
        assert live is not None
        end_unseen(record)
        # Written before anybody could have noticed the death.
        live.resume_delivery([Letter((), b"{}\n")])
        record = await until(bullpen, record.id, lambda one: one.state in OVER)
        assert "bug" not in record.reason


# ---- while it starts ---------------------------------------------------------------------------


async def test_a_session_stopped_before_its_start_has_begun_is_stopped(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter"), wait=False)
        with anyio.fail_after(20):
            record = await bullpen.stop("calm-otter")
            assert (record.state, record.reason) == ("stopped", "ended on request")
            # Its seat is free.
            other, _ = await bullpen.create(world.wish())
        assert other.state == "idle"
        assert processes_of(world, "calm-otter") == []


async def test_a_session_stopped_over_its_handshake_is_stopped_and_its_creator_told(world: World):
    async with world.host() as bullpen:
        told: list[BullpenError] = []

        async def create() -> None:
            hanging = {"BULLPEN_DEMO_START": "hang"}
            with pytest.raises(SessionOver) as over:
                await bullpen.create(world.wish(id="calm-otter", environment=hanging))
            told.append(over.value)

        async def stop() -> None:
            await eventually(lambda: bool(processes_of(world, "calm-otter")))
            record = await bullpen.stop("calm-otter", grace=0.2)
            assert (record.state, record.reason) == ("stopped", "ended on request")

        await at_once(create, stop)
        assert "stopped" in str(told[0])
        assert "resume" in told[0].hint
        assert (await bullpen.session("calm-otter")).state == "stopped"
        assert processes_of(world, "calm-otter") == []


async def test_a_session_stopped_in_its_setup_leaves_no_worktree_and_no_branch(world: World):
    world.repository()
    async with world.host() as bullpen:
        wish = world.wish(id="calm-otter", place="worktree", setup="touch begun; sleep 60")
        await bullpen.create(wish, wait=False)
        folder = world.home.worktrees
        await eventually(lambda: bool(list(folder.glob("*/calm-otter/begun"))))
        with anyio.fail_after(20):
            record = await bullpen.stop("calm-otter")
        assert record.state == "stopped"
        assert world.git("branch", "--list", "bullpen/*") == ""
        assert list(folder.glob("*/*")) == []
        assert processes_of(world, "calm-otter") == []
        # And it can be brought back all the same.
        assert await bullpen.remove("calm-otter") is None


async def test_a_setup_that_failed_is_done_again_when_the_session_is_resumed(world: World):
    async with world.host() as bullpen:
        setup = "test -e allowed && touch prepared"
        record, _ = await bullpen.create(world.wish(setup=setup), wait=False)
        await until(bullpen, record.id, lambda one: one.state == "failed")
        (world.work / "allowed").touch()
        record = await bullpen.resume(record.id)
        assert record.state == "idle"
        assert (world.work / "prepared").exists()
        await bullpen.stop(record.id)
        (world.work / "prepared").unlink()
        await bullpen.resume(record.id)
        assert not (world.work / "prepared").exists()


@pytest.mark.parametrize("turns_of_loop", [0, 1, 2, 3, 5, 8, 13])
async def test_a_creator_that_is_cancelled_keeps_no_name_and_no_key(
    world: World, turns_of_loop: int
):
    async with world.host() as bullpen:
        wish = world.wish(id="calm-otter", key="k")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bullpen.create, wish)
            for _ in range(turns_of_loop):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        # Whatever the first one came to, the second finds it or makes it.
        with anyio.fail_after(20):
            await bullpen.create(wish)
        await until(bullpen, "calm-otter", lambda one: one.state == "idle")
        assert len(await bullpen.sessions()) == 1


# ---- coming back -------------------------------------------------------------------------------


async def test_a_resumed_session_remembers_and_a_fresh_one_does_not(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "the password is swordfish")
        first = (await bullpen.stop(record.id)).agent_session
        record = await bullpen.resume(record.id, prompt="%% memory")
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert "swordfish" in (await bullpen.messages(record.id))[0].text
        assert (await bullpen.session(record.id)).agent_session == first
        await bullpen.stop(record.id)
        record = await bullpen.resume(record.id, fresh=True, prompt="%% memory")
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert "swordfish" not in (await bullpen.messages(record.id))[0].text
        assert (await bullpen.session(record.id)).agent_session != first


async def test_a_conversation_an_agent_cannot_bring_back_is_refused_unless_fresh(world: World):
    add_forgetful(world)
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="forgetful"))
        stopped = await bullpen.stop(record.id, grace=0)
        seq = stopped.seq
        with pytest.raises(ResumeUnsupported):
            await bullpen.resume(record.id, prompt="not queued")
        record = await bullpen.session(record.id)
        assert (record.seq, record.state, record.queue) == (seq, "stopped", [])
        assert (await bullpen.resume(record.id, fresh=True)).state == "idle"


async def test_a_worktree_that_was_deleted_is_made_again_with_its_commits(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter", place="worktree"))
        await ask(bullpen, record.id, "%% write b.txt new\n%% commit add b")
        record = await bullpen.stop(record.id)
        shutil.rmtree(record.path)
        again = await bullpen.resume(record.id)
        assert (again.path, again.branch) == (record.path, "bullpen/calm-otter")
        assert (Path(again.path) / "b.txt").read_text() == "new\n"
        assert again.base_commit == record.base_commit


async def test_resuming_twice_at_once_starts_one_agent(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.stop(record.id)
        ends: list[str] = []

        async def resume() -> None:
            try:
                ends.append((await bullpen.resume(record.id)).state)
            except SessionBusy as busy:
                ends.append(busy.code)

        await at_once(*[resume] * 4)
        assert sorted(ends) == ["idle", "session-busy", "session-busy", "session-busy"]
        assert (await bullpen.session(record.id)).run == 2
        folder = (world.home.sessions / record.id).resolve()
        found = [one for one in marked() if one.journal == folder]
        assert len({one.group for one in found}) == 1, found


async def test_a_stop_during_a_resume_wins_and_the_resumer_is_told(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.stop(record.id)
        told: list[str] = []

        async def resume() -> None:
            try:
                told.append((await bullpen.resume(record.id)).state)
            except SessionOver as over:
                told.append(over.code)

        async def stop() -> None:
            await until(bullpen, record.id, lambda one: one.state == "starting")
            assert (await bullpen.stop(record.id)).state == "stopped"

        await at_once(resume, stop)
        assert told == ["session-over"]
        assert (await bullpen.resume(record.id)).state == "idle"


async def test_a_session_resumed_the_moment_its_agent_dies_comes_back(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        for run in range(2, 6):
            end_unseen(await bullpen.session(record.id))
            await between_two_commits(bullpen, record.id)
            with anyio.fail_after(20):
                await bullpen.resume(record.id)
            record = await until(bullpen, record.id, lambda one: one.state == "idle")
            assert record.run == run
        assert (await ask(bullpen, record.id, "%% say well")).last_line == "well"


async def test_a_prompt_a_dead_agent_never_read_does_not_trouble_the_next_run(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        identity = identity_of(record)
        os.killpg(identity.pid, signal.SIGSTOP)
        # Too much for a pipe: the writer waits for a reader that never comes.
        await bullpen.send(record.id, "x" * 3_000_000)
        os.killpg(identity.pid, signal.SIGKILL)
        await until(bullpen, record.id, lambda one: one.state in OVER)
        with anyio.fail_after(30):
            await bullpen.resume(record.id)
            for number in range(3):
                record = await ask(bullpen, record.id, f"%% say {number}")
        assert record.last_line == "2"
    async with world.host() as bullpen:
        assert await bullpen.store.unwritten(record.id) == []


async def test_a_resume_that_fails_says_why_and_may_be_tried_again(world: World):
    broken = add_breakable(world)
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="breakable"))
        await ask(bullpen, record.id, "the password is swordfish")
        await bullpen.stop(record.id)
        broken.touch()
        with pytest.raises(AgentDied) as died:
            await bullpen.resume(record.id)
        assert "told to break" in died.value.hint
        record = await bullpen.session(record.id)
        assert (record.state, record.pid, record.exit_code) == ("failed", None, 3)
        broken.unlink()
        await bullpen.resume(record.id)
        await ask(bullpen, record.id, "%% memory")
        assert "swordfish" in (await bullpen.messages(record.id))[0].text


async def test_an_agent_that_left_the_catalog_is_named_when_its_session_is_resumed(world: World):
    add_demo(world, "passing")
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="passing"))
        await bullpen.stop(record.id)
    (world.folder / "config" / "agents" / "passing.toml").unlink()
    async with world.host() as bullpen:
        with pytest.raises(AgentUnknown):
            await bullpen.resume(record.id)
        assert (await bullpen.session(record.id)).state == "stopped"


# ---- trouble -----------------------------------------------------------------------------------


async def test_a_journal_somebody_cut_off_ends_its_session_and_is_named(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        other, _ = await bullpen.create(world.wish())
        journal = world.home.sessions / record.id / "out.jsonl"
        os.truncate(journal, 10)
        await bullpen.send(record.id, "%% say lost")
        record = await until(bullpen, record.id, lambda one: one.state in OVER)
        assert "journal" in record.reason
        assert "became shorter" in record.reason
        assert record.pid is None
        assert record.turn is not None
        assert record.turn.state == "failed"
        assert processes_of(world, record.id) == []
        assert (await ask(bullpen, other.id, "%% say unharmed")).last_line == "unharmed"


async def test_agents_outlive_a_database_that_refuses_to_commit(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
    identity = identity_of(record)
    faults: list[BaseException] = []
    async with world.host(end=False) as bullpen:
        bullpen.store.on_fault(faults.append)
        gate = world.folder / "gate"
        await bullpen.send(record.id, f"%% wait-file {gate}\n%% flood 60000 40\n%% say end")
        with sqlite3.connect(world.home.folder / "events.db") as outsider:
            outsider.execute(
                "CREATE TRIGGER full BEFORE INSERT ON events "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        outsider.close()
        with pytest.raises(BullpenError, match="disk full"), anyio.fail_after(20):
            await bullpen.send(record.id, "%% say never")
        gate.touch()
        journal = world.home.sessions / record.id / "out.jsonl"
        await eventually(lambda: b"end_turn" in journal.read_bytes()[-300:])
        assert len(faults) == 1
        assert identity.alive()
    assert identity.alive()
    with sqlite3.connect(world.home.folder / "events.db") as outsider:
        outsider.execute("DROP TRIGGER full")
    outsider.close()
    async with world.host() as bullpen:
        record = await ask(bullpen, record.id, "%% say heard")
        assert (record.last_line, record.run) == ("heard", 1)
        events = await all_events(bullpen, record.id)
        pieces = [e.fact.text for e in events if isinstance(e.fact, MessageStreamed)]
        assert sum(len(piece) for piece in pieces) == sum(
            len(f"{n} ") + 40 for n in range(60000)
        ) + len("end" + "heard")
        assert not any(isinstance(e.fact, TurnFailed) for e in events)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
