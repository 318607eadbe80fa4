"""Sessions whose agent is real and whose model is a script."""

import json
import os
import signal
from pathlib import Path

import anyio
import psutil
import pytest

from bullpen.api import Bullpen
from bullpen.errors import ProgramNotFound, RehearsalInvalid, RehearsalUnsupported
from bullpen.model.session import SessionRecord, SessionState, TurnState
from bullpen.process import marked
from kit.real import installed
from kit.world import World, ask, until

SCRIPT = """
final: nothing more
replies:
- when: write it
  steps: [{text: Here it is.}, {write: {path: made.txt, content: "made\\n"}}, Written.]
- when: error
  steps: [{error: {status: 400, message: no such thing}}]
- when: limit
  steps: [{error: {status: 429, message: too much}}]
- when: tell
  steps: [told]
- when: show
  steps: [{run: env > shown.txt}, shown]
"""
AGENTS = ("claude", "codex", "pi", "claude-acp", "codex-acp", "gemini")
KEYS = {"claude": "ANTHROPIC_API_KEY", "codex": "OPENAI_API_KEY", "pi": "OPENAI_API_KEY"}


@pytest.fixture
def script(world: World) -> Path:
    file = world.folder / "script.yaml"
    file.write_text(SCRIPT)
    return file


def set_up(world: World, agent: str) -> None:
    """Put the real agent on PATH, with the user's own keys beside it."""
    found = installed(agent)
    path = [*map(str, found.path), world.environment["PATH"]]
    world.environment["PATH"] = os.pathsep.join(path)
    scratch = world.folder / "scratch"
    scratch.mkdir()
    # Some keep what they compiled among temporary files.
    world.environment |= found.environment | {"TMPDIR": str(scratch)}
    world.environment |= dict.fromkeys((*KEYS.values(), "GEMINI_API_KEY"), "secret-3c9b")


async def begun(pen: Bullpen, world: World, agent: str, script: Path) -> SessionRecord:
    wish = world.wish(agent=agent, id="one", rehearsal=str(script), mode="bypass")
    with anyio.fail_after(60):
        return (await pen.create(wish))[0]


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_real_agent_plays_a_script(world: World, script: Path, agent: str):
    set_up(world, agent)
    async with world.host() as pen:
        await begun(pen, world, agent, script)
        record = await ask(pen, "one", "write it")
        assert record.turn is not None
        assert (record.turn.state, record.last_line) == (TurnState.DONE, "Written."), record.turn
        assert (world.work / "made.txt").read_text() == "made\n"
        assert (await ask(pen, "one", "something else")).last_line == "nothing more"
        await pen.stop("one")
        assert record.rehearsal == str(script)
    asked = world.home.sessions / "one" / "rehearsal" / "asked" / "access.log"
    assert "0:write" in asked.read_text()
    assert not list((world.folder / "home").iterdir())


@pytest.mark.parametrize("agent", KEYS)
async def test_the_users_own_keys_do_not_reach_the_agent(world: World, script: Path, agent: str):
    set_up(world, agent)
    async with world.host() as pen:
        await begun(pen, world, agent, script)
        assert (await ask(pen, "one", "show")).last_line == "shown"
    shown = (world.work / "shown.txt").read_text()
    assert "PATH=" in shown
    assert "secret-3c9b" not in shown


async def test_an_error_of_the_script_fails_the_turn(world: World, script: Path):
    set_up(world, "pi")
    async with world.host() as pen:
        await begun(pen, world, "pi", script)
        record = await ask(pen, "one", "error")
        assert record.turn is not None
        assert record.turn.state is TurnState.FAILED
        assert "no such thing" in (record.turn.error or "")
        assert (await ask(pen, "one", "tell")).last_line == "told"


async def test_a_limit_of_the_script_is_no_limit_of_the_account(world: World, script: Path):
    set_up(world, "codex")
    async with world.host() as pen:
        await begun(pen, world, "codex", script)
        await pen.send("one", "limit")
        record = await until(pen, "one", lambda one: one.limit is not None, timeout=40)
        assert record.limit is not None
        assert record.limit.account == "codex in rehearsal one"


@pytest.mark.parametrize("agent", ["claude", "pi"])
async def test_a_rehearsal_is_resumed_with_its_own_memory(world: World, script: Path, agent: str):
    set_up(world, agent)
    async with world.host() as pen:
        before = await begun(pen, world, agent, script)
        await ask(pen, "one", "tell me of kept-5d1e")
        assert before.pid is not None
        os.killpg(before.pid, signal.SIGKILL)
        await until(pen, "one", lambda one: one.state in (SessionState.FAILED, SessionState.LOST))
        with anyio.fail_after(60):
            await pen.resume("one")
        assert (await ask(pen, "one", "tell me")).last_line == "told"
    files = sorted((world.home.sessions / "one" / "rehearsal" / "asked").glob("*.json"))
    assert "kept-5d1e" in json.dumps(json.loads(files[-1].read_text())["body"])


async def test_a_rehearsal_goes_on_under_the_next_service(world: World, script: Path):
    set_up(world, "claude")
    async with world.host(end=False) as pen:
        before = await begun(pen, world, "claude", script)
    async with world.host() as pen:
        record = await ask(pen, "one", "tell me")
        assert (record.last_line, record.pid, record.run) == ("told", before.pid, 1)


async def test_a_stopped_rehearsal_leaves_no_process(world: World, script: Path):
    set_up(world, "claude")
    async with world.host() as pen:
        record = await begun(pen, world, "claude", script)
        assert record.pid is not None
        family = psutil.Process(record.pid).children(recursive=True)
        assert any("scripted_model" in " ".join(one.cmdline()) for one in family)
        await pen.stop("one")
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        folder = world.home.sessions.resolve()
        assert [one for one in marked() if one.journal.is_relative_to(folder)] == []


async def test_an_agent_nobody_can_point_at_a_script_is_refused(world: World, script: Path):
    async with world.host() as pen:
        with pytest.raises(RehearsalUnsupported):
            await pen.create(world.wish(rehearsal=str(script)))
        assert await pen.sessions() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("replies:\n- steps:\n  - sing: la\n", "line 3: no step"), (None, "there is no such file")],
)
async def test_a_wrong_script_is_refused_before_anything_starts(
    world: World, script: Path, text: str | None, words: str
):
    script.unlink() if text is None else script.write_text(text)
    async with world.host() as pen:
        with pytest.raises(RehearsalInvalid) as caught:
            await pen.create(world.wish(agent="claude", rehearsal=str(script)))
        assert words in str(caught.value)
        assert await pen.sessions() == []


async def test_a_missing_agent_is_told_as_without_a_rehearsal(world: World, script: Path):
    world.environment["PATH"] = "/usr/bin:/bin"
    async with world.host() as pen:
        with pytest.raises(ProgramNotFound) as caught:
            await pen.create(world.wish(agent="claude", rehearsal=str(script)))
        assert caught.value.program == "claude"
        assert "npm install" in caught.value.hint
