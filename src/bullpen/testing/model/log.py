"""What the model was asked: a file per request and a line each, for people and tests."""

import json
import time
from pathlib import Path
from typing import Any

_MOST = 2000
# Requests kept whole; a forgotten agent in a loop must not fill the disk.


class Log:
    """Writes into a folder, or nothing when there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._count = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._count = len(list(folder.glob("*-*.json")))

    def take(self, api: str, path: str, body: Any, note: str) -> None:
        """Keep one request and what was answered."""
        if self._folder is None or self._count >= _MOST:
            return
        self._count += 1
        entry = {"at": time.time(), "api": api, "path": path, "note": note, "body": body}
        name = f"{self._count:04d}-{api}.json"
        (self._folder / name).write_text(json.dumps(entry))
        with (self._folder / "access.log").open("a") as lines:
            lines.write(f"{entry['at']:.3f} {name} {path} {note}\n")
