"""The command that makes a fresh place ready, such as the installation of dependencies."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bullpen.errors import CommandTimedOut, SetupFailed
from bullpen.process import run

_KEPT_BYTES = 64_000
"""How much of the output an error carries; all of it went to `on_output`."""


async def run_setup(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | None,
    on_output: Callable[[bytes], None],
) -> None:
    """Run `command` by `/bin/sh -c` in `cwd` to its end.

    Stdout and stderr go to `on_output` together, in the order they are printed. When this returns,
    raises or is cancelled, nothing the command started in its process group is left.

    Args:
        env: The whole environment of the command.
        timeout: Seconds; None waits for ever.

    Raises:
        SetupFailed: it ended with another code than 0, or, with None as its code, took too long.
        DirectoryMissing: `cwd` is gone.
    """
    tail = bytearray()

    def keep(piece: bytes) -> None:
        tail.extend(piece)
        del tail[:-_KEPT_BYTES]
        on_output(piece)

    argv = ["/bin/sh", "-c", command]
    try:
        done = await run(argv, cwd=cwd, env=env, timeout=timeout, check=False, on_output=keep)
    except CommandTimedOut as error:
        raise SetupFailed(command, None, _text(tail)) from error
    if done.exit_code != 0:
        raise SetupFailed(command, done.exit_code, _text(tail))


def _text(output: bytearray) -> str:
    return output.decode("utf-8", "replace")
