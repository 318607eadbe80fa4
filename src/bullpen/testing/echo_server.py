"""An MCP server with one tool, `echo`, in nothing but the standard library.

    python -I echo_server.py FILE      each call appends a line to FILE

Tests give it to agents to see whether the tools of a client reach them.
"""

import json
import sys
from pathlib import Path
from typing import Any

_TOOL = {
    "name": "echo",
    "description": "Give the text back.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


def answer(message: dict[str, Any], file: Path) -> dict[str, Any] | None:
    """Return the result for a request, None for what needs no answer."""
    method = message.get("method")
    if method == "initialize":
        version = message["params"].get("protocolVersion", "2025-06-18")
        info = {"name": "echo", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [_TOOL]}
    if method == "tools/call":
        text = message["params"].get("arguments", {}).get("text", "")
        with file.open("a") as lines:
            lines.write(f"{text}\n")
        return {"content": [{"type": "text", "text": f"echoed: {text}"}]}
    return {} if "id" in message else None


def main(file: Path) -> None:
    """Serve until the end of standard input."""
    for line in sys.stdin:
        message: dict[str, Any] = json.loads(line)
        result = answer(message, file)
        if result is not None and "id" in message:
            said = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
