"""What an agent's hook runs: tells the keeper, and hands back its decision where one is asked.

    python -I hook.py SOCKET EVENT

The hook's own JSON comes on standard input. Without a keeper it says nothing and ends well, so
that an agent is never stopped by us.
"""

import json
import socket
import sys
from contextlib import suppress
from typing import Any

_ASKING = ("PermissionRequest",)
_PATIENCE = 86_400.0


def main(path: str, event: str) -> int:
    """Tell the keeper of one event; print its decision for an event that asks for one."""
    raw = sys.stdin.read()
    with suppress(OSError, ValueError):
        message: dict[str, Any] = {"event": event, "data": json.loads(raw or "{}")}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(5.0)
            line.connect(path)
            line.sendall(json.dumps(message).encode() + b"\n")
            if event in _ASKING:
                line.settimeout(_PATIENCE)
                answer = line.makefile("rb").readline()
                sys.stdout.write(answer.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
