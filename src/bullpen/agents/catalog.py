"""The catalog: agents as data, from our own files and the user's.

Files are read in `Catalog.load` and nowhere else. A file that does not say what it must takes
no other agent with it: it is left out and named in `Catalog.faults`.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from bullpen.agents import claude, pi
from bullpen.agents.acp import AcpDialect
from bullpen.agents.claude import ClaudeDialect
from bullpen.agents.codex import CodexDialect
from bullpen.agents.dialect import Dialect, Launch
from bullpen.agents.pi import PiDialect
from bullpen.errors import AgentUnknown, CatalogInvalid, ModeUnsupported
from bullpen.model.agent import AgentProfile, LaunchMode

_OURS: Final = Path(__file__).parent / "catalog"
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MUCH: Final = 10**7
_WHERE: Final = re.compile(r"(?P<what>.*) - at `\$\.?(?P<key>.*)`$", re.DOTALL)


class _Wishes(NamedTuple):
    mode: str | None
    model: str | None
    version: str


def _acp(profile: AgentProfile, wishes: _Wishes) -> Dialect:
    return AcpDialect(
        mode=wishes.mode, model=wishes.model, quirks=profile.quirks, version=wishes.version
    )


def _no_arguments(_launch: Launch) -> list[str]:
    return []


class Tongue(NamedTuple):
    """A dialect, and what it adds to the agent's command line."""

    speak: Callable[[AgentProfile, _Wishes], Dialect]
    arguments: Callable[[Launch], list[str]] = _no_arguments


def _claude(_profile: AgentProfile, wishes: _Wishes) -> Dialect:
    return ClaudeDialect(mode=wishes.mode)


def _codex(_profile: AgentProfile, wishes: _Wishes) -> Dialect:
    return CodexDialect(mode=wishes.mode, model=wishes.model, version=wishes.version)


def _pi(_profile: AgentProfile, wishes: _Wishes) -> Dialect:
    return PiDialect(mode=wishes.mode, model=wishes.model)


DIALECTS: Final[Mapping[str, Tongue]] = {
    "acp": Tongue(_acp),
    "claude": Tongue(_claude, claude.arguments),
    "codex": Tongue(_codex),
    "pi": Tongue(_pi, pi.arguments),
}
"""Every dialect of this version, by the name catalog files use."""


class Catalog(msgspec.Struct, frozen=True):
    """Every agent that can be asked for."""

    profiles: dict[str, AgentProfile]
    """By id, in the order of the ids."""
    faults: list[CatalogInvalid]
    """Files left out, and why."""
    _names: dict[str, str]

    @classmethod
    def load(cls, user_folder: Path | None) -> "Catalog":
        """Read our catalog and the files `*.toml` of `user_folder`, which may not exist.

        A user's file whose id is one of ours changes that agent key by key; keys it leaves out
        stay, and its tables (`environment`, `modes`, `quirks`, …) are merged the same way.
        Names of a user's agents win over our aliases, ids over every alias.
        """
        faults: list[CatalogInvalid] = []
        ours = {entry.data["id"]: entry for entry in _entries(_OURS, faults)}
        merged = dict(ours)
        seen: dict[str, Path] = {}
        for entry in _entries(user_folder, faults):
            name = entry.data["id"]
            if name in seen:
                faults.append(CatalogInvalid(entry.file, f"id {name!r} is taken by {seen[name]}"))
                continue
            seen[name] = entry.file
            base = ours.get(name)
            merged[name] = _Entry(entry.file, _laid_over(base.data if base else {}, entry.data))
        profiles: dict[str, AgentProfile] = {}
        for name in sorted(merged):
            made = _profile(merged[name])
            if isinstance(made, CatalogInvalid):
                faults.append(made)
                # The user's change is broken, the agent itself is not.
                made = _profile(ours[name]) if name in ours else made
            if isinstance(made, AgentProfile):
                profiles[name] = made
        return cls(profiles, faults, _names_of(profiles, first=[*seen]))

    def find(self, name: str) -> AgentProfile:
        """Return the agent of that id or alias; capitals do not matter.

        Raises:
            AgentUnknown: there is none; it carries the names that look alike.
        """
        found = self._names.get(name.strip().lower())
        if found is None:
            near = difflib.get_close_matches(name.lower(), list(self._names), n=3, cutoff=0.75)
            raise AgentUnknown(name, known=tuple(self.profiles), near=tuple(near))
        return self.profiles[found]


def user_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where a user's own catalog files lie: `$XDG_CONFIG_HOME/bullpen/agents`, or the
    same below `~/.config` when that is unset, empty or relative. It need not exist."""
    given = os.environ if environment is None else environment
    base = given.get("XDG_CONFIG_HOME", "")
    if base.startswith("/"):
        return Path(base) / "bullpen" / "agents"
    home = given.get("HOME") or str(Path.home())
    return Path(home) / ".config" / "bullpen" / "agents"


def launch_modes(profile: AgentProfile) -> tuple[LaunchMode, ...]:
    """Return the launch modes the agent can honour, from the most careful to the freest."""
    known = {*profile.modes, *profile.mode_args, *profile.mode_environment}
    return tuple(mode for mode in LaunchMode if mode in known)


def command_of(
    profile: AgentProfile,
    *,
    mode: LaunchMode | None,
    python: str,
    package: Path,
    launch: Launch | None = None,
) -> list[str]:
    """Return program and arguments that start the agent in `mode`, or as it is without one.

    Args:
        python: Put for `{python}`.
        package: Folder of the installed package, put for `{package}`.
        launch: What the dialect may add arguments for; None for a look at the program alone.

    Raises:
        ModeUnsupported: the agent cannot honour `mode`.
    """
    _check_mode(profile, mode)
    words = [*profile.command, *(profile.mode_args.get(mode, ()) if mode else ())]
    words = [word.replace("{python}", python).replace("{package}", str(package)) for word in words]
    return words if launch is None else [*words, *_tongue(profile).arguments(launch)]


def environment_of(profile: AgentProfile, *, mode: LaunchMode | None) -> dict[str, str]:
    """Return the variables to set for the agent in `mode`.

    Raises:
        ModeUnsupported: the agent cannot honour `mode`.
    """
    _check_mode(profile, mode)
    return profile.environment | (profile.mode_environment.get(mode, {}) if mode else {})


def dialect_of(
    profile: AgentProfile, *, mode: str | None, model: str | None, version: str = "0"
) -> Dialect:
    """Return a fresh dialect for one run of the agent.

    Args:
        mode: In the agent's own words, from `profile.modes`; None leaves the agent's own.
        model: The agent's name of a model; None leaves the agent's own.
        version: Ours, told to the agent.

    Raises:
        CatalogInvalid: this version has no dialect of that name.
    """
    return _tongue(profile).speak(profile, _Wishes(mode, model, version))


def _tongue(profile: AgentProfile) -> Tongue:
    tongue = DIALECTS.get(profile.dialect)
    if tongue is None:
        raise CatalogInvalid(Path(f"{profile.id}.toml"), _no_dialect(profile.dialect))
    return tongue


def _check_mode(profile: AgentProfile, mode: LaunchMode | None) -> None:
    supported = launch_modes(profile)
    if mode is not None and mode not in supported:
        raise ModeUnsupported(profile.id, mode.value, tuple(each.value for each in supported))


# ---- reading -----------------------------------------------------------------------------------


class _Entry(NamedTuple):
    file: Path
    data: dict[str, Any]


def _entries(folder: Path | None, faults: list[CatalogInvalid]) -> Iterator[_Entry]:
    if folder is None or not folder.is_dir():
        return
    for file in sorted(folder.glob("*.toml")):
        entry = _read(file)
        if isinstance(entry, CatalogInvalid):
            faults.append(entry)
        else:
            yield entry


def _read(file: Path) -> _Entry | CatalogInvalid:
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return CatalogInvalid(file, _one_line(error))
    name = data.setdefault("id", file.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return CatalogInvalid(file, f"key `id`: {name!r} is not lower-case letters, digits and -")
    return _Entry(file, data)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return " ".join(str(error).split())


def _laid_over(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = {**cast("dict[str, Any]", old), **value} if both else value
    return result


def _profile(entry: _Entry) -> AgentProfile | CatalogInvalid:
    try:
        profile = msgspec.convert(entry.data, AgentProfile)
    except msgspec.ValidationError as error:
        return CatalogInvalid(entry.file, _reason(str(error)))
    for why in _objections(profile):
        return CatalogInvalid(entry.file, why)
    return profile


def _reason(said: str) -> str:
    """Put the key first: `key "command[0]": Expected "str", got "int"`."""
    place = _WHERE.match(said)
    return f"key `{place['key']}`: {place['what']}" if place else said


def _objections(profile: AgentProfile) -> Iterator[str]:
    """Say what a type cannot."""
    if not "".join(profile.command[:1]) or "\0" in "".join(profile.command):
        yield "key `command`: it names no program"
    if profile.dialect not in DIALECTS:
        yield f"key `dialect`: {_no_dialect(profile.dialect)}"
    odd = [alias for alias in profile.aliases if not _NAME.fullmatch(alias)]
    if odd:
        yield f"key `aliases`: {odd[0]!r} is not lower-case letters, digits and -"
    for key, number in (("memory_mb", profile.memory_mb), ("start_timeout", profile.start_timeout)):
        if not 0 < number < _MUCH:
            yield f"key `{key}`: {number:g} is out of range"
    if profile.default_mode is not None and profile.default_mode not in launch_modes(profile):
        yield f"key `default_mode`: nothing says how the agent does {profile.default_mode.value!r}"
    yield from _bad_variables("environment", profile.environment)
    for mode, variables in profile.mode_environment.items():
        yield from _bad_variables(f"mode_environment.{mode.value}", variables)


def _bad_variables(table: str, variables: dict[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            yield f"key `{table}.{name}`: no variable can be set so"


def _no_dialect(name: str) -> str:
    return f"there is no dialect {name!r}; this version has {', '.join(DIALECTS)}"


def _names_of(profiles: dict[str, AgentProfile], *, first: list[str]) -> dict[str, str]:
    names = {name: name for name in profiles}
    for name in [*first, *profiles]:
        for alias in profiles[name].aliases if name in profiles else ():
            names.setdefault(alias, name)
    return names
