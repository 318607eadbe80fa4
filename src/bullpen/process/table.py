"""The kernel's process table, and the marks by which we find our own processes in it.

Linux is read from /proc, because one `stat` line says everything at once; elsewhere `psutil`
says the same more slowly.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

SESSION_MARK = "BULLPEN_SESSION"
RUN_MARK = "BULLPEN_RUN"
JOURNAL_MARK = "BULLPEN_JOURNAL"
# All stand in the environment of every agent, so everything an agent starts carries them too. The
# journal is among them because another service of the same user may give the same session id.

WRAPPER_NAME = "bullpen:"
# The wrapper's `$0` is this, the session and the run. macOS hides the environment of its own
# /bin/sh, but not its arguments.


_WRAPPER_WORDS = 8
# Of a wrapper's argv; behind them stands that of its agent.

_EXEC_TRIES = 20
_EXEC_PAUSE = 0.0005
_KERNEL_THREADS = 2
# The parent of them all. They have neither arguments nor environment, ever.


@dataclass(frozen=True, slots=True)
class Entry:
    """One process as the kernel knew it a moment ago."""

    pid: int
    parent: int
    group: int
    kernel_session: int
    """Number of the process that called setsid() for it; no session of ours."""
    start_time: str
    """See `Identity.start_time`."""
    is_dead: bool
    """True for a zombie: it holds its pid, and does nothing any more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a process was started for."""

    session: str
    run: int
    """0 when its environment does not say."""
    journal: Path
    """The session's folder, without links; empty when its environment does not say."""

    @classmethod
    def of(cls, session: str, run: int, folder: Path) -> "Mark":
        """Return the mark of a run whose journal is in `folder`."""
        return cls(session, run, folder.resolve())

    def environment(self) -> dict[str, str]:
        """Return the variables that carry it."""
        return {
            SESSION_MARK: self.session,
            RUN_MARK: str(self.run),
            JOURNAL_MARK: str(self.journal),
        }


@dataclass
class Marked:
    """A living process that one of our agents is, or started."""

    pid: int
    group: int
    session: str
    run: int
    """0 when its environment does not say."""
    start_time: str
    command: str
    journal: Path
    """The session's folder. Another service of the same user has others."""


def look(pid: int) -> Entry | None:
    """Return what the table says of `pid`, None when there is no such process."""
    return proc_look(pid) if sys.platform == "linux" else psutil_look(pid)


def everyone() -> Iterator[Entry]:
    """Yield every process there is, zombies too. Not a snapshot: the table changes meanwhile."""
    for pid in psutil.pids():
        entry = look(pid)
        if entry is not None:
            yield entry


def proc_look(pid: int) -> Entry | None:
    """`look` for Linux."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name stands in parentheses and may itself hold spaces and parentheses.
    fields = line.rpartition(b")")[2].split()
    return Entry(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        kernel_session=int(fields[3]),
        start_time=f"{_boot()}:{int(fields[19])}",
        is_dead=fields[0] in (b"Z", b"X", b"x"),
    )


def psutil_look(pid: int) -> Entry | None:
    """`look` for systems without /proc."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Entry(
                pid=pid,
                parent=process.ppid(),
                group=os.getpgid(pid),
                kernel_session=os.getsid(pid),
                start_time=f"{process.create_time():.6f}",
                is_dead=process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD),
            )
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None
    except (psutil.AccessDenied, PermissionError):
        return None  # it belongs to somebody else, so it is none of ours


def born(start_time: str) -> tuple[str, float]:
    """Return the boot and the instant within it, to compare ages within the same boot."""
    boot, _, instant = start_time.rpartition(":")
    return boot, float(instant)


def marks(pid: int) -> Mark | None:
    """Return what `pid` was started for; None when it is not ours, belongs to another user, or
    is gone."""
    if sys.platform == "linux":
        return _mark_in(proc_environment(pid))
    return _mark_in(psutil_environment(pid)) or _mark_of_wrapper(arguments(pid))


def proc_environment(pid: int) -> dict[str, str]:
    """Return the environment `pid` was started with; empty when it bears no mark, or is not for
    us to see."""
    try:
        if Path(f"/proc/{pid}").stat().st_uid != os.geteuid():
            return {}
    except FileNotFoundError:
        return {}
    block = _proc_block(pid, "environ")
    if SESSION_MARK.encode() not in block:
        return {}
    pairs = (entry.partition(b"=") for entry in block.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def psutil_environment(pid: int) -> dict[str, str]:
    """`proc_environment` for systems without /proc."""
    try:
        process = psutil.Process(pid)
        if process.uids().effective != os.geteuid():
            return {}
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def arguments(pid: int) -> list[str]:
    """Return the argv of `pid`, empty when it is gone or not for us to see."""
    if sys.platform != "linux":
        with suppress(psutil.Error):
            return psutil.Process(pid).cmdline()
        return []
    return [os.fsdecode(word) for word in _proc_block(pid, "cmdline").split(b"\0")[:-1]]


class _Census:
    """Lets threads that ask at the same time share one reading of the table."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._begun = 0
        self._finished = 0
        self._latest: list[tuple[Entry, Mark | None]] = []

    def take(self) -> list[tuple[Entry, Mark | None]]:
        # A reading under way may have passed a process that was born since; the next has not.
        wanted = self._begun + 1
        with self._one_at_a_time:
            if self._finished < wanted:
                self._begun += 1
                self._latest = [
                    (entry, marks(entry.pid)) for entry in everyone() if not entry.is_dead
                ]
                self._finished = self._begun
            return self._latest


_census = _Census()


def census() -> list[tuple[Entry, Mark | None]]:
    """Return every living process with its marks, as the table was at some time after the call.

    Reads the environment of every process of the user: some milliseconds, in which the caller's
    thread is busy. Many callers at once cost little more than one.
    """
    return _census.take()


def marked() -> list[Marked]:
    """Return every living process of this user that carries our marks, by age, oldest first.

    Takes as long as `census`.
    """
    found: list[Marked] = []
    for entry, ours in census():
        if ours is None:
            continue
        words = arguments(entry.pid)
        command = " ".join(words[_WRAPPER_WORDS:] if is_wrapper(words) else words)
        found.append(
            Marked(
                pid=entry.pid,
                group=entry.group,
                session=ours.session,
                run=ours.run,
                start_time=entry.start_time,
                command=command,
                journal=ours.journal,
            )
        )
    return sorted(found, key=lambda process: born(process.start_time))


def is_wrapper(words: list[str]) -> bool:
    """Whether `words` are the argv of a wrapper, or of its fork that is not the agent yet."""
    return len(words) > _WRAPPER_WORDS and words[3].startswith(WRAPPER_NAME)


def forebears() -> frozenset[int]:
    """Return our own pid and those of all we descend from: whom we may never end."""
    line: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        entry = look(pid)
        pid = entry.parent if entry is not None else 0
    return frozenset(line)


def _mark_in(environment: Mapping[str, str]) -> Mark | None:
    session = environment.get(SESSION_MARK, "")
    if not session:
        return None
    run, journal = environment.get(RUN_MARK, ""), environment.get(JOURNAL_MARK, "")
    return Mark(session, _number(run), Path(journal))


def _mark_of_wrapper(words: list[str]) -> Mark | None:
    if not is_wrapper(words):
        return None
    session, _, run = words[3].removeprefix(WRAPPER_NAME).rpartition(":")
    return Mark(session, _number(run), Path(words[4]))


def _proc_block(pid: int, name: str) -> bytes:
    """Return `environ` or `cmdline` of `pid`, empty when it is gone or not for us to see.

    Within exec() there is a moment in which the kernel knows neither. It is waited for, or a
    process that is just being started would seem to be nobody's.
    """
    try:
        for _ in range(_EXEC_TRIES):
            block = Path(f"/proc/{pid}/{name}").read_bytes()
            if block or not _is_within_exec(pid):
                return block
            time.sleep(_EXEC_PAUSE)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    return b""


def _is_within_exec(pid: int) -> bool:
    entry = proc_look(pid)
    if entry is None or entry.is_dead or _KERNEL_THREADS in (pid, entry.parent):
        return False
    return not Path(f"/proc/{pid}/cmdline").read_bytes()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"  # a sandbox may hide it; the ticks alone still tell processes apart
