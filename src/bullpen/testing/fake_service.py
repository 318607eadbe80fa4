"""A service without agents, for tests of whatever talks to one.

Speaks the part of the HTTP interface that clients need, over the unix socket of a state folder,
from threads of this process. Prompts are carried out at once and say themselves what happens:
`hold` runs until `finish`, `ask` opens a permission request, `question` a form, `fail` fails,
`stream` sends two pieces first; any other text is repeated as the agent's answer. `close` and
`open` are a restart: sessions and events stay, connections do not.
"""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bullpen.model.home import Home

Json = dict[str, Any]

_GOING = ("queued", "starting", "working")


class FakeService:
    """State of the fake, and the switch of its socket."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.sessions: dict[str, Json] = {}
        self.events: dict[str, list[Json]] = {}
        self.deltas: dict[str, list[Json]] = {}
        self.requests: list[tuple[str, str, Json]] = []
        """Method, path with query, body of every request so far."""
        self.refusals: dict[tuple[str, str], tuple[int, str, str]] = {}
        """Method and path to the status, code and message to answer with."""
        self.diffs: dict[str, bytes] = {}
        self.changed = threading.Condition()
        self._keys: dict[str, Any] = {}
        self._server: _Server | None = None

    def open(self) -> None:
        """Begin to answer."""
        self.home.socket.parent.mkdir(parents=True, exist_ok=True)
        self.home.socket.unlink(missing_ok=True)
        self._server = _Server(str(self.home.socket), self)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self) -> None:
        """Stop answering and break every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        self.home.socket.unlink(missing_ok=True)
        server.break_connections()
        with self.changed:
            self.changed.notify_all()

    def finish(self, session: str, *, stop: str = "end_turn") -> None:
        """End the turn that runs."""
        with self.changed:
            number = self.sessions[session]["turn"]["number"]
            self._end(session, number, stop)

    def say(self, session: str, fact: Json) -> None:
        """Add an event."""
        with self.changed:
            self._add(session, fact)

    def stream(self, session: str, text: str, *, kind: str = "message-streamed") -> None:
        """Send a piece of text that is not stored."""
        with self.changed:
            delta = {"session": session, "delta": {"kind": kind, "text": text, "message": "m"}}
            self.deltas[session].append(delta)
            self.changed.notify_all()

    def saw(self, method: str, path: str) -> list[Json]:
        """Return the bodies of the requests with that method and path."""
        return [body for one, where, body in self.requests if (one, where) == (method, path)]

    # ---- what requests do --------------------------------------------------------------------

    def create(self, body: Json) -> Json:
        """Make a session, with its first turn if there is one."""
        number = len(self.sessions) + 1
        name = body.get("id") or f"fake-otter-{number}"
        place = body.get("place", "directory")
        record: Json = {
            "id": name,
            "agent": body["agent"],
            "directory": body["path"],
            "path": body["path"],
            "title": body.get("title", ""),
            "labels": body.get("labels", {}),
            "place": place,
            "state": "idle",
            "outcome": "idle",
            "created_at": time.time(),
            "since": time.time(),
            "branch": f"bullpen/{name}" if place == "worktree" else None,
        }
        self.sessions[name], self.events[name], self.deltas[name] = record, [], []
        self._add(name, {"kind": "session-created", "agent": body["agent"], "directory": "/"})
        if body.get("prompt"):
            self.prompt(name, body["prompt"])
        return record

    def prompt(self, session: str, text: str, sender: str | None = None) -> int:
        """Take a prompt and carry it out."""
        with self.changed:
            return self._prompt(session, text, sender)

    def _prompt(self, session: str, text: str, sender: str | None) -> int:
        record = self.sessions[session]
        number = record["turns"] = record.get("turns", 0) + 1
        self._add(session, {"kind": "turn-queued", "turn": number, "text": text, "sender": sender})
        self._add(session, {"kind": "turn-started", "turn": number})
        record |= {"turn": {"number": number, "state": "running"}, "last_line": text[:40]}
        self._move(session, "working")
        _PROMPTS.get(text.split("\n")[0].strip(), FakeService._echo)(self, session, number, text)
        return number

    def _echo(self, session: str, number: int, text: str) -> None:
        self._add(session, {"kind": "message-streamed", "text": text, "message": "m"})
        self._end(session, number, "end_turn")

    def _hold(self, session: str, number: int, text: str) -> None:
        """Leave the turn running."""

    def _fail(self, session: str, number: int, text: str) -> None:
        fact = {"kind": "turn-failed", "turn": number, "code": "x", "message": "the model is ill"}
        self._add(session, fact)
        turn = {"number": number, "state": "failed", "error": "the model is ill"}
        self.sessions[session]["turn"] = turn
        self._move(session, "idle", outcome="failed")

    def _ask(self, session: str, number: int, text: str) -> None:
        options = [{"id": "yes", "kind": "allow_once", "name": "Yes"}]
        ask = {"request": f"r{number}", "title": "rm -rf build", "options": options}
        self._add(session, {"kind": "permission-asked", **ask})
        self.sessions[session]["asks"] = [{**ask, "kind": "permission"}]
        self._move(session, "asking")

    def _question(self, session: str, number: int, text: str) -> None:
        schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
        ask = {"request": f"r{number}", "schema": schema}
        self._add(session, {"kind": "question-asked", "message": "which colour?", **ask})
        self.sessions[session]["asks"] = [{**ask, "kind": "question", "title": "which colour?"}]
        self._move(session, "waiting")

    def _stream(self, session: str, number: int, text: str) -> None:
        for piece in ("hel", "lo\n"):
            self.stream(session, piece)
        self._echo(session, number, "hello\n")

    def _end(self, session: str, number: int, stop: str) -> None:
        self._add(session, {"kind": "turn-ended", "turn": number, "stop": stop})
        done = "done" if stop == "end_turn" else "cancelled"
        self.sessions[session] |= {"turn": {"number": number, "state": done}, "asks": []}
        self._move(session, "idle", outcome="completed" if done == "done" else "cancelled")

    def _move(self, session: str, state: str, *, outcome: str = "") -> None:
        record = self.sessions[session]
        moved = {"before": record["state"], "after": state, "reason": "said so"}
        self._add(session, {"kind": "state-changed", **moved})
        record |= {"state": state, "outcome": outcome or state, "since": time.time()}
        self.changed.notify_all()

    def _add(self, session: str, fact: Json) -> None:
        events = self.events[session]
        seq = len(events) + 1
        events.append({"session": session, "seq": seq, "at": time.time(), "fact": fact})
        self.sessions[session]["seq"] = seq
        self.changed.notify_all()

    # ---- answers -----------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Json) -> Any:
        """Return the answer to a request, or raise `Refused`."""
        parts = [unquote(part) for part in path.split("/")[2:]]
        if parts[0] == "wait":
            return self._wait(body)
        if parts[0] != "sessions":
            return {"ok": True, "version": "0", "agents": []}
        if len(parts) == 1:
            return self.create(body) if method == "POST" else {"sessions": self._listed(query)}
        if parts[1] not in self.sessions:
            raise Refused(404, "session-not-found", f"session not found: {parts[1]!r}")
        return self._of_session(method, parts[1], "/".join(parts[2:]), body)

    def _listed(self, query: dict[str, list[str]]) -> list[Json]:
        labels = [label.split("=", 1) for label in query.get("label", [])]
        return [
            one
            for one in self.sessions.values()
            if ("all" in query or one["state"] != "stopped")
            and all(one["labels"].get(name) == value for name, value in labels)
        ]

    def _of_session(self, method: str, session: str, verb: str, body: Json) -> Any:
        record = self.sessions[session]
        if method == "DELETE":
            del self.sessions[session]
            return {"removed": session, "rescue": None}
        if method == "PATCH":
            record.update(body)
            return record
        verbs: dict[str, Callable[[], Any]] = {
            "turns": lambda: self._turns(method, session, body),
            "messages": lambda: {"messages": self._messages(session)},
            "changes": lambda: {"files": 1, "insertions": 2, "deletions": 1},
            "land": lambda: {"target": "main", "commit": "abcdef0123456789", "files": 1},
            "stop": lambda: self._move(session, "stopped") or record,
            "resume": lambda: self._move(session, "idle") or record,
            "interrupt": lambda: self.finish(session, stop="cancelled") or record,
            "answers": lambda: self._answered(session, body),
        }
        return verbs.get(verb, lambda: record)()

    def _turns(self, method: str, session: str, body: Json) -> Json:
        if method == "GET":
            return {"turns": [self.sessions[session]["turn"]]}
        if not body["text"].strip():
            raise Refused(422, "message-invalid", "the message cannot be sent: it is empty")
        number = self.prompt(session, body["text"], body.get("sender"))
        return {"session": session, "turn": number, "state": "running"}

    def _messages(self, session: str) -> list[Json]:
        found: list[Json] = []
        turn = 0
        for event in self.events[session]:
            fact = event["fact"]
            turn = fact.get("turn", turn)
            if fact["kind"] == "message-streamed":
                found.append({"turn": turn, "text": fact["text"]})
        return found

    def _answered(self, session: str, body: Json) -> Json:
        ask = self.sessions[session]["asks"].pop()
        outcome = "allowed" if body.get("allow") else "rejected"
        self._add(session, {"kind": "ask-answered", "request": ask["request"], "outcome": outcome})
        self._end(session, self.sessions[session]["turn"]["number"], "end_turn")
        return self.sessions[session]

    def _wait(self, body: Json) -> Json:
        until = time.monotonic() + body.get("timeout", 0)
        ids: list[str] = body["sessions"]
        with self.changed:
            while True:
                settled = [one for one in ids if self.sessions[one]["outcome"] not in _GOING]
                enough = len(settled) == len(ids) or (settled and body.get("until") == "any")
                left = until - time.monotonic()
                if enough or left <= 0 or not self._server:
                    break
                self.changed.wait(min(left, 0.5))
            if not self._server:
                raise ConnectionAbortedError
            return {
                "timed_out": not enough,
                "settled": settled,
                "pending": [one for one in ids if one not in settled],
                "sessions": {one: self.sessions[one] for one in ids},
            }

    def lines(self, session: str, query: dict[str, list[str]]) -> Iterator[Json]:
        """Yield events and pieces as a follower gets them."""
        after = int(query.get("after", ["0"])[0])
        pieces = len(self.deltas[session])
        while self._server:
            with self.changed:
                ready = self.events[session][after:]
                if query.get("deltas") == ["1"]:
                    ready = self.deltas[session][pieces:] + ready
                after, pieces = len(self.events[session]), len(self.deltas[session])
                if not ready and query.get("follow") == ["1"]:
                    self.changed.wait(0.5)
            yield from ready
            if query.get("follow") != ["1"]:
                return

    def once(self, key: str | None, act: Callable[[], Any]) -> Any:
        """Return what `act` returned the first time it was called with `key`."""
        if key is None:
            return act()
        if key not in self._keys:
            self._keys[key] = act()
        return self._keys[key]


_PROMPTS: dict[str, Callable[[FakeService, str, int, str], None]] = {
    "hold": FakeService._hold,
    "fail": FakeService._fail,
    "ask": FakeService._ask,
    "question": FakeService._question,
    "stream": FakeService._stream,
}


class Refused(Exception):
    """The fake says no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, service: FakeService) -> None:
        self.service = service
        self._open: set[socket.socket] = set()
        super().__init__(path, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It was closed by the other side already.
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a client left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def address_string(self) -> str:
        return "client"

    def _handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        service = server.service
        length = int(self.headers.get("Content-Length") or 0)
        body: Json = json.loads(self.rfile.read(length)) if length else {}
        with service.changed:
            service.requests.append((self.command, self.path, body))
            service.changed.notify_all()
        where = urlsplit(self.path)
        query = parse_qs(where.query)
        try:
            if (self.command, where.path) in service.refusals:
                raise Refused(*service.refusals[self.command, where.path])
            if where.path.endswith("/events"):
                self._stream(service.lines(where.path.split("/")[3], query))
                return
            if where.path.endswith("/diff"):
                self._send(200, service.diffs.get(where.path.split("/")[3], b""))
                return
            key = self.headers.get("Idempotency-Key")
            found = self._locked(service, where.path, query, body, key)
            self._send(201 if self.command == "POST" else 200, json.dumps(found).encode())
        except Refused as refused:
            error = {"code": refused.code, "message": refused.message, "hint": "a hint"}
            self._send(refused.status, json.dumps({"error": error}).encode())

    def _locked(
        self,
        service: FakeService,
        path: str,
        query: dict[str, list[str]],
        body: Json,
        key: str | None,
    ) -> Any:
        if path == "/v1/wait":
            return service.answer(self.command, path, query, body)
        with service.changed:
            return service.once(key, lambda: service.answer(self.command, path, query, body))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, lines: Iterator[Json]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            raw = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_DELETE = _handle
