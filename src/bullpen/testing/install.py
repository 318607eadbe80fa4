"""Real agents for tests and rehearsals, from npm at pinned versions, in a cache folder.

    python -m bullpen.testing.install [AGENT...]      install, print what is missing and why

The cache is `$BULLPEN_AGENT_CACHE`, else `$XDG_CACHE_HOME/bullpen/agents`, else
`~/.cache/bullpen/agents`. Nothing outside of it is written; no package's install script runs.
An agent is installed into a draft folder and renamed, so it is there whole or not at all, and any
number of processes may ask at once.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

_PINS = Path(__file__).with_name("agents.toml")
_PATIENCE = 900
# Seconds for one agent: the largest is 400 MB.


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of `agents.toml`."""

    packages: list[str]
    programs: dict[str, str]
    platform: str = ""
    omit_optional: bool = False
    needs: list[str] = []
    environment: dict[str, str] = {}


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that is ready to run."""

    name: str
    programs: dict[str, Path]
    """Program name to file."""
    path: list[Path]
    """Folders that must come first in PATH: programs by their names, and the right Node."""
    environment: dict[str, str]
    """What the agent needs to find its parts."""


class NotInstallable(Exception):
    """The agent cannot be had here; the text says why."""


def pins() -> dict[str, Pin]:
    """Return every pinned agent by name."""
    return msgspec.convert(tomllib.loads(_PINS.read_text()), dict[str, Pin])


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where agents are kept; it need not exist."""
    if own := environment.get("BULLPEN_AGENT_CACHE"):
        return Path(own)
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "bullpen" / "agents"


def install(name: str, *, cache: Path | None = None, fetch: bool = True) -> Installed:
    """Return the agent, from the cache or, with `fetch`, from npm.

    Raises:
        NotInstallable: wrong platform, no npm, or npm refused. Nothing half-made stays.
    """
    known = pins()
    if name not in known:
        raise NotInstallable(f"no pinned agent is called {name!r}; known: {', '.join(known)}")
    pin = known[name]
    cache = cache or cache_folder()
    needed = [install(each, cache=cache, fetch=fetch) for each in pin.needs]
    folder = _ensure(name, pin, cache, fetch=fetch)
    modules = folder / "node_modules"
    programs = {each: modules / place for each, place in pin.programs.items()}
    missing = [str(file) for file in programs.values() if not file.exists()]
    if missing:
        raise NotInstallable(f"{name}: its package brought no {missing[0]}")
    parts = {each: str(file) for one in needed for each, file in one.programs.items()}
    environment = {key: value.format(**parts) for key, value in pin.environment.items()}
    for one in needed:
        environment = one.environment | environment
    path = [folder / "bin", *(each for one in needed for each in one.path)]
    return Installed(name=name, programs=programs, path=path, environment=environment)


def _ensure(name: str, pin: Pin, cache: Path, *, fetch: bool) -> Path:
    here = f"{sys.platform}-{platform.machine()}"
    if pin.platform not in ("", here):
        raise NotInstallable(f"{name}: pinned for {pin.platform}, this is {here}")
    folder = cache / f"{name}-{pin.packages[0].rpartition('@')[2]}"
    if folder.is_dir():
        return folder
    if not fetch:
        raise NotInstallable(f"{name}: not in {cache}, and fetching is off")
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch(name, pin, folder)
    return folder


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _fetch(name: str, pin: Pin, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstallable(f"{name}: there is no npm on PATH")
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    argv = [npm, "install", "--prefix", str(draft), "--ignore-scripts", "--no-audit", "--no-fund"]
    argv += ["--loglevel=error", *(["--omit=optional"] if pin.omit_optional else []), *pin.packages]
    try:
        done = subprocess.run(
            argv, cwd=draft, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[:300]
            raise NotInstallable(f"{name}: npm exited with {done.returncode}: {said}")
        _link_programs(pin, draft)
        draft.rename(folder)
    except subprocess.TimeoutExpired as late:
        raise NotInstallable(f"{name}: npm took longer than {_PATIENCE} s") from late
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _link_programs(pin: Pin, folder: Path) -> None:
    """Make `bin/` with the programs by their names."""
    (folder / "bin").mkdir()
    for name, place in pin.programs.items():
        (folder / "bin" / name).symlink_to(Path("..") / "node_modules" / place)


def main(names: Iterable[str]) -> int:
    """Install `names`, or all; print a line each; return 1 if one cannot be had."""
    failed = 0
    for name in list(names) or list(pins()):
        try:
            done: Any = install(name)
            print(f"{name}: {done.path[0]}")  # noqa: T201 - a command's result
        except NotInstallable as why:
            failed = 1
            print(f"MISSING {why}", file=sys.stderr)  # noqa: T201 - a command's error
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
