import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

import bullpen
from bullpen import errors
from bullpen.client.told import rebuilt
from bullpen.model.fact import MessageStreamed, TurnEnded, Unrecognised
from bullpen.model.home import Home
from bullpen.testing.fake_service import FakeService


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    monkeypatch.setenv("BULLPEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("BULLPEN_SESSION", raising=False)
    fake = FakeService(Home.of(os.environ))
    fake.open()
    yield fake
    fake.close()


@pytest.fixture
async def pen(service: FakeService) -> AsyncIterator[bullpen.Pen]:
    async with bullpen.connect() as pen:
        pen._link._bring_up = _nobody_to_start
        yield pen


async def _nobody_to_start() -> None:
    """The fake is in this process; whoever misses it tries again."""


async def test_a_prompt_is_answered_and_the_work_is_landed(service: FakeService, pen: bullpen.Pen):
    with anyio.fail_after(5):
        session = await pen.create("demo", "somewhere", place="worktree", title="t")
        assert await session.ask("two\u2028lines") == "two\u2028lines"
        assert session.record.outcome == "completed"
        landed = await session.land()
        assert (await session.changes()).files == 1
    assert landed.target == "main"
    (wanted,) = service.saw("POST", "/v1/sessions")
    assert wanted["path"] == str(Path("somewhere").absolute())
    assert wanted["place"] == "worktree"


async def test_asking_an_agent_whose_turn_fails_raises_and_says_why(
    service: FakeService, pen: bullpen.Pen
):
    with anyio.fail_after(5):
        session = await pen.create("demo")
        with pytest.raises(errors.TurnNotCompleted) as caught:
            await session.ask("fail")
        with pytest.raises(errors.TurnNotCompleted, match="asking"):
            await session.ask("ask")
    assert caught.value.outcome == "failed"


async def test_a_wait_that_runs_out_of_time_says_so_and_the_session_goes_on(
    service: FakeService, pen: bullpen.Pen
):
    with anyio.fail_after(5):
        session = await pen.create("demo", prompt="hold")
        with pytest.raises(errors.WaitTimedOut):
            await session.wait(timeout=0.05)
        waited = await pen.wait([session], timeout=0.05)
        assert waited.timed_out
        assert waited.pending == [session.id]
        service.finish(session.id)
        assert (await session.wait()).outcome == "completed"


async def test_waiting_for_any_returns_with_the_first_that_settles(
    service: FakeService, pen: bullpen.Pen
):
    with anyio.fail_after(5):
        slow = await pen.create("demo", prompt="hold")
        quick = await pen.create("demo", prompt="hold")
        service.finish(quick.id)
        waited = await pen.wait([slow, quick.id], until="any")
    assert waited.settled == [quick.id]
    assert waited.sessions[slow.id].outcome == "working"


async def test_a_wait_goes_on_when_the_service_restarts(service: FakeService, pen: bullpen.Pen):
    def restart() -> None:
        with service.changed:
            service.changed.wait_for(lambda: service.saw("POST", "/v1/wait"), 5)
        service.close()
        service.open()
        service.finish(session.id)

    with anyio.fail_after(10):
        session = await pen.create("demo", prompt="hold")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, restart)
            await session.wait()
        assert session.record.outcome == "completed"
    assert len(service.saw("POST", "/v1/wait")) >= 2


async def test_events_come_once_and_in_order_through_a_restart(
    service: FakeService, pen: bullpen.Pen
):
    seen: list[int] = []
    with anyio.fail_after(10):
        session = await pen.create("demo", prompt="one")
        events = session.events(follow=True)
        async for event in events:
            seen.append(event.seq)
            ended = event.fact.turn if isinstance(event.fact, TurnEnded) else 0
            if ended == 1:
                service.close()
                service.open()
                service.prompt(session.id, "two")
            if ended == 2:
                break
        await events.aclose()
    assert seen == list(range(1, len(seen) + 1))


async def test_events_end_by_themselves_when_nobody_follows(service: FakeService, pen: bullpen.Pen):
    with anyio.fail_after(5):
        session = await pen.create("demo", prompt="one")
        facts = [event.fact async for event in session.events()]
        rest = [event.seq async for event in session.events(after=len(facts) - 1)]
    assert [fact.text for fact in facts if isinstance(fact, MessageStreamed)] == ["one"]
    assert rest == [len(facts)]


async def test_a_watcher_gets_pieces_of_text_before_the_stored_event(
    service: FakeService, pen: bullpen.Pen
):
    stored = {"kind": "message-streamed", "text": "ab", "message": "m"}
    with anyio.fail_after(5):
        session = await pen.create("demo", prompt="hold")
        last = service.sessions[session.id]["seq"]
        async with session.watch() as stream:
            while not _is_event(await anext(stream), last):
                """The past comes first."""
            service.stream(session.id, "ab")
            piece = await anext(stream)
            service.say(session.id, stored)
            whole = await anext(stream)
    assert isinstance(piece, bullpen.Delta)
    assert piece.text == "ab"
    assert isinstance(whole, bullpen.Event)
    assert whole.fact == MessageStreamed(text="ab", message="m")


def _is_event(item: bullpen.Event | bullpen.Delta, seq: int) -> bool:
    return isinstance(item, bullpen.Event) and item.seq == seq


async def test_a_fact_of_a_newer_service_is_kept_whole(service: FakeService, pen: bullpen.Pen):
    with anyio.fail_after(5):
        session = await pen.create("demo")
        service.say(session.id, {"kind": "moon-landed", "at": "noon"})
        facts = [event.fact async for event in session.events()]
    assert isinstance(facts[-1], Unrecognised)
    assert facts[-1].raw == {"kind": "moon-landed", "at": "noon"}


async def test_an_error_of_the_service_arrives_as_its_own_class(
    service: FakeService, pen: bullpen.Pen
):
    with anyio.fail_after(5):
        with pytest.raises(errors.SessionNotFound, match="no-such") as caught:
            await pen.session("no-such/../one")
        session = await pen.create("demo")
        service.refusals["POST", f"/v1/sessions/{session.id}/land"] = (409, "odd", "strange")
        with pytest.raises(errors.RemoteError, match="strange") as odd:
            await session.land()
    assert caught.value.hint == "a hint"
    assert odd.value.code == "odd"


def test_every_error_class_can_be_told_and_told_again():
    for kind in errors.BullpenError.__subclasses__():
        if kind is errors.RemoteError:
            continue
        code = kind.__new__(kind).code
        told = rebuilt(code, "what happened", "what to do")
        again = pickle.loads(pickle.dumps(told))
        for error in (told, again):
            assert isinstance(error, kind)
            assert (str(error), error.hint, error.code) == ("what happened", "what to do", code)
            assert "what happened" in repr(error)


async def test_a_request_with_a_key_is_sent_again_when_the_service_is_stopping(
    service: FakeService, pen: bullpen.Pen
):
    where = ("POST", "/v1/sessions")
    service.refusals[where] = (503, "service-stopping", "the service is stopping")
    with anyio.fail_after(5):

        async def come_back() -> None:
            service.refusals.clear()

        pen._link._bring_up = come_back
        await pen.create("demo", key="mine")
        await pen.create("demo", key="mine")
    assert len(service.sessions) == 1


async def test_without_leave_to_start_a_service_its_absence_is_an_error(tmp_path: Path):
    async with bullpen.connect(tmp_path / "nowhere", start=False) as pen:
        with anyio.fail_after(5), pytest.raises(errors.ServiceUnreachable) as caught:
            await pen.sessions()
    assert "bullpen serve" in caught.value.hint


async def test_briefs_run_side_by_side_and_those_done_are_stopped(
    service: FakeService, pen: bullpen.Pen
):
    with anyio.fail_after(5):
        runs = await pen.run(["good", "ask", "fail"], agent="demo", labels={"for": "test"})
        kept = await pen.sessions(labels={"for": "test"})
    outcomes = {run.brief: run.session.record.state for run in runs if run.session}
    assert outcomes == {"good": "stopped", "ask": "asking", "fail": "stopped"}
    assert [session.record.state for session in kept] == ["asking"]


async def test_a_brief_whose_session_cannot_be_made_leaves_the_others_alone(
    service: FakeService, pen: bullpen.Pen
):
    service.refusals["POST", "/v1/sessions"] = (404, "agent-unknown", "unknown agent 'x'")
    with anyio.fail_after(5):
        runs = await pen.run(["a", "b"], agent="x")
    assert all(isinstance(run.error, errors.AgentUnknown) for run in runs)


async def test_a_permission_is_answered(service: FakeService, pen: bullpen.Pen):
    with anyio.fail_after(5):
        session = await pen.create("demo", prompt="ask")
        assert session.record.needs_user
        record = await session.answer(allow=True)
    assert record.outcome == "completed"
    assert service.saw("POST", f"/v1/sessions/{session.id}/answers") == [{"allow": True}]


@pytest.fixture
async def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[bullpen.Pen]:
    """A service that is started by the first verb, and gone at the end."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("BULLPEN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BULLPEN_NO_AUTOSTART", raising=False)
    async with bullpen.connect() as pen:
        yield pen
        for session in await pen.sessions():
            await session.kill()
        serve = [sys.executable, "-m", "bullpen", "serve", "--stop"]
        await anyio.run_process(serve)


async def _follow(session: bullpen.RemoteSession, seen: list[int]) -> None:
    """Note each event's number until a turn ends."""
    async with session.events(follow=True) as events:
        async for event in events:
            seen.append(event.seq)
            if isinstance(event.fact, TurnEnded):
                return


async def test_a_killed_service_is_started_again_and_a_wait_and_a_stream_go_on(
    real: bullpen.Pen, tmp_path: Path
):
    go = tmp_path / "go"
    seen: list[int] = []
    with anyio.fail_after(30):
        brief = f"%% say first\n%% wait-file {go}\n%% say second"
        session = await real.create("demo", tmp_path, prompt=brief)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_follow, session, seen)
            tasks.start_soon(session.wait)
            while not seen or session.record.state != "working":
                await session.refresh()
            os.kill((await real.health())["pid"], signal.SIGKILL)
            go.touch()
        (said,) = await session.messages(count=1)
    assert session.record.outcome == "completed"
    assert said.text.endswith("second")
    assert seen == list(range(1, len(seen) + 1))


async def test_leave_is_given_from_python_by_hand_and_by_rule(real: bullpen.Pen, tmp_path: Path):
    with anyio.fail_after(30):
        session = await real.create("demo", tmp_path, mode="ask", prompt="%% write a.txt one")
        await session.wait()
        (asked,) = await real.approvals()
        assert (asked.session, asked.kind) == (session.id, "permission")
        await real.approve(asked.id, reason="fine")
        await session.wait()
        assert (tmp_path / "a.txt").exists()
        with pytest.raises(errors.AskNotFound, match="nothing is asked under") as gone:
            await real.deny(asked.id)
        assert "bullpen approvals" in gone.value.hint

        rule = await real.add_rule(
            "deny", kind="edit", path="**/b.txt", reason="mine", session=session.id
        )
        assert [one.id for one in await real.rules(session.id)] == [rule.id]
        assert await real.rules() == []
        await session.send("%% write b.txt two")
        await session.wait(timeout=10)
        assert await real.approvals() == []
        assert not (tmp_path / "b.txt").exists()
        await real.remove_rule(rule.id)
        assert await real.rules(session.id) == []


async def test_a_goal_is_set_and_awaited_from_python(real: bullpen.Pen, tmp_path: Path):
    with anyio.fail_after(30):
        session = await real.create("demo", tmp_path)
        with pytest.raises(errors.GoalMissing):
            await session.change_goal("paused")
        await session.set_goal("Say it.\n%% say GOAL COMPLETE: it is told", max_turns=3)
        record = await session.await_goal(timeout=20)
        assert record.goal is not None
        assert (record.goal.status, record.goal.note) == ("complete", "it is told")
        assert (await session.change_goal("cleared")).goal is None
        assert (await session.set_budget(usd=1.5)).budget is not None
        assert await real.cost(by="agent") == []
        with pytest.raises(errors.RequestInvalid):
            await real.clear_limit("demo")


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import bullpen; print(*set(sys.modules)-before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["bullpen"]


def test_every_public_name_is_there_and_no_other():
    assert bullpen.__all__ == sorted(set(bullpen.__all__))
    for name in bullpen.__all__:
        assert getattr(bullpen, name) is not None
    assert set(bullpen.__all__) <= set(dir(bullpen))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(bullpen, "nonsense")  # noqa: B009 - the name is the point
