"""What callers may do to a service by mistake or by bad luck, and what it must stand."""

import json
import os
import signal
import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
import uvicorn

from bullpen.api import Bullpen
from bullpen.model.fact import MessageStreamed
from bullpen.process import Identity
from bullpen.service.app import make_app
from bullpen.service.conversations import _follow
from kit.door import door, served, service
from kit.world import World, ask, eventually, until

LONE = '"\\ud800"'
# Half of a character: JSON can say it, UTF-8 cannot.
DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "1" + "0" * 30

UNSTORABLE: list[tuple[str, str, str]] = [
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","mcp_servers":[{"name":LONE}]}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","mcp_servers":[{"n":DEEP}]}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","labels":{"a":LONE}}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","title":LONE}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","prompt":LONE}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","environment":{"A=B":"x"}}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","environment":{"":"x"}}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","environment":{"A":"\\u0000"}}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","setup":"a\\u0000b"}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH\\u0000"}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","setup_timeout":1e999}'),
    (
        "POST",
        "/v1/sessions",
        '{"agent":"demo","path":"PATH","place":"worktree","branch":"a\\u0000b"}',
    ),
    (
        "POST",
        "/v1/sessions",
        '{"agent":"demo","path":"PATH","place":"worktree","base":"a\\u0000b"}',
    ),
    ("PATCH", "/v1/sessions/SESSION", '{"title":LONE}'),
    ("PATCH", "/v1/sessions/SESSION", '{"model":LONE}'),
    ("POST", "/v1/sessions/SESSION/turns", '{"text":LONE}'),
    ("POST", "/v1/sessions/SESSION/answers", '{"action":"accept","content":{"answer":LONE}}'),
    ("POST", "/v1/sessions/SESSION/answers", '{"action":"accept","content":{"answer":DEEP}}'),
    ("GET", "/v1/sessions/SESSION/events?after=HUGE", ""),
    ("GET", "/v1/sessions/SESSION/events?limit=HUGE", ""),
    ("GET", "/v1/sessions/SESSION/messages?count=HUGE", ""),
    ("GET", "/v1/sessions/SESSION/messages?turn=HUGE", ""),
    ("POST", "/v1/wait", '{"sessions":["SESSION"],"turns":{"SESSION":HUGE},"timeout":0}'),
]


async def test_what_cannot_be_stored_is_refused_and_hurts_nobody(world: World):
    world.repository()
    async with served(world) as client:
        wish = {"agent": "demo", "path": str(world.work), "id": "calm-otter"}
        asking = wish | {"prompt": "%% question Which one?"}
        assert (await client.post("/v1/sessions", json=asking)).status_code == 201
        await client.post("/v1/wait", json={"sessions": ["calm-otter"], "timeout": 20})
        for method, route, body in UNSTORABLE:
            words = {"LONE": LONE, "HUGE": HUGE, "DEEP": DEEP, "PATH": str(world.work)}
            for word, value in {**words, "SESSION": "calm-otter"}.items():
                route, body = route.replace(word, value), body.replace(word, value)
            answer = await client.request(method, route, content=body.encode())
            refused = answer.status_code in (400, 422)
            assert (method, route, body[:200], refused) == (method, route, body[:200], True)
            assert answer.json()["error"]["message"]
        listed = (await client.get("/v1/sessions?all=1")).json()["sessions"]
        assert [one["id"] for one in listed] == ["calm-otter"]
        assert (await client.post("/v1/sessions/calm-otter/kill")).status_code == 200
        health = await client.get("/v1/health")
        assert health.json()["ok"]
        findings = (await client.get("/v1/doctor")).json()["findings"]
        assert [one["level"] for one in findings if one["check"] == "database"] == ["ok"]


async def test_following_a_session_ends_in_order_when_it_is_removed(world: World):
    async with served(world) as client:
        wish = {"agent": "demo", "path": str(world.work), "id": "calm-otter"}
        await client.post("/v1/sessions", json=wish)
        kinds: list[str] = []
        begun = anyio.Event()

        async def follow() -> None:
            route = "/v1/sessions/calm-otter/events?follow=1"
            async with client.stream("GET", route) as stream:
                async for line in stream.aiter_lines():
                    begun.set()
                    kinds.append(json.loads(line)["fact"]["kind"])

        async def remove() -> None:
            await begun.wait()
            await client.post("/v1/sessions/calm-otter/stop")
            assert (await client.delete("/v1/sessions/calm-otter")).status_code == 200

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                tasks.start_soon(remove)
        assert kinds[-1] == "session-removed"


@asynccontextmanager
async def within(bullpen: Bullpen, world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """Serve a host that lives in this process, so that a test may look into it."""
    config = uvicorn.Config(
        make_app(bullpen, shut_down=bullpen.drain),
        uds=str(world.home.socket),
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        async with door(world) as client:
            while not server.started:
                await anyio.lowlevel.checkpoint()
            yield client
        server.should_exit = True


@pytest.mark.parametrize("verb", ["wait", "follow"])
async def test_who_hangs_up_is_forgotten(world: World, verb: str):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% sleep 60"))
        hub = bullpen._stage.hub

        routes = {"wait": "/v1/wait", "follow": f"/v1/sessions/{record.id}/events?follow=1"}
        body = {"sessions": [record.id]} if verb == "wait" else None
        method = "POST" if verb == "wait" else "GET"
        async with within(bullpen, world) as client:
            call = partial(client.request, method, routes[verb], json=body)
            await hung_up(call, when=lambda: len(hub._listeners.get(record.id, ())) == 5)
            await eventually(lambda: not hub._listeners)
            assert (await client.get("/v1/health")).status_code == 200


async def hung_up(
    call: Callable[[], Coroutine[Any, Any, object]], *, when: Callable[[], bool]
) -> None:
    """Make five calls at once, and hang up on all of them."""
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call)
        await eventually(when)
        tasks.cancel_scope.cancel()


async def test_an_error_met_while_waiting_keeps_its_form(world: World):
    async with world.host() as bullpen, within(bullpen, world) as client:
        answer = await client.post("/v1/wait", json={"sessions": ["no-such"]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session-not-found")


async def test_a_reader_that_lost_streamed_text_is_told(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        stream = _follow(bullpen, record.id, after=0, deltas=True)
        with anyio.fail_after(10):
            assert b'"seq":1' in await anext(stream)
            for number in range(5000):
                bullpen._stage.hub.stream(
                    record.id, MessageStreamed(text=str(number)), number=number
                )
            lines = [json.loads(line) for line in (await anext(stream)).splitlines()]
        assert [line for line in lines if "gap" in line] == [{"session": record.id, "gap": True}]
        assert "gap" in lines[0]
        assert lines[-1]["delta"]["text"] == "4999"
        await stream.aclose()


async def test_a_database_that_refuses_ends_the_service_with_a_reason_and_no_agent(world: World):
    with service(world) as process:
        async with door(world) as client:
            wish = {"agent": "demo", "path": str(world.work), "id": "calm-otter"}
            record = (await client.post("/v1/sessions", json=wish)).json()
            identity = Identity(record["pid"], record["start_time"])
            change(world, "CREATE TRIGGER full BEFORE INSERT ON events "
                   "BEGIN SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
            answer = await client.patch("/v1/sessions/calm-otter", json={"title": "x"})
            error: dict[str, Any] = answer.json()["error"]
            assert (error["code"], answer.status_code) == ("store-refused", 500)
            assert "disk full" in error["message"]
            assert error["hint"]
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync(process.wait)
    assert identity.alive()
    log = (world.folder / "service.log").read_text()
    assert "disk full" in log
    assert "Traceback" not in log
    change(world, "DROP TRIGGER full")
    async with world.host() as bullpen:
        assert (await ask(bullpen, "calm-otter", "%% say on")).run == 1


async def test_a_socket_folder_that_others_may_enter_is_refused_with_a_reason(world: World):
    runtime = world.folder / "run"
    (runtime / f"bullpen-{os.getuid()}").mkdir(parents=True)
    (runtime / f"bullpen-{os.getuid()}").chmod(0o755)
    world.environment["XDG_RUNTIME_DIR"] = str(runtime)
    world.environment["BULLPEN_HOME"] = str(world.folder / ("d" * 100))
    with service(world) as process, anyio.fail_after(20):
        assert await anyio.to_thread.run_sync(process.wait) == 1
    log = (world.folder / "service.log").read_text()
    assert "is open to others" in log
    assert "Traceback" not in log


def change(world: World, statement: str) -> None:
    with sqlite3.connect(world.home.folder / "events.db") as outsider:
        outsider.execute(statement)
    outsider.close()


BASE = "/v1/sessions/calm-otter"
SIGNS = [signal.SIGTERM, signal.SIGKILL]


@asynccontextmanager
async def ending(
    world: World, verb: str, sign: signal.Signals
) -> AsyncGenerator[httpx.AsyncClient]:
    """Run a service, prepare a session in the block, and end the service in the middle of `verb`
    when the block is left."""
    world.repository()
    world.configure("stop_grace = 1\n")
    with service(world) as process:
        async with door(world) as client:
            yield client
            await cut_short(world, client, verb)
            process.send_signal(sign)
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync(process.wait)


def slow_wish(world: World) -> dict[str, Any]:
    return {
        "agent": "demo",
        "path": str(world.work),
        "id": "calm-otter",
        "place": "worktree",
        "environment": {"BULLPEN_DEMO_START": "slow:0.5"},
    }


async def cut_short(world: World, client: httpx.AsyncClient, verb: str) -> None:
    """Ask for the verb, and hang up when the service is at it."""
    calls = {
        "create": partial(client.post, "/v1/sessions", json=slow_wish(world)),
        "resume": partial(client.post, f"{BASE}/resume"),
        "stop": partial(client.post, f"{BASE}/stop"),
        "remove": partial(client.delete, BASE),
    }
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls[verb])
        async with door(world) as other:
            while verb == "create" and not (await other.get("/v1/sessions")).json()["sessions"]:
                pass
            await other.get("/v1/health")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("verb", ["create", "resume"])
async def test_a_start_the_service_ended_over_is_finished_by_the_next(
    world: World, verb: str, sign: signal.Signals
):
    async with ending(world, verb, sign) as client:
        if verb == "resume":
            await client.post("/v1/sessions", json=slow_wish(world))
            await client.post(f"{BASE}/stop")
    async with world.host() as bullpen:
        if (await bullpen.session("calm-otter")).state == "stopped":
            # It had not heard of the resume yet.
            await bullpen.resume("calm-otter")
        await until(bullpen, "calm-otter", lambda one: one.state == "idle")
        assert (await ask(bullpen, "calm-otter", "%% say well")).last_line == "well"


@pytest.mark.parametrize("sign", SIGNS)
async def test_a_stop_the_service_ended_over_can_be_finished(world: World, sign: signal.Signals):
    async with ending(world, "stop", sign) as client:
        await client.post("/v1/sessions", json=slow_wish(world))
        text = "%% ignore-term\n%% ignore-cancel\n%% say deaf\n%% sleep 60"
        await client.post(f"{BASE}/turns", json={"text": text})
    async with world.host() as bullpen:
        record = await bullpen.stop("calm-otter", grace=0)
        assert (record.state, record.pid) == ("stopped", None)
        assert (await bullpen.resume("calm-otter")).state == "idle"


@pytest.mark.parametrize("sign", SIGNS)
async def test_a_removal_the_service_ended_over_can_be_finished(world: World, sign: signal.Signals):
    async with ending(world, "remove", sign) as client:
        await client.post("/v1/sessions", json=slow_wish(world))
        await client.post(f"{BASE}/stop")
    async with world.host() as bullpen:
        for record in await bullpen.sessions():
            assert record.state == "stopped"
            await bullpen.remove(record.id)
        assert world.git("branch", "--list", "bullpen/*") == ""
        assert len(world.git("worktree", "list").splitlines()) == 1
