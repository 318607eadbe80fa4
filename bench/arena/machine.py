"""The machine: what it is, what processes on it cost, and that none of ours is left on it."""

import os
import platform
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def described() -> str:
    """Return the machine in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def load() -> str:
    """Return the load average of the last 1, 5 and 15 minutes."""
    return " ".join(f"{one:.2f}" for one in os.getloadavg())


def memory_bytes(pid: int) -> int:
    """Return what `pid` keeps in memory of its own: PSS, or RSS where the kernel has none.

    PSS counts a page that several processes share in equal parts to each of them.
    """
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def resident_bytes(pid: int) -> int:
    """Return the resident set of `pid`."""
    return psutil.Process(pid).memory_info().rss


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time these processes have used so far, those that are gone left out."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def share(pids: Iterable[int], *, over: float) -> float:
    """Return what these processes use for the next `over` seconds, in per cent of one core."""
    known = list(pids)
    begun, before = time.monotonic(), cpu_seconds(known)
    time.sleep(over)
    return 100 * (cpu_seconds(known) - before) / (time.monotonic() - begun)


def of_scratch(scratch: Path) -> list[int]:
    """Return the pids whose environment or arguments name the folder `scratch`, which nothing
    but this run of the benchmark knows."""
    found: list[int] = []
    name = str(scratch)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if any(name in value for value in (*process.environ().values(), *process.cmdline())):
                found.append(process.pid)
    return found


def sweep(scratch: Path) -> int:
    """End whatever still runs on behalf of `scratch`, and return how many that were."""
    ended = 0
    while left := of_scratch(scratch):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                ended += 1
        # Our own children stay zombies until somebody asks after them; others have their init.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
    return ended


def _processor() -> str:
    with suppress(FileNotFoundError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def words(pid: int) -> list[str]:
    """Return the command line of `pid`, empty when it is gone."""
    with suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []
