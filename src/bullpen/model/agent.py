"""An agent as its catalog file describes it."""

from enum import StrEnum

import msgspec


class LaunchMode(StrEnum):
    """How much an agent may do without asking."""

    PLAN = "plan"
    """Read and think; change nothing."""
    ASK = "ask"
    """Ask before each change and command."""
    EDIT = "edit"
    """Edit files freely, ask before commands."""
    BYPASS = "bypass"
    """Ask nothing."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Known departures of one agent from its protocol, as data."""

    numeric_ids: bool = True
    """Request ids on the wire are numbers; no known agent refuses them."""
    client_fs: bool = False
    """The agent works better with fs/read_text_file and fs/write_text_file. Not acted on: we
    serve no files yet, and what is not served is not offered."""
    write_without_leave: bool = False
    """The agent calls fs/write_text_file although we never offered it; it gets -32601."""
    authenticate: str | None = None
    """Call `authenticate` with this method before the first conversation."""
    set_mode_after_open: bool = False
    """The agent takes `session/set_mode` for modes it does not list when a conversation opens."""
    late_history: bool = False
    """The agent answers `session/load` first and repeats the history afterwards."""


class AgentProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the catalog."""

    id: str
    """What users type: `--agent <id>`."""
    name: str
    vendor: str
    dialect: str
    """`acp`, later `claude`, `codex`, `pi`."""
    command: tuple[str, ...]
    """Program and arguments, never a shell line. `{python}` and `{package}` are replaced by this
    interpreter and the folder of the installed package."""
    aliases: tuple[str, ...] = ()
    homepage: str = ""
    version_args: tuple[str, ...] = ("--version",)
    """Arguments that make the program print its version; empty when it cannot."""
    environment: dict[str, str] = {}
    """Set for the agent: telemetry, updates and browsers off."""
    passes: tuple[str, ...] = ()
    """Names of variables the agent may see from the user's environment, such as its own keys.
    A trailing `*` is a prefix."""
    login_evidence: tuple[str, ...] = ()
    """Files (`~` allowed) or `$VARIABLES` of which one exists when the user has logged in; empty
    when that cannot be told without starting the agent."""
    modes: dict[LaunchMode, str] = {}
    """The agent's own mode for each launch mode it can honour."""
    default_mode: LaunchMode | None = None
    mode_args: dict[LaunchMode, tuple[str, ...]] = {}
    """Arguments added to `command` for a launch mode, where the mode is chosen at launch."""
    mode_environment: dict[LaunchMode, dict[str, str]] = {}
    """Variables added to `environment` for a launch mode, where the mode is chosen by them."""
    abilities: tuple[str, ...] = ()
    """What it is known to do, before anybody asked it: `load`, `resume`, `list`, `mcp`, …"""
    memory_mb: int = 300
    """What one live session is reckoned to need, for the cap."""
    start_timeout: float = 60.0
    """Seconds allowed from launch to the end of the handshake."""
    install_hint: str = ""
    login_hint: str = ""
    quirks: Quirks = Quirks()
