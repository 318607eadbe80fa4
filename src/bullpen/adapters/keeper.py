"""The keeper of a terminal session: an agent's own screen in tmux, spoken to as any agent.

    python -I keeper.py PLAN

Speaks ACP on its standard streams, types prompts into the screen, and tells what the agent does by
the agent's own signs (`signs.py`). People may sit at the same screen; a turn they begin is told by
`_bullpen/turn_began` and `_bullpen/turn_ended`. The screen outlives whoever started us.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bullpen.adapters.lines import METHOD_NOT_FOUND, Client, prompt_text, read_message
from bullpen.adapters.signs import NoSigns, Sign, source_of
from bullpen.adapters.tmux import Failed, Tmux

_TICK = 0.05
_READY_PATIENCE = 45.0
_PROMPT_PATIENCE = 6.0
_CANCEL_PATIENCE = 4.0
_OPTIONS = [
    {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
    {"optionId": "reject", "name": "Refuse", "kind": "reject_once"},
]
_KINDS = {"Bash": "execute", "Read": "read", "Write": "edit", "Edit": "edit", "MultiEdit": "edit"}


class Ended(Exception):
    """The program in the window has ended; holds its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with {status}")
        self.status = status


class Keeper:
    """One screen and the conversation about it."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._client = Client()
        self._session = ""
        self._selector = selectors.DefaultSelector()
        self._backlog = b""
        folder = Path(plan["folder"])
        self._sock = folder / "h.sock"
        if len(os.fsencode(self._sock)) > 100:
            self._sock = Path(plan["socket"]).with_suffix(".h")
        hook = [sys.executable, "-I", str(Path(__file__).with_name("hook.py")), str(self._sock)]
        self._source = source_of(plan, hook=hook)
        self._tmux = Tmux(Path(plan["socket"]), environment=self._environment())
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._opening: Any = None
        self._began = 0.0
        self._is_ready = False
        self._pid = 0
        self._prompt: Any = None
        self._typed_at = 0.0
        self._presses = 0
        self._is_taken = False
        self._foreign = False
        self._cancelled_at: float | None = None
        self._asks: dict[str, socket.socket] = {}
        self._dialog = ""

    def _environment(self) -> dict[str, str]:
        own = {"TERM": "xterm-256color"} | self._source.environment()
        return dict(os.environ) | own

    # ---- the loop ------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until the program or standard input ends; return the program's exit status."""
        self._sock.unlink(missing_ok=True)
        self._listener.bind(str(self._sock))
        self._listener.listen(16)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select(_TICK):
                    self._serve(key.fileobj)
                self._tick()
        except Ended as end:
            return end.status
        finally:
            self._sock.unlink(missing_ok=True)
            self._tmux.stop()

    def _serve(self, ready: Any) -> None:
        if ready is self._listener:
            self._hear_hook()
        elif ready is sys.stdin:
            if not self._read():
                raise Ended(0)
        else:
            self._answered_elsewhere(ready)

    def _tick(self) -> None:
        if not self._session:
            return
        status = self._status()
        for sign in self._source.look(self._pid):
            self._take(sign)
        if status is not None:
            raise Ended(status)
        now = time.monotonic()
        if self._opening is not None and now - self._began > _READY_PATIENCE:
            self._not_ready()
        self._see_prompt(now)
        since = self._cancelled_at
        if since is not None and now - since > _CANCEL_PATIENCE:
            # Some screens take the first press for closing a menu.
            self._cancelled_at = now
            self._tmux.press("Escape")

    def _status(self) -> int | None:
        """Return how the program ended, None while it runs. tmux is asked only when it is gone:
        a process for each look would cost more than all the rest."""
        if self._pid and self._tmux.is_running and _is_there(self._pid):
            return None
        try:
            self._pid, status = self._tmux.pane()
        except Failed as fault:
            sys.stderr.write(f"the screen is gone: {fault}\n")
            raise Ended(1) from fault
        return status

    # ---- what we are told ------------------------------------------------------------------

    def _read(self) -> bool:
        piece = os.read(sys.stdin.fileno(), 1 << 20)
        *lines, self._backlog = (self._backlog + piece).split(b"\n")
        for line in lines:
            message = read_message(line)
            if message is not None:
                self._hear(message)
        return bool(piece)

    def _hear(self, message: dict[str, Any]) -> None:
        method, raw_id = message.get("method"), message.get("id")
        params: dict[str, Any] = message.get("params") or {}
        if method is None:
            self._hear_answer(message)
        elif method == "initialize":
            info = {"name": self._plan["name"], "version": "terminal"}
            able = {"loadSession": bool(self._plan["resume_args"])}
            answer = {"protocolVersion": 1, "agentCapabilities": able, "agentInfo": info}
            self._client.answer(raw_id, answer)
        elif method in ("session/new", "session/load"):
            self._open(raw_id, str(params.get("sessionId") or self._plan["conversation"]))
        elif method == "session/prompt":
            self._start(raw_id, prompt_text(params))
        elif method == "session/cancel":
            self._cancel()
        elif raw_id is not None:
            self._client.refuse(raw_id, f"{method} is not served", code=METHOD_NOT_FOUND)

    def _open(self, raw_id: Any, conversation: str) -> None:
        self._session, self._opening, self._began = conversation, raw_id, time.monotonic()
        command = [*self._plan["command"], *self._source.arguments()]
        raw = Path(self._plan["folder"]) / "screen.raw"
        try:
            self._tmux.start(command, directory=self._plan["directory"], raw=raw)
        except Failed as fault:
            self._client.refuse(raw_id, str(fault))
            raise Ended(1) from fault
        if isinstance(self._source, NoSigns):
            self._take(Sign("ready"))

    def _not_ready(self) -> None:
        """A first-run dialog most likely: only somebody at the screen can answer it."""
        raw_id, self._opening = self._opening, None
        self._client.answer(raw_id, {"sessionId": self._session})
        said = "the screen waits for somebody: attach to it and answer what it shows"
        self._client.say(self._session, f"[{said}]\n")

    def _start(self, raw_id: Any, text: str) -> None:
        if self._prompt is not None:
            self._client.refuse(raw_id, "a prompt is still running")
            return
        self._prompt, self._is_taken, self._presses = raw_id, False, 0
        self._typed_at = time.monotonic()
        try:
            self._tmux.paste(text)
            # A screen that is still taking a long paste would take the key for a line feed.
            time.sleep(min(1.0, 0.1 + len(text) / 200_000))
            self._tmux.press("Enter")
        except Failed as fault:
            self._end("error", str(fault))
            return
        if isinstance(self._source, NoSigns):
            self._end("end_turn", "")

    def _see_prompt(self, now: float) -> None:
        if self._prompt is None or self._is_taken or now - self._typed_at < _PROMPT_PATIENCE:
            return
        if self._presses == 0:
            self._presses, self._typed_at = 1, now
            self._tmux.press("Enter")
        else:
            why = "the screen did not take the prompt; attach to see why"
            self._end("error", why)

    def _cancel(self) -> None:
        if self._prompt is None and not self._foreign:
            return
        self._cancelled_at = time.monotonic()
        for line in self._asks.values():
            _decide(line, allow=False, reason="the user ended the turn")
        self._asks.clear()
        self._tmux.press("Escape")

    # ---- what the agent does ---------------------------------------------------------------

    def _take(self, sign: Sign) -> None:
        takers: dict[str, Callable[[Sign], None]] = {
            "ready": self._ready,
            "named": self._named,
            "prompt": self._prompted,
            "text": self._said,
            "tool": self._tool,
            "tool-end": self._tool_end,
            "asked": self._asked,
            "answered": self._unasked,
            "end": self._over,
        }
        take = takers.get(sign.kind)
        if take is not None:
            take(sign)

    def _ready(self, sign: Sign) -> None:
        if sign.name:
            self._session = sign.name
        if self._opening is None:
            return
        raw_id, self._opening = self._opening, None
        self._is_ready = True
        self._client.answer(raw_id, {"sessionId": self._session})

    def _named(self, sign: Sign) -> None:
        """The agent names its conversation later than we had to."""
        params = {"sessionId": self._session, "conversation": sign.name}
        self._client.notify("_bullpen/conversation_named", params)

    def _prompted(self, sign: Sign) -> None:
        if self._prompt is not None and not self._is_taken:
            self._is_taken = True
            return
        if self._prompt is None and not self._foreign:
            self._foreign = True
            params = {"sessionId": self._session, "text": sign.text}
            self._client.notify("_bullpen/turn_began", params)

    def _said(self, sign: Sign) -> None:
        self._client.say(self._session, sign.text, message=sign.name)

    def _tool(self, sign: Sign) -> None:
        tool = str(sign.data.get("tool"))
        given: dict[str, Any] = sign.data.get("input") or {}
        title = str(given.get("command") or given.get("file_path") or tool)[:200]
        self._client.update(
            self._session,
            sessionUpdate="tool_call",
            toolCallId=sign.name,
            title=title,
            kind=_KINDS.get(tool, "other"),
            status="in_progress",
            rawInput=given,
        )

    def _tool_end(self, sign: Sign) -> None:
        self._client.update(
            self._session,
            sessionUpdate="tool_call_update",
            toolCallId=sign.name,
            status=sign.text,
        )

    def _over(self, sign: Sign) -> None:
        self._end(sign.text, sign.name)

    def _end(self, stop: str, why: str) -> None:
        raw_id, self._prompt, self._cancelled_at = self._prompt, None, None
        was_foreign, self._foreign = self._foreign, False
        self._withdraw_all()
        if raw_id is None and was_foreign:
            params = {"sessionId": self._session, "stopReason": stop, "message": why}
            self._client.notify("_bullpen/turn_ended", params)
        elif raw_id is not None and stop == "error":
            self._client.refuse(raw_id, why)
        elif raw_id is not None:
            self._client.answer(raw_id, {"stopReason": stop})

    # ---- leave -----------------------------------------------------------------------------

    def _hear_hook(self) -> None:
        line, _ = self._listener.accept()
        line.settimeout(5.0)
        with suppress(OSError, ValueError):
            message: dict[str, Any] = json.loads(line.makefile("rb").readline())
            event, data = str(message["event"]), message["data"]
            for sign in self._source.hook(event, data):
                if sign.kind == "asked":
                    self._ask(line, sign)
                    return
                self._take(sign)
        line.close()

    def _asked(self, sign: Sign) -> None:
        """The agent asks at its screen alone: the answer is given there, by a key."""
        self._dialog = self._client.ask("session/request_permission", self._request(sign))

    def _unasked(self, _sign: Sign) -> None:
        name, self._dialog = self._dialog, ""
        if name:
            self._client.notify("$/cancel_request", {"requestId": name})

    def _ask(self, line: socket.socket, sign: Sign) -> None:
        name = self._client.ask("session/request_permission", self._request(sign))
        self._asks[name] = line
        # Whoever answers at the screen ends the hook, which closes its end.
        self._selector.register(line, selectors.EVENT_READ)

    def _request(self, sign: Sign) -> dict[str, Any]:
        given: dict[str, Any] = sign.data.get("tool_input") or {}
        call = {
            "toolCallId": str(sign.data.get("tool_use_id") or f"ask-{time.monotonic_ns()}"),
            "title": str(given.get("command") or given.get("file_path") or sign.name)[:200],
            "kind": _KINDS.get(sign.name, "other"),
            "rawInput": given,
            "_meta": {"claudeCode": {"toolName": sign.name}},
        }
        return {"sessionId": self._session, "toolCall": call, "options": _OPTIONS}

    def _hear_answer(self, message: dict[str, Any]) -> None:
        name = str(message.get("id"))
        result: dict[str, Any] = message.get("result") or {}
        outcome: dict[str, Any] = result.get("outcome") or {}
        if name and name == self._dialog:
            self._dialog = ""
            self._tmux.press("Enter" if outcome.get("optionId") == "allow" else "Escape")
            return
        line = self._asks.pop(name, None)
        if line is None:
            return
        self._selector.unregister(line)
        if outcome.get("outcome") == "cancelled":
            _decide(line, allow=False, reason="the user ended the turn")
        else:
            allow = outcome.get("optionId") == "allow"
            _decide(line, allow=allow, reason="the user refused this")

    def _answered_elsewhere(self, line: socket.socket) -> None:
        for name, one in list(self._asks.items()):
            if one is line:
                del self._asks[name]
                self._client.notify("$/cancel_request", {"requestId": name})
        self._selector.unregister(line)
        line.close()

    def _withdraw_all(self) -> None:
        self._unasked(Sign("answered"))
        for line in list(self._asks.values()):
            self._answered_elsewhere(line)


def _is_there(pid: int) -> bool:
    """Say whether the program surely runs; where there is no `/proc` nothing is sure."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[:1] not in (["Z"], ["X"])


def _decide(line: socket.socket, *, allow: bool, reason: str) -> None:
    decision: dict[str, Any] = {"behavior": "allow"} if allow else {"behavior": "deny"}
    if not allow:
        decision["message"] = reason
    inner = {"hookEventName": "PermissionRequest", "decision": decision}
    with suppress(OSError):
        line.sendall(json.dumps({"hookSpecificOutput": inner}).encode() + b"\n")
    line.close()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Ended(143)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    keeper = Keeper(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    sys.exit(keeper.run())
