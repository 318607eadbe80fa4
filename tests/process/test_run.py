"""Short commands end, one way or the other, and leave nothing."""

import importlib
import os
from pathlib import Path

import anyio
import pytest

from bullpen.errors import CommandFailed, CommandTimedOut, DirectoryMissing, ProgramNotFound
from bullpen.process import Done, run
from bullpen.testing.lifeline import Lifeline

SIT = "import time; time.sleep(3600)"


def descriptors() -> set[str]:
    return {path.name for path in Path("/dev/fd").iterdir()}


async def test_both_outputs_and_the_code_are_returned(tmp_path: Path):
    before = descriptors()
    with anyio.fail_after(10):
        done = await run(["sh", "-c", "pwd; echo no >&2; exit 3"], cwd=tmp_path, check=False)
    assert done == Done(3, f"{tmp_path}\n".encode(), b"no\n")
    assert descriptors() == before


async def test_a_failure_is_told_with_what_the_command_said(tmp_path: Path):
    with pytest.raises(CommandFailed) as caught, anyio.fail_after(10):
        await run(["sh", "-c", "echo why >&2; exit 3"], cwd=tmp_path)
    assert (caught.value.exit_code, caught.value.stderr) == (3, "why\n")
    with pytest.raises(CommandFailed) as caught, anyio.fail_after(10):
        await run(["sh", "-c", "kill -9 $$"], cwd=tmp_path)
    assert caught.value.exit_code == 137


async def test_what_cannot_be_started_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(ProgramNotFound):
        await run(["no-such"], cwd=tmp_path)
    with pytest.raises(ProgramNotFound, match="'/only'"):
        await run(["sh"], cwd=tmp_path, env={"PATH": "/only"})
    with pytest.raises(DirectoryMissing):
        await run(["true"], cwd=tmp_path / "missing")
    with pytest.raises(DirectoryMissing):
        await run(["true"], cwd=tmp_path / "file")
    with pytest.raises(CommandFailed) as caught:
        await run(["./text"], cwd=tmp_path)
    assert caught.value.exit_code == 126


async def test_much_input_and_output_at_once_do_not_lock_each_other(tmp_path: Path):
    data = os.urandom(3_000_000)
    with anyio.fail_after(20):
        done = await run(["tee", "/dev/stderr"], cwd=tmp_path, stdin=data)
    assert done.stdout == data
    assert done.stderr == data


async def test_a_command_may_end_without_reading_its_input(tmp_path: Path):
    with anyio.fail_after(10):
        done = await run(["sh", "-c", "exec <&-; echo ok"], cwd=tmp_path, stdin=b"x" * 1_000_000)
        assert done.stdout == b"ok\n"
        done = await run(["cat"], cwd=tmp_path)
        assert done.stdout == b""


def family(line: Lifeline) -> list[str]:
    return line.python(f"import subprocess\nsubprocess.Popen({line.python(SIT)})\n{SIT}")


async def test_a_command_that_takes_too_long_ends_with_its_whole_group(tmp_path: Path):
    before = descriptors()
    with Lifeline.open(tmp_path) as line, anyio.fail_after(15):
        with pytest.raises(CommandTimedOut, match=r"did not end within 0\.7 s"):
            await run(family(line), cwd=tmp_path, timeout=0.7)
        await line.cut()
    assert descriptors() == before


async def test_a_command_that_is_given_up_ends_with_its_whole_group(tmp_path: Path):
    before = descriptors()
    with Lifeline.open(tmp_path) as line, anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: run(family(line), cwd=tmp_path))
            await line.held_by(2)
            tasks.cancel_scope.cancel()
        await line.cut()
    assert descriptors() == before


async def test_what_a_command_leaves_in_its_group_ends_and_a_daemon_is_not_waited_for(
    tmp_path: Path,
):
    daemons = tmp_path / "daemon"
    daemons.mkdir()
    with (
        Lifeline.open(tmp_path) as line,
        Lifeline.open(daemons) as daemon_line,
        anyio.fail_after(15),
    ):
        body = (
            "import subprocess\nprint('done', flush=True)\n"
            f"subprocess.Popen({line.python(SIT)})\n"
            f"daemon = subprocess.Popen({daemon_line.python(SIT)}, start_new_session=True)\n"
            f"print(daemon.pid)\n"
        )
        done = await run(line.python(body), cwd=tmp_path)
        word, pid = done.stdout.split()
        assert word == b"done"
        await daemon_line.held_by(1)
        await line.cut()
        os.kill(int(pid), 9)
        await daemon_line.cut()


async def test_output_is_whole_even_when_we_come_late_to_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # No time after the command's end, and so small pieces that much is left to read then.
    for name, value in (("_LAST_WORDS", -1), ("_PIECE_BYTES", 100), ("_PIPE_PIECES", 1000)):
        monkeypatch.setattr(importlib.import_module("bullpen.process.run"), name, value)
    script = "head -c 60000 /dev/zero; echo end >&2"
    with anyio.fail_after(10):
        done = await run(["sh", "-c", script], cwd=tmp_path)
    assert (len(done.stdout), done.stderr) == (60_000, b"end\n")


async def test_output_is_shown_as_it_comes_and_in_its_order(tmp_path: Path):
    os.mkfifo(tmp_path / "gate")
    pieces: list[bytes] = []
    has_first = anyio.Event()

    def show(piece: bytes) -> None:
        pieces.append(piece)
        has_first.set()

    async def open_gate() -> None:
        await has_first.wait()
        (tmp_path / "gate").write_bytes(b"")

    script = "echo one; echo two >&2; read _ <gate; echo three; exit 1"
    done: list[Done] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_gate)
            done.append(await run(["sh", "-c", script], cwd=tmp_path, on_output=show, check=False))
    assert b"".join(pieces) == b"one\ntwo\nthree\n"
    assert done[0] == Done(1, b"one\ntwo\nthree\n", b"")
    with pytest.raises(CommandFailed) as caught, anyio.fail_after(10):
        await run(["sh", "-c", "echo why >&2; exit 1"], cwd=tmp_path, on_output=show)
    assert caught.value.stderr == "why\n"


async def test_a_failing_listener_ends_the_command_and_its_error_comes_out_bare(tmp_path: Path):
    def refuse(piece: bytes) -> None:
        raise ValueError(piece)

    with Lifeline.open(tmp_path) as line, anyio.fail_after(15):
        with pytest.raises(ValueError, match="hello"):
            await run(
                line.python(f"print('hello', flush=True); {SIT}"), cwd=tmp_path, on_output=refuse
            )
        await line.cut()


async def test_many_commands_at_once_each_get_their_own_answer(tmp_path: Path):
    answers: dict[int, bytes] = {}

    async def one(number: int) -> None:
        answers[number] = (await run(["echo", str(number)], cwd=tmp_path)).stdout

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(one, number)
    assert answers == {number: f"{number}\n".encode() for number in range(40)}
