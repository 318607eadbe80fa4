"""The programming interface where it is asked for odd things."""

from typing import Any

import anyio
import pytest

from bullpen.errors import (
    CheckoutDirty,
    DirectoryMissing,
    MessageInvalid,
    NothingToLand,
    RequestInvalid,
    StoreUnavailable,
    TargetMissing,
)
from bullpen.model.fact import AskAnswered, LandingRefused
from kit.agents import add_demo
from kit.world import World, all_events, ask, until


async def test_a_session_that_waits_for_its_worktree_has_changed_nothing(world: World):
    world.configure("[caps]\nlive = 1\n")
    repo = world.repository()
    async with world.host() as bullpen:
        await bullpen.create(world.wish())
        queued, _ = await bullpen.create(world.wish(place="worktree"))
        assert queued.state == "queued"
        (repo / "mine.txt").write_text("of the user\n")
        numbers = await bullpen.changes(queued.id)
        assert (numbers.files, numbers.insertions) == (0, 0)
        assert await bullpen.diff(queued.id) == b""


async def test_the_changes_of_a_folder_that_is_gone_are_not_to_be_had(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.stop(record.id)
        world.work.rmdir()
        with pytest.raises(DirectoryMissing):
            await bullpen.changes(record.id)


async def test_messages_of_a_very_long_turn_say_whose_turn_it_was(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% say first")
        await ask(bullpen, record.id, "%% repeat 600 title x\n%% repeat 1100 say x")
        (last,) = await bullpen.messages(record.id)
        assert last.turn == 2
        assert len(await bullpen.messages(record.id, count=5000, turn=2)) == 1100
        assert [one.turn for one in await bullpen.messages(record.id, count=1101)][:2] == [1, 2]


async def test_an_unfinished_landing_leaves_everything_and_says_why(world: World):
    repo = world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter", place="worktree"))
        with pytest.raises(NothingToLand, match="calm-otter"):
            await bullpen.land(record.id)
        await ask(bullpen, record.id, "%% write a.txt two\n%% write b.txt new")
        (repo / "a.txt").write_text("mine\n")
        with pytest.raises(CheckoutDirty):
            await bullpen.land(record.id, commit=True)
        assert (repo / "a.txt").read_text() == "mine\n"
        assert not (repo / "b.txt").exists()
        world.git("checkout", "-q", "--detach")
        with pytest.raises(TargetMissing):
            await bullpen.land(record.id)
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        assert sum(isinstance(fact, LandingRefused) for fact in facts) == 3
        world.git("checkout", "-qf", "main")
        landed = await bullpen.land(record.id)
        assert (landed.target, landed.files) == ("main", 2)
        assert (repo / "b.txt").read_text() == "new\n"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"action": "accept"}, "allowed"),
        ({"action": "decline"}, "rejected"),
        ({"action": "cancel"}, "cancelled"),
        ({"allow": True}, "allowed"),
        ({"allow": False}, "rejected"),
    ],
)
async def test_leave_may_be_given_in_the_words_of_an_answer(
    world: World, answer: dict[str, Any], outcome: str
):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask Delete it?"))
        await until(bullpen, record.id, lambda one: one.state == "asking")
        await bullpen.answer(record.id, **answer)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        assert [f.outcome for f in facts if isinstance(f, AskAnswered)] == [outcome]


async def test_an_answer_that_does_not_say_whether_leave_is_given_is_refused(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask Delete it?"))
        await until(bullpen, record.id, lambda one: one.state == "asking")
        with pytest.raises(RequestInvalid):
            await bullpen.answer(record.id, content={"answer": "yes"})
        assert (await bullpen.session(record.id)).state == "asking"


async def test_text_that_is_no_text_is_refused_before_it_is_numbered(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        with pytest.raises(MessageInvalid):
            await bullpen.send(record.id, "half a character: \ud800")
        with pytest.raises(RequestInvalid):
            await bullpen.rename(record.id, "\ud800")
        with pytest.raises(RequestInvalid):
            await bullpen.create(world.wish(id="calm-otter", labels={"a": "\ud800"}))
        await bullpen.create(world.wish(id="calm-otter"))
        assert (await ask(bullpen, record.id, "%% say well")).turn is not None
        events = await all_events(bullpen, record.id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize(
    "database",
    [
        "nonsense",
        "nosuch://x/y",
        "postgresql+psycopg://bullpen@/x?host=/nonexistent",
        "sqlite://h/x",
    ],
)
async def test_a_database_that_cannot_be_opened_is_named(world: World, database: str):
    world.configure(f'database = "{database}"\n')
    with pytest.raises(StoreUnavailable) as missing:
        async with world.host():
            pass
    assert "\n" not in str(missing.value)


async def test_a_state_folder_that_may_not_be_written_is_told(world: World):
    home = world.home.folder
    home.mkdir()
    (home / "events.db").mkdir()
    with pytest.raises(StoreUnavailable):
        async with world.host():
            pass


async def test_those_who_wait_know_why_also_after_a_restart(world: World):
    world.configure("[caps]\nmemory_mb = 200\n")
    add_demo(world, "large", extra="memory_mb = 150")
    async with world.host(end=False) as bullpen:
        first, _ = await bullpen.create(world.wish(agent="large"))
        names = [(await bullpen.create(world.wish(agent="large")))[0].id for _ in range(2)]
        # It would fit, and does not overtake.
        names.append((await bullpen.create(world.wish()))[0].id)
        before = [(await bullpen.session(name)).reason for name in names]
    async with world.host() as bullpen:
        after = [(await bullpen.session(name)).reason for name in names]
        full = "queued: 150 of 200 MB for agents are taken, large needs 150"
        assert before == after == [full, full, "queued: 2 sessions wait before it"]
        await bullpen.stop(first.id, grace=0)
        await until(bullpen, names[0], lambda one: one.state == "idle")
        reasons = [(await bullpen.session(name)).reason for name in names[1:]]
        assert reasons == [full, "queued: 1 sessions wait before it"]
