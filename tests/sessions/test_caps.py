import anyio
import pytest

from bullpen.model.session import LIVE, SessionState
from bullpen.sessions.caps import MOST_LIVE, Seat, refusal
from bullpen.sessions.settings import Caps
from kit.world import World, until

ONE = Seat(agent="demo", workspace="/w", memory_mb=100)


@pytest.mark.parametrize(
    ("caps", "taken", "why"),
    [
        (Caps(), [], None),
        (Caps(live=2), [ONE], None),
        (Caps(live=2), [ONE, ONE], "2 of 2 live sessions on this host"),
        (Caps(), [ONE] * MOST_LIVE, f"{MOST_LIVE} of {MOST_LIVE}"),
        (Caps(memory_mb=250), [ONE], None),
        (Caps(memory_mb=250), [ONE, ONE], "200 of 250 MB"),
        (Caps(memory_mb=50), [], None),
        (Caps(agent={"demo": 1}), [ONE], "1 of 1 live sessions of agent demo"),
        (Caps(agent={"other": 1}), [ONE], None),
        (Caps(workspace={"/w": 1}), [ONE], "1 of 1 live sessions in /w"),
        (Caps(workspace={"/x": 1}), [ONE], None),
    ],
)
def test_who_has_to_wait_is_told_why(caps: Caps, taken: list[Seat], why: str | None):
    found = refusal(ONE, taken=taken, caps=caps, memory_mb=10_000)
    assert (found is None) if why is None else (found is not None and why in found)


def test_memory_is_reckoned_from_the_machine_when_nothing_is_configured():
    assert refusal(ONE, taken=[ONE], caps=Caps(), memory_mb=150) is not None
    assert refusal(ONE, taken=[ONE], caps=Caps(), memory_mb=200) is None


async def test_a_spawn_storm_never_exceeds_the_cap_and_all_get_their_turn_in_order(world: World):
    world.configure("[caps]\nlive = 3\n")
    async with world.host() as bullpen:
        started: list[str] = []

        async def create(number: int) -> None:
            await bullpen.create(world.wish(id=f"storm-{number:02}", title=f"{number:02}"))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(create, number)
        records = await bullpen.sessions()
        assert sum(one.state in LIVE for one in records) == 3
        waiting = [one for one in records if one.state is SessionState.QUEUED]
        assert len(waiting) == 17
        assert all("3 of 3 live sessions" in one.reason for one in waiting)
        order = sorted(waiting, key=lambda one: (one.created_at, one.id))
        for number, upcoming in enumerate(order[:6]):
            live = [one for one in await bullpen.sessions() if one.state is SessionState.IDLE]
            assert len(live) <= 3
            await bullpen.stop(live[0].id, grace=0.2)
            await until(bullpen, upcoming.id, lambda one: one.state is SessionState.IDLE)
            started.append(upcoming.id)
            assert sum(one.state in LIVE for one in await bullpen.sessions()) == 3, number
        for one in await bullpen.sessions():
            if one.state is SessionState.QUEUED:
                await bullpen.stop(one.id)


async def test_a_prompt_to_a_queued_session_runs_when_it_gets_its_seat(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host() as bullpen:
        first, _ = await bullpen.create(world.wish())
        second, _ = await bullpen.create(world.wish(prompt="%% say one"))
        assert second.state is SessionState.QUEUED
        await bullpen.send(second.id, "%% say two")
        await bullpen.stop(first.id)
        with anyio.fail_after(20):
            await bullpen.wait([second.id])
        said = [one.text for one in await bullpen.messages(second.id, count=9)]
        assert said == ["one", "two"]


async def test_a_session_held_back_by_its_own_cap_lets_others_pass(world: World):
    (world.folder / "other").mkdir()
    world.configure(f'[caps]\nlive = 2\n[caps.workspace]\n"{world.work}" = 1\n')
    async with world.host() as bullpen:
        await bullpen.create(world.wish())
        held, _ = await bullpen.create(world.wish())
        assert held.state is SessionState.QUEUED
        assert str(world.work) in held.reason
        other, _ = await bullpen.create(world.wish(directory=str(world.folder / "other")))
        assert other.state is SessionState.IDLE


async def test_those_who_wait_still_wait_after_a_restart_and_then_start(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host(end=False) as bullpen:
        first, _ = await bullpen.create(world.wish())
        second, _ = await bullpen.create(world.wish())
    async with world.host() as bullpen:
        assert (await bullpen.session(second.id)).state is SessionState.QUEUED
        await bullpen.stop(first.id)
        await until(bullpen, second.id, lambda one: one.state is SessionState.IDLE)


async def test_resuming_over_the_cap_waits_like_everybody_else(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host() as bullpen:
        first, _ = await bullpen.create(world.wish())
        await bullpen.stop(first.id)
        second, _ = await bullpen.create(world.wish())
        resumed = await bullpen.resume(first.id)
        assert resumed.state is SessionState.QUEUED
        await bullpen.stop(second.id)
        await until(bullpen, first.id, lambda one: one.state is SessionState.IDLE)
