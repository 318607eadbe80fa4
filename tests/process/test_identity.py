"""A pid is ours only together with its start time."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import bullpen.process.identity as identity_module
from bullpen.process import Identity
from bullpen.process.identity import collect, gone
from bullpen.process.table import arguments, look, proc_look, psutil_look
from bullpen.testing.lifeline import Lifeline

SIT = "import time; time.sleep(3600)"


def begin(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, start_new_session=True)


def no_descriptor(pid: int) -> None:
    return None


def until_zombie(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("has_pidfd", [True, False], ids=["told", "polling"])
async def test_a_zombie_is_gone_and_only_its_own_parent_collects_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
):
    if not has_pidfd:
        monkeypatch.setattr(identity_module, "_pidfd", no_descriptor)
    with Lifeline.open(tmp_path) as line, anyio.fail_after(10):
        process = begin(line.python(SIT))
        await line.held_by(1)
        identity = Identity.of(process.pid)
        assert identity is not None
        assert identity.alive()
        assert collect(identity) is None
        process.kill()
        await gone(identity)
        await anyio.to_thread.run_sync(until_zombie, process.pid)
        assert not identity.alive()
        os.kill(process.pid, 0)  # which is why a signal of 0 proves nothing
        assert collect(identity) == -9
        assert collect(identity) is None
        assert identity.look() is None
        await gone(identity)
        process.returncode = -9


def test_nobody_has_a_pid_beyond_the_limit():
    assert Identity.of(2**22 + 1) is None
    assert not Identity(2**22 + 1, "boot:1").alive()


def test_both_ways_of_reading_the_table_agree(tmp_path: Path):
    if sys.platform != "linux":
        pytest.skip("there is no /proc to compare with")
    # A name that would mislead whoever splits the line at its first parenthesis.
    program = tmp_path / "a) R 1 1 (b"
    program.symlink_to("/bin/sleep")
    process = begin([str(program), "60"])
    mine, other = proc_look(process.pid), psutil_look(process.pid)
    assert mine is not None
    assert other is not None
    assert (mine.parent, mine.group, mine.kernel_session, mine.is_dead) == (
        os.getpid(),
        process.pid,
        process.pid,
        False,
    )
    assert (other.parent, other.group, other.kernel_session, other.is_dead) == (
        mine.parent,
        mine.group,
        mine.kernel_session,
        mine.is_dead,
    )
    assert psutil_look(process.pid) == other, "the start time does not wander"
    assert arguments(process.pid) == [str(program), "60"]
    process.kill()
    until_zombie(process.pid)
    dead, also_dead = look(process.pid), psutil_look(process.pid)
    assert dead is not None
    assert dead.is_dead
    assert also_dead is not None
    assert also_dead.is_dead
    process.wait()
    assert proc_look(process.pid) is None
    assert psutil_look(process.pid) is None
