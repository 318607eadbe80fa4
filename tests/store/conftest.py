"""A private Postgres server where its programs are installed, and stores to test."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty database on a server of our own, on a unix socket only."""
    programs = _programs()
    if programs is None:
        pytest.skip("no Postgres server is installed")
    user = None
    if os.geteuid() == 0:
        # The server refuses to run as root.
        user = next((one.pw_name for one in pwd.getpwall() if one.pw_name == "postgres"), "nobody")
    with tempfile.TemporaryDirectory(prefix="bp-pg-", dir="/tmp") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        data = folder / "data"

        def call(*argv: str) -> None:
            subprocess.run(argv, check=True, user=user, cwd=folder, capture_output=True)

        call(str(programs / "initdb"), "-D", str(data), "-U", "bullpen", "-A", "trust", "-N")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        control = str(programs / "pg_ctl")
        log = str(folder / "log")
        call(control, "-D", str(data), "-w", "-l", log, "-o", options, "start")
        try:
            yield f"postgresql+psycopg://bullpen@/postgres?host={folder}"
        finally:
            call(control, "-D", str(data), "-w", "-m", "immediate", "stop")
