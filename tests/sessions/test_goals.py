"""Goals: a session goes on until its agent says that the goal is reached, or something ends it."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import bullpen
from bullpen.api import Bullpen
from bullpen.errors import GoalMissing, RequestInvalid
from bullpen.model.fact import GoalChanged, TurnQueued
from bullpen.model.session import SessionRecord, SessionState
from bullpen.sessions.goals import reported_in
from kit.door import served
from kit.world import World, all_events, until

SESSION = "goal-one"
DO = "touch-file done.txt"


async def begin(pen: Bullpen, world: World, **more: object) -> None:
    await pen.create(world.wish(id=SESSION, **more))


def script(*steps: str) -> str:
    body = "\n".join(steps)
    return f"```demo\n{body}\n```"


async def status(pen: Bullpen, wanted: str) -> SessionRecord:
    def is_so(one: SessionRecord) -> bool:
        return one.goal is not None and one.goal.status == wanted

    return await until(pen, SESSION, is_so)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("done\n\nGOAL COMPLETE: all tests pass", ("complete", "all tests pass")),
        ("GOAL BLOCKED: no key", ("blocked", "no key")),
        ("**GOAL COMPLETE**: yes\n", ("complete", "yes")),
        ("goal complete", ("complete", "")),
        ("GOAL COMPLETE: x\nand more", None),
        ("When it is done I will say GOAL COMPLETE: note", None),
        ("", None),
    ],
)
def test_only_a_last_line_of_its_own_is_a_report(text: str, wanted: tuple[str, str] | None):
    assert reported_in(text) == wanted


async def test_it_goes_on_until_the_agent_says_it_is_complete(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        goal = "all is well\n" + script("run true", "say GOAL COMPLETE: well indeed")
        await pen.lifter.set_goal(SESSION, goal)
        record = await status(pen, "complete")
        assert record.goal is not None
        assert (record.goal.note, record.goal.turns) == ("well indeed", 1)
        assert record.turns == 1


async def test_turns_follow_one_another_until_they_are_used(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await pen.lifter.set_goal(SESSION, "more\n" + script("run true", "say on"), max_turns=3)
        record = await status(pen, "budget-limited")
        assert record.goal is not None
        assert (record.goal.turns, record.turns) == (3, 3)
        senders = [
            e.fact.sender for e in await all_events(pen, SESSION) if isinstance(e.fact, TurnQueued)
        ]
        assert senders == ["goal"] * 3


async def test_a_token_budget_ends_it(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        goal = "more\n" + script("run true", "tokens 100 20")
        await pen.lifter.set_goal(SESSION, goal, budget_tokens=200)
        record = await status(pen, "budget-limited")
        assert record.goal is not None
        assert record.goal.used_tokens == 240


async def test_turns_that_do_nothing_end_it(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await pen.lifter.set_goal(SESSION, "more\n" + script("say thinking"))
        record = await status(pen, "blocked")
        assert record.goal is not None
        assert "did nothing" in record.goal.note


async def test_turns_that_fail_end_it(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await pen.lifter.set_goal(SESSION, "more\n" + script("error -32603 broken"))
        record = await status(pen, "blocked")
        assert record.goal is not None
        assert "broken" in record.goal.note
        assert record.turns == 2


async def test_an_interrupt_pauses_and_resume_goes_on(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        goal = "more\n" + script("run true", "wait-file go", "say GOAL COMPLETE: yes")
        await pen.lifter.set_goal(SESSION, goal)
        await until(pen, SESSION, lambda one: one.state is SessionState.WORKING)
        await pen.interrupt(SESSION)
        await status(pen, "paused")
        (world.work / "go").write_text("")
        await pen.lifter.change_goal(SESSION, "active")
        await status(pen, "complete")


async def test_a_report_through_the_door_ends_it(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await pen.lifter.set_goal(SESSION, "more\n" + script("wait-file never"))
        with pytest.raises(RequestInvalid):
            await pen.lifter.report_goal(SESSION, "maybe", "")
        record = await pen.lifter.report_goal(SESSION, "complete", "told")
        assert record.goal is not None
        assert (record.goal.status, record.goal.note) == ("complete", "told")
        await pen.interrupt(SESSION)


async def test_a_dropped_goal_is_gone(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        with pytest.raises(GoalMissing):
            await pen.lifter.change_goal(SESSION, "cleared")
        await pen.lifter.set_goal(SESSION, "more\n" + script("wait-file never"))
        record = await pen.lifter.change_goal(SESSION, "cleared")
        assert record.goal is None
        await pen.interrupt(SESSION)


async def test_a_goal_survives_the_service(world: World):
    async with world.host(end=False) as pen:
        await begin(pen, world)
        goal = "more\n" + script("run true", "wait-file go", "say GOAL COMPLETE: after all")
        await pen.lifter.set_goal(SESSION, goal)
        await until(pen, SESSION, lambda one: one.turn is not None and one.turn.tools > 0)
    (world.work / "go").write_text("")
    async with world.host() as pen:
        record = await status(pen, "complete")
        assert record.goal is not None
        assert record.goal.note == "after all"


async def test_a_new_session_may_have_a_goal_from_the_start(world: World):
    async with world.host() as pen:
        await begin(pen, world, goal="g\n" + script("run true", "say GOAL COMPLETE: yes"))
        await status(pen, "complete")


async def test_the_goal_tool_reports_through_the_socket(world: World):
    program = Path(bullpen.__file__).parent / "adapters" / "goal_tool.py"
    async with served(world) as http:
        body = {"agent": "demo", "path": str(world.work), "id": SESSION}
        await http.post("/v1/sessions", json=body)
        goal = {"objective": "more\n" + script("wait-file never")}
        assert (await http.put(f"/v1/sessions/{SESSION}/goal", json=goal)).status_code == 200
        calls: list[dict[str, object]] = [
            {"id": 1, "method": "initialize", "params": {}},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/list"},
            {
                "id": 3,
                "method": "tools/call",
                "params": {"name": "goal_update", "arguments": {"status": "complete", "note": "n"}},
            },
            {"id": 4, "method": "resources/list"},
        ]
        lines = "".join(json.dumps({"jsonrpc": "2.0", **call}) + "\n" for call in calls)
        words = [sys.executable, "-I", str(program), str(world.home.socket), SESSION]

        def run() -> str:
            return subprocess.run(
                words, input=lines, capture_output=True, text=True, check=True
            ).stdout

        answers = [json.loads(line) for line in (await anyio.to_thread.run_sync(run)).splitlines()]
        assert [one["id"] for one in answers] == [1, 2, 3, 4]
        assert answers[1]["result"]["tools"][0]["name"] == "goal_update"
        assert answers[2]["result"]["isError"] is False
        assert answers[3]["error"]["code"] == -32601
        found = (await http.get(f"/v1/sessions/{SESSION}/goal")).json()
        assert (found["status"], found["note"]) == ("complete", "n")


async def test_every_change_says_who_made_it(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await pen.lifter.set_goal(SESSION, "more\n" + script("run true", "say on"), max_turns=1)
        await status(pen, "budget-limited")
        made = [
            e.fact.by for e in await all_events(pen, SESSION) if isinstance(e.fact, GoalChanged)
        ]
        assert made == ["bullpen"]
