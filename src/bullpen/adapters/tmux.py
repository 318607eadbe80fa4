"""tmux on a socket of our own: one server, one window, one program in it."""

import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

_PATIENCE = 10.0
_REAPING = 2.0
_COLUMNS, _ROWS = 200, 50
_NAME = "main"


class Failed(Exception):
    """tmux did not do what it was told; the text says what it said."""


class Tmux:
    """The server in the foreground, as a child of ours, so that it is in our group."""

    def __init__(self, sock: Path, *, environment: dict[str, str]) -> None:
        self.sock = sock
        self._environment = environment
        self._dead_since: float | None = None
        sock.unlink(missing_ok=True)
        self._server = subprocess.Popen(
            ["tmux", "-S", str(sock), "-f", "/dev/null", "-D"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
        )

    def start(self, command: list[str], *, directory: str, raw: Path) -> None:
        """Run `command` in the window; what it draws is kept in `raw` too.

        Raises:
            Failed: tmux or the program did not start.
        """
        self._await_server()
        # Before there is a window: a program that ends at once must leave its words behind.
        for option, value in (
            ("remain-on-exit", "on"),
            ("mouse", "on"),
            ("history-limit", "20000"),
            ("status-right", " detach: Ctrl-b d "),
            ("escape-time", "10"),
            ("extended-keys", "on"),
            ("exit-empty", "off"),
        ):
            self.call("set-option", "-g", option, value)
        size = ["-x", str(_COLUMNS), "-y", str(_ROWS)]
        begin = ["new-session", "-d", "-s", _NAME, "-c", directory, *size, "--"]
        keep = ["pipe-pane", "-t", _NAME, "-o", f"exec cat >> {shlex.quote(str(raw))}"]
        # In one breath: a program that ends at once is gone before a second order comes.
        self.call(*begin, *map(_plain, command), ";", *keep)

    def _await_server(self) -> None:
        until = time.monotonic() + _PATIENCE
        # Its socket is there before anybody listens.
        while not self._answers():
            if self._server.poll() is not None:
                raise Failed(f"tmux ended with code {self._server.returncode}")
            if time.monotonic() > until:
                raise Failed("tmux does not answer")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            return line.connect_ex(str(self.sock)) == 0

    def call(self, *words: str, data: bytes | None = None) -> str:
        """Give tmux an order and return what it says.

        Raises:
            Failed: it refuses, or does not answer in time.
        """
        try:
            done = subprocess.run(
                ["tmux", "-S", str(self.sock), *words],
                input=data,
                stdin=subprocess.DEVNULL if data is None else None,
                capture_output=True,
                check=False,
                timeout=_PATIENCE,
                env=self._environment,
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"tmux {words[0]} took too long") from late
        if done.returncode != 0:
            raise Failed(f"tmux {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")

    def paste(self, text: str) -> None:
        """Type `text` as one bracketed paste; whoever reads it gets it as text, not as keys."""
        clean = "".join(one for one in text if one in "\n\t" or (one >= " " and one != "\x7f"))
        self.call("load-buffer", "-b", "prompt", "-", data=clean.encode(errors="replace"))
        self.call("paste-buffer", "-p", "-r", "-d", "-b", "prompt", "-t", _NAME)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names of them."""
        self.call("send-keys", "-t", _NAME, *keys)

    @property
    def is_running(self) -> bool:
        """Whether the server is there."""
        return self._server.poll() is None

    def pane(self) -> tuple[int, int | None]:
        """Return the pid of the program in the window, and its exit status once it is dead.

        Raises:
            Failed: there is no window any more.
        """
        form = "#{pane_pid} #{pane_dead} #{pane_dead_status}/#{pane_dead_signal}"
        pid, is_dead, how = self.call("list-panes", "-t", _NAME, "-F", form).split()
        if is_dead == "0":
            return int(pid), None
        status, _, number = how.partition("/")
        if status or number:
            return int(pid), int(status) if status else 128 + int(number)
        # The screen closed, and tmux does not know how the program ended. It misses the signal that
        # tells it now and then (seen with 3.3a: the program stays a zombie), so it is told again.
        # An older tmux never says by which signal a program ended.
        self._server.send_signal(signal.SIGCHLD)
        self._dead_since = self._dead_since or time.monotonic()
        return int(pid), 1 if time.monotonic() - self._dead_since > _REAPING else None

    def stop(self) -> None:
        """End the server and the program in it."""
        try:
            self.call("kill-server")
            self._server.wait(_PATIENCE)
        except (Failed, subprocess.TimeoutExpired):
            self._server.kill()
            self._server.wait()
        self.sock.unlink(missing_ok=True)


def _plain(word: str) -> str:
    """Return `word` so that tmux does not take a semicolon at its end for its own."""
    return word[:-1] + "\\;" if word.endswith(";") else word


def find_socket(folder: Path, name: str) -> Path:
    """Return where the socket of a session lies: paths of sockets hold about 100 bytes."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
    inside = folder / "tmux.sock"
    if len(os.fsencode(inside)) <= 100:
        return inside
    base = Path(runtime) / f"bullpen-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    return base / f"{name}.tmux"
