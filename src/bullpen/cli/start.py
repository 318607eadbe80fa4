"""Starting the service in the background, so that two never start, and stopping it.

Whoever finds no service takes the start lock, looks again, and only then starts one; the service
itself holds a lock of its own, so that even without this module a second one would leave at once.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bullpen.cli.exits import Refusal, unreachable
from bullpen.cli.wire import dial
from bullpen.model.home import Home

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import IO

START_TIMEOUT = 30.0
"""Migrating a database and adopting two hundred sessions stays far below."""
STOP_TIMEOUT = 30.0
"""A drain waits for what is being written, never for an agent."""
_POLL = 0.01
_TAIL = 12


def started(
    home: Home, environment: Mapping[str, str], *, timeout: float = START_TIMEOUT
) -> socket.socket:
    """Return a connection to the service of `home`, which is started when there is none.

    The service outlives the caller: it has its own session, no terminal and no standard input,
    writes to `home.service_log`, and does not know which session or directory it was started from.

    Raises:
        Refusal: `service-unreachable`: the state folder cannot be used, the service ended at once
            (its last words are in the hint), or did not answer within `timeout` seconds. In the
            last case it is left running.
    """
    with _start_lock(home) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        until = time.monotonic() + timeout
        while True:
            connection = _try(home) or _launched(home, environment, until)
            if connection is not None:
                return connection
            if time.monotonic() > until:
                raise unreachable(
                    f"the service did not answer within {timeout:g} s",
                    hint=f"look at {str(home.service_log)!r}",
                )


def _start_lock(home: Home) -> IO[bytes]:
    try:
        home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home.start_lock.open("ab")
    except OSError as error:
        raise unreachable(
            f"cannot use the state folder {str(home.folder)!r}: {error.strerror}",
            hint="set BULLPEN_HOME to a folder you can write to",
        ) from error


def _launched(home: Home, environment: Mapping[str, str], until: float) -> socket.socket | None:
    """Start one service; None when it left because another one is still there."""
    log = home.service_log
    seen = log.stat().st_size if log.exists() else 0
    child = _spawned(home, environment)
    while time.monotonic() < until:
        connection = _try(home)
        if connection is not None:
            # It is meant to outlive this process; without a code the module would complain.
            child.returncode = 0
            return connection
        code = child.poll()
        if code == 0:
            time.sleep(_POLL)
            return None
        if code is not None:
            raise _stillborn(log, seen, code)
        time.sleep(_POLL)
    child.returncode = 0
    return None


def _spawned(home: Home, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    kept = {
        name: value for name, value in environment.items() if not name.startswith("BULLPEN_SESSION")
    }
    # Absolute, because the service does not run in the caller's directory.
    kept["BULLPEN_HOME"] = str(home.folder)
    # -P: nothing named like a module of ours may be picked up from a directory.
    command = [sys.executable, "-P", "-m", "bullpen", "serve"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = os.open(home.service_log, flags, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=kept,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)


def _try(home: Home) -> socket.socket | None:
    try:
        return dial(home)
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
        return None
    except OSError as error:
        raise unreachable(f"cannot connect to {str(home.socket)!r}: {error}") from error


def _stillborn(log: Path, seen: int, code: int) -> Refusal:
    with log.open("rb") as stream:
        stream.seek(seen)
        words = stream.read().decode("utf-8", "replace").strip().splitlines()
    said = "\n".join(words[-_TAIL:])
    return unreachable(
        f"the service ended with code {code} before it answered",
        hint=f"the end of {str(log)!r}:\n{said}" if said else f"{str(log)!r} is empty",
    )


def until_gone(home: Home, *, timeout: float = STOP_TIMEOUT) -> None:
    """Return when no service of `home` is there any more: its lock is free.

    Raises:
        Refusal: it still held the lock after `timeout` seconds.
    """
    until = time.monotonic() + timeout
    while is_running(home):
        if time.monotonic() > until:
            raise Refusal("service-stopping", f"the service did not end within {timeout:g} s")
        time.sleep(_POLL)


def is_running(home: Home) -> bool:
    """Say whether a service process of `home` exists, be it one that answers nobody yet."""
    try:
        lock = home.service_lock.open("rb")
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
