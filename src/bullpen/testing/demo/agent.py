"""The agent's loop and its side of the protocol."""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, NoReturn, cast

from bullpen.testing import demo
from bullpen.testing.demo.conversation import MODELS, MODES, Conversation, listing
from bullpen.testing.demo.script import Json, ScriptError, parse_file
from bullpen.testing.demo.steps import described
from bullpen.testing.demo.turn import Failure, Turn, notify, switch_mode

VERSION = "1.0"
PAGE = 50
"""Conversations per answer to session/list."""
LOGIN = {"id": "demo-login", "name": "Demo login", "description": "Succeeds at once"}
_compact = json.JSONEncoder(separators=(",", ":")).encode


class Agent:
    """All conversations of one process, on stdin and stdout, in one thread."""

    def __init__(self) -> None:
        self.client: Json = {}
        self._open: dict[str, Conversation] = {}
        self._turns: list[Turn] = []
        self._waiting: dict[int, Turn] = {}
        self._requests = 0
        self._torn: list[bytes] = []
        self._deaf = False
        self._locked = bool(os.environ.get("BULLPEN_DEMO_LOGIN"))
        self._methods: dict[str, Callable[[Json, Any], Json | None]] = {
            "initialize": self._initialize,
            "authenticate": self._authenticate,
            "session/new": self._new,
            "session/load": self._load,
            "session/resume": self._resume,
            "session/list": self._list,
            "session/close": self._close,
            "session/set_mode": self._set_mode,
            "session/set_config_option": self._set_option,
            "session/prompt": self._prompt,
        }

    # ---- the loop ----

    def serve(self) -> None:
        """Answer the client until it closes our stdin."""
        try:
            while self._listen():
                self._move_on()
        finally:
            for turn in self._turns:
                turn.close()

    def _move_on(self) -> None:
        now = time.monotonic()
        for turn in self._running():
            if turn.pause.until <= now or _readable(turn.pause.fd):
                turn.resume()

    def _running(self) -> list[Turn]:
        # The first turn of each conversation runs, those behind it wait for it.
        self._turns = [turn for turn in self._turns if not turn.ended]
        first = {turn.conversation.id: turn for turn in reversed(self._turns)}
        for turn in first.values():
            turn.begin()
        return list(first.values())

    def _listen(self) -> bool:
        running = self._running()
        fds = [turn.pause.fd for turn in running if turn.pause.fd >= 0]
        until = min((turn.pause.until for turn in running), default=inf)
        patience = None if until == inf else max(0.0, until - time.monotonic())
        if 0 in select.select([0, *fds], [], [], patience)[0]:
            data = os.read(0, 65_536)
            self._take(data)
            return bool(data)
        return True

    def _take(self, data: bytes) -> None:
        self._torn.append(data)
        if b"\n" in data:
            *lines, rest = b"".join(self._torn).split(b"\n")
            self._torn = [rest]
            for line in lines:
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message: Any = json.loads(line)
        except ValueError as error:
            self.emit({"id": None, "error": {"code": -32700, "message": f"no JSON: {error}"}})
            return
        if not isinstance(message, dict):
            self.emit({"id": None, "error": {"code": -32600, "message": "no request"}})
            return
        known = cast("Json", message)
        if "method" not in known:
            self._answered(known)
        elif "id" in known:
            self._requested(known)
        else:
            # A notification has no answer that could say what is wrong with it.
            with suppress(KeyError, TypeError):
                self._noticed(known["method"], known.get("params") or {})

    def _answered(self, message: Json) -> None:
        number = message.get("id")
        turn = self._waiting.pop(number, None) if isinstance(number, int) else None
        if turn:
            turn.resume(message)

    def _requested(self, message: Json) -> None:
        method = self._methods.get(message["method"])
        try:
            if method is None:
                raise Failure(-32601, f"there is no method {message['method']!r}")
            result = method(message.get("params") or {}, message["id"])
        except Failure as failure:
            error = {"code": failure.code, "message": str(failure)}
            self.emit({"id": message["id"], "error": error})
        except (KeyError, TypeError, AttributeError) as error:
            refusal = {"code": -32602, "message": f"params are wrong: {error!r}"}
            self.emit({"id": message["id"], "error": refusal})
        else:
            if result is not None:
                self.emit({"id": message["id"], "result": result})

    def _noticed(self, method: str, params: Json) -> None:
        if method == "session/cancel":
            meant = [turn for turn in self._turns if turn.conversation.id == params["sessionId"]]
        elif method == "$/cancel_request":
            meant = [turn for turn in self._turns if turn.request == params["requestId"]]
        else:
            return
        for turn in meant:
            if not turn.ended:
                turn.cancel()

    # ---- what a turn needs ----

    def write(self, data: bytes) -> None:
        """Write bytes to stdout. When nobody reads there any more, the process ends."""
        view = memoryview(data)
        while view and not self._deaf:
            try:
                view = view[os.write(1, view) :]
            except BlockingIOError:
                select.select([], [1], [])
            except BrokenPipeError:
                self._deaf = True
                raise SystemExit(0) from None

    def emit(self, message: Json) -> None:
        """Send a message."""
        self.write(f"{_compact({'jsonrpc': '2.0', **message})}\n".encode())

    def ask(self, turn: Turn, method: str, params: Json) -> int:
        """Send a request whose answer resumes `turn`, and return its id."""
        self._requests += 1
        self._waiting[self._requests] = turn
        self.emit({"id": self._requests, "method": method, "params": params})
        return self._requests

    def withdraw(self, number: int) -> None:
        """Tell the client that a request needs no answer, unless it is answered."""
        if self._waiting.pop(number, None):
            self.emit({"method": "$/cancel_request", "params": {"requestId": number}})

    # ---- the protocol ----

    def _initialize(self, params: Json, _request: Any) -> Json | None:
        self.client = params.get("clientCapabilities") or {}
        version = _misbehave(self)
        if not version:
            return None
        return {
            "protocolVersion": version,
            "agentInfo": {"name": "bullpen-demo", "title": "Demo Agent", "version": VERSION},
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": False, "audio": False, "embeddedContext": True},
                "mcpCapabilities": {"http": True, "sse": False},
                "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
            },
            "authMethods": [LOGIN] if self._locked else [],
        }

    def _authenticate(self, params: Json, _request: Any) -> Json:
        if params["methodId"] != LOGIN["id"]:
            raise Failure(-32602, f"there is no login {params['methodId']!r}")
        self._locked = False
        return {}

    def _new(self, params: Json, _request: Any) -> Json:
        conversation = Conversation(f"demo-{os.urandom(8).hex()}")
        self._enter(conversation, params)
        return {"sessionId": conversation.id, **conversation.state()}

    def _resume(self, params: Json, _request: Any) -> Json:
        name = params["sessionId"]
        conversation = self._open.get(name) or Conversation(name)
        if name not in self._open and not conversation.recall():
            raise Failure(-32002, f"no conversation is called {name!r}")
        self._enter(conversation, params)
        return conversation.state()

    def _load(self, params: Json, request: Any) -> Json:
        state = self._resume(params, request)
        conversation = self._open[params["sessionId"]]
        for number, (who, text) in enumerate(conversation.history):
            content = {"type": "text", "text": text}
            name = f"{who}-{number}"
            kind = f"{who}_message_chunk"
            notify(self, conversation, kind, content=content, messageId=name)
        return state

    def _enter(self, conversation: Conversation, params: Json) -> None:
        if self._locked:
            raise Failure(-32000, "Authentication required")
        cwd = params["cwd"]
        if not Path(cwd).is_absolute() or not Path(cwd).is_dir():
            raise Failure(-32602, f"cwd is no absolute path of a directory: {cwd!r}")
        conversation.servers = params.get("mcpServers") or []
        conversation.keep(cwd=cwd)
        self._open[conversation.id] = conversation

    def _list(self, params: Json, _request: Any) -> Json:
        cursor = params.get("cursor") or "0"
        if not cursor.isdigit():
            raise Failure(-32602, f"there is no cursor {cursor!r}")
        found, more = listing(params.get("cwd"), int(cursor), PAGE)
        return {"sessions": found} | ({"nextCursor": str(int(cursor) + PAGE)} if more else {})

    def _close(self, params: Json, _request: Any) -> Json:
        conversation = self._conversation(params)
        self._noticed("session/cancel", params)
        for turn in self._turns:
            if turn.conversation is conversation:
                turn.close()
        del self._open[conversation.id]
        return {}

    def _set_mode(self, params: Json, _request: Any) -> Json:
        self._choose(self._conversation(params), "mode", params["modeId"])
        return {}

    def _set_option(self, params: Json, _request: Any) -> Json:
        conversation = self._conversation(params)
        self._choose(conversation, params["configId"], params["value"])
        return {"configOptions": conversation.options()}

    def _choose(self, conversation: Conversation, option: str, value: str) -> None:
        values = {"mode": MODES, "model": MODELS}.get(option)
        if values is None or value not in values:
            raise Failure(-32602, f"{option!r} has no value {value!r}")
        if option == "mode":
            switch_mode(self, conversation, value)
        else:
            conversation.keep(model=value)

    def _prompt(self, params: Json, request: Any) -> None:
        text = "\n".join(_prompt_text(block) for block in params["prompt"])
        self._turns.append(Turn(self, self._conversation(params), request, text))

    def _conversation(self, params: Json) -> Conversation:
        conversation = self._open.get(params["sessionId"])
        if conversation is None:
            raise Failure(-32002, f"no conversation {params['sessionId']!r} is open")
        return conversation


def _readable(fd: int) -> bool:
    return fd >= 0 and bool(select.select([fd], [], [], 0)[0])


def _prompt_text(block: Json) -> str:
    resource: Json = block.get("resource") or {}
    return block.get("text") or resource.get("text") or ""


def _misbehave(agent: Agent) -> int:
    # Returns the protocol version to answer with, or 0 for no answer at all.
    how, _, value = os.environ.get("BULLPEN_DEMO_START", "").partition(":")
    if how == "refuse":
        raise Failure(-32603, "told to refuse the handshake")
    if how == "slow":
        time.sleep(float(value))
    elif how == "garbage":
        agent.write(b'npm warn config this is no message\n\xff\xfe\x00\n{"jsonrpc":\n[]\n')
    elif how == "protocol":
        return int(value)
    return 0 if how == "hang" else 1


def _leave(sign: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + sign)


def _check(file: str) -> int:
    try:
        steps = parse_file(Path(file).read_text())
    except (OSError, UnicodeDecodeError, ScriptError) as error:
        sys.stderr.write(f"error: {file}: {error}\n")
        return 1
    sys.stdout.write("".join(f"line {each.line}: {each.verb.usage}\n" for each in steps))
    return 0


def main(arguments: list[str]) -> int:
    """Be the program: serve until stdin is closed, or print what is asked for."""
    how, _, value = os.environ.get("BULLPEN_DEMO_START", "").partition(":")
    match arguments:
        case [] if how == "exit":
            sys.stderr.write("demo agent: told to exit at the start\n")
            return int(value or "1")
        case []:
            signal.signal(signal.SIGTERM, _leave)
            signal.signal(signal.SIGINT, _leave)
            Agent().serve()
        case ["--help" | "-h"]:
            sys.stdout.write(f"{(demo.__doc__ or '').strip()}\n\nSteps:\n{described()}")
        case ["--version"]:
            sys.stdout.write(f"bullpen-demo {VERSION}\n")
        case ["--check", file]:
            return _check(file)
        case _:
            sys.stderr.write("usage: demo_agent.py [--help | --version | --check FILE]\n")
            return 2
    return 0
