import json
import stat
from typing import Any

import anyio
import httpx

from bullpen import errors
from bullpen.errors import BullpenError
from bullpen.service.answers import STATUSES
from kit.door import door, served, service
from kit.world import World


async def created(client: httpx.AsyncClient, world: World, **fields: Any) -> str:
    body = {"agent": "demo", "path": str(world.work)} | fields
    answer = await client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def settled(client: httpx.AsyncClient, session: str) -> dict[str, Any]:
    answer = await client.post("/v1/wait", json={"sessions": [session], "timeout": 20})
    assert answer.json()["settled"] == [session]
    return answer.json()["sessions"][session]


def said(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return answer.status_code, error["code"]


async def test_a_session_lives_and_ends_over_http(world: World):
    async with served(world) as client:
        session = await created(client, world, title="one", labels={"team": "a"})
        answer = await client.post(f"/v1/sessions/{session}/turns", json={"text": "%% say hi"})
        assert (answer.status_code, answer.json()) == (
            202,
            {"session": session, "turn": 1, "state": "running"},
        )
        record = await settled(client, session)
        assert (record["outcome"], record["last_line"]) == ("completed", "hi")
        base = f"/v1/sessions/{session}"
        assert (await client.get(base)).json()["id"] == session
        assert (await client.get(f"{base}/messages")).json() == {
            "messages": [{"turn": 1, "text": "hi"}]
        }
        roles = [one["role"] for one in (await client.get(f"{base}/log")).json()["entries"]]
        assert roles == ["human", "assistant"]
        turn = (await client.get(f"{base}/turns")).json()["turns"][0]
        assert (turn["number"], turn["state"], turn["text"]) == (1, "done", "%% say hi")
        changed = await client.patch(base, json={"title": "two", "mode": "plan"})
        assert (changed.json()["title"], changed.json()["agent_mode"]) == ("two", "plan")
        listed = await client.get("/v1/sessions", params={"label": "team=a"})
        assert [one["id"] for one in listed.json()["sessions"]] == [session]
        assert (await client.get("/v1/sessions", params={"label": "team=b"})).json() == {
            "sessions": []
        }
        assert (await client.post(f"{base}/stop")).json()["state"] == "stopped"
        assert (await client.get("/v1/sessions")).json() == {"sessions": []}
        listed = (await client.get("/v1/sessions", params={"all": 1})).json()["sessions"]
        assert [one["outcome"] for one in listed] == ["completed"]
        assert (await client.post(f"{base}/resume")).json()["state"] == "idle"
        assert (await client.post(f"{base}/kill")).json()["state"] == "stopped"
        removed = await client.delete(base)
        assert removed.json() == {"removed": session, "rescue": None}
        assert said(await client.get(base)) == (404, "session-not-found")


async def test_a_permission_is_answered_over_http(world: World):
    async with served(world) as client:
        session = await created(client, world, prompt="%% ask Delete it?\n%% say done")
        record = await settled(client, session)
        assert (record["outcome"], record["asks"][0]["title"]) == ("asking", "Delete it?")
        base = f"/v1/sessions/{session}/answers"
        assert said(await client.post(base, json={})) == (422, "request-invalid")
        assert said(await client.post(base, json={"choice": "no"})) == (422, "choice-invalid")
        wrong = {"request": "nope", "allow": True}
        assert said(await client.post(base, json=wrong)) == (404, "ask-not-found")
        assert (await client.post(base, json={"allow": True})).status_code == 200
        assert (await settled(client, session))["outcome"] == "completed"


async def test_the_same_key_gives_the_same_session_and_the_same_turn(world: World):
    async with served(world) as client:
        body = {"agent": "demo", "path": str(world.work)}
        key = {"Idempotency-Key": "once"}
        first = await client.post("/v1/sessions", json=body, headers=key)
        again = await client.post("/v1/sessions", json=body, headers=key)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]
        route = f"/v1/sessions/{first.json()['id']}/turns"
        turns = [
            (await client.post(route, json={"text": "%% say x"}, headers=key)).json()["turn"]
            for _ in range(3)
        ]
        assert turns == [1, 1, 1]


BAD_REQUESTS: list[tuple[str, str, bytes | None, tuple[int, str]]] = [
    ("GET", "/v1/nothing", None, (404, "route-not-found")),
    ("PUT", "/v1/sessions", None, (405, "method-not-allowed")),
    ("POST", "/v1/sessions", b"{", (422, "request-invalid")),
    ("POST", "/v1/sessions", b"\xff\xfe", (422, "request-invalid")),
    ("POST", "/v1/sessions", b"[]", (422, "request-invalid")),
    ("POST", "/v1/sessions", b'{"agent": "demo"}', (422, "request-invalid")),
    ("POST", "/v1/sessions", b'{"agent":"demo","path":"rel"}', (422, "request-invalid")),
    ("POST", "/v1/sessions", b'{"agent":"demo","path":"/","x":1}', (422, "request-invalid")),
    ("POST", "/v1/sessions", b'{"agent":"nope","path":"/"}', (404, "agent-unknown")),
    ("POST", "/v1/sessions", b'{"agent":"demo","path":"/no/x"}', (422, "directory-missing")),
    ("GET", "/v1/sessions/nope", None, (404, "session-not-found")),
    ("POST", "/v1/sessions/nope/turns", b'{"text":"x"}', (404, "session-not-found")),
    ("POST", "/v1/sessions/nope/turns", b"{}", (422, "request-invalid")),
    ("POST", "/v1/sessions/nope/turns", b"", (422, "request-invalid")),
    ("GET", "/v1/sessions/nope/events", None, (404, "session-not-found")),
    ("GET", "/v1/sessions/nope/events?after=x", None, (422, "request-invalid")),
    ("POST", "/v1/wait", b'{"sessions":[]}', (422, "request-invalid")),
    ("POST", "/v1/wait", b'{"sessions":["nope"]}', (404, "session-not-found")),
    ("POST", "/v1/sessions/nope/land", b"", (404, "session-not-found")),
    ("DELETE", "/v1/sessions/nope", None, (404, "session-not-found")),
    ("POST", "/v1/prune", b'{"older_than":-1}', (422, "request-invalid")),
]


async def test_a_bad_request_is_answered_with_what_is_wrong(world: World):
    async with served(world) as client:
        for method, route, body, expected in BAD_REQUESTS:
            answer = await client.request(
                method, route, content=body, headers={"content-type": "application/json"}
            )
            assert (route, body, *said(answer)) == (route, body, *expected)


async def test_a_huge_prompt_arrives_whole(world: World):
    async with served(world) as client:
        session = await created(client, world)
        text = "%% say got it\n" + "ä" * 12_000_000
        answer = await client.post(f"/v1/sessions/{session}/turns", json={"text": text})
        assert answer.status_code == 202
        assert (await settled(client, session))["last_line"] == "got it"
        entries = (await client.get(f"/v1/sessions/{session}/log")).json()["entries"]
        assert entries[0]["text"] == text


class Reader:
    """Follows a session's events until one of a kind."""

    def __init__(self, client: httpx.AsyncClient, session: str) -> None:
        self.client = client
        self.route = f"/v1/sessions/{session}/events"
        self.seen: list[int] = []
        self.texts: list[str] = []
        self.stored: list[str] = []
        self.late: list[str] = []
        self.begun = anyio.Event()

    async def follow(self, end: str) -> None:
        query = {"follow": 1, "after": self.seen[-1] if self.seen else 0, "deltas": 1}
        async with self.client.stream("GET", self.route, params=query) as stream:
            self.begun.set()
            async for line in stream.aiter_lines():
                if self._take(json.loads(line)) == end:
                    return

    def _take(self, event: dict[str, Any]) -> str:
        if "delta" in event:
            self.texts.append(event["delta"]["text"])
            self.late += self.stored
        if "seq" in event:
            self.seen.append(event["seq"])
        if event.get("fact", {}).get("kind") == "message-streamed":
            self.stored.append(event["fact"]["text"])
        return event.get("fact", {}).get("kind", "")

    async def during(self, text: str) -> None:
        """Follow while a turn runs to its end."""
        self.begun = anyio.Event()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.follow, "turn-ended")
                await self.begun.wait()
                turns = self.route.replace("/events", "/turns")
                await self.client.post(turns, json={"text": text})


async def test_streamed_text_comes_before_the_event_that_holds_it_or_not_at_all(world: World):
    async with served(world) as client:
        reader = Reader(client, await created(client, world))
        for number in range(10):
            reader.texts.clear()
            reader.stored.clear()
            await reader.during(f"%% say turn {number}")
            assert reader.stored == [f"turn {number}"]
            assert "".join(reader.texts) in ("", f"turn {number}")
            assert reader.late == []


async def test_events_are_followed_without_gap_or_double_and_picked_up_again(world: World):
    async with served(world) as client:
        reader = Reader(client, await created(client, world))
        await reader.during("%% say delay=0.02 one two")
        assert "".join(reader.texts) == "one two"
        await reader.during("%% say three")
        assert reader.seen == list(range(1, len(reader.seen) + 1))
        plain = (await client.get(reader.route)).text.splitlines()
        assert [json.loads(line)["seq"] for line in plain][: len(reader.seen)] == reader.seen


async def test_work_is_counted_shown_and_landed(world: World):
    world.repository()
    async with served(world) as client:
        session = await created(client, world, place="worktree", prompt="%% write b.txt new")
        await settled(client, session)
        base = f"/v1/sessions/{session}"
        assert (await client.get(f"{base}/changes")).json() == {
            "files": 1,
            "insertions": 1,
            "deletions": 0,
        }
        assert "+new" in (await client.get(f"{base}/diff")).text
        assert said(await client.post(f"{base}/land")) == (409, "nothing-to-land")
        landed = await client.post(f"{base}/land", json={"commit": True, "message": "Add b"})
        assert (landed.json()["target"], landed.json()["files"]) == ("main", 1)


async def test_the_host_tells_of_itself(world: World):
    async with served(world) as client:
        session = await created(client, world)
        health = (await client.get("/v1/health")).json()
        assert (health["ok"], health["sessions"]) == (True, {"idle": 1})
        assert health["home"] == str(world.home.folder)
        agents = (await client.get("/v1/agents")).json()
        assert {"demo", "claude-acp", "gemini"} <= {one["id"] for one in agents["agents"]}
        assert agents["faults"] == []
        checks = {one["check"] for one in (await client.get("/v1/doctor")).json()["findings"]}
        assert {"git", "disk", "database", "orphans"} <= checks
        assert (await client.post("/v1/doctor/fix")).status_code == 200
        before = (await client.get(f"/v1/sessions/{session}")).json()
        assert (await client.post("/v1/doctor/rebuild")).json() == {"sessions": 1}
        assert (await client.get(f"/v1/sessions/{session}")).json() == before
        pruned = await client.post("/v1/prune", json={"older_than": 0})
        assert pruned.json() == {"items": [], "freed_bytes": 0}
        schema = (await client.get("/openapi.json")).json()
        assert "/v1/sessions/{session}/turns" in schema["paths"]
        assert session


async def test_only_the_user_can_reach_the_socket(world: World):
    async with served(world):
        assert stat.S_IMODE(world.home.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(world.home.folder.stat().st_mode) == 0o700
        for file in world.home.folder.glob("*.db*"):
            assert file.parent == world.home.folder


async def test_a_second_service_leaves_the_first_alone_and_says_so(world: World):
    async with served(world) as client:
        with service(world) as second:
            with anyio.fail_after(20):
                assert await anyio.to_thread.run_sync(second.wait) == 0
            assert "another service" in (world.folder / "service.log").read_text()
        assert (await client.get("/v1/health")).json()["ok"]


async def test_a_deep_state_folder_is_served_all_the_same(world: World):
    deep = world.folder / ("d" * 50) / ("e" * 50)
    world.environment["BULLPEN_HOME"] = str(deep)
    async with served(world) as client:
        assert (await client.get("/v1/health")).json()["home"] == str(deep)
        assert not world.home.socket.is_relative_to(deep)
    assert not world.home.socket.exists()


async def test_those_who_wait_are_told_to_come_back_when_the_service_ends(world: World):
    with service(world) as process:
        async with door(world) as client:
            session = await created(client, world, prompt="%% say on it\n%% sleep 60")
            answer = await wait_while_it_ends(client, session)
            assert said(answer) == (503, "service-stopping")
        assert await anyio.to_thread.run_sync(process.wait) == 0
    async with world.host() as bullpen:
        assert (await bullpen.session(session)).state == "working"


async def wait_while_it_ends(client: httpx.AsyncClient, session: str) -> httpx.Response:
    answers: list[httpx.Response] = []

    async def wait() -> None:
        body = {"sessions": [session], "timeout": 60}
        answers.append(await client.post("/v1/wait", json=body))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await told(client, session, "on it")
            assert (await client.post("/v1/shutdown")).json() == {"ok": True}
    return answers[0]


async def told(client: httpx.AsyncClient, session: str, line: str) -> None:
    while (await client.get(f"/v1/sessions/{session}")).json().get("last_line") != line:
        await anyio.lowlevel.checkpoint()


def test_every_error_has_a_status_of_its_own_choice():
    kinds = [getattr(errors, name) for name in errors.__all__]
    raised_elsewhere = {errors.RemoteError, errors.WaitTimedOut, errors.TurnNotCompleted}
    missing = [
        kind.__name__
        for kind in kinds
        if issubclass(kind, BullpenError) and kind not in STATUSES and kind not in raised_elsewhere
    ]
    assert missing == []
