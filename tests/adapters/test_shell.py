"""The shell as an agent, through the host, with real commands."""

import pathlib

import anyio
import pytest

from bullpen.api import Bullpen
from bullpen.errors import ModeUnsupported
from bullpen.model.session import SessionState, TurnState
from kit.world import World, ask, eventually, until


async def begin(pen: Bullpen, world: World) -> None:
    await pen.create(world.wish(agent="shell", id="my-shell"))


async def told(pen: Bullpen, line: str) -> str:
    await ask(pen, "my-shell", line)
    found = await pen.messages("my-shell", count=1)
    return found[-1].text if found else ""


async def test_a_prompt_is_a_command_and_its_output_the_answer(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        assert await told(pen, "echo out; echo err >&2") == "out\nerr\n"
        record = await pen.session("my-shell")
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE


async def test_directory_and_variables_stay(world: World):
    (world.work / "inner").mkdir()
    async with world.host() as pen:
        await begin(pen, world)
        await told(pen, "cd inner; export X=5; f() { echo from f; }")
        assert await told(pen, "pwd; echo $X; f") == f"{world.work}/inner\n5\nfrom f\n"


async def test_another_code_than_0_fails_the_turn_and_names_it(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        record = await ask(pen, "my-shell", "exit_code() { return 7; }; exit_code")
        assert record.turn is not None
        assert (record.turn.state, record.turn.error_code) == (TurnState.FAILED, "7")
        assert await told(pen, "echo next") == "next\n"


async def test_an_interrupt_ends_the_command_and_the_shell_lives_on(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await told(pen, "X=kept")
        turn = await pen.send("my-shell", "echo begun; sleep 4322")
        await until(pen, "my-shell", lambda one: one.last_line == "begun")
        await pen.interrupt("my-shell")
        with anyio.fail_after(20):
            await pen.wait(["my-shell"], turns={"my-shell": turn})
        record = await pen.session("my-shell")
        assert record.turn is not None
        assert record.turn.state is TurnState.CANCELLED
        assert await told(pen, "echo $X") == "kept\n"


async def test_a_command_that_ignores_interrupts_is_ended_all_the_same(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        line = "bash -c 'trap : INT TERM; echo begun; while true; do sleep 0.1; done'"
        turn = await pen.send("my-shell", line)
        await until(pen, "my-shell", lambda one: one.last_line == "begun")
        await pen.interrupt("my-shell")
        with anyio.fail_after(20):
            await pen.wait(["my-shell"], turns={"my-shell": turn})
        assert await told(pen, "echo next") == "next\n"


async def test_exit_ends_the_shell_and_the_next_command_gets_a_new_one(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        record = await ask(pen, "my-shell", "exit 3")
        assert record.turn is not None
        assert (record.turn.state, "code 3" in (record.turn.error or "")) == (
            TurnState.FAILED,
            True,
        )
        record = await ask(pen, "my-shell", "exit 0")
        assert record.turn is not None
        assert record.turn.state is TurnState.DONE
        assert await told(pen, "echo back") == "back\n"


async def test_much_output_comes_whole_and_in_order(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await ask(pen, "my-shell", "seq 1 20000")
        found = await pen.messages("my-shell", count=1)
        assert found[-1].text == "".join(f"{number}\n" for number in range(1, 20001))


async def test_a_killed_shell_can_be_resumed(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        await told(pen, "echo one")
        await pen.stop("my-shell")
        record = await pen.resume("my-shell")
        assert record.state is SessionState.IDLE
        assert await told(pen, "echo two") == "two\n"


@pytest.mark.parametrize("mode", ["plan", "ask", "edit"])
async def test_a_mode_it_cannot_honour_is_refused(world: World, mode: str):
    async with world.host() as pen:
        with pytest.raises(ModeUnsupported):
            await pen.create(world.wish(agent="shell", mode=mode))


async def test_what_it_started_in_the_background_goes_with_the_session(world: World):
    async with world.host() as pen:
        await begin(pen, world)
        pid = int(await told(pen, "sleep 4323 & echo $!"))
        await pen.stop("my-shell")
        await eventually(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        with pathlib.Path(f"/proc/{pid}/stat").open("rb") as stat:
            return stat.read().split(b") ")[1][:1] != b"Z"
    except OSError:
        return False
