"""Short commands: run, wait, return what they printed, and leave nothing of them behind."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.lowlevel

from bullpen.errors import CommandFailed, CommandTimedOut, DirectoryMissing
from bullpen.process.identity import Identity, gone
from bullpen.process.reap import Kin, end
from bullpen.process.spawn import find_program

_PIECE_BYTES = 64 * 1024
_PIPE_PIECES = 16
# As many as the largest pipe holds.
_GRACE = 2.0
# Seconds between SIGTERM and SIGKILL for a command that ran out of time.
_LAST_WORDS = 0.2
# Seconds we go on reading after the command's end, while a daemon it left holds its output open.


@dataclass
class Done:
    """A short command that has ended."""

    exit_code: int
    """As a shell says it: 128 + n when signal n killed it."""
    stdout: bytes
    stderr: bytes
    """Empty when `on_output` was given, which gets both in the order they were printed."""


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    stdin: bytes = b"",
    check: bool = True,
    on_output: Callable[[bytes], None] | None = None,
) -> Done:
    """Run `argv` to its end in a process group without terminal, and return what it printed.

    When it returns or raises, by timeout and cancellation too, nothing is left of the group. A
    daemon that left the group (setsid) lives on, and is not waited for.

    Args:
        env: The whole environment; None hands on our own.
        timeout: Seconds; None waits for ever.
        stdin: All the command can read. It sees the end at once when there is none.
        check: Whether another code than 0 raises.
        on_output: Called with pieces of stdout and stderr together, as they come. What it raises
            ends the command and is raised here.

    Raises:
        ProgramNotFound: there is no such program on `env["PATH"]`.
        DirectoryMissing: `cwd` is not there, or is a file.
        CommandFailed: it ended with another code than 0, and `check`; or it could not be started
            (126).
        CommandTimedOut: it took longer than `timeout`, and was ended.
    """
    where = cwd.absolute()
    if not where.is_dir():
        raise DirectoryMissing(where, is_file=where.exists())
    whole = os.environ if env is None else env
    program = find_program(argv[0], path=whole.get("PATH", os.defpath), cwd=where)
    command = _Command(on_output)
    try:
        command.start([program, *argv[1:]], cwd=where, env=whole, has_stdin=bool(stdin))
    except OSError as error:
        # Found, but not to be started: no interpreter, no room for so long an argument list.
        raise CommandFailed(tuple(argv), 126, str(error)) from error
    try:
        with anyio.move_on_after(timeout) as limit:
            await command.talk(stdin)
    finally:
        await command.end()
    if limit.cancelled_caught:
        assert timeout is not None, "only a limit can be reached"
        raise CommandTimedOut(tuple(argv), timeout)
    done = command.done()
    if check and done.exit_code:
        said = done.stderr if on_output is None else done.stdout
        raise CommandFailed(tuple(argv), done.exit_code, said.decode(errors="replace"))
    return done


class _Command:
    """The running process with its pipes."""

    def __init__(self, on_output: Callable[[bytes], None] | None) -> None:
        self._on_output = on_output
        self._stdout: list[bytes] = []
        self._stderr: list[bytes] = []
        self._failure: Exception | None = None

    def start(self, argv: list[str], *, cwd: Path, env: Mapping[str, str], has_stdin: bool) -> None:
        merged = self._on_output is not None
        self._process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        identity = Identity.of(self._process.pid)
        assert identity is not None, "nobody but us can take our child off the process table"
        self._identity = identity
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)

    async def talk(self, stdin: bytes) -> None:
        """Feed and read until the process has ended and its pipes have, or soon after."""
        async with anyio.create_task_group() as reading:
            if self._process.stdin is not None:
                reading.start_soon(self._feed, self._process.stdin, stdin)
            for pipe, pieces in self._outputs():
                reading.start_soon(self._read, pipe, pieces, reading.cancel_scope)
            await gone(self._identity)
            reading.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS
        self._sweep()
        if self._failure is not None:
            raise self._failure

    async def end(self) -> None:
        """End what is left of the group. Shielded, bounded."""
        with anyio.CancelScope(shield=True):
            if self._process.poll() is None or _has_group(self._process.pid):
                await end(Kin(self._identity), grace=_GRACE)
            with anyio.move_on_after(_GRACE):
                await gone(self._identity)
        self._process.poll()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _outputs(self) -> list[tuple[IO[bytes], list[bytes]]]:
        both = ((self._process.stdout, self._stdout), (self._process.stderr, self._stderr))
        return [(pipe, pieces) for pipe, pieces in both if pipe is not None]

    def done(self) -> Done:
        code = self._process.returncode
        shown = 128 - code if code < 0 else code
        return Done(shown, b"".join(self._stdout), b"".join(self._stderr))

    async def _feed(self, pipe: IO[bytes], data: bytes) -> None:
        rest = memoryview(data)
        # A command is free to end, or to close its stdin, without reading all of it.
        with suppress(BrokenPipeError):
            while rest:
                try:
                    rest = rest[os.write(pipe.fileno(), rest[:_PIECE_BYTES]) :]
                except BlockingIOError:
                    await anyio.wait_writable(pipe)
        pipe.close()

    async def _read(
        self, pipe: IO[bytes], pieces: list[bytes], everything: anyio.CancelScope
    ) -> None:
        while self._failure is None:
            try:
                if not self._take(pipe, pieces):
                    return
            except BlockingIOError:
                await anyio.wait_readable(pipe)
            await anyio.lowlevel.checkpoint()
        everything.cancel()

    def _take(self, pipe: IO[bytes], pieces: list[bytes]) -> bool:
        piece = os.read(pipe.fileno(), _PIECE_BYTES)
        if not piece:
            return False
        pieces.append(piece)
        try:
            if self._on_output is not None:
                self._on_output(piece)
        except Exception as error:  # noqa: BLE001 - raised by `talk`, outside of the task group
            self._failure = error
        return True

    def _sweep(self) -> None:
        """Read what the command itself still had in its pipes, when we were too slow for the
        time after its end. Bounded, as a daemon may go on writing."""
        for pipe, pieces in self._outputs():
            left = _PIPE_PIECES
            with suppress(BlockingIOError):
                while left and self._failure is None and self._take(pipe, pieces):
                    left -= 1


def _has_group(group: int) -> bool:
    """Whether anyone is left in a group whose leader we have collected."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
