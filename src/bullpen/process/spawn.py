"""Start an agent so that it survives us and its end is recorded."""

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from bullpen.errors import DirectoryMissing, ProgramNotFound
from bullpen.process.child import Child, collect_strays
from bullpen.process.identity import Identity
from bullpen.process.journal import Journal, opened
from bullpen.process.table import SESSION_MARK, WRAPPER_NAME, Mark
from bullpen.process.watch import Watcher

_SHELL = "/bin/sh"
_WRAPPER = """\
trap : HUP INT QUIT TERM USR1 USR2
set -C
echo "$$ $2" >"$1/pid" || exit 125
set +C
read -r BULLPEN_PREPARED <"$1/run" && [ "$BULLPEN_PREPARED" = "$4" ] || exit 125
unset BULLPEN_PREPARED
agent() { shift 4; "$@"; }
cd "$3" && unset OLDPWD && agent "$@"
set -- "$?" "$1" "$2"
echo "$1 $3" >"$2/exit"
exit "$1"
"""
# $1 journal folder, $2 run, $3 working directory, $4 the journal's `run` file as we found it, then
# the agent's argv. Each line has its reason:
# - `trap :` is a handler: the wrapper outlives signals to its group and writes `exit`, while the
#   agent gets the default back. An ignore (`trap ''`) would be inherited by the agent.
# - `set -C` makes `>` fail on an existing file: two wrappers cannot start two agents, however
#   late one of them wakes. Both files are one short write ending in a newline, and a reader
#   takes a file without that newline for none. So neither `mv` nor a useful PATH is needed.
# - `run` is looked at after `pid` was written. A wrapper that slept through the death of its
#   service, the adoption, and the preparation of the next run ends here; one that slept through
#   less ends at `set -C`. Either way there is one agent on a journal, or none.
# - The agent runs in the foreground: a shell without job control lets background jobs ignore
#   SIGINT. The function hides four words of "$@" from it without naming a variable; a variable
#   with the name of one in the environment would change what the agent gets.


async def spawn(
    argv: Sequence[str],
    *,
    journal: Journal,
    run: int,
    cwd: Path,
    env: Mapping[str, str],
    watcher: Watcher,
) -> Child:
    """Start `argv` on `journal`, which was prepared for `run`, and return without waiting for it.

    The agent leads nothing and depends on nobody: its stdin, stdout and stderr are the journal's
    files, its process group and kernel session are the wrapper's, and no other descriptor and no
    ignored or blocked signal of ours reaches it. Ends by itself, by `Child.reap`, or not at all.

    Args:
        argv: Program and arguments, never a shell line. The program is looked up on
            `env["PATH"]`, or below `cwd` when it is a relative path.
        env: The whole environment; nothing of ours is inherited. `BULLPEN_RUN`,
            `BULLPEN_JOURNAL` and `PWD` are set to what is true, `BULLPEN_SESSION` to the
            folder's name unless given. Variables
            whose name is not a shell identifier may not reach the agent.

    Raises:
        ProgramNotFound: there is no such program. Nothing was made.
        DirectoryMissing: `cwd` is not there, or is a file. Nothing was made.
        JournalDamaged: the journal was not prepared. Nothing was made.
    """
    where = cwd.absolute()
    if not where.is_dir():
        raise DirectoryMissing(where, is_file=where.exists())
    program = find_program(argv[0], path=env.get("PATH", os.defpath), cwd=where)
    session = env.get(SESSION_MARK) or journal.folder.name
    mark = Mark.of(session, run, journal.folder)
    name = f"{WRAPPER_NAME}{session}:{run}"
    words = [name, str(mark.journal), str(run), str(where), journal.prepared()]
    command = [_SHELL, "-c", _WRAPPER, *words, program, *argv[1:]]
    collect_strays()
    pid = _start(command, journal=journal, env={**env, **mark.environment(), "PWD": str(where)})
    try:
        identity = Identity.of(pid)
        assert identity is not None, "nobody but us can take our child off the process table"
        return Child(identity, group=pid, mark=mark, journal=journal, watcher=watcher)
    except OSError:
        # No descriptor left for the FIFO: an agent nobody could speak to.
        _take_back(pid)
        raise


def find_program(program: str, *, path: str, cwd: Path) -> str:
    """Return the absolute path of `program` as a process in `cwd` with that PATH finds it.

    Absolute, because a shell would take `test` or `echo` for its own.

    Raises:
        ProgramNotFound: there is no such file, or it may not be executed.
    """
    name = str(cwd / program) if os.sep in program else program
    found = shutil.which(name, path=path)
    if found is None:
        raise ProgramNotFound(program, path)
    return str(cwd / found)


def _start(command: list[str], *, journal: Journal, env: dict[str, str]) -> int:
    """Return the pid of `command`, started on the journal's files in a session of its own.

    Not `subprocess`: a service that itself was started with SIGINT ignored (in the background of
    a script, say) hands that on, and a shell cannot undo it.
    """
    append = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
    with (
        # Blocking, unlike our own end: this one is the agent's. Read-write: it never sees an end.
        opened(journal.stdin, os.O_RDWR | os.O_NOFOLLOW) as stdin,
        opened(journal.stdout, append) as stdout,
        opened(journal.stderr, append) as stderr,
    ):
        actions: list[tuple[int, ...]] = [
            (os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()
        ]
        for descriptor, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
            actions.append((os.POSIX_SPAWN_DUP2, descriptor, number))
        return os.posix_spawn(
            _SHELL,
            command,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )


def _take_back(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _inheritable() -> list[int]:
    """Return the descriptors above 2 that we got from our own parent in such a way that our
    children would get them too, such as a pipe somebody waits to see closed."""
    found: list[int] = []
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, not paths
        descriptor = int(entry)
        try:
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
        except OSError:
            continue  # the descriptor the list was read with
    return found
