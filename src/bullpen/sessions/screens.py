"""Terminal sessions: an agent's own screen, kept by a program of ours that speaks ACP for it."""

import sys
from pathlib import Path

import msgspec

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import Dialect, Launch
from bullpen.errors import InterfaceUnsupported, ModeUnsupported
from bullpen.model.agent import AgentProfile, LaunchMode
from bullpen.model.home import Home

TERMINAL = "terminal"
STRUCTURED = "structured"
_KEEPER = Path(__file__).parents[1] / "adapters" / "keeper.py"


def check_interface(profile: AgentProfile, interface: str, mode: LaunchMode | None) -> None:
    """Refuse an agent whose screen nobody knows how to run, or how to run in that mode.

    Raises:
        InterfaceUnsupported, ModeUnsupported: nothing was started.
    """
    if interface != TERMINAL:
        return
    if profile.terminal is None:
        raise InterfaceUnsupported(profile.id, interface, "its catalog entry has no [terminal]")
    known = {*profile.terminal.mode_args, *profile.mode_environment}
    if mode is not None and mode not in known:
        able = tuple(one.value for one in LaunchMode if one in known)
        raise ModeUnsupported(f"{profile.id} on its screen", mode.value, able)


def keeper_dialect(*, version: str) -> Dialect:
    """Return the dialect in which the keeper speaks."""
    return AcpDialect(version=version)


def screen_command(
    profile: AgentProfile, *, mode: LaunchMode | None, launch: Launch, package: str
) -> list[str]:
    """Return the command that shows the agent's own screen."""
    table = profile.terminal
    assert table is not None, "checked when the session was wished for"
    words = [word.replace("{package}", package) for word in table.command]
    given = table.resume_args if launch.resume else table.new_args
    name = launch.resume or launch.conversation
    words += [word.replace("{conversation}", name) for word in given]
    if mode is not None:
        words += table.mode_args.get(mode, ())
    if launch.model:
        words += [word.replace("{model}", launch.model) for word in table.model_args]
    return words


def kept(
    command: list[str], *, profile: AgentProfile, home: Home, session: str, launch: Launch
) -> list[str]:
    """Return the command of the keeper of `command`; what it needs to know is written down."""
    table = profile.terminal
    assert table is not None, "checked when the session was wished for"
    folder = home.sessions / session
    plan = {
        "name": profile.name,
        "command": command,
        "resume_args": list(table.resume_args),
        "signals": table.signals,
        "directory": launch.directory,
        "conversation": launch.conversation,
        "resume": launch.resume,
        "folder": str(folder),
        "socket": str(home.screen(session)),
    }
    file = folder / "screen.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
    return [sys.executable, "-I", str(_KEEPER), str(file)]
