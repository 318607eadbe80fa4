"""What survives a service that is killed. The service is a real process here."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

from bullpen.api import Bullpen
from bullpen.model.fact import (
    AgentAdopted,
    DeliveryDoubted,
    MessageStreamed,
    TurnDelivered,
    TurnEnded,
    TurnQueued,
    TurnStarted,
)
from bullpen.process import Identity, marked
from bullpen.store import NewIntent
from kit.world import World, all_events, eventually, until

SERVE = """
import os, sys
from bullpen.model.home import Home
from bullpen.service.serve import main
sys.exit(main(Home.of(os.environ)))
"""


@contextmanager
def service(world: World) -> Generator[subprocess.Popen[bytes]]:
    """Run a real service; the test may kill it."""
    log = (world.folder / "service.log").open("ab")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE], env=world.environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def running(world: World) -> AsyncGenerator[subprocess.Popen[bytes]]:
    """As `service`, in an `async with`."""
    with service(world) as process:
        yield process


class Door:
    """A tiny client that waits for the service to come up."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    @classmethod
    @asynccontextmanager
    async def of(cls, world: World) -> AsyncGenerator["Door"]:
        transport = httpx.AsyncHTTPTransport(uds=str(world.home.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as http:
            yield cls(http)

    async def call(self, method: str, route: str, /, **body: object) -> dict[str, object]:
        with anyio.fail_after(30):
            while True:
                try:
                    answer = await self.http.request(method, route, json=body or None)
                except httpx.TransportError:
                    await anyio.sleep(0.01)
                    continue
                assert answer.status_code < 300, answer.text
                return answer.json()


async def test_a_turn_goes_on_while_no_service_runs_and_is_heard_to_its_end(world: World):
    gate = world.folder / "gate"
    prompt = f"%% say before\n%% wait-file {gate}\n%% say after\n%% write done.txt yes"
    async with Door.of(world) as door, running(world) as first:
        record = await door.call(
            "POST", "/v1/sessions", agent="demo", path=str(world.work), prompt=prompt
        )
        session = str(record["id"])
        while (await door.call("GET", f"/v1/sessions/{session}")).get("last_line") != "before":
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    # Nobody supervises; the agent does its work all the same.
    gate.touch()
    await eventually((world.work / "done.txt").exists)
    async with world.host() as bullpen:
        with anyio.fail_after(20):
            await bullpen.wait([session])
        assert [one.text for one in await bullpen.messages(session, count=9)] == ["before", "after"]
        events = await all_events(bullpen, session)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert sum(isinstance(e.fact, AgentAdopted) for e in events) == 1
        assert sum(isinstance(e.fact, TurnEnded) for e in events) == 1
        # The conversation goes on with the same process.
        assert (await bullpen.session(session)).run == 1
        await bullpen.send(session, "%% say again")
        with anyio.fail_after(20):
            await bullpen.wait([session])
        assert (await bullpen.session(session)).last_line == "again"


@pytest.mark.torture
async def test_nothing_is_lost_or_doubled_however_often_the_service_is_killed(world: World):
    """Kills the service at arbitrary moments of a long stream, again and again."""
    lines = 3000
    numbered = "\n".join(f"%% say {n};" for n in range(lines))
    (world.work / "script.txt").write_text(numbered)
    async with Door.of(world) as door, running(world) as first:
        record = await door.call("POST", "/v1/sessions", agent="demo", path=str(world.work))
        session = str(record["id"])
        await door.call("POST", f"/v1/sessions/{session}/turns", text="%% play script.txt")
        with anyio.fail_after(20):
            while not (await door.call("GET", f"/v1/sessions/{session}")).get("last_line"):
                await anyio.lowlevel.checkpoint()
        first.kill()
    for round_ in range(4):
        async with Door.of(world) as door, running(world) as again:
            await door.call("GET", "/v1/health")
            for _ in range(round_ * 3):
                await door.call("GET", f"/v1/sessions/{session}")
            again.kill()
    async with world.host() as bullpen:
        with anyio.fail_after(60):
            await bullpen.wait([session])
        messages = await bullpen.messages(session, count=10 * lines)
        assert "".join(one.text for one in messages) == "".join(f"{n};" for n in range(lines))
        events = await all_events(bullpen, session)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert [e.fact.turn for e in events if isinstance(e.fact, TurnStarted)] == [1]
        assert [e.fact.turn for e in events if isinstance(e.fact, TurnEnded)] == [1]


async def test_a_permission_asked_before_the_restart_can_be_answered_after_it(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% ask Delete it?\n%% say went on"))
        await until(bullpen, record.id, lambda one: one.state == "asking")
    async with world.host() as bullpen:
        assert (await bullpen.session(record.id)).state == "asking"
        await bullpen.answer(record.id, allow=True)
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert (await bullpen.session(record.id)).last_line == "went on"


async def test_queued_prompts_are_sent_after_a_restart(world: World):
    gate = world.folder / "gate"
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish(prompt=f"%% wait-file {gate}"))
        await bullpen.send(record.id, "%% say second")
        await bullpen.send(record.id, "%% say third")
    async with world.host() as bullpen:
        gate.touch()
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        said = [one.text for one in await bullpen.messages(record.id, count=9)]
        assert said == ["second", "third"]


async def test_an_agent_that_died_meanwhile_is_failed_with_its_last_words(world: World):
    gate = world.folder / "gate"
    async with world.host(end=False) as bullpen:
        prompt = f"%% wait-file {gate}\n%% say last words\n%% crash 5"
        record, _ = await bullpen.create(world.wish(prompt=prompt))
        record = await until(bullpen, record.id, lambda one: one.state == "working")
    gate.touch()
    await eventually((world.home.sessions / record.id / "exit").exists)
    async with world.host() as bullpen:
        record = await bullpen.session(record.id)
        assert (record.state, record.exit_code, record.last_line) == ("failed", 5, "last words")
        assert record.turn is not None
        assert record.turn.state == "failed"
        assert (await bullpen.resume(record.id)).state == "idle"


async def test_a_process_nobody_saw_end_is_lost_and_can_be_resumed(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
    assert record.pid is not None
    assert record.start_time is not None
    os.killpg(record.pid, signal.SIGKILL)
    identity = Identity(record.pid, record.start_time)
    await eventually(lambda: not identity.alive())
    async with world.host() as bullpen:
        record = await bullpen.session(record.id)
        assert record.state == "lost"
        record = await bullpen.resume(record.id)
        assert (record.state, record.run) == ("idle", 2)


async def test_a_prompt_whose_delivery_is_unknown_is_shown_and_never_repeated(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
    # As if the service had died between the commit of the intent and the write.
    async with world.host(end=False) as bullpen:
        await _pretend_started(bullpen, record.id)
    async with world.host() as bullpen:
        record = await bullpen.session(record.id)
        assert record.turn is not None
        assert (record.turn.doubted, record.turn.delivered) == (True, False)
        with anyio.fail_after(5):
            assert (await bullpen.wait([record.id])).settled == [record.id]
        events = await all_events(bullpen, record.id)
        assert sum(isinstance(e.fact, DeliveryDoubted) for e in events) == 1
    async with world.host(end=False) as bullpen:
        events = await all_events(bullpen, record.id)
        assert sum(isinstance(e.fact, DeliveryDoubted) for e in events) == 1
        assert not any(isinstance(e.fact, TurnDelivered) for e in events)
    assert "never sent" not in (world.home.sessions / record.id / "out.jsonl").read_text()


async def _pretend_started(bullpen: Bullpen, session: str) -> None:
    ledger = await bullpen._supervisor.ledger(session)
    await ledger.write(
        TurnQueued(turn=1, text="%% say never sent"),
        TurnStarted(turn=1, run=1),
        intents=[NewIntent(900, 1, "prompt", 1, None)],
    ).wait()


async def test_a_doubted_turn_can_be_given_up_and_the_session_goes_on(world: World):
    world.configure("interrupt_grace = 0.2\n")
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
        await _pretend_started(bullpen, record.id)
    async with world.host() as bullpen:
        await bullpen.interrupt(record.id)
        record = await until(bullpen, record.id, lambda one: one.state == "idle")
        assert record.turn is not None
        assert record.turn.error_code == "delivery-unknown"
        await bullpen.send(record.id, "%% say onwards")
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert (await bullpen.session(record.id)).last_line == "onwards"


def groups_of(world: World, session: str) -> set[int]:
    """Process groups of a session of this test's host; other tests run beside it."""
    folder = (world.home.sessions / session).resolve()
    return {one.group for one in marked() if one.journal == folder}


async def test_a_start_the_service_died_over_is_begun_again_and_only_once(world: World):
    slow = {"BULLPEN_DEMO_START": "slow:3"}
    wish = {"agent": "demo", "path": str(world.work), "id": "calm-otter", "environment": slow}
    async with Door.of(world) as door, running(world) as first:
        await door.call("GET", "/v1/health")
        await door.call("POST", "/v1/sessions", **wish, wait=False)
        await eventually(lambda: bool(groups_of(world, "calm-otter")))
        first.kill()
    async with world.host() as bullpen:
        record = await until(bullpen, "calm-otter", lambda one: one.state == "idle")
        assert record.run == 2
        assert len(groups_of(world, "calm-otter")) == 1


async def test_text_that_was_held_back_when_the_service_died_is_stored_once(world: World):
    gate = world.folder / "gate"
    async with world.host(end=False) as bullpen:
        prompt = f"%% say delay=0.01 a b c d e f g h\n%% wait-file {gate}"
        record, _ = await bullpen.create(world.wish(prompt=prompt))
        journal = world.home.sessions / record.id / "out.jsonl"
        await eventually(lambda: b'h"' in journal.read_bytes())
    async with world.host() as bullpen:
        gate.touch()
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        events = await all_events(bullpen, record.id)
        said = "".join(e.fact.text for e in events if isinstance(e.fact, MessageStreamed))
        assert said == "a b c d e f g h"


def test_this_module_leaves_nothing_running(tmp_path: Path):
    assert [one for one in marked() if one.journal.is_relative_to(tmp_path.parent)] == []
