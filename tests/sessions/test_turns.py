from itertools import pairwise

import anyio
import pytest

from bullpen.errors import AskNotFound, ChoiceInvalid, MessageInvalid, RequestInvalid, SessionOver
from bullpen.model.fact import (
    AskAnswered,
    MessageStreamed,
    PermissionAsked,
    StateChanged,
    TurnEnded,
    TurnStarted,
    TurnWithdrawn,
    Unrecognised,
)
from kit.world import World, all_events, ask, until


async def test_prompts_are_answered_in_the_order_they_were_sent(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        for number in range(5):
            await bullpen.send(record.id, f"%% say answer {number}")
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        said = [one.text for one in await bullpen.messages(record.id, count=9)]
        assert said == [f"answer {number}" for number in range(5)]


async def test_prompts_sent_at_once_by_many_are_kept_apart_byte_for_byte(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        texts = [f"- {n}; $(x) `y` 'z' \"ä\" \\ \n\n%% memory\n" for n in range(12)]
        async with anyio.create_task_group() as tasks:
            for text in texts:
                tasks.start_soon(bullpen.send, record.id, text)
        with anyio.fail_after(30):
            await bullpen.wait([record.id])
        entries = await bullpen.log(record.id)
        assert sorted(one.text for one in entries if one.role == "human") == sorted(texts)


async def test_a_prompt_of_many_megabytes_arrives_whole(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        record = await ask(bullpen, record.id, "x" * 12_000_000 + "\n%% say got it")
        assert record.last_line == "got it"


async def test_an_interrupted_turn_is_cancelled_and_the_next_one_runs(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% say on it\n%% sleep 60"))
        await bullpen.send(record.id, "%% say next")
        await until(bullpen, record.id, lambda one: one.last_line == "on it")
        await bullpen.interrupt(record.id)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        ends = [
            event.fact.stop
            for event in await all_events(bullpen, record.id)
            if isinstance(event.fact, TurnEnded)
        ]
        assert ends == ["cancelled", "end_turn"]
        assert (await bullpen.session(record.id)).last_line == "next"


async def test_a_replacing_prompt_ends_the_running_turn_and_withdraws_those_that_wait(
    world: World,
):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% say on it\n%% sleep 60"))
        await bullpen.send(record.id, "%% say never")
        await until(bullpen, record.id, lambda one: one.last_line == "on it")
        await bullpen.send(record.id, "%% say instead", replace=True)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        events = await all_events(bullpen, record.id)
        assert [e.fact.turn for e in events if isinstance(e.fact, TurnWithdrawn)] == [2]
        assert [e.fact.turn for e in events if isinstance(e.fact, TurnStarted)] == [1, 3]
        assert (await bullpen.session(record.id)).last_line == "instead"


async def test_an_interrupt_without_a_turn_does_nothing(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        assert (await bullpen.interrupt(record.id)).state == "idle"


async def test_an_agent_that_ignores_an_interrupt_is_ended_and_can_be_brought_back(world: World):
    world.configure("interrupt_grace = 0.3\nstop_grace = 0.3\n")
    async with world.host() as bullpen:
        prompt = "%% say on it\n%% ignore-cancel\n%% sleep 60"
        record, _ = await bullpen.create(world.wish(prompt=prompt))
        await until(bullpen, record.id, lambda one: one.last_line == "on it")
        await bullpen.interrupt(record.id)
        record = await until(bullpen, record.id, lambda one: one.state == "failed")
        assert "did not end an interrupted turn" in record.reason
        record = await bullpen.resume(record.id)
        assert record.state == "idle"
        record = await ask(bullpen, record.id, "%% memory")
        assert "on it" in "".join(one.text for one in await bullpen.messages(record.id, count=5))


@pytest.mark.parametrize(("allow", "outcome"), [(True, "allowed"), (False, "rejected")])
async def test_a_permission_stops_the_turn_until_it_is_answered(
    world: World, allow: bool, outcome: str
):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask Delete it?\n%% say after"))
        record = await until(bullpen, record.id, lambda one: one.state == "asking")
        waited = await bullpen.wait([record.id])
        assert (waited.settled, waited.timed_out) == ([record.id], False)
        assert record.asks[0].title == "Delete it?"
        await bullpen.answer(record.id, allow=allow)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        answers = [
            event.fact.outcome
            for event in await all_events(bullpen, record.id)
            if isinstance(event.fact, AskAnswered)
        ]
        assert answers == [outcome]
        with pytest.raises(AskNotFound):
            await bullpen.answer(record.id, allow=True)


async def test_a_choice_the_agent_does_not_offer_is_refused_and_the_ask_stays_open(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask Delete it?"))
        record = await until(bullpen, record.id, lambda one: one.state == "asking")
        with pytest.raises(ChoiceInvalid):
            await bullpen.answer(record.id, choice="no such option")
        assert (await bullpen.session(record.id)).state == "asking"
        asked = [e.fact for e in await all_events(bullpen, record.id)]
        options = [one.options for one in asked if isinstance(one, PermissionAsked)]
        await bullpen.answer(record.id, choice=options[0][0].id)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])


async def test_an_interrupt_answers_what_is_open_with_cancelled(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask Delete it?"))
        await until(bullpen, record.id, lambda one: one.state == "asking")
        await bullpen.interrupt(record.id)
        record = await until(bullpen, record.id, lambda one: one.state == "idle")
        assert record.turn is not None
        assert (record.turn.state, record.asks) == ("cancelled", [])


async def test_a_question_is_told_apart_from_a_permission_and_can_be_answered(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% question Which one?\n%% say done"))
        record = await until(bullpen, record.id, lambda one: one.state == "waiting")
        assert record.asks[0].title == "Which one?"
        await bullpen.answer(record.id, action="accept", content={"answer": "this"})
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert (await bullpen.session(record.id)).turn.state == "done"  # pyright: ignore


async def test_a_turn_that_ends_in_an_error_is_failed_and_the_session_goes_on(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        record = await ask(bullpen, record.id, "%% error -32603 the model is down")
        assert record.turn is not None
        assert (record.turn.state, record.state) == ("failed", "idle")
        assert "the model is down" in (record.turn.error or "")
        record = await ask(bullpen, record.id, "%% say fine again")
        assert record.last_line == "fine again"


async def test_an_agent_that_dies_leaves_its_exit_status_and_last_words(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.send(record.id, "%% stderr 10\n%% say so far\n%% crash 9")
        record = await until(bullpen, record.id, lambda one: one.state == "failed")
        assert (record.exit_code, record.pid) == (9, None)
        assert record.stderr_tail
        assert record.turn is not None
        assert record.turn.state == "failed"
        assert record.last_line == "so far"
        with pytest.raises(SessionOver):
            await bullpen.send(record.id, "hello?")


async def test_a_line_the_dying_agent_did_not_finish_is_a_recorded_fault(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.send(record.id, "%% die-mid-line")
        await until(bullpen, record.id, lambda one: one.state == "failed")
        kinds = [e.fact.__struct_config__.tag for e in await all_events(bullpen, record.id)]
        assert "faulted" in kinds


async def test_bytes_that_are_no_message_are_recorded_and_the_turn_goes_on(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        record = await ask(bullpen, record.id, "%% invalid\n%% unknown\n%% say still here")
        assert record.last_line == "still here"
        facts = [e.fact for e in await all_events(bullpen, record.id)]
        assert any(one.__struct_config__.tag == "faulted" for one in facts)
        assert any(isinstance(one, Unrecognised) for one in facts)


async def test_streamed_text_is_stored_coalesced_and_complete(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% flood 20000 20")
        events = await all_events(bullpen, record.id)
        pieces = [e.fact.text for e in events if isinstance(e.fact, MessageStreamed)]
        assert len(pieces) < 500
        journal = (world.home.sessions / record.id / "out.jsonl").read_text()
        assert journal.count("agent_message_chunk") == 20000
        said = (await bullpen.messages(record.id))[0].text
        assert len(said) >= 20000 * 20


async def test_one_chatty_agent_with_a_full_stderr_does_not_block(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        record = await ask(bullpen, record.id, "%% stderr 5000000\n%% say done")
        assert record.last_line == "done"


async def test_the_same_key_queues_a_prompt_once(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        turns = {await bullpen.send(record.id, "%% say once", key="k") for _ in range(3)}
        assert turns == {1}
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
    async with world.host(end=False) as bullpen:
        assert (await bullpen.session(record.id)).turns == 1


async def test_an_empty_prompt_is_refused(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        with pytest.raises(MessageInvalid):
            await bullpen.send(record.id, " \n")


async def test_mode_and_model_change_when_the_agent_agrees(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        assert (await bullpen.set_mode(record.id, "plan")).agent_mode == "plan"
        assert (await bullpen.set_model(record.id, "demo-deep")).model == "demo-deep"
        with pytest.raises(RequestInvalid):
            await bullpen.set_model(record.id, "no-such-model")


async def test_a_session_is_created_in_the_mode_that_was_asked_for(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(mode="plan"))
        await ask(bullpen, record.id, "%% write x.txt no")
        assert not (world.work / "x.txt").exists()


async def test_every_move_was_allowed_and_has_a_reason(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask ok?\n%% say x"))
        await until(bullpen, record.id, lambda one: one.state == "asking")
        await bullpen.answer(record.id, allow=True)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        await bullpen.stop(record.id)
        moves = [
            e.fact for e in await all_events(bullpen, record.id) if isinstance(e.fact, StateChanged)
        ]
        assert [one.after for one in moves] == [
            "starting", "idle", "working", "asking", "working", "idle", "stopping", "stopped",
        ]  # fmt: skip
        assert all(one.reason for one in moves)
        assert all(one.after == two.before for one, two in pairwise(moves))


async def test_waiting_for_any_ends_with_the_first_and_for_all_with_the_last(world: World):
    async with world.host() as bullpen:
        gate = world.folder / "gate"
        slow, _ = await bullpen.create(world.wish(prompt=f"%% wait-file {gate}\n%% say slow"))
        fast, _ = await bullpen.create(world.wish(prompt="%% say fast"))
        with anyio.fail_after(20):
            waited = await bullpen.wait([slow.id, fast.id], until_any=True)
            assert (waited.settled, waited.pending) == ([fast.id], [slow.id])
            waited = await bullpen.wait([slow.id, fast.id], timeout=0.05)
            assert (waited.timed_out, waited.pending) == (True, [slow.id])
            gate.touch()
            waited = await bullpen.wait([slow.id, fast.id])
            assert sorted(waited.settled) == sorted([slow.id, fast.id])
