"""The check for leftovers is itself shown to find them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ORPHAN = """
import subprocess, sys, os
def test_leaves_a_process():
    body = "import signal; signal.alarm(30); signal.pause()"
    null = subprocess.DEVNULL
    argv = [sys.executable, "-c", body]
    child = subprocess.Popen(argv, start_new_session=True, stdout=null, stderr=null)
    print("orphan", child.pid)
"""
FOLDER = """
import tempfile
def test_leaves_a_folder():
    tempfile.mkdtemp(prefix="forgotten-")
"""
CLEAN = """
def test_leaves_nothing(tmp_path):
    (tmp_path / "x").write_text("x")
"""


def run(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_it.py").write_text(body)
    environment = {**os.environ, "PYTHONPATH": str(HERE), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-W", "ignore", "-m", "pytest", "-p", "kit.leftovers", "-s", "-q"]
    return subprocess.run(
        [*argv, "--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path / "test_it.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )


def test_a_run_that_leaves_a_process_fails_and_names_it(tmp_path: Path):
    done = run(tmp_path, ORPHAN)
    pid = int(done.stdout.split("orphan ", 1)[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    assert done.returncode == 1
    assert f"left behind: process {pid}" in done.stdout


def test_a_run_that_leaves_a_folder_fails_and_names_it(tmp_path: Path):
    done = run(tmp_path, FOLDER)
    assert done.returncode == 1
    assert "forgotten-" in done.stdout


def test_a_clean_run_leaves_not_even_its_own_folder(tmp_path: Path):
    done = run(tmp_path, CLEAN)
    assert done.returncode == 0, done.stdout
    assert list(tmp_path.glob("bp-*")) == []


def test_this_run_has_the_check(pytestconfig: pytest.Config):
    assert pytestconfig.pluginmanager.has_plugin("kit.leftovers")
    assert Path(os.environ["TMPDIR"]).name.startswith("bp-")
