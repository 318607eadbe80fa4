"""Adapters that outlive the agent they run, and say so."""

from pathlib import Path

import anyio
import psutil
import pytest

from bullpen.api import Bullpen
from bullpen.errors import HandshakeRefused
from bullpen.model.session import SessionRecord, TurnState
from kit.model import running_model
from kit.real import settle
from kit.world import World


async def told(pen: Bullpen, text: str) -> SessionRecord:
    turn = await pen.send("one", text)
    with anyio.fail_after(40):
        await pen.wait(["one"], turns={"one": turn})
    return await pen.session("one")


def _is_claude(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        # It came and went.
        return False
    return words[0].endswith("/claude") and "--output-format" in words


async def test_an_adapter_that_lost_its_claude_says_what_to_do_and_that_helps(
    world: World, tmp_path: Path
):
    with running_model(tmp_path / "model") as model:
        settle(world, "claude-acp", model)
        async with world.host() as pen:
            await pen.create(world.wish(agent="claude-acp", id="one"))
            record = await told(pen, "keep-this-word %%text noted")
            assert record.pid is not None
            children = psutil.Process(record.pid).children(recursive=True)
            inner = [one for one in children if _is_claude(one)]
            inner[0].kill()
            psutil.wait_procs(inner, timeout=10)
            # The adapter may not have noticed when the first prompt comes; then it says so in it.
            await told(pen, "%%text too late")
            record = await told(pen, "%%text too late")
            assert record.turn is not None
            assert record.turn.state is TurnState.FAILED
            assert "stop and resume the session" in (record.turn.error or "")
            await pen.stop("one")
            await pen.resume("one")
            before = model.said_to("keep-this-word")
            assert (await told(pen, "%%text back")).last_line == "back"
            assert model.said_to("keep-this-word") > before


async def test_a_conversation_that_is_gone_says_how_to_begin_anew(world: World, tmp_path: Path):
    with running_model(tmp_path / "model") as model:
        settle(world, "claude", model)
        async with world.host() as pen:
            await pen.create(world.wish(agent="claude", id="one"))
            await told(pen, "%%text noted")
            await pen.stop("one")
            for file in (Path(world.environment["HOME"]) / ".claude" / "projects").rglob("*.jsonl"):
                file.unlink()
            with pytest.raises(HandshakeRefused) as refused:
                await pen.resume("one")
            assert "--fresh" in refused.value.hint
            await pen.resume("one", fresh=True)
            assert (await told(pen, "%%text anew")).last_line == "anew"
