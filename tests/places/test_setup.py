import os
from pathlib import Path

import anyio
import pytest

from bullpen.errors import DirectoryMissing, SetupFailed
from bullpen.places import run_setup

ENV = {"PATH": os.environ["PATH"], "WORD": "given"}


async def setup(command: str, cwd: Path, *, timeout: float | None = 20) -> bytes:
    pieces: list[bytes] = []
    await run_setup(command, cwd=cwd, env=ENV, timeout=timeout, on_output=pieces.append)
    return b"".join(pieces)


async def test_a_setup_command_runs_in_its_folder_with_its_environment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET", "x")
    command = 'pwd -P; echo "$WORD:$SECRET" >&2; cat; touch "made here"'
    assert await setup(command, tmp_path) == f"{tmp_path.resolve()}\ngiven:\n".encode()
    assert (tmp_path / "made here").exists()


async def test_a_failing_setup_command_carries_its_code_and_its_last_words(tmp_path: Path):
    with pytest.raises(SetupFailed) as caught:
        await setup("echo out; echo no network >&2; exit 7", tmp_path)
    assert (caught.value.exit_code, caught.value.output) == (7, "out\nno network\n")


async def test_of_much_output_the_error_keeps_the_end(tmp_path: Path):
    command = "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done; exit 1"
    with pytest.raises(SetupFailed) as caught:
        await setup(command, tmp_path)
    assert len(caught.value.output) <= 64_000
    assert caught.value.output.endswith("line-19999\n")


async def test_a_setup_command_that_takes_too_long_is_stopped_with_all_it_started(tmp_path: Path):
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    # Both hold the FIFO open for writing; it ends for its reader when both are gone.
    command = "exec 3<>alive; sleep 60 & echo x >&3; sleep 60"
    reading = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(SetupFailed) as caught:
            await setup(command, tmp_path, timeout=0.3)
        assert caught.value.exit_code is None
        assert os.read(reading, 9) == b"x\n"
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


async def test_a_setup_command_in_a_missing_folder_is_no_failure_of_the_command(tmp_path: Path):
    with anyio.fail_after(5), pytest.raises(DirectoryMissing):
        await setup("true", tmp_path / "missing")
