"""An MCP server with one tool, `goal_update`: by it an agent says how far its goal is.

    python -I goal_tool.py SOCKET SESSION

Speaks MCP over standard input and output, and tells the service over its socket. A few megabytes,
where the protocol's own package takes sixty: there is one per session.
"""

import http.client
import json
import socket
import sys
from typing import Any

_TOOL = {
    "name": "goal_update",
    "description": (
        "Say how far the goal you were given is: `complete` when it is reached, `blocked` when "
        "you cannot go on without help. Call it once, at the end."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["complete", "blocked"]},
            "note": {"type": "string", "description": "What was reached, or what is missing."},
        },
        "required": ["status"],
    },
}
_VERSION = "2025-06-18"
_UNKNOWN_METHOD = -32601
_PATIENCE = 20


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("service", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the service's socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


def report(path: str, session: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """Tell the service; return what the agent is told, and whether that is an error."""
    body = {key: str(arguments[key]) for key in ("status", "note") if key in arguments}
    connection = _Unix(path)
    try:
        route = f"/v1/sessions/{session}/goal/report"
        connection.request("POST", route, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        said: dict[str, Any] = json.loads(answer.read() or b"{}")
    except (OSError, ValueError, http.client.HTTPException) as fault:
        return f"the report did not arrive: {fault}; say it in your last message instead", True
    finally:
        connection.close()
    if answer.status != 200:
        return str(said.get("error", {}).get("message", "refused")), True
    return "noted", False


def answer(message: dict[str, Any], path: str, session: str) -> dict[str, Any] | None:
    """Return the result of a request; None for a method that is not known."""
    method = message.get("method")
    if method == "initialize":
        version = message.get("params", {}).get("protocolVersion", _VERSION)
        info = {"name": "bullpen", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [_TOOL]}
    if method == "tools/call":
        arguments: dict[str, Any] = message.get("params", {}).get("arguments") or {}
        text, is_error = report(path, session, arguments)
        return {"content": [{"type": "text", "text": text}], "isError": is_error}
    return {} if method == "ping" else None


def main(path: str, session: str) -> None:
    """Serve until the end of standard input."""
    for line in sys.stdin:
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if "id" not in message:
            continue
        result = answer(message, path, session)
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            said["error"] = {"code": _UNKNOWN_METHOD, "message": "not served"}
        else:
            said["result"] = result
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
