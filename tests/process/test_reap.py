"""Nothing of an agent is left; nothing else is touched."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from bullpen.process import Ending, Identity, Journal, marked, reap_group, spawn
from bullpen.process.table import Mark
from bullpen.testing.lifeline import Lifeline

if TYPE_CHECKING:
    from tests.process.conftest import Stage

ENV = dict(os.environ)
SIT = "import time; time.sleep(3600)"
STUBBORN = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {SIT}"
)


def family(line: Lifeline, child: str, *, how: str = "") -> list[str]:
    """Return a program that starts `child`, then sits."""
    return line.python(f"import subprocess\nsubprocess.Popen({line.python(child)}{how})\n{SIT}")


def begin(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, env=env, start_new_session=True)


@pytest.mark.parametrize(
    "how",
    [
        "",
        ", start_new_session=True",
        ", process_group=0",
        ", process_group=0, env={}",
    ],
    ids=["same group", "setsid", "own group", "own group without our marks"],
)
@pytest.mark.parametrize("body", [SIT, STUBBORN], ids=["willing", "stubborn"])
async def test_a_grandchild_ends_with_the_agent(stage: "Stage", how: str, body: str):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        child, follower = await stage.start(family(line, body, how=how))
        await line.held_by(2)
        if body == STUBBORN:
            await follower.read()
        ending = await child.reap(grace=0.2 if body == STUBBORN else 10)
        await line.cut()
    assert ending == Ending(143, 15)
    assert child.survivors == ()


async def test_a_grandchild_that_outlives_its_parent_is_stopped_too(stage: "Stage"):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        body = f"import subprocess\nsubprocess.Popen({line.python(SIT)}, start_new_session=True)\n"
        body += f"subprocess.Popen({line.python(SIT)})"
        child, _ = await stage.start(line.python(body))
        await line.held_by(3)
        assert await child.wait() == Ending(0, None)
        assert await child.reap(grace=10) == Ending(0, None)
        await line.cut()


async def test_an_agent_that_ignores_sigterm_is_killed(stage: "Stage"):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        # The wrapper waits for it, so nobody is left to write how it ended.
        child, follower = await stage.start(line.python(STUBBORN))
        await follower.read()
        assert await child.reap(grace=0.1) == Ending(137, 9)
        assert await child.reap(grace=0.1) == Ending(137, 9)
        await line.cut()


async def test_who_waits_while_another_reaps_sees_the_same_ending(stage: "Stage"):
    endings: list[Ending] = []

    async def wait() -> None:
        endings.append(await child.wait())

    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        child, follower = await stage.start(line.python(STUBBORN))
        await follower.read()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            endings.append(await child.reap(grace=0.1))
        await line.cut()
    assert endings == [Ending(137, 9)] * 2


async def test_an_agent_that_is_reaped_before_it_has_started_is_soon_gone(stage: "Stage"):
    with anyio.fail_after(20):
        for run in range(1, 30):
            child, _ = await stage.start(["sleep", "60"], run=run)
            ending = await child.reap(grace=60)
            assert ending == Ending(143, 15)
            assert not child.identity.alive()


async def test_a_stopped_agent_ends_by_sigterm(stage: "Stage"):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        child, _ = await stage.start(line.python(SIT))
        await line.held_by(1)
        os.killpg(child.pid, signal.SIGSTOP)
        assert await child.reap(grace=10) == Ending(143, 15)
        await line.cut()


async def test_cancelling_does_not_leave_an_agent_half_ended(stage: "Stage"):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        child, follower = await stage.start(line.python(STUBBORN))
        await follower.read()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await child.reap(grace=0.1)
        await line.cut()


async def test_a_group_is_reaped_whole_even_when_cancelled(tmp_path: Path):
    with Lifeline.open(tmp_path) as line, anyio.fail_after(15):
        process = begin(line.python(SIT), dict(os.environ))
        identity = Identity.of(process.pid)
        assert identity is not None
        await line.held_by(1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await reap_group(identity, grace=10)
        await line.cut()
        assert process.wait() == -signal.SIGTERM


async def test_a_process_that_leads_no_group_is_ended_alone(tmp_path: Path):
    with Lifeline.open(tmp_path) as line, anyio.fail_after(15):
        body = f"import subprocess\nchild = subprocess.Popen({line.python(SIT)})\n"
        body += "open('pid', 'w').write(str(child.pid))\nprint(child.wait())"
        parent = begin(["sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path), *line.python(body)], ENV)
        await line.held_by(2)
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await anyio.lowlevel.checkpoint()
        member = Identity.of(int((tmp_path / "pid").read_text()))
        assert member is not None
        await reap_group(member, grace=10)
        assert parent.wait() == 0, "it saw its child go, and went its own way"
        await line.cut()


async def test_the_same_session_in_a_later_run_and_other_sessions_are_left_alone(stage: "Stage"):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(15):
        child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
        await follower.read()
        here = stage.journal.folder
        marks = [
            Mark("brisk-otter", 2, here),
            Mark("brisk-otter-2", 1, here),
            Mark("brisk-otter", 1, stage.folder / "another service"),
            Mark("", 1, here),
        ]
        others = [begin(line.python(SIT), {**stage.env, **mark.environment()}) for mark in marks]
        earlier = begin(
            line.python(SIT), {**stage.env, **Mark("brisk-otter", 0, here).environment()}
        )
        await line.held_by(5)
        await child.reap(grace=5)
        assert [other.poll() for other in others] == [None] * 4
        assert earlier.wait() == -signal.SIGTERM
        for other in others:
            other.kill()
            other.wait()


async def test_who_reaps_a_session_it_runs_inside_of_survives(tmp_path: Path):
    program = (
        "import anyio, os\n"
        "from pathlib import Path\n"
        "from bullpen.process import *\n"
        "async def main():\n"
        "    journal = Journal(Path('brisk-otter').absolute())\n"
        "    journal.prepare(run=1)\n"
        "    async with Watcher.open() as watcher:\n"
        "        child = await spawn(['sleep', '60'], journal=journal, run=1, cwd=Path(),\n"
        "                            env=dict(os.environ), watcher=watcher)\n"
        "        print(await child.reap(grace=5))\n"
        "        child.close()\n"
        "anyio.run(main)\n"
    )
    env = {**os.environ, **Mark("brisk-otter", 1, tmp_path / "brisk-otter").environment()}
    done = await anyio.run_process([sys.executable, "-c", program], cwd=tmp_path, env=env)
    assert b"Ending(exit_code=143, signal=15)" in done.stdout


async def test_a_recycled_pid_is_not_taken_for_ours(tmp_path: Path):
    with Lifeline.open(tmp_path) as line, anyio.fail_after(10):
        other = begin(line.python(SIT), dict(os.environ))
        await line.held_by(1)
        theirs = Identity.of(other.pid)
        assert theirs is not None
        boot, _, instant = theirs.start_time.rpartition(":")
        before = Identity(other.pid, f"{boot}:{int(instant) - 1}")
        assert not before.alive()
        before.signal(signal.SIGKILL)
        await reap_group(before, grace=0.1)
        await reap_group(Identity(other.pid, f"another-boot:{instant}"), grace=0.1)
        assert theirs.alive()
        assert other.poll() is None
        await reap_group(theirs, grace=5)
        assert other.wait() == -signal.SIGTERM
        await line.cut()


async def test_fifty_agents_started_and_stopped_leave_nothing_behind(stage: "Stage"):
    with Lifeline.open(stage.folder) as line, anyio.fail_after(50):
        before = stage.descriptors()
        started: list[Identity] = []
        hold = f"exec 9>{line.path}; printf . >&9; sleep 60 & exec sleep 60"

        async def one(number: int) -> None:
            journal = Journal(stage.folder / "sessions" / f"otter-{number}")
            begins = journal.prepare(run=1)
            child = await spawn(
                ["/bin/sh", "-c", f"echo up; {hold}"],
                journal=journal,
                run=1,
                cwd=stage.folder,
                env=stage.env,
                watcher=stage.watcher,
            )
            follower = child.follow(begins)
            await follower.read()
            assert await child.reap(grace=20) == Ending(143, 15)
            child.close()
            started.append(child.identity)
            journal.stdin.unlink()

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one, number)
        await line.held_by(50)
        await line.cut()
        assert stage.descriptors() < before, "our end of the line is closed, nothing opened"
    assert [one for one in marked() if one.journal.is_relative_to(stage.folder)] == []
    assert [one for one in started if one.look() is not None] == [], "not even a zombie"
    assert len(started) == 50
