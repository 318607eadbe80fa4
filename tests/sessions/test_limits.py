"""Usage limits: sessions wait, go on by themselves, and are never taken for done."""

import os
import signal
import time

import anyio
import httpx

from bullpen.api import Bullpen
from bullpen.model.fact import LimitEntered, LimitLeft, TurnQueued
from bullpen.model.session import SessionRecord, SessionState, TurnState
from bullpen.model.story import outcome
from kit.agents import add_demo
from kit.door import door, service
from kit.world import World, all_events, eventually, until

QUICK = "[limits]\nguesses = [0.3, 0.6]\nretries = [0.2]\nmargin = 0\nstagger = 0.01\n"
NEVER_BY_ITSELF = "[limits]\nguesses = [3600]\nretries = [3600]\n"
ERROR = "error -32603 Claude AI usage limit reached"


def script(*steps: str) -> str:
    body = "\n".join(steps)
    return f"```demo\n{body}\n```"


async def state_of(http: httpx.AsyncClient, session: str) -> str:
    return (await http.get(f"/v1/sessions/{session}")).json()["state"]


async def reached(http: httpx.AsyncClient, session: str, state: str) -> None:
    """Wait for a state at the door, which has no event for it."""
    with anyio.fail_after(20):
        while await state_of(http, session) != state:  # noqa: ASYNC110 - no event
            await anyio.sleep(0.02)


async def limited(pen: Bullpen, session: str) -> SessionRecord:
    return await until(pen, session, lambda one: one.state is SessionState.LIMITED)


async def test_a_limited_session_waits_and_is_not_done(world: World):
    world.configure(NEVER_BY_ITSELF)
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script("say begun", ERROR)))
        record = await limited(pen, record.id)
        assert record.turn is not None
        assert (record.turn.state, outcome(record)) == (TurnState.FAILED, "limited")
        assert record.limit is not None
        assert (record.limit.limit, record.limit.account, record.limit.is_guess) == (
            "usage",
            "demo",
            True,
        )
        assert record.limit.until > time.time() + 3000
        with anyio.move_on_after(0.3) as patience:
            await pen.wait([record.id], turns={record.id: 1})
        assert patience.cancelled_caught
        assert list(pen.limits()) == ["demo"]


async def test_it_goes_on_by_itself_and_whoever_waits_waits_through_it(world: World):
    world.configure(QUICK)
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script("say begun", ERROR)))
        with anyio.fail_after(20):
            await pen.wait([record.id], turns={record.id: 1})
        record = await pen.session(record.id)
        assert record.turn is not None
        assert (record.turn.number, record.turn.state) == (2, TurnState.DONE)
        assert record.continued == {1: 2}
        texts = [
            e.fact.text for e in await all_events(pen, record.id) if isinstance(e.fact, TurnQueued)
        ]
        assert texts[-1].startswith("Continue where you stopped")


async def test_a_prompt_the_agent_never_began_on_is_told_again(world: World):
    world.configure(QUICK)
    async with world.host() as pen:
        prompt = script(ERROR)
        record, _ = await pen.create(world.wish(prompt=prompt))
        await until(pen, record.id, lambda one: one.turns >= 2)
        texts = [
            e.fact.text for e in await all_events(pen, record.id) if isinstance(e.fact, TurnQueued)
        ]
        assert texts[1] == prompt


async def test_guesses_grow_while_the_limit_stays(world: World):
    world.configure("[limits]\nguesses = [0.1, 0.2, 3600]\nmargin = 0\n")
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script(ERROR)))
        record = await until(pen, record.id, lambda one: one.limits_in_a_row == 3)
        record = await limited(pen, record.id)
        entered = [
            (e.at, e.fact.until)
            for e in await all_events(pen, record.id)
            if isinstance(e.fact, LimitEntered)
        ]
        waits = [round(until_ - at, 1) for at, until_ in entered]
        assert waits == [0.1, 0.2, 3600.0]


async def test_other_sessions_of_the_account_wait_too_and_go_on(world: World):
    world.configure(QUICK.replace("0.3, 0.6", "1.5, 1.5"))
    async with world.host() as pen:
        first, _ = await pen.create(world.wish(id="first", prompt=script("say begun", ERROR)))
        second, _ = await pen.create(world.wish(id="second"))
        await limited(pen, first.id)
        await pen.send(second.id, "hello")
        await limited(pen, second.id)
        with anyio.fail_after(20):
            await pen.wait([second.id], turns={second.id: 1})
        record = await pen.session(second.id)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE


async def test_a_killed_service_waits_on_from_the_record(world: World):
    world.configure("[limits]\nguesses = [1.5]\nmargin = 0\n")
    with service(world) as process:
        async with door(world) as http:
            body = {"agent": "demo", "path": str(world.work), "id": "lim-one"}
            await http.post("/v1/sessions", json=body | {"prompt": script("say begun", ERROR)})
            await reached(http, "lim-one", "limited")
            process.kill()
            process.wait()
    async with world.host() as pen:
        with anyio.fail_after(20):
            await pen.wait(["lim-one"], turns={"lim-one": 1})
        record = await pen.session("lim-one")
        assert record.turn is not None
        assert (record.turn.number, record.turn.state) == (2, TurnState.DONE)


async def test_an_interrupt_ends_the_waiting_without_going_on(world: World):
    world.configure(NEVER_BY_ITSELF)
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script("say begun", ERROR)))
        await limited(pen, record.id)
        await pen.interrupt(record.id)
        record = await until(pen, record.id, lambda one: one.state is SessionState.IDLE)
        assert (record.limit, record.turns) == (None, 1)


async def test_a_stopped_session_no_longer_waits(world: World):
    world.configure(NEVER_BY_ITSELF)
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script("say begun", ERROR)))
        await limited(pen, record.id)
        record = await pen.stop(record.id)
        assert (record.state, record.limit) == (SessionState.STOPPED, None)


async def test_money_that_is_used_up_waits_for_the_user(world: World):
    world.configure(QUICK)
    async with world.host() as pen:
        prompt = script("say begun", "error -32603 Credit balance is too low")
        record, _ = await pen.create(world.wish(prompt=prompt))
        record = await limited(pen, record.id)
        assert record.limit is not None
        assert (record.limit.limit, record.limit.until) == ("credit", 0.0)
        with anyio.fail_after(5):
            await pen.wait([record.id])
        assert await pen.clear_limit("demo") == [record.id]
        record = await until(pen, record.id, lambda one: one.turns == 2)


async def test_another_agent_takes_over_once(world: World):
    world.configure(NEVER_BY_ITSELF)
    add_demo(world, "second-demo")
    async with world.host() as pen:
        prompt = script("say begun", ERROR)
        await pen.create(world.wish(prompt=prompt, fallback="second-demo", id="first"))
        # The other is made before this one is stopped.
        await until(pen, "first", lambda one: one.state is SessionState.STOPPED)
        others = [one for one in await pen.sessions() if one.id != "first"]
        assert [(one.agent, one.parent) for one in others] == [("second-demo", "first")]
        texts = [
            e.fact.text
            for e in await all_events(pen, others[0].id)
            if isinstance(e.fact, TurnQueued)
        ]
        assert "begun" in texts[0]
        left = [e.fact for e in await all_events(pen, "first") if isinstance(e.fact, LimitLeft)]
        assert left[0].reason == f"handed over to {others[0].id}"
        assert outcome(await pen.session("first")) == "failed"


async def test_an_agent_that_died_meanwhile_is_brought_back(world: World):
    world.configure("[limits]\nguesses = [1.0]\nmargin = 0\n")
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script("say begun", ERROR)))
        record = await limited(pen, record.id)
        assert record.pid is not None
        os.killpg(record.pid, signal.SIGKILL)
        record = await until(pen, record.id, lambda one: one.state is SessionState.LOST)
        # It is over: whoever brings it back tries at once, and nobody else does.
        assert record.limit is None


async def test_an_ordinary_error_is_no_limit(world: World):
    async with world.host() as pen:
        record, _ = await pen.create(world.wish(prompt=script("error -32603 it broke")))
        await pen.wait([record.id])
        record = await pen.session(record.id)
        assert (record.state, record.limit) == (SessionState.IDLE, None)
        await eventually(lambda: pen.limits() == {})
