"""pi itself, driven over its rpc with our extension in it."""

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import psutil
import pytest
from anyio.abc import SocketStream

from bullpen.api import Bullpen
from bullpen.model.fact import (
    LimitReached,
    MessageStreamed,
    ModeChanged,
    PermissionAsked,
    TokensCounted,
    ToolChanged,
    TurnEnded,
    Unrecognised,
)
from bullpen.model.session import SessionRecord, SessionState, TurnState
from kit.model import Model, running_model
from kit.real import settle
from kit.world import World, all_events, ask, eventually, until

F = TypeVar("F")
LATER = """
export default function (pi: any) {
  pi.on("session_start", async () => {
    setTimeout(() => pi.sendUserMessage("%%text by myself"), 500);
  });
}
"""


@pytest.fixture
def model(world: World, tmp_path: Path) -> Generator[Model]:
    """A scripted model, and pi pointed at it."""
    with running_model(tmp_path / "model") as running:
        settle(world, "pi", running)
        yield running


async def said(bullpen: Bullpen, session: str) -> list[str]:
    return [one.text for one in await bullpen.messages(session, count=99)]


async def asking(bullpen: Bullpen, session: str) -> SessionRecord:
    return await until(bullpen, session, lambda one: one.state is SessionState.ASKING)


async def settled(bullpen: Bullpen, session: str) -> SessionRecord:
    with anyio.fail_after(20):
        await bullpen.wait([session])
    return await bullpen.session(session)


async def facts(bullpen: Bullpen, session: str, kind: type[F]) -> list[F]:
    return [one.fact for one in await all_events(bullpen, session) if isinstance(one.fact, kind)]


async def test_pi_opens_in_the_mode_asked_for_and_tells_its_models(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", mode="plan"))
        assert record.agent_mode == "plan"
        assert record.model == "scripted/scripted-1"
        assert "steer" in record.abilities


async def test_text_comes_in_pieces_and_tokens_are_counted(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi"))
        record = await ask(bullpen, record.id, "%%text hello there")
        assert record.turn is not None
        assert (record.turn.state, record.turn.stop) == (TurnState.DONE, "end_turn")
        assert await said(bullpen, record.id) == ["hello there"]
        [tokens] = await facts(bullpen, record.id, TokensCounted)
        assert (tokens.input_tokens, tokens.output_tokens, tokens.cost_usd) == (100, 10, None)
        assert not await facts(bullpen, record.id, Unrecognised)
        await until(bullpen, record.id, lambda one: one.size_tokens == 200000)


async def test_a_file_is_written_after_leave_was_given(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%write path=hello.txt"))
        record = await asking(bullpen, record.id)
        [asked] = await facts(bullpen, record.id, PermissionAsked)
        assert asked.deed is not None
        assert (asked.deed.kind, asked.deed.tool) == ("edit", "write")
        assert asked.deed.paths == [str(world.work / "hello.txt")]
        assert asked.content == [{"type": "diff", "path": "hello.txt", "newText": "hello\n"}]
        assert not (world.work / "hello.txt").exists()
        await bullpen.answer(record.id, allow=True)
        record = await settled(bullpen, record.id)
        assert (world.work / "hello.txt").read_text() == "hello\n"


async def test_a_refusal_reaches_the_model_with_its_reason(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%bash touch x;;text ok"))
        await asking(bullpen, record.id)
        await bullpen.answer(record.id, allow=False, reason="touch nothing here")
        record = await settled(bullpen, record.id)
        assert record.last_line == "ok"
        assert not (world.work / "x").exists()
        assert model.said_to("touch nothing here") == 1


@pytest.mark.parametrize(
    ("mode", "script", "asked", "made"),
    [
        ("plan", "%%write path=made", False, False),
        ("plan", "%%bash touch made", True, True),
        ("ask", "%%write path=made", True, True),
        ("ask", "%%bash touch made", True, True),
        ("ask", '%%tool read {"path": "."}', False, False),
        ("edit", "%%write path=made", False, True),
        ("edit", "%%bash touch made", True, True),
        ("bypass", "%%bash touch made", False, True),
    ],
)
async def test_each_mode_asks_for_what_it_must(
    world: World, model: Model, mode: str, script: str, *, asked: bool, made: bool
):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", mode=mode, prompt=script))
        if asked:
            await asking(bullpen, record.id)
            assert not (world.work / "made").exists()
            await bullpen.answer(record.id, allow=True)
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE
        assert bool(await facts(bullpen, record.id, PermissionAsked)) == asked
        assert (world.work / "made").exists() == made


@pytest.mark.parametrize("path", ["../out", "link/out", ".git/hooks/x", "sub/.pi/x.ts", "~/out"])
async def test_free_edits_end_at_the_working_directory(world: World, model: Model, path: str):
    (world.work / "link").symlink_to(world.folder)
    async with world.host() as bullpen:
        wish = world.wish(agent="pi", mode="edit", prompt=f"%%write path={path}")
        record, _ = await bullpen.create(wish)
        record = await settled(bullpen, record.id)
        if record.asks:
            # Else a policy of the host has refused it already.
            await bullpen.answer(record.id, allow=False)
            await settled(bullpen, record.id)
        [asked] = await facts(bullpen, record.id, PermissionAsked)
        assert asked.deed is not None
        assert not Path(asked.deed.paths[0]).exists()


async def test_the_mode_can_be_changed_on_the_way(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", mode="ask"))
        record = await bullpen.set_mode(record.id, "bypass")
        assert await facts(bullpen, record.id, ModeChanged) == [ModeChanged(mode="bypass")]
        await ask(bullpen, record.id, "%%bash touch made")
        assert (world.work / "made").exists()


async def test_the_model_can_be_changed_on_the_way(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", model="scripted-2"))
        assert record.model == "scripted/scripted-2"
        record = await bullpen.set_model(record.id, "scripted/scripted-1")
        assert record.model == "scripted/scripted-1"


async def test_an_interrupt_ends_a_stream_at_once(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%slow 30"))
        await until(bullpen, record.id, lambda one: bool(one.last_line))
        await bullpen.interrupt(record.id)
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert record.turn.stop == "cancelled"
        assert (await ask(bullpen, record.id, "%%text on we go")).last_line == "on we go"


async def test_an_interrupt_takes_the_running_command_with_it(world: World, model: Model):
    async with world.host() as bullpen:
        wish = world.wish(agent="pi", mode="bypass", prompt="%%bash echo $$ >pid; exec sleep 300")
        record, _ = await bullpen.create(wish)
        await eventually(lambda: (world.work / "pid").exists() and _pid(world) > 0)
        assert psutil.pid_exists(_pid(world))
        await bullpen.interrupt(record.id)
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert record.turn.stop == "cancelled"
        await eventually(lambda: not psutil.pid_exists(_pid(world)))
        ends = [one.status for one in await facts(bullpen, record.id, ToolChanged) if one.status]
        assert ends == ["cancelled"]


def _pid(world: World) -> int:
    return int((world.work / "pid").read_text() or 0)


async def test_an_interrupt_answers_what_is_open(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%bash touch made"))
        await asking(bullpen, record.id)
        await bullpen.interrupt(record.id)
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert (record.turn.stop, record.asks) == ("cancelled", [])
        assert not (world.work / "made").exists()
        assert (await ask(bullpen, record.id, "%%text still here")).last_line == "still here"


async def test_an_interrupt_right_behind_the_prompt_is_not_lost(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi"))
        await bullpen.send(record.id, "%%slow 30")
        await bullpen.interrupt(record.id)
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert record.turn.stop == "cancelled"
        assert record.state is SessionState.IDLE


async def test_a_second_prompt_waits_for_the_first(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%slow 0.5 one"))
        await bullpen.send(record.id, "%%text two")
        record = await settled(bullpen, record.id)
        ends = await facts(bullpen, record.id, TurnEnded)
        assert [(one.turn, one.stop) for one in ends] == [(1, "end_turn"), (2, "end_turn")]
        assert record.last_line == "two"


async def test_words_are_added_to_the_running_turn(world: World, model: Model):
    async with world.host() as bullpen:
        script = "%%bash touch made;;text first"
        record, _ = await bullpen.create(world.wish(agent="pi", prompt=script))
        await asking(bullpen, record.id)
        turn = await bullpen.send(record.id, "%%text second", steer=True, key="k")
        assert turn == await bullpen.send(record.id, "%%text second", steer=True, key="k") == 1
        await bullpen.answer(record.id, allow=True)
        record = await settled(bullpen, record.id)
        assert (record.turns, record.last_line) == (1, "second")
        assert model.said_to("%%text second") == 1
        log = [(one.role, one.text) for one in await bullpen.log(record.id)]
        assert log == [
            ("human", script),
            ("human", "%%text second"),
            ("assistant", "second"),
        ]


async def test_words_that_come_too_late_are_a_prompt_of_their_own(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%slow 0.3 first"))
        await until(bullpen, record.id, lambda one: bool(one.last_line))
        turns: set[int] = set()
        for number in range(40):
            turns.add(await bullpen.send(record.id, f"%%text late {number}", steer=True))
            await bullpen.wait([record.id], timeout=0.01)
        record = await settled(bullpen, record.id)
        assert record.turns >= max(turns) > 1
        for number in range(40):
            assert model.said_to(f"%%text late {number}") >= 1


async def test_words_for_a_turn_that_is_being_ended_wait_for_the_next(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%slow 30"))
        await until(bullpen, record.id, lambda one: bool(one.last_line))
        await bullpen.interrupt(record.id)
        assert await bullpen.send(record.id, "%%text next", steer=True) == 2
        record = await settled(bullpen, record.id)
        assert record.last_line == "next"


async def test_a_command_of_an_extension_is_a_turn_without_an_answer(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi"))
        record = await ask(bullpen, record.id, "/bullpen-mode edit")
        assert record.turn is not None
        assert (record.turn.stop, record.agent_mode) == ("end_turn", "edit")


@pytest.mark.parametrize(("status", "limit"), [(400, None), (429, "rate"), (500, None)])
async def test_an_error_of_the_model_fails_the_turn(
    world: World, model: Model, status: int, limit: str | None
):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt=f"%%error {status}"))
        rest = SessionState.LIMITED if limit else SessionState.IDLE
        record = await until(bullpen, record.id, lambda one: one.state is rest)
        assert record.turn is not None
        assert record.turn.state is TurnState.FAILED
        assert record.turn.error_code == f"http-{status}"
        limits = [one.limit for one in await facts(bullpen, record.id, LimitReached)]
        assert limits == ([limit] if limit else [])


async def test_a_conversation_comes_back_after_its_agent_was_killed(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi"))
        record = await ask(bullpen, record.id, "%%text remember the walrus")
        assert record.pid is not None
        os.killpg(record.pid, signal.SIGKILL)
        await until(bullpen, record.id, lambda one: one.state is SessionState.LOST)
        before = record.agent_session
        record = await bullpen.resume(record.id, prompt="%%text back again")
        record = await settled(bullpen, record.id)
        assert (record.agent_session, record.last_line) == (before, "back again")
        assert "walrus" in str(model.requests()[-1]["body"])


async def test_a_conversation_that_was_never_prompted_comes_back(world: World, model: Model):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi"))
        await bullpen.stop(record.id)
        record = await bullpen.resume(record.id, prompt="%%text first words")
        record = await settled(bullpen, record.id)
        assert record.last_line == "first words"


async def test_a_turn_goes_on_while_no_service_runs(world: World, model: Model):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%slow 1 piece by piece"))
        await until(bullpen, record.id, lambda one: bool(one.last_line))
    async with world.host() as bullpen:
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert record.turn.stop == "end_turn"
        pieces = await facts(bullpen, record.id, MessageStreamed)
        text = "".join(one.text for one in pieces)
        assert text == (await said(bullpen, record.id))[0]
        assert (await ask(bullpen, record.id, "%%text after that")).last_line == "after that"


async def test_a_permission_is_still_open_for_the_next_service(world: World, model: Model):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%write path=hello.txt"))
        await asking(bullpen, record.id)
    async with world.host() as bullpen:
        record = await asking(bullpen, record.id)
        await bullpen.answer(record.id, allow=True)
        record = await settled(bullpen, record.id)
        assert (world.work / "hello.txt").read_text() == "hello\n"


async def test_a_run_an_extension_began_is_a_turn_of_its_own(world: World, model: Model):
    folder = Path(world.environment["HOME"]) / ".pi" / "agent" / "extensions"
    folder.mkdir(parents=True)
    (folder / "later.ts").write_text(LATER)
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi"))
        record = await until(bullpen, record.id, lambda one: one.last_line == "by myself")
        record = await settled(bullpen, record.id)
        assert record.turn is not None
        assert (record.turn.is_foreign, record.turn.stop) == (True, "end_turn")
        assert (await bullpen.log(record.id))[0].text == "%%text by myself"
        assert (await ask(bullpen, record.id, "%%text as told")).last_line == "as told"


async def test_what_pi_does_is_told_in_a_file(world: World, model: Model):
    signals = world.folder / "signals"
    more = {"BULLPEN_SIGNALS": str(signals)}
    world.agents["pi"] |= more
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(agent="pi", prompt="%%bash ls"))
        await asking(bullpen, record.id)
        told = [json.loads(line) for line in signals.read_text().splitlines()]
        assert [one["event"] for one in told] == [
            "session_start",
            "input",
            "agent_start",
            "tool_start",
            "permission_asked",
            "ask_start",
        ]
        assert (told[0]["session"], told[0]["mode"]) == (record.agent_session, "ask")
        assert told[4]["input"] == {"command": "ls"}
        await bullpen.answer(record.id, allow=True)
        await settled(bullpen, record.id)
        told = [json.loads(line) for line in signals.read_text().splitlines()]
        assert [one["event"] for one in told[6:]] == [
            "ask_end",
            "permission_answered",
            "tool_end",
            "agent_end",
            "agent_settled",
        ]
        assert told[-1]["stop"] == "stop"


async def test_the_model_can_report_on_its_goal(world: World, model: Model):
    socket = str(world.home.socket)
    Path(socket).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    heard: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            while not (heard and heard[-1].rstrip().endswith(b"}")):
                heard.append((heard.pop() if heard else b"") + await stream.receive())
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    listener = await anyio.create_unix_listener(socket)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        async with world.host() as bullpen:
            words = '{"status": "complete", "note": "it works"}'
            wish = world.wish(agent="pi", prompt=f"%%tool goal_update {words};;text told")
            record, _ = await bullpen.create(wish)
            record = await settled(bullpen, record.id)
            assert record.last_line == "told"
            assert not await facts(bullpen, record.id, PermissionAsked)
            path = f"/v1/sessions/{record.id}/goal/report"
            assert heard[0].startswith(f"POST {path} ".encode())
        tasks.cancel_scope.cancel()
    body = heard[0].partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"status": "complete", "note": "it works"}
    Path(socket).unlink()


async def test_two_conversations_at_once_do_not_mix(world: World, model: Model):
    async with world.host() as bullpen:
        made = [
            (await bullpen.create(world.wish(agent="pi", prompt=f"%%slow 0.5 words of {name}")))[0]
            for name in ("one", "two")
        ]
        with anyio.fail_after(20):
            await bullpen.wait([one.id for one in made])
        assert model.said_to("words of one") == model.said_to("words of two") == 1
        assert made[0].agent_session != made[1].agent_session


async def test_stop_leaves_no_process(world: World, model: Model):
    async with world.host() as bullpen:
        wish = world.wish(agent="pi", mode="bypass", prompt="%%bash echo $$ >pid; exec sleep 300")
        record, _ = await bullpen.create(wish)
        await eventually(lambda: (world.work / "pid").exists() and _pid(world) > 0)
        record = await bullpen.session(record.id)
        assert record.pid is not None
        pids = [record.pid, _pid(world)]
        await bullpen.stop(record.id)
        await eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_a_server_of_tools_is_refused_rather_than_dropped(world: World, model: Model):
    server: dict[str, Any] = {"name": "probe", "command": "true", "args": [], "env": []}
    async with world.host() as bullpen:
        with pytest.raises(Exception, match="no MCP servers"):
            await bullpen.create(world.wish(agent="pi", mcp_servers=[server]))
