"""An agent outlives whoever started it, and is found again."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from bullpen.process import Child, Ending, Identity, adopt

if TYPE_CHECKING:
    from tests.process.conftest import Stage

AGENT = (
    "import signal, sys\nsignal.alarm(60)\nprint('up', flush=True)\n"
    "for line in sys.stdin:\n"
    "    print('got', line.strip(), flush=True)\n"
    "    if line == 'end\\n': sys.exit(9)\n"
)


async def orphan(stage: "Stage") -> Identity:
    """Have another process start an agent; return who it is once that process was killed."""
    program = Path(__file__).with_name("spawner.py")
    argv = [sys.executable, str(program), str(stage.journal.folder), str(stage.folder)]
    env = {**os.environ, "BULLPEN_SESSION": "brisk-otter", "BULLPEN_RUN": "1"}
    async with await anyio.open_process(
        [*argv, sys.executable, "-S", "-c", AGENT], env=env, stderr=None
    ) as service:
        assert service.stdout is not None
        pid, start_time = json.loads(await service.stdout.receive())
        os.kill(service.pid, signal.SIGKILL)
    return Identity(pid, start_time)


async def find(stage: "Stage", identity: Identity | None, *, run: int = 1) -> Child | None:
    child = await adopt(
        stage.journal, session="brisk-otter", run=run, identity=identity, watcher=stage.watcher
    )
    if child is not None:
        stage.children.append(child)
    return child


@pytest.mark.parametrize("known", ["identity", "pid file", "marks alone"])
async def test_an_agent_whose_service_was_killed_answers_the_next_and_its_end_is_seen(
    stage: "Stage", known: str
):
    with anyio.fail_after(20):
        identity = await orphan(stage)
        if known == "marks alone":
            stage.journal.pid_file.unlink()
        child = await find(stage, identity if known == "identity" else None)
        assert child is not None
        assert child.identity == identity
        follower = child.follow(len(b"up\n"))
        await child.write(b"hello\n")
        assert (await follower.read()).lines == [b"got hello"]
        await child.write(b"end\n")
        assert await child.wait() == Ending(9, None)
        assert (await follower.read()).lines == [b"got end"]
        assert await find(stage, identity) is None
        assert await find(stage, None) is None


async def test_an_adopted_agent_is_reaped_like_our_own(stage: "Stage"):
    with anyio.fail_after(20):
        identity = await orphan(stage)
        child = await find(stage, identity)
        assert child is not None
        assert await child.reap(grace=10) == Ending(143, 15)
        assert not identity.alive()


async def test_a_process_that_has_the_pid_by_now_is_not_adopted(stage: "Stage"):
    with anyio.fail_after(20):
        child, follower = await stage.start(["/bin/sh", "-c", "echo up; read line"])
        await follower.read()
        await child.write(b"\n")
        await child.wait()
    stage.journal.exit_file.unlink()
    ours = Identity.of(os.getpid())
    assert ours is not None
    boot, _, instant = ours.start_time.rpartition(":")
    assert await find(stage, Identity(os.getpid(), f"{boot}:{int(instant) - 1}")) is None
    stage.journal.pid_file.write_text(f"{os.getpid()} 1\n")
    assert await find(stage, None) is None


async def test_another_run_or_session_is_not_adopted(stage: "Stage"):
    with anyio.fail_after(20):
        _, follower = await stage.start(["/bin/sh", "-c", "echo up; read line"])
        await follower.read()
        assert await find(stage, None, run=2) is None
        other = await adopt(
            stage.journal, session="otter", run=1, identity=None, watcher=stage.watcher
        )
    assert other is None


async def test_what_an_ended_agent_left_running_is_not_taken_for_the_agent(stage: "Stage"):
    with anyio.fail_after(20):
        child, follower = await stage.start(["/bin/sh", "-c", "sleep 60 & echo up"])
        await follower.read()
        assert await child.wait() == Ending(0, None)
        assert await find(stage, child.identity) is None
        assert await find(stage, None) is None


async def test_an_agent_killed_together_with_its_wrapper_is_not_found(stage: "Stage"):
    with anyio.fail_after(20):
        identity = await orphan(stage)
        os.killpg(identity.pid, signal.SIGKILL)
        child = await find(stage, None)
        if child is not None:  # the kernel had not finished with them yet
            assert await child.wait() == Ending(None, None)
        assert await find(stage, identity) is None
        assert stage.journal.ending(1) is None
