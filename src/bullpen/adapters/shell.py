"""The shell as an agent: a prompt is a command line, its output is the answer.

    python -I shell.py

Commands run one after the other in one bash (or sh), so a changed directory and variables stay. A
command that ends with another code than 0 fails the turn. It asks for nothing and plans nothing.
"""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bullpen.adapters.lines import METHOD_NOT_FOUND, Client, prompt_text, read_message

_SESSION = "shell"
_REAPING = 2.0
_GRACE = 2.0
_QUIET = 0.05
# Seconds without output after a command's end that count as its end too.
_LOOP = (
    "set -m; while IFS= read -r -d '' line <&3; do"
    ' eval "$line" </dev/null; printf "%s\\0" "$?" >&4; done'
)


class Shell:
    """One bash that runs commands told through a pipe."""

    def __init__(self, directory: str) -> None:
        told, self._tell = os.pipe()
        self.codes, ended = os.pipe()
        self.output, written = os.pipe()
        program = shutil.which("bash") or "/bin/bash"

        def place() -> None:
            os.dup2(told, 3)
            os.dup2(ended, 4)

        # preexec is safe here: this program has one thread.
        self.process = subprocess.Popen(
            [program, "--noprofile", "--norc", "-c", _LOOP],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            pass_fds=(3, 4),
            preexec_fn=place,
        )
        for handle in (told, ended, written):
            os.close(handle)
        os.set_blocking(self.output, False)

    def tell(self, line: str) -> None:
        """Have it run `line`."""
        os.write(self._tell, line.encode(errors="replace").replace(b"\0", b"") + b"\0")

    def read_output(self) -> bytes:
        """Return what was printed since the last time."""
        pieces: list[bytes] = []
        with suppress(BlockingIOError):
            while piece := os.read(self.output, 65536):
                pieces.append(piece)
        return b"".join(pieces)

    def children(self) -> list[int]:
        """Return the leaders of what runs in it."""
        done = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(word) for word in done.stdout.split()]

    def interrupt(self, sign: signal.Signals) -> None:
        """Signal what runs in it, each with its group."""
        for pid in self.children():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, sign)

    def close(self) -> None:
        """End it and all that runs in it."""
        self.interrupt(signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for handle in (self._tell, self.codes, self.output):
            os.close(handle)


class Agent:
    """The agent's side of the conversation."""

    def __init__(self) -> None:
        self._client = Client()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._shell: Shell | None = None
        self._directory = "/"
        self._prompt: Any = None
        self._is_running = False
        self._cancelled_at: float | None = None
        self._backlog = b""

    def run(self) -> None:
        """Serve until the end of standard input."""
        while True:
            ready = self._selector.select(None if self._cancelled_at is None else 0.1)
            if any(key.fileobj is sys.stdin for key, _ in ready) and not self._read():
                return
            for key, _ in ready:
                self._serve(key.fileobj)
            self._insist()

    def _serve(self, ready: Any) -> None:
        if self._shell is None or ready is sys.stdin:
            return
        if ready == self._shell.output:
            self._tell_output()
        elif ready == self._shell.codes:
            self._ended()

    def _read(self) -> bool:
        piece = os.read(sys.stdin.fileno(), 1 << 20)
        if not piece:
            return False
        *lines, self._backlog = (self._backlog + piece).split(b"\n")
        for line in lines:
            message = read_message(line)
            if message is not None:
                self._hear(message)
        return True

    def _hear(self, message: dict[str, Any]) -> None:
        method, raw_id = message.get("method"), message.get("id")
        params: dict[str, Any] = message.get("params") or {}
        if method == "initialize":
            info = {"name": "shell", "title": "Shell", "version": "1"}
            able = {"loadSession": True}
            answer = {"protocolVersion": 1, "agentCapabilities": able, "agentInfo": info}
            self._client.answer(raw_id, answer)
        elif method in ("session/new", "session/load"):
            self._open(str(params.get("cwd") or "/"))
            self._client.answer(raw_id, {"sessionId": _SESSION} if method == "session/new" else {})
        elif method == "session/prompt":
            self._start(raw_id, prompt_text(params))
        elif method == "session/cancel":
            self._cancel()
        elif raw_id is not None and method is not None:
            self._client.refuse(raw_id, f"{method} is not served", code=METHOD_NOT_FOUND)

    def _open(self, directory: str) -> None:
        if self._shell is not None:
            self._selector.unregister(self._shell.output)
            self._selector.unregister(self._shell.codes)
            self._shell.close()
        self._directory = directory
        self._shell = Shell(directory)
        self._selector.register(self._shell.output, selectors.EVENT_READ)
        self._selector.register(self._shell.codes, selectors.EVENT_READ)

    def _start(self, raw_id: Any, line: str) -> None:
        if self._shell is None or self._is_running:
            self._client.refuse(raw_id, "no shell is ready")
            return
        self._prompt, self._is_running = raw_id, True
        call = {"toolCallId": f"run-{raw_id}", "title": line[:200], "kind": "execute"}
        given = {"status": "in_progress", "rawInput": {"command": line}}
        self._client.update(_SESSION, sessionUpdate="tool_call", **call, **given)
        self._shell.tell(line)

    def _cancel(self) -> None:
        if self._is_running and self._shell is not None:
            self._cancelled_at = time.monotonic()
            # Not SIGINT: a shell takes a child's death by it for its own.
            self._shell.interrupt(signal.SIGTERM)

    def _insist(self) -> None:
        """A command that does not end when it is interrupted is ended, with its shell at last."""
        since = self._cancelled_at
        if since is None or self._shell is None:
            return
        passed = time.monotonic() - since
        if passed > 2 * _GRACE:
            self._open(self._directory)
            self._client.say(_SESSION, "\n[the shell was started again]\n")
            self._finish("cancelled", None)
        elif passed > _GRACE:
            self._shell.interrupt(signal.SIGKILL)

    def _tell_output(self) -> None:
        assert self._shell is not None, "asked by who looks"
        text = self._shell.read_output().decode("utf-8", "replace")
        if text:
            self._client.say(_SESSION, text)
        elif self._shell.process.poll() is not None:
            self._shell_died()

    def _shell_died(self) -> None:
        """`exit` was told, or somebody ended it: the next command gets a new one."""
        assert self._shell is not None, "asked by who looks"
        try:
            code = self._shell.process.wait(_REAPING)
        except subprocess.TimeoutExpired:
            # It closed our pipes and goes on; nobody can talk to it any more.
            code = 1
        self._open(self._directory)
        if self._is_running:
            self._finish(None if code else "end_turn", code or None)

    def _ended(self) -> None:
        assert self._shell is not None, "asked by who looks"
        raw = os.read(self._shell.codes, 64)
        if not raw:
            self._shell_died()
            return
        code = int(raw.rstrip(b"\0").rpartition(b"\0")[2] or b"0")
        until = time.monotonic() + _QUIET
        while time.monotonic() < until:
            text = self._shell.read_output().decode("utf-8", "replace")
            if text:
                self._client.say(_SESSION, text)
                until = time.monotonic() + _QUIET
            time.sleep(0.005)
        if self._cancelled_at is not None:
            self._finish("cancelled", None)
        else:
            self._finish("end_turn" if code == 0 else None, code or None)

    def _finish(self, stop: str | None, code: int | None) -> None:
        raw_id, self._prompt = self._prompt, None
        self._is_running, self._cancelled_at = False, None
        status = "completed" if stop == "end_turn" else "failed"
        call = {"toolCallId": f"run-{raw_id}", "status": status}
        if code is not None:
            call["rawOutput"] = {"exit_code": code}  # pyright: ignore[reportArgumentType]
        self._client.update(_SESSION, sessionUpdate="tool_call_update", **call)
        if stop is not None:
            self._client.answer(raw_id, {"stopReason": stop})
        else:
            self._client.refuse(raw_id, f"the command ended with code {code}", code=code or 1)


if __name__ == "__main__":
    Agent().run()
