"""The life of the service process: lock, take over, listen, drain."""

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import anyio
import uvicorn

from bullpen.api import Bullpen
from bullpen.errors import BullpenError, ServiceUnreachable, StoreLocked
from bullpen.model.home import Home
from bullpen.service.app import make_app

log = logging.getLogger("bullpen.service")

_GUARD_EVERY = 1.0
# Seconds between looks at our own lock file.
_DRAIN = 3
# Seconds for answers under way; those who wait are told to come back at once.


def main(home: Home) -> int:
    """Serve until SIGTERM, SIGINT or `POST /v1/shutdown`; return the process's exit code.

    0 after an orderly end, and when another service holds the folder already; 1 on an error.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        anyio.run(_serve, home)
    except StoreLocked as held:
        log.info("%s; nothing to do", held)
        return 0
    except (BullpenError, ExceptionGroup) as fault:
        error = _first(fault)
        if error is None:
            raise
        log.error("%s%s", error, f" ({error.hint})" if error.hint else "")  # noqa: TRY400 - it is no bug: no traceback
        return 1
    return 0


def _first(fault: BaseException) -> BullpenError | None:
    """Return the error that ended the service, None when there was a bug among its causes."""
    if not isinstance(fault, BaseExceptionGroup):
        return fault if isinstance(fault, BullpenError) else None
    group = cast("BaseExceptionGroup[BaseException]", fault)
    found = [_first(one) for one in group.exceptions]
    return None if None in found else found[0]


async def _serve(home: Home) -> None:
    _raise_file_limit()
    home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with Bullpen.open(home, os.environ) as bullpen:
        with _listening(home.socket) as listener:
            await _answer(home, bullpen, listener)
        log.info("stopped; agents keep running")


async def _answer(home: Home, bullpen: Bullpen, listener: socket.socket) -> None:
    server = _Server(
        uvicorn.Config(
            make_app(bullpen, shut_down=lambda: drain()),
            log_config=None,
            access_log=False,
            lifespan="off",
            http="httptools",
            ws="none",
            timeout_graceful_shutdown=_DRAIN,
            timeout_keep_alive=75,
        )
    )

    def drain() -> None:
        server.should_exit = True
        bullpen.drain()

    def fail(fault: BaseException) -> None:
        log.critical("the database refuses to commit: %s", fault)
        drain()

    bullpen.store.on_fault(fail)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_on_signal, drain)
        tasks.start_soon(_guard, home, bullpen, drain)
        # What was loaded by now stays for ever; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        log.info("serving %s, pid %d", listener.getsockname(), os.getpid())
        await server.serve(sockets=[listener])
        tasks.cancel_scope.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to us: theirs would end the process before agents are let go."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """See `uvicorn.Server`."""
        yield


async def _on_signal(drain: Callable[[], None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            drain()


async def _guard(home: Home, bullpen: Bullpen, drain: Callable[[], None]) -> None:
    """End everything when the state folder is deleted: nobody could ever reach it again."""
    ours = home.service_lock.stat().st_ino
    while True:
        await anyio.sleep(_GUARD_EVERY)
        try:
            if home.service_lock.stat().st_ino == ours:
                continue
        except FileNotFoundError:
            pass
        log.critical("%s is gone; ending all sessions and the service", home.folder)
        await bullpen.end_processes(grace=1)
        drain()
        return


@contextmanager
def _listening(path: Path) -> Generator[socket.socket]:
    """Listen on a unix socket only this user can reach. Whoever holds the folder's lock may take
    the path over: the process that made it is gone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.parent.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        why = f"{str(path.parent)!r} is open to others; delete it, or make it yours with mode 0700"
        raise ServiceUnreachable(path, why)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(512)
        ours = path.stat()
        try:
            yield listener
        finally:
            _unlink(path, ours)


def _unlink(path: Path, ours: os.stat_result) -> None:
    """Delete our socket, and not that of a service which came after our folder was deleted."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.stat(), ours):
            path.unlink()
            # A folder made for sockets alone goes with the last of them.
            path.parent.rmdir()


def _raise_file_limit() -> None:
    """Each live session needs a few descriptors; take as many as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
