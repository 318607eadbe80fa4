"""Adding words to a running turn. Agents that take them are tested with themselves."""

import anyio
import pytest

from bullpen.errors import SessionOver, SteerUnsupported
from bullpen.model.fact import OrderRefused, TurnQueued, TurnStarted, TurnSteered
from bullpen.store import NewIntent
from kit.world import World, all_events, ask, until


async def test_an_agent_that_takes_no_words_says_so_and_nothing_is_queued(world: World):
    async with world.host() as bullpen:
        gate = world.folder / "gate"
        wish = world.wish(prompt=f"%% say first\n%% wait-file {gate}")
        record, _ = await bullpen.create(wish)
        await until(bullpen, record.id, lambda one: one.last_line == "first")
        with pytest.raises(SteerUnsupported) as caught:
            await bullpen.send(record.id, "%% say second", steer=True)
        assert "--steer" in caught.value.hint
        gate.touch()
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        record = await bullpen.session(record.id)
        assert (record.turns, record.queue, record.last_line) == (1, [], "first")


async def test_without_a_running_turn_the_words_are_a_prompt(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% say first")
        assert await bullpen.send(record.id, "%% say second", steer=True) == 2
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert (await bullpen.session(record.id)).last_line == "second"


async def test_a_session_that_is_over_takes_no_words(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.stop(record.id)
        with pytest.raises(SessionOver):
            await bullpen.send(record.id, "more", steer=True)


async def test_words_nobody_knows_were_written_are_not_written_again(world: World):
    async with world.host(end=False) as bullpen:
        gate = world.folder / "gate"
        wish = world.wish(prompt=f"%% say first\n%% wait-file {gate}")
        record, _ = await bullpen.create(wish)
        await until(bullpen, record.id, lambda one: one.last_line == "first")
        ledger = await bullpen._supervisor.ledger(record.id)
        await ledger.write(
            TurnSteered(turn=1, text="more"),
            intents=[NewIntent(900, 1, "steer", 1, b"%% say never\n")],
        ).wait()
    async with world.host() as bullpen:
        gate.touch()
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        refused = [fact for fact in facts if isinstance(fact, OrderRefused)]
        assert [(one.order, one.code) for one in refused] == [("steer", "delivery-unknown")]


async def test_words_the_agent_refuses_become_a_prompt(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        live = bullpen._supervisor.live(record.id)
        assert live is not None
        live._steered.append(TurnSteered(turn=1, text="%% say late", sender="lead"))
        prompts = live._too_late([OrderRefused(order="steer", code="too-late", message="late")])
        assert prompts == [TurnQueued(turn=1, text="%% say late", sender="lead")]
        assert live._too_late([OrderRefused(order="steer", code="x", message="y")]) == []


async def test_the_log_shows_added_words_where_they_were_added(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        ledger = await bullpen._supervisor.ledger(record.id)
        await ledger.write(
            TurnQueued(turn=1, text="go"),
            TurnStarted(turn=1, run=1),
            TurnSteered(turn=1, text="and that too"),
        ).wait()
        log = [(one.role, one.text, one.turn) for one in await bullpen.log(record.id)]
        assert log == [("human", "go", 1), ("human", "and that too", 1)]
