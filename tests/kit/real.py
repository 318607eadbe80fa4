"""Real agents for tests: installed once into a cache, pointed at the scripted model.

An agent that cannot be had is skipped, and the run says so at its end in red.
"""

import os
from pathlib import Path

import pytest

from bullpen.agents.catalog import Catalog
from bullpen.testing.install import Installed, NotInstallable, install
from kit.contract_table import MISSING
from kit.model import Model
from kit.world import World


def installed(name: str) -> Installed:
    """Return the agent, or skip the test loudly."""
    try:
        return install(name, fetch=os.environ.get("BULLPEN_AGENT_FETCH", "1") != "0")
    except NotInstallable as why:
        pytest.skip(f"{MISSING}{why}")


def settle(world: World, name: str, model: Model) -> None:
    """Make `name` usable in `world`: programs first in PATH, a private home, our model behind it.

    The agent gets nothing but its catalog entry's `[rehearsal]` table; call before the host opens.
    """
    found = installed(name)
    profile = Catalog.load(None).find(name)
    assert profile.rehearsal is not None, f"{name} has no [rehearsal] table"
    home = Path(world.environment["HOME"])
    parts = {"{url}": model.url, "{home}": str(home), "{directory}": str(world.work)}
    for place, content in profile.rehearsal.files.items():
        file = home / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled(content, parts))
    folders = [str(folder) for folder in found.path]
    world.environment["PATH"] = os.pathsep.join([*folders, world.environment["PATH"]])
    dead = "http://127.0.0.1:9"
    # Some keep what they compiled among temporary files, and sockets when they are killed.
    scratch = world.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    more = {
        "TMPDIR": str(scratch),
        "XDG_RUNTIME_DIR": str(scratch),
        "HTTPS_PROXY": dead,
        "HTTP_PROXY": dead,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    said = profile.rehearsal.environment.items()
    world.agents[name] = more | found.environment | {k: _filled(v, parts) for k, v in said}


def _filled(text: str, parts: dict[str, str]) -> str:
    for mark, value in parts.items():
        text = text.replace(mark, value)
    return text
