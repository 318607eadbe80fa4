"""Peers from their registries, into a cache folder that is kept between runs."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from arena.figures import Skipped

_PATIENCE = 600.0


def run(argv: Sequence[str | Path]) -> str:
    """Run one installer and return what it printed.

    Raises:
        Skipped: it is missing, failed, or took longer than ten minutes.
    """
    words = [str(one) for one in argv]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except FileNotFoundError as missing:
        raise Skipped(f"there is no {words[0]} here") from missing
    except subprocess.TimeoutExpired as late:
        raise Skipped(f"{Path(words[0]).name} took longer than {_PATIENCE:g} s") from late
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Skipped(f"{Path(words[0]).name} failed: {' '.join(said)[:200]}")
    return done.stdout


def from_pypi(cache: Path, package: str) -> Path:
    """Return the `bin` folder of a virtual environment that has the newest `package`."""
    folder = cache / package
    if not (folder / "bin" / ".installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", folder])
        run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", package])
        (folder / "bin" / ".installed").touch()
    return folder / "bin"


def from_npm(cache: Path, *packages: str) -> Path:
    """Return the `node_modules` folder that has `packages`; their install scripts are not run."""
    name = packages[0].partition("@")[0]
    folder = cache / name
    if not (folder / ".installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        quiet = ["--no-audit", "--no-fund", "--loglevel", "error"]
        run(["npm", "install", "--prefix", folder, "--ignore-scripts", *quiet, *packages])
        (folder / ".installed").touch()
    return folder / "node_modules"


def node_package() -> str:
    """Return the npm package that holds Node 22 for this machine.

    Raises:
        Skipped: there is none.
    """
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system())
    machines = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    processor = machines.get(platform.machine())
    if system is None or processor is None:
        raise Skipped("npm has no Node for this machine")
    return f"node-{'bin-' if system == 'darwin' else ''}{system}-{processor}@22"
