"""What callers may do to a service by mistake or by bad luck, and what it must stand."""

import json
import os
import signal
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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
HUGE = "1" + "0" * 30

UNSTORABLE: list[tuple[str, str, str]] = [
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","mcp_servers":[{"name":LONE}]}'),
    ("POST", "/v1/sessions", '{"agent":"demo","path":"PATH","mcp_servers":[{"n":HUGE}]}'),
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
    ("POST", "/v1/sessions/SESSION/answers", '{"action":"accept","content":{"answer":HUGE}}'),
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
        for method, route, body in UNSTORABLE:
            words = {"LONE": LONE, "HUGE": HUGE, "PATH": str(world.work), "SESSION": "calm-otter"}
            for word, value in words.items():
                route, body = route.replace(word, value), body.replace(word, value)
            answer = await client.request(method, route, content=body.encode())
            assert (method, route, body, answer.status_code < 500) == (method, route, body, True)
            print(route, body, answer.status_code)
            if answer.status_code >= 400:
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

        async def hold_the_line(client: httpx.AsyncClient) -> None:
            if verb == "wait":
                await client.post("/v1/wait", json={"sessions": [record.id]})
                return
            route = f"/v1/sessions/{record.id}/events?follow=1"
            async with client.stream("GET", route) as stream:
                async for _ in stream.aiter_lines():
                    pass

        async with within(bullpen, world) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(hold_the_line, client)
                await eventually(lambda: len(hub._listeners.get(record.id, ())) == 5)
                tasks.cancel_scope.cancel()
            await eventually(lambda: not hub._listeners)
            assert (await client.get("/v1/health")).status_code == 200


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
                bullpen._stage.hub.stream(record.id, MessageStreamed(text=str(number)))
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
        assert (await ask(bullpen, "calm-otter", "%% say on")).run == 1, [(e.seq, e.fact) for e in await bullpen.events("calm-otter")]


def change(world: World, statement: str) -> None:
    with sqlite3.connect(world.home.folder / "events.db") as outsider:
        outsider.execute(statement)
    outsider.close()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("verb", ["create", "resume", "stop", "remove"])
async def test_a_service_that_ends_in_the_middle_of_a_verb_leaves_no_half_of_it(
    world: World, verb: str, sign: signal.Signals
):
    world.repository()
    world.configure("stop_grace = 2\n")
    slow = {"BULLPEN_DEMO_START": "slow:0.5"}
    wish: dict[str, Any] = {"agent": "demo", "path": str(world.work), "id": "calm-otter"}
    wish |= {"place": "worktree", "environment": slow}
    with service(world) as process:
        async with door(world) as client:
            if verb != "create":
                await client.post("/v1/sessions", json=wish)
            if verb in ("resume", "remove"):
                await client.post("/v1/sessions/calm-otter/stop")
            if verb == "stop":
                text = "%% ignore-term\n%% ignore-cancel\n%% say deaf\n%% sleep 60"
                await client.post("/v1/sessions/calm-otter/turns", json={"text": text})
            await cut_short(client, process.pid, verb, wish, sign)
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync(process.wait)
    async with world.host() as bullpen:
        sessions = await bullpen.sessions()
        if verb == "remove":
            assert [one.state for one in sessions] in ([], ["stopped"])
            for one in sessions:
                await bullpen.remove(one.id)
            assert world.git("branch", "--list", "bullpen/*") == ""
            assert len(world.git("worktree", "list").splitlines()) == 1
            return
        (record,) = sessions
        if verb == "stop":
            # Perhaps it had not been asked to stop yet.
            await bullpen.stop(record.id, grace=0)
            assert (await bullpen.session(record.id)).state in ("stopped", "failed")
        if record.state in ("stopped", "failed"):
            await bullpen.resume(record.id)
        await until(bullpen, record.id, lambda one: one.state == "idle")
        assert (await ask(bullpen, record.id, "%% say well")).last_line == "well"


async def cut_short(
    client: httpx.AsyncClient, service: int, verb: str, wish: dict[str, Any], sign: signal.Signals
) -> None:
    """Ask for the verb, and send `sign` to the service while it is at it."""
    base = "/v1/sessions/calm-otter"
    routes = {"create": "/v1/sessions", "resume": f"{base}/resume", "stop": f"{base}/stop"}

    async def call() -> None:
        method = "DELETE" if verb == "remove" else "POST"
        body = wish if verb == "create" else None
        try:
            await client.request(method, routes.get(verb, base), json=body)
        except httpx.TransportError:
            return

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            async with httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=client_socket(client)),
                base_url="http://host",
            ) as other:
                while verb == "create" and not await listed(other):
                    pass
                await other.get("/v1/health")
            os.kill(service, sign)


async def listed(client: httpx.AsyncClient) -> list[Any]:
    return (await client.get("/v1/sessions")).json()["sessions"]


def client_socket(client: httpx.AsyncClient) -> str:
    return client._transport._pool._uds  # pyright: ignore
