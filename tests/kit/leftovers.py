"""Asserts that a test run leaves nothing behind: no process, no tmux server, no folder.

A run gets a temporary folder of its own, which every process it starts inherits as TMPDIR. At the
end, whoever still carries that name is a leftover, and so is what lies in the folder. A green run
deletes the folder; one that failed keeps it and says where.
"""

import os
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from bullpen.process import marked

_KEY = pytest.StashKey[Path]()
_PATIENCE = 5.0
# Seconds for what was told to end and is on its way.


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder; workers inherit that of their controller."""
    if _is_worker(config):
        return
    # Short names: a unix socket's path holds about a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="bp-")).resolve()
    os.environ |= {"TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")}
    (folder / "run").mkdir(mode=0o700)
    tempfile.tempdir = None
    config.option.basetemp = config.option.basetemp or str(folder / "t")
    config.stash[_KEY] = folder


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for leftovers once all tests and workers are over."""
    config = session.config
    if _is_worker(config) or _KEY not in config.stash:
        return
    folder = config.stash[_KEY]
    runtime = folder / "run"
    left = [f"process {one}" for one in _processes(folder)] + [
        f"{one} in the temporary folder"
        for one in sorted(folder.iterdir())
        if one.name not in ("t", "run")
    ]
    left += [f"{one} in the folder of sockets" for one in runtime.glob("*/*")]
    if left and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    _say(config, [f"left behind: {one}" for one in left])
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _say(config, [f"the run's files are kept in {folder}"])


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _say(config: pytest.Config, lines: list[str]) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for line in lines:
        if reporter is not None:
            reporter.write_line(line, red=True)


def _processes(folder: Path) -> list[str]:
    found = {one.pid: one for one in _carriers(folder)}
    gone, _ = psutil.wait_procs(list(found.values()), timeout=_PATIENCE)
    for one in gone:
        del found[one.pid]
    return [_described(one) for one in found.values()]


def _carriers(folder: Path) -> list[psutil.Process]:
    ours = {one.pid for one in marked() if one.journal.is_relative_to(folder)}
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if process.pid in ours or environment.get("TMPDIR") == str(folder):
            found.append(process)
    return found


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)
