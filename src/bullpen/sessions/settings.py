"""What the user may configure, in `~/.config/bullpen/config.toml`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bullpen.errors import ConfigInvalid


class Caps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many sessions may live at once. What is over a cap is queued, in order."""

    live: int | None = None
    """Sessions with a process on this host; None is 256."""
    memory_mb: int | None = None
    """Memory for agents, each reckoned at its catalog figure; None is 70 % of the machine's."""
    agent: dict[str, int] = {}
    """Most live sessions per agent id."""
    workspace: dict[str, int] = {}
    """Most live sessions per repository or directory, by absolute path."""

    def __post_init__(self) -> None:
        numbers = {"live": self.live, "memory_mb": self.memory_mb}
        numbers |= {f"agent.{name}": cap for name, cap in self.agent.items()}
        numbers |= {f"workspace.{path!r}": cap for path, cap in self.workspace.items()}
        for name, cap in numbers.items():
            if cap is not None and cap < 1:
                raise ValueError(f"cap {name} must be a whole number above zero, not {cap}")


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done about usage limits. All times in seconds."""

    guesses: tuple[float, ...] = (300.0, 600.0, 1200.0, 2400.0, 3600.0)
    """Waits when an agent does not say when a usage limit ends, one after the other."""
    retries: tuple[float, ...] = (30.0, 60.0, 120.0, 300.0)
    """Waits after too many requests at once."""
    margin: float = 5.0
    """Added to a reset an agent told of; clocks differ."""
    stagger: float = 2.0
    """Between two sessions that go on at the same reset."""
    prompt: str = "Continue where you stopped: the usage limit has been reset."
    """What a turn that was cut short goes on with."""
    fallback: dict[str, str] = {}
    """Agent to the agent that takes over at a usage limit."""


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Budgets in USD. Soft ones tell, hard ones let no further turn start."""

    session_usd: float | None = None
    session_soft_usd: float | None = None
    day_usd: float | None = None
    """Of all sessions of the host, by the calendar day of its own clock."""
    day_soft_usd: float | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration file; every key may be left out."""

    caps: Caps = Caps()
    limits: LimitSettings = LimitSettings()
    budget: BudgetSettings = BudgetSettings()
    branch: str = "bullpen/{session}"
    """Template of a worktree's branch: `{session} {agent} {title} {user}`."""
    setup_timeout: float = 600.0
    """Seconds a setup command may take."""
    stop_grace: float = 5.0
    """Seconds between asking an agent to end and ending it."""
    interrupt_grace: float = 15.0
    """Seconds an agent may take to end an interrupted turn before its process is ended."""
    database: str | None = None
    """Postgres URL; None keeps two SQLite files in the state folder."""


def load(file: Path) -> Settings:
    """Return the settings in `file`, the defaults when there is no such file.

    Raises:
        ConfigInvalid: it is no TOML, or a key or value is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigInvalid(file, str(fault)) from fault
    try:
        return msgspec.convert(tomllib.loads(text), Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
        raise ConfigInvalid(file, str(fault)) from fault


def config_folder(environment: Mapping[str, str]) -> Path:
    """Return `$BULLPEN_CONFIG`, else `$XDG_CONFIG_HOME/bullpen`, else `~/.config/bullpen`."""
    own = environment.get("BULLPEN_CONFIG")
    if own:
        return Path(own)
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path(environment.get("HOME", "~")) / ".config") / "bullpen"
