"""Which agents of the catalog are on this machine, and what is missing for the others."""

import os
import shutil
import sys
from pathlib import Path

import anyio
import msgspec

from bullpen.agents.catalog import command_of, launch_modes
from bullpen.errors import CommandFailed, CommandTimedOut, ProgramNotFound
from bullpen.model.agent import AgentProfile
from bullpen.process import run, whole_environment
from bullpen.sessions.stage import Stage

_VERSION_PATIENCE = 10.0


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog entry and what was found of it."""

    id: str
    name: str
    vendor: str
    dialect: str
    aliases: tuple[str, ...]
    status: str
    """`found`, `not-found` or `needs-login`."""
    program: str | None
    version: str | None
    install_hint: str
    login_hint: str
    modes: list[str]
    """Launch modes it can honour."""
    abilities: list[str]
    """What it is known to do: `resume` and `load` bring a conversation back, `mcp`, `steer`, …"""
    interfaces: list[str]
    """`structured`, and `terminal` when its own screen can be run."""
    can_rehearse: bool
    """Whether it can be run with a scripted model."""
    memory_mb: int
    homepage: str


async def look(stage: Stage, *, versions: bool) -> list[Agent]:
    """Return every agent of the catalog. With `versions`, each program found is asked for its own.

    No agent is started; `needs-login` is told by the files and variables a login leaves.
    """
    found: dict[str, Agent] = {}

    async def one(profile: AgentProfile) -> None:
        found[profile.id] = await _look_at(stage, profile, versions=versions)

    async with anyio.create_task_group() as tasks:
        for profile in stage.catalog.profiles.values():
            tasks.start_soon(one, profile)
    return [found[name] for name in sorted(found)]


async def _look_at(stage: Stage, profile: AgentProfile, *, versions: bool) -> Agent:
    package = Path(__file__).parents[1]
    argv = command_of(profile, mode=None, python=sys.executable, package=package)
    path = stage.environment.get("PATH", os.defpath)
    program = shutil.which(argv[0], path=path)
    status = "not-found"
    if program is not None:
        status = "found" if _has_login(stage, profile) else "needs-login"
    version = None
    if versions and program is not None and profile.version_args:
        version = await _version(stage, profile, program)
    return Agent(
        id=profile.id,
        name=profile.name,
        vendor=profile.vendor,
        dialect=profile.dialect,
        aliases=profile.aliases,
        status=status,
        program=program,
        version=version,
        install_hint=profile.install_hint,
        login_hint=profile.login_hint,
        modes=sorted(mode.value for mode in launch_modes(profile)),
        abilities=list(profile.abilities),
        interfaces=["structured", *(["terminal"] if profile.terminal else [])],
        can_rehearse=profile.rehearsal is not None,
        memory_mb=profile.memory_mb,
        homepage=profile.homepage,
    )


def _has_login(stage: Stage, profile: AgentProfile) -> bool:
    if not profile.login_evidence:
        return True
    home = Path(stage.environment.get("HOME", "~"))
    for sign in profile.login_evidence:
        if sign.startswith("$"):
            if stage.environment.get(sign[1:]):
                return True
        elif (home / sign.removeprefix("~/")).exists():
            return True
    return False


async def _version(stage: Stage, profile: AgentProfile, program: str) -> str | None:
    environment = whole_environment(
        stage.environment, passes=profile.passes, sets=profile.environment
    )
    try:
        done = await run(
            [program, *profile.version_args],
            cwd=Path("/"),
            env=environment,
            timeout=_VERSION_PATIENCE,
        )
    except (CommandFailed, CommandTimedOut, ProgramNotFound):
        return None
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[0][:100] if lines else None
