"""What becomes of a turn when the agent behind an adapter dies, with the real pi-acp and pi."""

import signal
import sys
from collections.abc import Generator
from pathlib import Path

import anyio
import psutil
import pytest

from bullpen.api import Bullpen
from bullpen.model.fact import TurnFailed
from bullpen.model.session import SessionState, TurnState
from kit.model import Model, running_model
from kit.real import settle
from kit.world import World, all_events, until

LIMIT = 0.5


@pytest.fixture
def model(world: World, tmp_path: Path) -> Generator[Model]:
    """A scripted model, pi-acp pointed at it, and a watchdog that loses patience soon."""
    with running_model(tmp_path / "model") as running:
        settle(world, "pi-acp", running)
        own = world.folder / "config" / "agents"
        own.mkdir(parents=True)
        (own / "pi-acp.toml").write_text(f'id = "pi-acp"\n[quirks]\nsilence_limit = {LIMIT}\n')
        yield running


async def begun(pen: Bullpen, world: World) -> int:
    """Start a session; return the pid of its agent's wrapper."""
    with anyio.fail_after(60):
        record = (await pen.create(world.wish(agent="pi-acp", id="one")))[0]
    assert record.pid is not None
    return record.pid


def pi_behind(wrapper: int) -> psutil.Process:
    descendants = psutil.Process(wrapper).children(recursive=True)
    heads = {one: {word.rpartition("/")[2] for word in one.cmdline()[:2]} for one in descendants}
    return next(one for one, names in heads.items() if "pi" in names)


async def test_a_turn_whose_agent_dies_behind_the_adapter_fails_and_the_session_comes_back(
    world: World, model: Model
):
    async with world.host() as pen:
        wrapper = await begun(pen, world)
        turn = await pen.send("one", "%%slow 60")
        await until(pen, "one", lambda one: "w0" in one.last_line)
        pi_behind(wrapper).send_signal(signal.SIGKILL)
        record = await until(pen, "one", lambda one: one.state is SessionState.FAILED)
        assert record.reason == "the agent behind the adapter died"
        assert record.turn is not None
        assert (record.turn.number, record.turn.state) == (turn, TurnState.FAILED)
        facts = [event.fact for event in await all_events(pen, "one")]
        assert [one.code for one in facts if isinstance(one, TurnFailed)] == ["agent-died"]
        with anyio.fail_after(60):
            await pen.resume("one", prompt="%%text here again")
            await pen.wait(["one"])
        assert (await pen.session("one")).last_line == "here again"


async def test_a_tool_that_says_nothing_for_long_is_left_alone(world: World, model: Model):
    nap = f"{sys.executable} -c 'import time; time.sleep({6 * LIMIT})'"
    async with world.host() as pen:
        await begun(pen, world)
        await pen.send("one", f"%%run {nap};;text rested")
        with anyio.fail_after(30):
            await pen.wait(["one"])
        record = await pen.session("one")
        assert record.turn is not None
        assert (record.turn.state, record.last_line) == (TurnState.DONE, "rested")
