"""What a session does when its own files are damaged under it."""

import os

import anyio

from kit.world import World, until


async def test_a_journal_that_shrinks_ends_the_session_with_the_reason_and_no_other(world: World):
    async with world.host() as bullpen:
        other, _ = await bullpen.create(world.wish())
        record, _ = await bullpen.create(world.wish(prompt="%% say before\n%% sleep 60"))
        await until(bullpen, record.id, lambda one: one.last_line == "before")
        os.truncate(world.home.sessions / record.id / "out.jsonl", 10)
        with (world.home.sessions / record.id / "out.jsonl").open("ab") as journal:
            journal.write(b"x\n")
        record = await until(bullpen, record.id, lambda one: one.state == "failed")
        assert "became shorter" in record.reason
        assert record.turn is not None
        assert record.turn.state == "failed"
        await bullpen.send(other.id, "%% say unharmed")
        with anyio.fail_after(20):
            await bullpen.wait([other.id])
        assert (await bullpen.session(other.id)).last_line == "unharmed"


async def test_a_deleted_directory_ends_a_turn_not_the_service(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        world.work.rmdir()
        await bullpen.send(record.id, "%% say still talking")
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert (await bullpen.session(record.id)).last_line == "still talking"
