"""Writing to an agent, waiting for it, letting go of it."""

import hashlib
import os
import signal
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from bullpen.errors import ProcessGone
from bullpen.process import Ending, adopt

if TYPE_CHECKING:
    from tests.process.conftest import Stage

ECHO = "import sys\nprint('up')\nfor line in sys.stdin.buffer: print('got', line)"
GATED = (
    "import hashlib, sys\nfrom pathlib import Path\n"
    "print('up')\n"
    "gate = open({gate!r})\n"  # blocks until the test opens the other end
    "data = sys.stdin.buffer.readline()\n"
    "print(len(data), hashlib.sha256(data).hexdigest())\n"
    "for line in sys.stdin.buffer: print('got', line)"
)


async def test_a_write_far_larger_than_the_pipe_waits_for_a_slow_reader_and_arrives_whole(
    stage: "Stage",
):
    gate = stage.folder / "gate"
    os.mkfifo(gate)
    child, follower = await stage.python(GATED.format(gate=str(gate)))
    data = os.urandom(4_000_000).replace(b"\n", b"") + b"\n"
    order: list[str] = []

    async def write() -> None:
        await child.write(data)
        order.append("written")

    with anyio.fail_after(20):
        await follower.read()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(child.write, b"after\n")
            # The loop goes on: the writer waits, everybody else does not.
            await anyio.wait_all_tasks_blocked()
            order.append("others had their turn")
            os.close(os.open(gate, os.O_WRONLY))
        digest = hashlib.sha256(data).hexdigest()
        got = (await follower.read()).lines
        while len(got) < 2:
            got += (await follower.read()).lines
    assert got == [f"{len(data)} {digest}".encode(), b"got b'after\\n'"]
    assert order == ["others had their turn", "written"]


async def test_a_write_cut_short_leaves_a_torn_line_that_the_next_write_closes(stage: "Stage"):
    gate = stage.folder / "gate"
    os.mkfifo(gate)
    child, follower = await stage.python(GATED.format(gate=str(gate)))
    with anyio.fail_after(20):
        await follower.read()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.write, b"x" * 4_000_000 + b"\n")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.write, b"next\n")
            await anyio.wait_all_tasks_blocked()
            os.close(os.open(gate, os.O_WRONLY))
        got = (await follower.read()).lines
        while len(got) < 2:
            got += (await follower.read()).lines
    torn_bytes = int(got[0].split()[0])
    assert 65_536 <= torn_bytes - 1 < 4_000_000
    assert got[1] == b"got b'next\\n'"


async def test_lines_of_many_writers_are_not_mixed(stage: "Stage"):
    child, follower = await stage.python(
        "import sys\nfor line in sys.stdin: print(len(line), len(set(line.strip())))"
    )
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for letter in b"abcdefgh":
                tasks.start_soon(child.write, bytes([letter]) * 300_000 + b"\n")
        got: list[bytes] = []
        while len(got) < 8:
            got += (await follower.read()).lines
    assert got == [b"300001 1"] * 8


async def test_writing_to_an_agent_that_has_ended_is_an_error(stage: "Stage"):
    child, _ = await stage.start(["true"])
    with anyio.fail_after(10):
        assert await child.wait() == Ending(0, None)
        with pytest.raises(ProcessGone):
            await child.write(b"anyone?\n")


async def test_a_writer_that_waits_for_room_learns_of_the_agents_end(stage: "Stage"):
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    failures: list[int] = []

    async def write() -> None:
        try:
            await child.write(b"x" * 4_000_000)
        except ProcessGone as error:
            failures.append(error.pid)

    with anyio.fail_after(10):
        await follower.read()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            await child.reap(grace=5)
    assert failures == [child.pid]


async def test_closing_wakes_whoever_reads_or_writes_and_leaves_the_agent_running(stage: "Stage"):
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    woken: list[str] = []

    async def write() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await child.write(b"x" * 4_000_000)
        woken.append("writer")

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await follower.read()
        woken.append("reader")

    with anyio.fail_after(10):
        await follower.read()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            child.close()
    assert sorted(woken) == ["reader", "writer"]
    assert stage.descriptors() == stage.before
    assert child.identity.alive()
    child.close()


async def test_any_number_of_tasks_may_wait_for_the_end(stage: "Stage"):
    child, _ = await stage.start(["/bin/sh", "-c", "read line; exit 3"])
    endings: list[Ending] = []

    async def wait() -> None:
        endings.append(await child.wait())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await child.write(b"\n")
        endings.append(await child.wait())
    assert endings == [Ending(3, None)] * 6
    assert child.identity.look() is None, "not even a zombie is left"


async def test_waiting_may_be_given_up_and_taken_up_again(stage: "Stage"):
    child, _ = await stage.start(["/bin/sh", "-c", "read line; exit 3"])
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.wait)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await child.write(b"\n")
        assert await child.wait() == Ending(3, None)


async def test_the_code_is_known_even_when_it_could_not_be_written(stage: "Stage"):
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; read line; exit 3"])
    with anyio.fail_after(10):
        await follower.read()
        stage.journal.exit_file.mkdir()
        await child.write(b"\n")
        assert await child.wait() == Ending(3, None)
    stage.journal.exit_file.rmdir()


async def test_nobody_saw_the_end_of_an_agent_whose_wrapper_was_killed(stage: "Stage"):
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    with anyio.fail_after(10):
        await follower.read()
        os.kill(child.pid, signal.SIGKILL)
        assert await child.wait() == Ending(None, None)
        left = await adopt(
            stage.journal, session="brisk-otter", run=1, identity=None, watcher=stage.watcher
        )
        assert left is not None, "the agent itself lives"
        stage.children.append(left)
        left.interrupt()
        assert await left.wait() == Ending(None, None)


def until_zombie(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_a_child_let_go_of_is_collected_once_it_has_ended(stage: "Stage"):
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    with anyio.fail_after(10):
        await follower.read()
        child.close()
        os.killpg(child.pid, signal.SIGKILL)
        await anyio.to_thread.run_sync(until_zombie, child.pid)
        await stage.start(["true"], run=2)
    assert child.identity.look() is None


async def test_an_interrupt_reaches_the_agent_which_may_answer_and_go_on(stage: "Stage"):
    child, follower = await stage.python(
        "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('stopped the turn'))\n"
        "import sys\nprint('up')\nfor line in sys.stdin: print('got', line.strip())"
    )
    with anyio.fail_after(10):
        await follower.read()
        child.interrupt()
        assert (await follower.read()).lines == [b"stopped the turn"]
        await child.write(b"next\n")
        assert (await follower.read()).lines == [b"got next"]


async def test_a_program_that_the_agent_started_is_found_by_its_name_while_it_runs(
    stage: "Stage",
):
    script = stage.folder / "inner"
    script.write_text("#!/bin/sh\necho up\nread word\n")
    script.chmod(0o755)
    child, follower = await stage.start(["/bin/sh", "-c", f"{script}; echo after; read word"])
    with anyio.fail_after(20):
        assert (await follower.read()).lines == [b"up"]
        assert await child.runs("inner")
        assert not await child.runs("inne")
        await child.write(b"go on\n")
        assert (await follower.read()).lines == [b"after"]
        assert not await child.runs("inner")
