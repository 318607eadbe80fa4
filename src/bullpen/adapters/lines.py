"""The agent's side of ACP over lines, as little of it as an adapter needs."""

import json
import sys
from typing import Any

METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603


class Client:
    """Whoever started us, at the other end of our standard output."""

    def __init__(self) -> None:
        self._serial = 0

    def answer(self, raw_id: Any, result: dict[str, Any]) -> None:
        """Answer a request."""
        self._write({"jsonrpc": "2.0", "id": raw_id, "result": result})

    def refuse(self, raw_id: Any, message: str, *, code: int = INTERNAL_ERROR) -> None:
        """Answer a request with an error."""
        error = {"code": code, "message": message}
        self._write({"jsonrpc": "2.0", "id": raw_id, "error": error})

    def update(self, session: str, **update: Any) -> None:
        """Tell of the session."""
        self.notify("session/update", {"sessionId": session, "update": update})

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification."""
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: dict[str, Any]) -> str:
        """Send a request and return its id; the answer comes in as a message without a method."""
        self._serial += 1
        name = f"ask-{self._serial}"
        self._write({"jsonrpc": "2.0", "id": name, "method": method, "params": params})
        return name

    def say(self, session: str, text: str, *, message: str = "") -> None:
        """Stream a piece of the agent's answer."""
        content = {"type": "text", "text": text}
        kind = "agent_message_chunk"
        self.update(session, sessionUpdate=kind, content=content, messageId=message)

    def _write(self, message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def prompt_text(params: dict[str, Any]) -> str:
    """Return the text of a `session/prompt`."""
    blocks: list[dict[str, Any]] = params.get("prompt") or []
    return "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def read_message(line: bytes) -> dict[str, Any] | None:
    """Return the message of a line, None when it is none."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None  # pyright: ignore
