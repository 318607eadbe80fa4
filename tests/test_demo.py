"""`make demo`, as a newcomer runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.real import installed

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


@pytest.mark.parametrize("agent", ["demo", "claude", "codex", "pi"])
def test_three_agents_land_their_work_and_nothing_is_left(agent: str, tmp_path: Path):
    world = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": os.environ["TMPDIR"],
        "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
        "AGENT": agent,
        "LC_ALL": "C.UTF-8",
    }
    if agent != "demo":
        found = installed(agent)
        (tmp_path / "scratch").mkdir()
        world |= found.environment | {"TMPDIR": str(tmp_path / "scratch")}
        world["PATH"] = os.pathsep.join([*map(str, found.path), world["PATH"]])
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        env=world,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 25 tests" in done.stdout + done.stderr
    assert "OK" in done.stdout + done.stderr
    assert list(Path(world["TMPDIR"]).glob("bullpen-demo*")) == []
