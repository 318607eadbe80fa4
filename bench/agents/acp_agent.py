"""A stand-in agent that speaks ACP on stdin and stdout and does what its prompt's words say.

    acp_agent.py MARKS

`TAG=x` names the turn, `WORK=0.05` is how many seconds it works, `STREAM=50` how many pieces of
text it sends in each of them, `FLOOD=100000` how many updates it sends as fast as it can, and
`KIND=tool` makes those tool calls instead of text. Every prompt that comes and every turn that
ends leaves a line in the file MARKS with the clock that all processes of a machine share.
"""

import json
import os
import re
import select
import sys
import time
from typing import Any

_BATCH_BYTES = 262_144
_compact = json.JSONEncoder(separators=(",", ":")).encode


class StandIn:
    """One conversation, one thread, no buffering but the pipe's."""

    def __init__(self, marks: str) -> None:
        self._marks = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._rest = b""
        self._is_cancelled = False

    def serve(self) -> None:
        """Answer until stdin is closed."""
        while data := os.read(0, 65_536):
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method == "session/cancel":
            self._is_cancelled = True
        if "id" not in message or method is None:
            return
        if method == "session/prompt":
            self._prompt(message)
            return
        known = {
            "initialize": {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}},
            "session/new": {"sessionId": f"s{os.getpid()}"},
            "session/load": {},
        }
        self._answer(message["id"], known.get(method, {}))

    def _prompt(self, message: dict[str, Any]) -> None:
        came = time.monotonic()
        params = message["params"]
        text = "".join(part.get("text", "") for part in params["prompt"])
        words = dict(re.findall(r"([A-Z]+)=(\S+)", text))
        tag = words.get("TAG", "")
        self._mark("recv", tag, came)
        self._is_cancelled = False
        session = params["sessionId"]
        if "FLOOD" in words:
            self._flood(session, int(words["FLOOD"]), words.get("KIND", "text"))
        else:
            self._work(session, float(words.get("WORK", 0)), float(words.get("STREAM", 0)))
            self._update(session, f"OK {tag}")
        stop = "cancelled" if self._is_cancelled else "end_turn"
        done = time.monotonic()
        self._answer(message["id"], {"stopReason": stop})
        self._mark("done", tag, done)

    def _work(self, session: str, seconds: float, rate: float) -> None:
        end = time.monotonic() + seconds
        number = 0
        while not self._is_cancelled:
            left = end - time.monotonic()
            if left <= 0:
                return
            if rate:
                self._update(session, f"piece {number} of a stream of text ")
                number += 1
            pause = min(left, 1 / rate) if rate else left
            if select.select([0], [], [], pause)[0]:
                self._hear(os.read(0, 65_536))

    def _flood(self, session: str, count: int, kind: str) -> None:
        content = {"type": "text", "text": "@@ hello world, tokens here, ok "}
        update: dict[str, Any] = {
            "sessionUpdate": "agent_message_chunk",
            "messageId": "flood",
            "content": content,
        }
        if kind == "tool":
            update = {
                "sessionUpdate": "tool_call_update",
                "toolCallId": "c@@",
                "status": "completed",
                "title": "Edit file",
                "content": [{"type": "content", "content": content}],
            }
        pieces = _line(session, update).split(b"@@")
        batch = _BATCH_BYTES // sum(map(len, pieces)) + 1
        first = time.monotonic()
        for start in range(0, count, batch):
            numbers = range(start, min(start + batch, count))
            _write(b"".join([(b"%d" % number).join(pieces) for number in numbers]))
        self._mark("flood", kind, first)
        self._mark("flooded", kind, time.monotonic())

    def _update(self, session: str, text: str) -> None:
        content = {"type": "text", "text": text}
        _write(_line(session, {"sessionUpdate": "agent_message_chunk", "content": content}))

    def _answer(self, number: Any, result: dict[str, Any]) -> None:
        _write(_compact({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n")

    def _mark(self, what: str, tag: str, at: float) -> None:
        line = {"at": at, "what": what, "tag": tag, "pid": os.getpid()}
        os.write(self._marks, _compact(line).encode() + b"\n")


def _line(session: str, update: dict[str, Any]) -> bytes:
    params = {"sessionId": session, "update": update}
    message = {"jsonrpc": "2.0", "method": "session/update", "params": params}
    return _compact(message).encode() + b"\n"


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    StandIn(sys.argv[1]).serve()
