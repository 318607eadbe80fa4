"""Sessions with a screen of their own: real agents in real tmux, told by their own signs."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable

import anyio
import pytest

from bullpen.api import Bullpen
from bullpen.errors import InterfaceUnsupported, ModeUnsupported, RequestInvalid, SessionBusy
from bullpen.model.fact import TurnQueued
from bullpen.model.session import OVER, SessionRecord, SessionState, TurnState
from bullpen.process import marked
from kit.door import door, service
from kit.model import Model, running_model
from kit.real import settle
from kit.world import World, all_events, eventually, until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
AGENTS = ("claude", "codex", "pi")
NAME = "on-screen"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    with running_model(tmp_path_factory.mktemp("model")) as made:
        yield made


async def begin(pen: Bullpen, world: World, agent: str, **more: object) -> SessionRecord:
    wish = world.wish(agent=agent, id=NAME, interface="terminal", **more)
    with anyio.fail_after(90):
        return (await pen.create(wish))[0]


async def over(pen: Bullpen, turn: int) -> SessionRecord:
    def is_over(one: SessionRecord) -> bool:
        now = one.turn
        return now is not None and now.number >= turn and now.state is not TurnState.RUNNING

    return await until(pen, NAME, is_over, timeout=40)


async def told(pen: Bullpen, text: str) -> SessionRecord:
    return await over(pen, await pen.send(NAME, text))


async def last_words(pen: Bullpen) -> str:
    found = await pen.messages(NAME, count=1)
    return found[-1].text if found else ""


def typed(world: World, *keys: str) -> None:
    """Do what somebody who sits at the screen does."""
    sock = str(world.home.screen(NAME))
    subprocess.run(["tmux", "-S", sock, "send-keys", "-t", "main", *keys], check=True)


async def pressed(world: World, key: str, until: Callable[[], bool]) -> None:
    """Press a key until it had its effect: a dialog that has just come up takes none yet."""
    with anyio.fail_after(40):
        while not until():
            typed(world, key)
            with anyio.move_on_after(1):
                await eventually(until)


def shown(world: World) -> str:
    """Return what a person would see."""
    words = ["tmux", "-S", str(world.home.screen(NAME)), "capture-pane", "-p", "-t", "main"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_prompt_is_typed_and_the_turn_is_told(world: World, model: Model, agent: str):
    settle(world, agent, model)
    async with world.host() as pen:
        record = await begin(pen, world, agent, mode="bypass")
        assert record.state is SessionState.IDLE
        record = await told(pen, "%%write path=hello.txt;;text written down")
        assert record.turn is not None
        assert (record.turn.state, record.turn.stop) == (TurnState.DONE, "end_turn")
        assert (world.work / "hello.txt").read_text() == "hello\n"
        assert await last_words(pen) == "written down"
        assert "written down" in shown(world)


@pytest.mark.parametrize("agent", AGENTS)
async def test_an_interrupt_ends_the_turn_at_the_screen(world: World, model: Model, agent: str):
    settle(world, agent, model)
    async with world.host() as pen:
        await begin(pen, world, agent, mode="bypass")
        turn = await pen.send(NAME, "%%slow 40")
        before = len(model.requests())
        await eventually(lambda: len(model.requests()) > before or model.said_to("slow 40") > 0)
        await until(pen, NAME, lambda one: one.state is SessionState.WORKING)
        await eventually(lambda: "w3" in shown(world))
        await pen.interrupt(NAME)
        record = await over(pen, turn)
        assert record.turn is not None
        assert record.turn.state is TurnState.CANCELLED
        await told(pen, "%%text next")
        assert await last_words(pen) == "next"


@pytest.mark.parametrize("agent", AGENTS)
async def test_what_somebody_types_at_the_screen_is_a_turn_too(
    world: World, model: Model, agent: str
):
    settle(world, agent, model)
    async with world.host() as pen:
        await begin(pen, world, agent, mode="bypass")
        await told(pen, "%%text first")
        typed(world, "-l", "%%text typed by hand")
        await eventually(lambda: "typed by hand" in shown(world))
        typed(world, "Enter")
        record = await over(pen, 2)
        assert record.turn is not None
        assert (record.turn.number, record.turn.state) == (2, TurnState.DONE)
        assert await last_words(pen) == "typed by hand"
        queued = [e.fact for e in await all_events(pen, NAME) if isinstance(e.fact, TurnQueued)]
        assert (queued[-1].sender, queued[-1].text) == ("terminal", "%%text typed by hand")


@pytest.mark.parametrize("agent", ["claude", "pi"])
@pytest.mark.parametrize("allow", [True, False])
async def test_leave_is_given_from_afar(world: World, model: Model, agent: str, allow: bool):
    settle(world, agent, model)
    async with world.host() as pen:
        await begin(pen, world, agent, mode="ask")
        turn = await pen.send(NAME, "%%write path=hello.txt;;text well done")
        await until(pen, NAME, lambda one: one.state is SessionState.ASKING, timeout=40)
        await pen.answer(NAME, allow=allow)
        record = await over(pen, turn)
        assert record.asks == []
        assert (world.work / "hello.txt").exists() is allow


async def test_codex_on_its_screen_changes_nothing_before_somebody_there_says_yes(
    world: World, model: Model
):
    settle(world, "codex", model)
    async with world.host() as pen:
        await begin(pen, world, "codex")
        turn = await pen.send(NAME, "%%escalate echo hello > hello.txt;;text well done")
        await eventually(lambda: "Would you like to run" in shown(world))
        assert not (world.work / "hello.txt").exists()
        await pressed(world, "y", (world.work / "hello.txt").exists)
        record = await over(pen, turn)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE
        assert (world.work / "hello.txt").exists()


async def test_a_mode_the_screen_cannot_honour_is_refused(world: World, model: Model):
    settle(world, "codex", model)
    async with world.host() as pen:
        with pytest.raises(ModeUnsupported, match="edit"):
            await begin(pen, world, "codex", mode="edit")
        assert await pen.sessions() == []
        await pen.create(world.wish(agent="codex", id=NAME, mode="edit"))
        with pytest.raises(ModeUnsupported):
            await pen.switch(NAME, "terminal")
        assert (await pen.session(NAME)).state is SessionState.IDLE


async def test_leave_given_at_the_screen_withdraws_the_question(world: World, model: Model):
    settle(world, "claude", model)
    async with world.host() as pen:
        await begin(pen, world, "claude", mode="ask")
        turn = await pen.send(NAME, "%%write path=hello.txt;;text well done")
        await until(pen, NAME, lambda one: one.state is SessionState.ASKING, timeout=40)
        await eventually(lambda: "Do you want" in shown(world))
        await pressed(world, "Enter", (world.work / "hello.txt").exists)
        record = await over(pen, turn)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE
        assert (world.work / "hello.txt").exists()


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_conversation_is_handed_over_and_back(world: World, model: Model, agent: str):
    settle(world, agent, model)
    word = f"walrus-{os.urandom(4).hex()}"
    async with world.host() as pen:
        wish = world.wish(agent=agent, id=NAME, mode="bypass")
        with anyio.fail_after(60):
            await pen.create(wish)
        await told(pen, f"{word} %%text noted")
        for interface in ("terminal", "structured"):
            with anyio.fail_after(60):
                record = await pen.switch(NAME, interface)
            assert (record.interface, record.state) == (interface, SessionState.IDLE)
            before = model.said_to(word)
            await told(pen, "%%text still here")
            assert await last_words(pen) == "still here"
            assert model.said_to(word) > before


async def test_a_running_turn_is_not_handed_over_unless_interrupted(world: World, model: Model):
    settle(world, "claude", model)
    async with world.host() as pen:
        with anyio.fail_after(60):
            await pen.create(world.wish(agent="claude", id=NAME))
        await pen.send(NAME, "%%slow 30")
        await until(pen, NAME, lambda one: "w0" in one.last_line, timeout=40)
        with pytest.raises(SessionBusy):
            await pen.switch(NAME, "terminal")
        with anyio.fail_after(60):
            record = await pen.switch(NAME, "terminal", interrupt=True)
        assert record.interface == "terminal"


async def test_what_cannot_be_switched_says_why(world: World):
    async with world.host() as pen:
        await pen.create(world.wish(agent="demo", id=NAME))
        with pytest.raises(InterfaceUnsupported):
            await pen.switch(NAME, "terminal")
        with pytest.raises(RequestInvalid):
            await pen.switch(NAME, "structured")
        with pytest.raises(InterfaceUnsupported):
            await pen.create(world.wish(agent="demo", interface="terminal"))


async def test_a_killed_service_leaves_the_screen_and_hears_the_rest(world: World, model: Model):
    settle(world, "claude", model)
    wish = world.wish(agent="claude")
    body = {"agent": "claude", "path": wish.directory, "id": NAME, "interface": "terminal"}
    with service(world) as process:
        async with door(world) as http:
            more = {"environment": wish.environment}
            made = await http.post("/v1/sessions", json=body | more, timeout=90)
            assert made.status_code == 201, made.text
            await http.post(f"/v1/sessions/{NAME}/turns", json={"text": "%%slow 3;;text x"})
            journal = world.home.sessions / NAME / "out.jsonl"
            await eventually(lambda: model.said_to("slow 3") > 0)
            process.kill()
            process.wait()
            assert journal.exists()
    async with world.host() as pen:
        record = await over(pen, 1)
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE
        assert (await last_words(pen)).startswith("w0 w1 w2")
        await told(pen, "%%text next")
        assert await last_words(pen) == "next"


async def test_a_killed_keeper_takes_its_screen_along(world: World, model: Model):
    settle(world, "claude", model)
    async with world.host() as pen:
        record = await begin(pen, world, "claude")
        assert record.pid is not None
        os.killpg(record.pid, signal.SIGKILL)
        await until(pen, NAME, lambda one: one.state in OVER)
        folder = world.home.sessions.resolve()
        await eventually(lambda: not [1 for one in marked() if one.journal.is_relative_to(folder)])


async def test_a_screen_that_is_taken_away_fails_the_session_and_says_so(
    world: World, model: Model
):
    settle(world, "claude", model)
    async with world.host() as pen:
        await begin(pen, world, "claude")
        await anyio.run_process(["tmux", "-S", str(world.home.screen(NAME)), "kill-server"])
        record = await until(pen, NAME, lambda one: one.state in OVER, timeout=40)
        assert record.state is SessionState.FAILED
        assert "the screen is gone" in record.stderr_tail
        assert "Traceback" not in record.stderr_tail


async def test_a_screen_whose_program_ends_ends_the_session(world: World, model: Model):
    settle(world, "claude", model)
    async with world.host() as pen:
        await begin(pen, world, "claude")
        typed(world, "-l", "/exit")
        await eventually(lambda: "/exit" in shown(world))
        typed(world, "Enter")
        record = await until(pen, NAME, lambda one: one.state in OVER, timeout=40)
        assert record.exit_code == 0
