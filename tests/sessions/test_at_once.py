"""Two verbs on one session at the same time: one of them wins, and nothing is left half done."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from bullpen.api import Bullpen
from bullpen.errors import BullpenError, SessionBusy, SessionNotFound, SessionOver
from bullpen.model.fact import SessionRenamed, TurnQueued
from bullpen.process import marked
from kit.agents import add_breakable, program
from kit.world import World, all_events, ask, eventually, until


async def at_once(*calls: Callable[[], Coroutine[Any, Any, object]]) -> list[str]:
    """Make the calls at the same time; return how each ended, in their order."""
    ends = [""] * len(calls)

    async def one(index: int, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await call()
            ends[index] = "done"
        except BullpenError as error:
            ends[index] = error.code

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(calls):
                tasks.start_soon(one, index, call)
    return ends


def runs(world: World, session: str) -> bool:
    folder = (world.home.sessions / session).resolve()
    return any(one.journal == folder for one in marked())


async def test_a_session_removed_while_it_waits_never_starts_though_a_seat_comes_free(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    slow = world.folder / "slow"
    slow.mkdir()
    program(slow / "git", f'#!/bin/sh\nsleep 0.1\nexec {shutil.which("git")} "$@"\n')
    world.configure("[caps]\nlive = 1\n")
    world.repository()
    async with world.host() as bullpen:
        first, _ = await bullpen.create(world.wish())
        waiting, _ = await bullpen.create(world.wish(place="worktree"))
        assert waiting.state == "queued"
        # Looking whether work would be lost takes some git commands; meanwhile a seat comes free.
        monkeypatch.setenv("PATH", str(slow), prepend=os.pathsep)
        stop = partial(bullpen.stop, first.id, grace=0)
        assert await at_once(partial(bullpen.remove, waiting.id), stop) == ["done", "done"]
        third, _ = await bullpen.create(world.wish())
        assert third.state == "idle"
        assert not runs(world, waiting.id)
        assert {one.id for one in await bullpen.sessions()} == {first.id, third.id}


async def test_a_removal_that_is_refused_leaves_its_place_in_the_queue(world: World):
    world.configure("[caps]\nlive = 1\n")
    world.repository()
    async with world.host() as bullpen:
        kept, _ = await bullpen.create(world.wish(place="worktree"))
        await ask(bullpen, kept.id, "%% write new.txt unsaved")
        await bullpen.stop(kept.id)
        other, _ = await bullpen.create(world.wish())
        assert (await bullpen.resume(kept.id)).state == "queued"
        stop = partial(bullpen.stop, other.id, grace=0)
        ends = await at_once(partial(bullpen.remove, kept.id), stop)
        assert ends == ["work-unsaved", "done"]
        assert (await until(bullpen, kept.id, lambda one: one.state == "idle")).path


@pytest.mark.parametrize("round_", range(3))
async def test_a_session_is_either_resumed_or_removed(world: World, round_: int):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.stop(record.id)
        calls = [partial(bullpen.remove, record.id), partial(bullpen.resume, record.id)]
        ends = await at_once(*(calls if round_ % 2 else reversed(calls)))
        assert sorted(ends) in (["done", "session-not-found"], ["done", "session-busy"])
        is_there = record.id in {one.id for one in await bullpen.sessions()}
        assert runs(world, record.id) == is_there


async def test_a_session_is_removed_once(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.stop(record.id)
        ends = await at_once(*[partial(bullpen.remove, record.id)] * 3)
        assert sorted(ends) == ["done", "session-not-found", "session-not-found"]
        assert await bullpen.sessions() == []
        events = await bullpen.store.events(record.id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        kinds = [event.fact.__struct_config__.tag for event in events]
        assert kinds.count("session-removed") == 1


async def test_a_session_that_starts_is_too_busy_to_be_removed(world: World):
    async with world.host() as bullpen:
        hanging = {"BULLPEN_DEMO_START": "hang"}
        wish = world.wish(id="calm-otter", environment=hanging)
        await bullpen.create(wish, wait=False)
        await eventually(lambda: runs(world, "calm-otter"))
        with pytest.raises(SessionBusy):
            await bullpen.remove("calm-otter", force=True)
        await bullpen.stop("calm-otter", grace=0)
        await bullpen.remove("calm-otter")
        assert not runs(world, "calm-otter")


async def test_nothing_can_be_added_to_the_story_of_a_session_that_never_came_up(world: World):
    broken = add_breakable(world)
    broken.touch()
    async with world.host() as bullpen:
        wish = world.wish(id="calm-otter", agent="breakable")
        ends: list[str] = []

        async def create() -> None:
            with pytest.raises(BullpenError):
                await bullpen.create(wish)
            ends.append("created")

        async def rename() -> None:
            while not ends:
                try:
                    await bullpen.rename("calm-otter", "a title")
                except SessionNotFound:
                    await anyio.lowlevel.checkpoint()

        await at_once(create, rename, rename, rename)
        assert await bullpen.store.events("calm-otter") == []
        broken.unlink()
        await bullpen.create(wish)
        events = await all_events(bullpen, "calm-otter")
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert not any(isinstance(event.fact, SessionRenamed) for event in events)
        assert bullpen.store.check() == []
    async with world.host(end=False) as bullpen:
        assert bullpen.store.rebuild() == 1


async def test_a_session_asked_for_again_with_the_key_of_one_that_failed_is_a_new_one(
    world: World,
):
    broken = add_breakable(world)
    broken.touch()
    async with world.host() as bullpen:
        wish = world.wish(agent="breakable", key="k")
        ends = await at_once(*[partial(bullpen.create, wish)] * 4)
        assert ends == ["agent-died"] * 4
        broken.unlink()
        ends = await at_once(*[partial(bullpen.create, wish)] * 4)
        assert ends == ["done"] * 4
        assert len(await bullpen.sessions()) == 1


async def test_prompts_sent_around_a_stop_are_queued_or_refused_but_never_lost(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())

        async def send(number: int) -> None:
            for _ in range(number * 3):
                await anyio.lowlevel.checkpoint()
            await bullpen.send(record.id, f"%% say number {number};")

        ends = await at_once(
            *(partial(send, number) for number in range(8)), partial(bullpen.stop, record.id)
        )
        assert set(ends) <= {"done", "session-over"}
        await bullpen.resume(record.id)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        events = await all_events(bullpen, record.id)
        assert sum(isinstance(event.fact, TurnQueued) for event in events) == ends[:8].count("done")
        assert (await bullpen.session(record.id)).queue == []


async def test_a_prompt_that_replaces_others_does_so_while_the_session_waits_too(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host() as bullpen:
        first, _ = await bullpen.create(world.wish())
        waiting, _ = await bullpen.create(world.wish(prompt="%% say one"))
        await bullpen.send(waiting.id, "%% say two")
        await bullpen.send(waiting.id, "%% say three", replace=True)
        with pytest.raises(SessionOver) as too_early:
            await bullpen.interrupt(waiting.id)
        assert "wait" in too_early.value.hint
        await bullpen.stop(first.id, grace=0)
        with anyio.fail_after(20):
            await bullpen.wait([waiting.id])
        said = [one.text for one in await bullpen.messages(waiting.id, count=9)]
        assert said == ["three"]


async def test_mending_the_host_ends_nothing_that_is_being_made(world: World):
    async with world.host() as bullpen:
        stopped, _ = await bullpen.create(world.wish())
        await bullpen.stop(stopped.id)

        async def create() -> None:
            for _ in range(4):
                await bullpen.create(world.wish())

        async def mend() -> None:
            for _ in range(3):
                await bullpen.doctor(fix=True)

        ends = await at_once(create, create, mend, mend, partial(bullpen.resume, stopped.id))
        assert ends == ["done"] * 5
        assert [one.state for one in await bullpen.sessions()] == ["idle"] * 9
        for record in await bullpen.sessions():
            assert (world.home.sessions / record.id / "in").exists()
            assert (await ask(bullpen, record.id, "%% say well")).last_line == "well"


async def test_an_end_that_is_asked_for_by_many_who_also_wait_tells_all_of_them(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% sleep 60"))

        async def wait() -> None:
            waited = await bullpen.wait([record.id])
            assert waited.settled == [record.id]

        async def interrupt() -> None:
            try:
                await bullpen.interrupt(record.id)
            except SessionOver:
                return

        stop = partial(bullpen.stop, record.id)
        ends = await at_once(wait, wait, interrupt, stop, interrupt, stop, wait)
        assert ends == ["done"] * 7
        assert (await bullpen.session(record.id)).state == "stopped"


async def test_nobody_who_left_is_remembered(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())

        async def give_up() -> None:
            await bullpen.send(record.id, "%% sleep 60")
            waited = await bullpen.wait([record.id], timeout=0.05)
            assert waited.timed_out

        await at_once(give_up)
        await bullpen.stop(record.id, grace=0)
        await bullpen.remove(record.id)
        for number in range(3):
            with pytest.raises(SessionNotFound):
                await bullpen.session(f"no-such-{number}")
            with pytest.raises(SessionNotFound):
                await bullpen.session(record.id)
        assert _remembered(bullpen) == set()


def _remembered(bullpen: Bullpen) -> set[str]:
    supervisor = bullpen._supervisor
    hub = bullpen._stage.hub
    return {*supervisor._ledgers, *supervisor._live, *supervisor._starts, *hub._listeners}


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
async def test_many_lives_leave_no_descriptor_and_no_task(world: World):
    broken = add_breakable(world)
    broken.touch()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())

        async def live() -> None:
            await bullpen.resume(record.id, prompt="%% crash 3")
            await until(bullpen, record.id, lambda one: one.state == "failed")
            with pytest.raises(BullpenError):
                await bullpen.create(world.wish(agent="breakable"))
            created, _ = await bullpen.create(world.wish())
            await bullpen.stop(created.id, grace=0)
            await bullpen.remove(created.id)

        await bullpen.stop(record.id)
        await live()
        before = held()
        tasks = len(anyio.get_running_tasks())
        for _ in range(4):
            await live()
        assert held() == before
        assert len(anyio.get_running_tasks()) == tasks


def held() -> list[str]:
    """Return what our descriptors point at; the database keeps a changing number of its own."""
    found: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return sorted(re.sub(r"[0-9]+", "N", one) for one in found if ".db" not in one)
