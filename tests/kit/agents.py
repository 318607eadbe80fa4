"""Agents of the catalog that behave as no demo agent would, as real programs."""

import stat
import sys
from pathlib import Path

from bullpen.testing import demo_agent
from kit.world import World

_FORGETFUL = """\
#!{python} -S
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    results = {{
        "initialize": {{"protocolVersion": 1, "agentCapabilities": {{}}}},
        "session/new": {{"sessionId": "only"}},
        "session/prompt": {{"stopReason": "end_turn"}},
    }}
    if "id" in message and message.get("method") in results:
        answer = {{"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}}
        print(json.dumps(answer), flush=True)
"""


def add_agent(world: World, name: str, *, command: list[str], extra: str = "") -> None:
    """Enter an agent in the user's own catalog of `world`; call before the host is opened."""
    folder = world.folder / "config" / "agents"
    folder.mkdir(parents=True, exist_ok=True)
    words = ", ".join(f'"{word}"' for word in command)
    (folder / f"{name}.toml").write_text(
        f'id = "{name}"\nname = "{name.title()}"\nvendor = "Test"\ndialect = "acp"\n'
        f"command = [{words}]\n{extra}\n"
    )


def add_demo(world: World, name: str, *, extra: str = "") -> None:
    """Enter the demo agent once more under another name."""
    command = ["{python}", "-I", "{package}/testing/demo_agent.py"]
    add_agent(world, name, command=command, extra=f'passes = ["BULLPEN_DEMO_*"]\n{extra}')


def add_forgetful(world: World, name: str = "forgetful") -> None:
    """Enter an agent that answers everything at once and cannot bring a conversation back."""
    add_agent(world, name, command=[str(program(world.folder / name, _FORGETFUL))])


def add_breakable(world: World, name: str = "breakable") -> Path:
    """Enter a demo agent that dies at its start while the returned file exists."""
    broken = world.folder / "broken"
    agent = Path(demo_agent.__file__)
    text = (
        "#!/bin/sh\n"
        f"if [ -e '{broken}' ]; then echo 'told to break' >&2; exit 3; fi\n"
        f"exec '{{python}}' -I '{agent}'\n"
    )
    add_agent(world, name, command=[str(program(world.folder / name, text))])
    return broken


def program(file: Path, text: str) -> Path:
    """Write an executable script; `{python}` in it is this interpreter."""
    file.write_text(text.format(python=sys.executable))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file
