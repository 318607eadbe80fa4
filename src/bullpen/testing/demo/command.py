"""A command a step runs: its output goes into a tool call, its process group ends with it."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from bullpen.testing.demo.script import Pause
from bullpen.testing.demo.turn import Turn, text_content

SHOWN_BYTES = 32_768
"""How much of an output is shown, counted from its end."""
SHOW_EVERY = 0.1
"""Seconds between two looks at a running output; each look repeats all that is shown."""
GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL: enough for git to remove its lock files."""


def execute(turn: Turn, need: str, title: str, argv: list[str]) -> Generator[Pause, Any, int]:
    """Run a program in the session's directory once the mode gives leave, and return its exit
    code; 0 when it was not run.

    What it leaves behind in its process group is stopped, also when the turn is cancelled.
    """
    call = yield from turn.leave(need, title, "execute", rawInput={"command": title})
    if not call:
        return 0
    process = subprocess.Popen(
        argv,
        cwd=turn.conversation.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    try:
        output = yield from _follow(turn, call, process)
    finally:
        _stop_group(process)
    shown = text_content(output) if output else []
    status = "failed" if process.returncode else "completed"
    result = {"exitCode": process.returncode, "output": output}
    turn.change(call, status=status, content=shown, rawOutput=result)
    return process.returncode


def detach(argv: list[str]) -> int:
    """Start a program in a session of its own, which nothing here ever stops; return its pid."""
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(
        argv, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
    )
    # Leaving it is the point, so the interpreter need not complain about it.
    process.returncode = 0
    return process.pid


def _follow(turn: Turn, call: str, process: subprocess.Popen[bytes]) -> Generator[Pause, Any, str]:
    assert process.stdout is not None
    fd = process.stdout.fileno()
    shown, due, data = bytearray(), 0.0, b"-"
    # A process in the background may hold the pipe open for ever, and a program may close its
    # stdout early: it is over when the program is gone and nothing is left to read.
    while process.poll() is None or (data and select.select([fd], [], [], 0)[0]):
        yield Pause(fd=fd if data else -1, until=time.monotonic() + (SHOW_EVERY if data else 0.005))
        if data and select.select([fd], [], [], 0)[0]:
            data = os.read(fd, 65_536)
            shown += data
            del shown[:-SHOWN_BYTES]
        if data and time.monotonic() >= due:
            turn.change(call, content=text_content(_readable(shown)))
            due = time.monotonic() + SHOW_EVERY
    return _readable(shown)


def _readable(shown: bytearray) -> str:
    # The cut may have gone through a character.
    start = next((at for at, byte in enumerate(shown[:4]) if byte & 0xC0 != 0x80), 0)
    return shown[start:].decode(errors="replace")


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    if process.stdout:
        process.stdout.close()
