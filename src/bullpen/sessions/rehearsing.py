"""Rehearsals: a session whose agent is real and whose model is a script.

The agent's command is wrapped in a launcher that brings the model up on loopback, in the session's
own process group. So a rehearsal is adopted, reaped and resumed like any other session.
"""

import sys
from pathlib import Path

import msgspec

from bullpen.errors import CommandFailed, RehearsalInvalid, RehearsalUnsupported
from bullpen.model.agent import AgentProfile
from bullpen.process import run

_TESTING = Path(__file__).parents[1] / "testing"
_CHECK_PATIENCE = 30.0


def check_supported(profile: AgentProfile) -> None:
    """Refuse an agent that nobody knows how to point at another model.

    Raises:
        RehearsalUnsupported: its catalog entry has no `[rehearsal]` table.
    """
    if profile.rehearsal is None:
        raise RehearsalUnsupported(profile.id)


async def check_script(script: Path, *, environment: dict[str, str]) -> None:
    """Have the model read a script, and refuse it if it does not say what it must.

    Raises:
        RehearsalInvalid: with the line and the reason.
    """
    if not script.is_file():
        raise RehearsalInvalid(script, "there is no such file")
    words = [sys.executable, "-I", str(_TESTING / "scripted_model.py"), "--check"]
    try:
        await run(
            [*words, "--script", str(script)],
            cwd=Path("/"),
            env={"PATH": environment.get("PATH", "/usr/bin:/bin")},
            timeout=_CHECK_PATIENCE,
        )
    except CommandFailed as fault:
        said = fault.stderr.strip() or "it cannot be read"
        raise RehearsalInvalid(script, said.removeprefix(f"{script}: ")) from fault


def passes(profile: AgentProfile, script: str | None) -> tuple[str, ...]:
    """Return which of our variables the agent gets; in a rehearsal none that may hold a key."""
    if script is None:
        return tuple(profile.passes)
    return profile.rehearsal.passes if profile.rehearsal is not None else ()


def wrapped(
    argv: list[str], *, profile: AgentProfile, script: str, folder: Path, directory: Path
) -> list[str]:
    """Return the command that rehearses `argv`; what it needs to know is written to `folder`.

    Args:
        folder: The session's; its private home and the log of the model lie in it, and outlive
            the process, so that a rehearsal can be resumed.
    """
    table = profile.rehearsal
    assert table is not None, "checked when the session was wished for"
    base = folder / "rehearsal"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    plan = {
        "script": script,
        "home": str(base / "home"),
        "log": str(base / "asked"),
        "directory": str(directory),
        "files": table.files,
        "environment": table.environment,
    }
    file = base / "plan.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
    launcher = [sys.executable, "-I", str(_TESTING / "rehearse.py"), str(file), "--"]
    return [*launcher, *argv, *table.args]
