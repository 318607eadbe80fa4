"""Which real agents the contract is run over, and what each of them cannot do.

What an agent cannot do is data with its reason, and a test sees that it really cannot: so nothing
is skipped in silence, and an agent that learns it turns the test red.
"""

import os

import msgspec

ALWAYS = ("claude", "codex", "pi", "claude-acp", "codex-acp", "gemini")
ALSO = ("opencode", "pi-acp")
"""Run by `make test-agents` only: four seconds and half a gigabyte a process."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One agent under contract."""

    ask: str | None = "ask"
    """Launch mode in which it asks; None is that without a mode."""
    free: str = "bypass"
    """Launch mode in which it asks nothing."""
    write: str = "%%write path=hello.txt"
    """What it asks about; makes `hello.txt`."""
    cannot: dict[str, str] = {}
    """Behaviour to reason."""
    starts_alone: bool = False
    """Two of it cannot make the same home folder at once: its first starts come one by one."""


ENTRIES = {
    "claude": Entry(),
    "codex": Entry(),
    "pi": Entry(cannot={"mcp": "pi has no MCP"}),
    "claude-acp": Entry(cannot={"steer": "ACP has no word for it"}),
    "codex-acp": Entry(
        # None of its modes asks before each change; it does before it leaves its sandbox.
        ask=None,
        write="%%escalate echo hello > hello.txt",
        cannot={"steer": "ACP has no word for it"},
    ),
    "gemini": Entry(cannot={"steer": "ACP has no word for it"}),
    "opencode": Entry(
        starts_alone=True,
        cannot={
            "steer": "ACP has no word for it",
            "give-up": "it tries again by itself, for as long as nobody interrupts it",
        },
    ),
    "pi-acp": Entry(
        ask=None,
        cannot={
            "ask": "pi asks for nothing by itself, and the adapter brings no extension",
            "steer": "ACP has no word for it",
            "mcp": "it takes MCP servers and drops them",
        },
    ),
}


def chosen() -> tuple[str, ...]:
    """Return the agents of this run: `BULLPEN_CONTRACT=all`, or names, or those of every run."""
    asked = os.environ.get("BULLPEN_CONTRACT", "")
    if asked == "all":
        return (*ALWAYS, *ALSO)
    return tuple(asked.split()) or ALWAYS
