"""The proof of death proves it."""

import os
import subprocess
from pathlib import Path

import anyio
import pytest

from bullpen.testing.lifeline import Lifeline

WAIT = "print(input())"


def begin(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


async def test_the_line_is_cut_only_when_the_last_holder_is_dead(tmp_path: Path):
    before = {path.name for path in Path("/dev/fd").iterdir()}
    is_cut = anyio.Event()

    with Lifeline.open(tmp_path) as line, anyio.fail_after(10):

        async def cut() -> None:
            await line.cut()
            is_cut.set()

        holders = [begin(line.python(WAIT)) for _ in range(2)]
        await line.held_by(2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            holders[0].communicate(b"end\n")
            await anyio.wait_all_tasks_blocked()
            assert not is_cut.is_set()
            holders[1].communicate(b"end\n")
    assert is_cut.is_set()
    assert not (tmp_path / "lifeline").exists()
    assert {path.name for path in Path("/dev/fd").iterdir()} == before


async def test_a_holder_that_nobody_counted_is_waited_for_too(tmp_path: Path):
    with Lifeline.open(tmp_path) as line, anyio.fail_after(10):
        holder = os.open(line.path, os.O_WRONLY)
        os.write(holder, b"...")
        with pytest.raises(TimeoutError), anyio.fail_after(0.05):
            await line.cut()
        os.close(holder)
        await line.cut()
