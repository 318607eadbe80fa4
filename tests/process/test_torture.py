"""Real kills at random moments, and floods. Each test is bounded to some seconds."""

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from bullpen.process import Ending

if TYPE_CHECKING:
    from tests.process.conftest import Stage

pytestmark = pytest.mark.torture

FLOOD = (
    "import os, sys, threading\n"
    "block = b'x' * 999 + b'\\n'\n"
    "def flood(number):\n"
    "    for _ in range(500): os.write(number, block * 100)\n"
    "threads = [threading.Thread(target=flood, args=(number,)) for number in (1, 2)]\n"
    "for thread in threads: thread.start()\n"
    "for thread in threads: thread.join()\n"
    "sys.exit(5)"
)


async def told_by(program: str, folder: Path, *, seconds: float) -> str:
    """Run one of the programs beside this file and return what it prints."""
    path = Path(__file__).with_name(program)
    seed = random.randrange(2**32)
    argv = [sys.executable, str(path), str(folder), str(seconds), str(seed)]
    with anyio.fail_after(50):
        done = await anyio.run_process(argv, check=False, stderr=None)
    assert done.returncode == 0, f"with seed {seed}"
    return done.stdout.decode()


async def test_however_often_a_follower_is_killed_every_line_is_committed_once(tmp_path: Path):
    rounds = int(await told_by("kill_followers.py", tmp_path, seconds=3))
    written = (tmp_path / "out.jsonl").read_bytes()
    commits = sorted((tmp_path / "commits").glob("*-*"))
    joined = b""
    for commit in commits:
        begin, end = map(int, commit.name.split("-"))
        assert begin == len(joined), "no gap and no overlap"
        joined += commit.read_bytes()
        assert end == len(joined)
    assert joined + b"unfinished" == written
    lines = joined.split(b"\n")[:-1]
    assert [int(line.split(b" ", 1)[0]) for line in lines] == list(range(len(lines)))
    assert rounds >= 20
    assert len(commits) >= rounds // 2


async def test_an_agent_whose_spawner_is_killed_at_any_moment_is_found_or_was_never_started(
    tmp_path: Path,
):
    counts = json.loads(await told_by("kill_spawners.py", tmp_path, seconds=4))
    assert counts["lost"] == []
    assert counts["left"] == []
    assert counts["adopted"] >= 5
    assert counts["not started"] >= 1


async def test_fifty_megabytes_on_both_outputs_block_nobody_and_arrive(stage: "Stage"):
    child, follower = await stage.python(FLOOD)
    digest, size, count = hashlib.sha256(), 0, 0
    with anyio.fail_after(40):
        while size < 50_000_000:
            batch = await follower.read()
            for line in batch.lines:
                digest.update(line)
            count += len(batch.lines)
            size = batch.offset
        assert await child.wait() == Ending(5, None)
    assert (size, count) == (50_000_000, 50_000)
    assert digest.hexdigest() == hashlib.sha256(b"x" * 999 * 50_000).hexdigest()
    assert stage.journal.stderr.stat().st_size == 50_000_000
    assert stage.journal.stderr_tail() == "\n".join(["x" * 999] * 4)


@pytest.mark.parametrize("line_bytes", [10, 5_000])
async def test_no_wake_up_is_lost_in_thousands_of_exchanges(stage: "Stage", line_bytes: int):
    child, follower = await stage.start(["cat"])
    line = b"x" * line_bytes
    with anyio.fail_after(30):
        for _ in range(3_000):
            await child.write(line + b"\n")
            assert (await follower.read()).lines == [line]
