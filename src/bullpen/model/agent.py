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
    names_by_minute: bool = False
    """The agent keeps a conversation in a file named by the minute. Loaded within the minute in
    which it began, the conversation is written over; so we wait for the next."""
    failure_mark: str = ""
    """`a.b.c=word`: when a `session_info_update` has that word at that place of its `_meta`, the
    running turn has failed, whatever its stop reason says."""
    silent_failures: bool = False
    """A turn that ends well without a word or a deed has failed in truth."""
    error_texts: tuple[str, ...] = ()
    """Regular expressions; an answer that is one of these and nothing else is a failed turn."""
    error_hints: dict[str, str] = {}
    """Code of a prompt's error to what the user can do about it; added to the message."""
    silence_limit: float | None = None
    """Seconds without a word in a running turn after which we look whether the agent behind an
    adapter still lives; None never looks."""
    inner_program: str = ""
    """Name of the program an adapter runs the agent in, for `silence_limit`."""
    root_environment: dict[str, str] = {}
    """Variables without which the agent refuses launch mode `bypass` to root."""


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an agent is made to ask a model of ours on this machine, with dummy keys.

    `{url}` is the model's address without a path, `{home}` the agent's private home folder,
    `{directory}` where it works.
    """

    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    """Path below the private home to its content."""
    args: tuple[str, ...] = ()
    """Arguments added to `command`."""
    passes: tuple[str, ...] = ()
    """What of the profile's `passes` tells nothing but where a program lies. The rest of it is
    withheld: it may hold the user's own keys."""


class Terminal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the agent's own screen is run, and where its state is told."""

    command: tuple[str, ...]
    resume_args: tuple[str, ...] = ()
    """Arguments that bring a conversation back; `{conversation}` is its id."""
    new_args: tuple[str, ...] = ()
    """Arguments of a new conversation; `{conversation}` is a fresh UUID."""
    mode_args: dict[LaunchMode, tuple[str, ...]] = {}
    model_args: tuple[str, ...] = ()
    """`{model}` is the model."""
    signals: str = ""
    """Who tells what the agent does: `claude-hooks`, `codex-rollout`, `pi-extension`; empty when
    nobody does, and the session only knows whether the program lives."""
    environment: dict[str, str] = {}


class AgentProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the catalog."""

    id: str
    """What users type: `--agent <id>`."""
    name: str
    vendor: str
    dialect: str
    """`acp`, `claude`, `codex`, `pi`."""
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
    rehearsal: Rehearsal | None = None
    """None when nobody knows how to point the agent at another model."""
    terminal: Terminal | None = None
    """None when the agent has no screen of its own, or none we can run."""
    account: str = ""
    """Agents of the same account share its usage limits; empty is the agent's own id."""
    quirks: Quirks = Quirks()
