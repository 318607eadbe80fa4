"""What every real agent must do under every dialect: one test per behaviour.

The agents are the real programs, the model behind them is a script. Nothing leaves the machine.
"""

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

import bullpen
from bullpen.errors import BullpenError, HandshakeRefused, ModeUnsupported
from bullpen.model.session import OVER, SessionState, TurnState
from bullpen.process import marked
from contract.scene import SESSION, begin, calls, finished, processes_with, said, speaking, told
from contract.table import Entry, chosen
from kit.door import door, service
from kit.model import Model
from kit.world import World, eventually, until

pytestmark = pytest.mark.parametrize("agent", chosen())
ECHO = Path(bullpen.__file__).parent / "testing" / "echo_server.py"
# A number no other process has: the command the agent runs is found by it.
NAP = "4321.5"


@pytest.mark.behaviour("streamed text")
async def test_text_is_streamed(stage: World, agent: str):
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        record = await told(pen, "%%slow 1")
        assert record.turn is not None
        assert (record.turn.state, record.turn.stop) == (TurnState.DONE, "end_turn")
        assert await said(pen) == "w0 w1 w2 w3 w4 "


@pytest.mark.behaviour("tool call, file written")
async def test_a_tool_is_called_and_a_file_is_written(stage: World, agent: str, entry: Entry):
    async with stage.host() as pen:
        await begin(pen, stage, agent, mode=entry.free)
        record = await told(pen, "%%write path=hello.txt;;text well done")
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE, record.turn.error
        assert (stage.work / "hello.txt").read_text() == "hello\n"
        assert await calls(pen)
        assert "well done" in await said(pen)


@pytest.mark.behaviour("permission allowed", needs="ask")
async def test_what_is_allowed_is_done(stage: World, agent: str, entry: Entry):
    if "ask" in entry.cannot:
        return await _has_no_mode_that_asks(stage, agent)
    async with stage.host() as pen:
        await begin(pen, stage, agent, mode=entry.ask)
        turn = await pen.send(SESSION, f"{entry.write};;text well done")
        record = await until(pen, SESSION, lambda one: bool(one.asks))
        assert record.state is SessionState.ASKING
        assert record.asks[0].deed is not None
        assert not (stage.work / "hello.txt").exists()
        record = await finished(pen, turn, allow=True)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE
        assert (stage.work / "hello.txt").read_text() == "hello\n"


@pytest.mark.behaviour("permission denied", needs="ask")
async def test_what_is_denied_is_not_done(stage: World, agent: str, entry: Entry):
    if "ask" in entry.cannot:
        return await _has_no_mode_that_asks(stage, agent)
    async with stage.host() as pen:
        await begin(pen, stage, agent, mode=entry.ask)
        record = await told(pen, f"{entry.write};;text well done", allow=False)
        assert record.turn is not None
        assert record.turn.state in (TurnState.DONE, TurnState.CANCELLED)
        assert not (stage.work / "hello.txt").exists()
        assert record.state is SessionState.IDLE


async def _has_no_mode_that_asks(stage: World, agent: str) -> None:
    async with stage.host() as pen:
        with pytest.raises(ModeUnsupported):
            await pen.create(stage.wish(agent=agent, mode="ask"))


@pytest.mark.behaviour("interrupt in stream")
async def test_an_interrupt_ends_a_turn_in_the_middle_of_its_text(stage: World, agent: str):
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        turn = await pen.send(SESSION, "%%slow 30")
        await speaking(pen)
        await pen.interrupt(SESSION)
        record = await finished(pen, turn)
        assert record.turn is not None
        assert record.turn.state is TurnState.CANCELLED
        assert (await told(pen, "%%text next")).last_line == "next"


@pytest.mark.behaviour("interrupt in tool")
async def test_an_interrupt_ends_the_command_that_runs(stage: World, agent: str, entry: Entry):
    async with stage.host() as pen:
        await begin(pen, stage, agent, mode=entry.free)
        turn = await pen.send(SESSION, f"%%run tail -f /dev/null --sleep-interval={NAP}")
        nap = f"--sleep-interval={NAP}"
        await eventually(lambda: bool(processes_with(nap)), timeout=40)
        await pen.interrupt(SESSION)
        record = await finished(pen, turn)
        assert record.turn is not None
        assert record.turn.state is TurnState.CANCELLED
        await eventually(lambda: not processes_with(nap))


@pytest.mark.behaviour("interrupt while asking", needs="ask")
async def test_an_interrupt_withdraws_what_is_asked(stage: World, agent: str, entry: Entry):
    if "ask" in entry.cannot:
        return await _has_no_mode_that_asks(stage, agent)
    async with stage.host() as pen:
        await begin(pen, stage, agent, mode=entry.ask)
        turn = await pen.send(SESSION, entry.write)
        await until(pen, SESSION, lambda one: bool(one.asks))
        await pen.interrupt(SESSION)
        record = await finished(pen, turn)
        assert record.turn is not None
        assert (record.turn.state, record.asks) == (TurnState.CANCELLED, [])
        assert not (stage.work / "hello.txt").exists()
        assert (await told(pen, "%%text next")).last_line == "next"


@pytest.mark.behaviour("second prompt while busy")
async def test_a_second_prompt_waits_for_the_first(stage: World, agent: str):
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        first = await pen.send(SESSION, "%%slow 1")
        second = await pen.send(SESSION, "%%text second")
        await finished(pen, first)
        record = await finished(pen, second)
        assert record.turn is not None
        assert (record.turn.number, record.turn.state) == (second, TurnState.DONE)
        assert await said(pen) == "w0 w1 w2 w3 w4 second"


@pytest.mark.behaviour("resume after kill of agent")
async def test_a_killed_agent_comes_back_with_its_conversation(
    stage: World, agent: str, model: Model
):
    word = f"remember-{os.urandom(4).hex()}"
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        await told(pen, f"{word} %%text noted")
        record = await pen.session(SESSION)
        assert record.pid is not None
        os.killpg(record.pid, signal.SIGKILL)
        await until(pen, SESSION, lambda one: one.state in OVER)
        with anyio.fail_after(60):
            await pen.resume(SESSION)
        before = model.said_to(word)
        record = await told(pen, "%%text back")
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE, record.turn.error
        assert model.said_to(word) > before


@pytest.mark.behaviour("adopted after kill of service")
async def test_a_killed_service_loses_and_doubles_nothing(stage: World, agent: str):
    with service(stage) as process:
        async with door(stage) as http:
            wish = stage.wish(agent=agent)
            body = {"agent": agent, "path": wish.directory, "id": SESSION}
            made = await http.post(
                "/v1/sessions", json=body | {"environment": wish.environment}, timeout=90
            )
            assert made.status_code == 201, made.text
            await http.post(f"/v1/sessions/{SESSION}/turns", json={"text": "%%slow 3"})
            await eventually(lambda: b'"w1 "' in _journal(stage))
            process.kill()
            process.wait()
    async with stage.host() as pen:
        record = await finished(pen, 1)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE, record.turn.error
        assert await said(pen) == "".join(f"w{number} " for number in range(15))
        assert (await told(pen, "%%text next")).last_line == "next"


def _journal(stage: World) -> bytes:
    file = stage.home.sessions / SESSION / "out.jsonl"
    return file.read_bytes() if file.exists() else b""


@pytest.mark.behaviour("model error 400")
async def test_a_request_the_model_refuses_fails_the_turn(stage: World, agent: str):
    await _fails(stage, agent, 400)


@pytest.mark.behaviour("model error 429, 500", needs="give-up")
@pytest.mark.parametrize("status", [429, 500])
async def test_a_model_that_cannot_now_fails_the_turn(
    stage: World, agent: str, entry: Entry, status: int, model: Model
):
    if "give-up" not in entry.cannot:
        return await _fails(stage, agent, status)
    word = f"again-{os.urandom(4).hex()}"
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        turn = await pen.send(SESSION, f"{word} %%error {status}")
        await eventually(lambda: model.said_to(word) > 1, timeout=40)
        record = await pen.session(SESSION)
        assert record.state is SessionState.WORKING
        await pen.interrupt(SESSION)
        await finished(pen, turn)
        assert (await told(pen, "%%text next")).last_line == "next"


async def _fails(stage: World, agent: str, status: int) -> None:
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        record = await told(pen, f"%%error {status}")
        assert record.turn is not None
        assert record.turn.state is TurnState.FAILED
        assert record.turn.error
        if record.limit is not None:
            # Too many requests are waited for; here somebody will not wait.
            assert (status, record.state) == (429, SessionState.LIMITED)
            await pen.interrupt(SESSION)
        assert (await told(pen, "%%text next")).last_line == "next"


@pytest.mark.behaviour("MCP server", needs="mcp")
async def test_an_mcp_server_reaches_the_agent(
    stage: World, agent: str, entry: Entry, echo_file: Path
):
    server = {
        "name": "probe",
        "command": sys.executable,
        "args": ["-I", str(ECHO), str(echo_file)],
        "env": [],
    }
    async with stage.host() as pen:
        if "mcp" in entry.cannot:
            with suppress(HandshakeRefused):
                await begin(pen, stage, agent, mode=entry.free, mcp_servers=[server])
                await told(pen, "%%mcp hi there", allow=True)
            assert not echo_file.exists()
            return
        record = await begin(pen, stage, agent, mode=entry.free, mcp_servers=[server])
        record = await told(pen, "%%mcp hi there", allow=True)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE, record.turn.error
        assert echo_file.read_text() == "hi there\n"


@pytest.mark.behaviour("two sessions at once")
async def test_two_sessions_work_at_once(stage: World, agent: str, entry: Entry):
    async with stage.host() as pen:
        starting = anyio.CapacityLimiter(1 if entry.starts_alone else 2)

        async def start(name: str) -> None:
            async with starting:
                await begin(pen, stage, agent, id=name)

        async with anyio.create_task_group() as starts:
            starts.start_soon(start, "one")
            starts.start_soon(start, "two")
        async with anyio.create_task_group() as tasks:
            for name in ("one", "two"):
                tasks.start_soon(partial(told, pen, "%%slow 1", id=name))
        for name in ("one", "two"):
            assert await said(pen, name) == "w0 w1 w2 w3 w4 "


@pytest.mark.behaviour("steer", needs="steer")
async def test_words_are_added_to_a_running_turn(
    stage: World, agent: str, entry: Entry, model: Model
):
    word = f"steer-{os.urandom(4).hex()}"
    async with stage.host() as pen:
        await begin(pen, stage, agent, mode=entry.free)
        turn = await pen.send(SESSION, "%%run python3 -c 'import time; time.sleep(2)';;text done")
        if "steer" in entry.cannot:
            with pytest.raises(BullpenError):
                await pen.send(SESSION, word, steer=True)
            return
        await until(pen, SESSION, lambda one: "time.sleep(2)" in one.last_line, timeout=40)
        await pen.send(SESSION, word, steer=True)
        record = await finished(pen, turn)
        assert record.turn is not None
        assert (record.turn.number, record.turn.state) == (turn, TurnState.DONE)
        assert model.said_to(word) > 0


@pytest.mark.behaviour("clean exit")
async def test_a_stopped_session_leaves_no_process(stage: World, agent: str):
    async with stage.host() as pen:
        await begin(pen, stage, agent)
        await told(pen, "%%text hi")
        await pen.stop(SESSION)
        folder = stage.home.sessions.resolve()
        assert [one for one in marked() if one.journal.is_relative_to(folder)] == []
